"""Each head of the deployment graph computes what the Keras model computes."""

import numpy as np
import pytest
import small_models
from ai_edge_litert import interpreter as litert

from export import graph_heads
from export import inference_graph
from export import quantization
from mobilebert_tf.modeling import models

HEADS = list(small_models.MAKERS)


def _export(model, length=small_models.SEQUENCE_LENGTH):
    return quantization.convert(inference_graph.module_of(model, length))


def _assert_file_gives_keras_outputs(head, config_name):
    config = small_models.CONFIGS[config_name]
    model = small_models.MAKERS[head](config)
    inputs = small_models.make_inputs(config, count=6)
    assert inputs["input_type_ids"].any()
    assert inputs["input_mask"][0].all() and not inputs["input_mask"].all()

    outputs = small_models.run(_export(model), inputs)

    expected = small_models.keras_outputs(model, inputs)
    assert outputs.keys() == expected.keys()
    for name, values in expected.items():
        assert outputs[name].dtype == np.float32
        assert values.std(axis=0).min() > 1e-4  # depends on the example
        small_models.assert_close(outputs[name], values)


@pytest.mark.parametrize("config_name", small_models.CONFIGS)
def test_float32_file_gives_keras_probabilities(config_name):
    _assert_file_gives_keras_outputs("classification", config_name)


@pytest.mark.parametrize("config_name", ["mobilebert", "plain_bert"])
@pytest.mark.parametrize(
    "head", [head for head in HEADS if head != "classification"]
)
def test_float32_file_gives_keras_outputs(head, config_name):
    _assert_file_gives_keras_outputs(head, config_name)


@pytest.mark.parametrize(
    "head, config_name",
    [
        # Padding changes its own rows of the output, so they are compared.
        ("question_answering", "pad_invariant"),
        ("token_classification", "multiplicative_mask"),
        ("encoder", "separate_attention"),
        ("embedding_cls", "without_opt"),
        ("regression", "teacher"),
        ("multiple_choice", "no_bottleneck"),
    ],
)
def test_heads_on_other_networks(head, config_name):
    _assert_file_gives_keras_outputs(head, config_name)


@pytest.mark.parametrize(
    "head, shapes",
    [
        ("classification", {"probabilities": [1, 3]}),
        ("regression", {"value": [1, 1]}),
        ("question_answering", {"start_logits": [1, 9], "end_logits": [1, 9]}),
        ("token_classification", {"logits": [1, 9, 5]}),
        ("multiple_choice", {"logits": [1, 1]}),
        ("embedding_mean", {"sentence_embedding": [1, 32]}),
        (
            "encoder",
            {"sequence_output": [1, 9, 32], "pooled_output": [1, 32]},
        ),
    ],
)
def test_shapes_are_static(head, shapes):
    model = small_models.MAKERS[head](small_models.CONFIGS["mobilebert"])
    content = _export(model, length=9)
    interpreter = litert.Interpreter(model_content=content)
    run = interpreter.get_signature_runner(inference_graph.SIGNATURE)
    details = run.get_output_details()
    assert {n: list(d["shape"]) for n, d in details.items()} == shapes


def test_embedding_of_nothing_is_zero():
    """As Keras has it: a mean over no token is no division by zero."""
    config = small_models.CONFIGS["mobilebert"]
    model = models.MobileBertForSentenceEmbedding(config, normalize=False)
    model.build_weights()
    small_models.randomize(model)
    inputs = small_models.make_inputs(config, count=1)
    inputs["input_mask"] = np.zeros_like(inputs["input_mask"])
    outputs = small_models.run(_export(model), inputs)
    assert not outputs["sentence_embedding"].any()


def test_heads_of_pretraining_are_refused():
    model = models.MobileBertForMaskedLM(small_models.CONFIGS["tiny"])
    model.build_weights()
    with pytest.raises(
        ValueError, match="fine-tuned model .*got MobileBertForMaskedLM"
    ):
        graph_heads.from_model(model)
