"""The deployment graph computes what the Keras model computes."""

import numpy as np
import pytest
import small_models
from ai_edge_litert import interpreter as litert

from export import graph_heads
from export import inference_graph
from export import model_file
from export import quantization
from export import weights


@pytest.mark.parametrize("name", small_models.CONFIGS)
def test_float32_file_gives_keras_hidden_states(name):
    config = small_models.CONFIGS[name]
    model = small_models.make_classifier(config)
    inputs = small_models.make_inputs(config, count=4)
    assert inputs["input_type_ids"].any()
    assert inputs["input_mask"][0].all() and not inputs["input_mask"].all()

    module = inference_graph.make_module(
        config,
        weights.from_encoder(model.encoder),
        small_models.SEQUENCE_LENGTH,
        graph_heads.HiddenStatesHead(),
    )
    outputs = small_models.run(quantization.convert(module), inputs)

    expected = model(inputs)["encoder_outputs"]
    assert len(outputs) == len(expected) == config.num_hidden_layers + 1
    for i, hidden in enumerate(expected):
        small_models.assert_close(outputs[f"hidden_state_{i}"], hidden.numpy())


def test_signature_and_shapes():
    config = small_models.CONFIGS["mobilebert"]
    model = small_models.make_classifier(config)
    module = inference_graph.module_of(model, sequence_length=9)
    interpreter = litert.Interpreter(model_content=quantization.convert(module))
    run = interpreter.get_signature_runner(inference_graph.SIGNATURE)
    details = run.get_input_details()
    assert sorted(details) == sorted(inference_graph.INPUT_NAMES)
    for detail in details.values():
        assert detail["dtype"] == np.int32
        assert list(detail["shape"]) == [1, 9]
    (output,) = run.get_output_details().values()
    assert output["dtype"] == np.float32
    assert list(output["shape"]) == [1, 3]


def test_products_of_activations_are_batch_matmuls():
    """XNNPACK refuses a FULLY_CONNECTED whose weights are computed."""
    model = small_models.make_classifier(small_models.CONFIGS["mobilebert"])
    module = inference_graph.module_of(model, small_models.SEQUENCE_LENGTH)
    file = model_file.ModelFile(quantization.convert(module))
    census = file.census()
    assert census["BATCH_MATMUL"] == {"FLOAT32": 4}
    for operator in file.operators:
        if operator.name == "FULLY_CONNECTED":
            assert file.tensors[operator.inputs[1]].is_constant


def test_no_norm_without_residual_leaves_no_operator():
    """Per block: one product per residual norm but the attention's own."""
    config = small_models.CONFIGS["mobilebert"]
    model = small_models.make_classifier(config)
    module = inference_graph.module_of(model, small_models.SEQUENCE_LENGTH)
    census = model_file.ModelFile(quantization.convert(module)).census()
    per_block = config.num_feedforward_networks + 1
    mask = 1
    assert census["MUL"] == {
        "FLOAT32": mask + config.num_hidden_layers * per_block
    }


def test_masked_positions_do_not_matter():
    """The mask leaves nothing of a padded position's word."""
    config = small_models.CONFIGS["plain_bert"]
    model = small_models.make_classifier(config)
    module = inference_graph.module_of(model, small_models.SEQUENCE_LENGTH)
    content = quantization.convert(module)
    inputs = small_models.make_inputs(config, count=4)
    padding = inputs["input_mask"] == 0
    changed = {**inputs}
    changed["input_word_ids"] = np.where(
        padding, 7, inputs["input_word_ids"]
    ).astype(np.int32)
    np.testing.assert_array_equal(
        small_models.run(content, inputs)["probabilities"],
        small_models.run(content, changed)["probabilities"],
    )


@pytest.mark.parametrize("length", [0, 21])
def test_sequence_length_out_of_range(length):
    model = small_models.make_classifier(small_models.CONFIGS["tiny"])
    with pytest.raises(
        ValueError, match=f"max_position_embeddings=20, got {length}"
    ):
        inference_graph.module_of(model, length)
