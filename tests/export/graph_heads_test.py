"""Each head of the deployment graph computes what the Keras model computes."""

import numpy as np
import pytest
import small_models
from ai_edge_litert import interpreter as litert

from export import conversion
from export import graph_heads
from export import inference_graph
from mobilebert_tf.modeling import models

HEADS = list(small_models.MAKERS)


def _export(model, length=small_models.SEQUENCE_LENGTH):
    return conversion.convert(inference_graph.module_of(model, length))


def _shapes(content):
    interpreter = litert.Interpreter(model_content=content)
    run = interpreter.get_signature_runner(inference_graph.SIGNATURE)
    details = run.get_output_details()
    return {name: list(each["shape"]) for name, each in details.items()}


def _assert_file_gives_keras_outputs(head, config_name):
    config = small_models.CONFIGS[config_name]
    model = small_models.MAKERS[head](config)
    inputs = small_models.make_inputs(config, count=6)
    assert inputs["input_type_ids"].any()
    assert inputs["input_mask"][0].all() and not inputs["input_mask"].all()

    content = _export(model)
    outputs = small_models.run(content, inputs)

    expected = small_models.keras_outputs(model, inputs)
    assert _shapes(content) == {
        name: [1, *values.shape[1:]] for name, values in expected.items()
    }
    assert outputs.keys() == expected.keys()
    for name, values in expected.items():
        assert outputs[name].dtype == np.float32
        assert values.std(axis=0).min() > 1e-4  # depends on the example
        small_models.assert_close(outputs[name], values)


@pytest.mark.parametrize("config_name", small_models.CONFIGS)
def test_float32_file_gives_keras_probabilities(config_name):
    _assert_file_gives_keras_outputs("classification", config_name)


# Each head on a network of its own; padding has outputs too, which count.
@pytest.mark.parametrize(
    "head, config_name",
    [
        ("regression", "plain_bert"),
        ("question_answering", "pad_invariant"),
        ("token_classification", "multiplicative_mask"),
        ("multiple_choice", "teacher"),
        ("embedding_mean", "mobilebert"),
        ("embedding_cls", "without_opt"),
        ("encoder", "separate_attention"),
    ],
)
def test_float32_file_gives_keras_outputs(head, config_name):
    _assert_file_gives_keras_outputs(head, config_name)


@pytest.mark.slow
@pytest.mark.parametrize("config_name", small_models.CONFIGS)
@pytest.mark.parametrize(
    "head", [head for head in HEADS if head != "classification"]
)
def test_every_head_on_every_network(head, config_name):
    _assert_file_gives_keras_outputs(head, config_name)


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
