"""An int8 file is really int8, and close to the float32 file."""

import numpy as np
import pytest
import small_models
import tensorflow as tf
from ai_edge_litert import interpreter as litert

from export import calibration
from export import conversion
from export import graph_heads
from export import inference_graph
from export import model_file
from export import quantization
from export import verification
from mobilebert_tf.modeling import config as config_lib

# Static per-tensor int8 through a few random layers; LiteRT's own int8 files
# of such networks reach about as much.
MIN_SQNR_DB = 20.0
# One number has no others to average its error with.
MIN_SQNR_OF_A_NUMBER_DB = 16.0

FLOAT_OPS = {"SOFTMAX", "ADD", "MUL", "SUB", "FULLY_CONNECTED"}


def _export(config, length, num_calibration=24, head="classification"):
    """Returns model, float32 content and int8 content."""
    model = small_models.MAKERS[head](config)
    module = inference_graph.module_of(model, length)
    float_model = conversion.convert(module)
    inputs = small_models.make_inputs(config, num_calibration, length, seed=1)
    ranges = calibration.collect_ranges(
        float_model, calibration.single_rows(inputs)
    )
    recipe = quantization.load_recipe(quantization.INT8)
    return (
        model,
        float_model,
        quantization.quantize(float_model, recipe, ranges),
    )


@pytest.fixture(scope="module")
def micro():
    """The micro preset, vocabulary 8000, as the demo exports it."""
    return _export(config_lib.micro(), 64)


def test_int8_file_is_at_most_0_30_of_float32(micro):
    _, float_model, int8_model = micro
    assert len(int8_model) <= 0.30 * len(float_model)


def test_int8_census(micro):
    """All matrix work but the head's is int8; mask and softmax are float."""
    file = model_file.ModelFile(micro[2])
    census = file.census()
    config = config_lib.micro()
    layers = config.num_hidden_layers
    assert census["FULLY_CONNECTED"] == {"INT8": 15 * layers, "FLOAT32": 1}
    assert census["BATCH_MATMUL"] == {"INT8": 2 * layers}
    assert census["CONV_2D"] == {"INT8": 1}
    assert census["GATHER"] == {"INT8": 2}
    residuals = config.num_feedforward_networks + 2
    embeddings = 2
    assert census["ADD"] == {
        "INT8": layers * residuals + embeddings,
        "FLOAT32": layers,
    }
    assert census["SOFTMAX"] == {"FLOAT32": layers + 1}
    # One conversion each way around each softmax, and one before the last.
    assert census["QUANTIZE"] == {"CONVERSION": layers}
    assert census["DEQUANTIZE"] == {"CONVERSION": layers + 1}
    float_ops = {name for name, counts in census.items() if "FLOAT32" in counts}
    assert float_ops <= FLOAT_OPS
    assert verification.integer_failures(census, num_float_layers=1) == []


def test_int8_weights_are_per_channel_and_embeddings_int8(micro):
    file = model_file.ModelFile(micro[2])
    for operator in file.operators:
        if operator.name in ("FULLY_CONNECTED", "CONV_2D"):
            weight = file.tensors[operator.inputs[1]]
            if weight.shape[0] == small_models.NUM_LABELS:
                assert weight.type == "FLOAT32"
                continue
            assert weight.type == "INT8"
            assert weight.num_scales == weight.shape[0]
        if operator.name == "GATHER":
            assert file.tensors[operator.inputs[0]].type == "INT8"
    largest = max(file.tensors, key=lambda t: np.prod(t.shape))
    assert largest.shape == (8000, 64)


def test_xnnpack_takes_the_whole_file_in_one_partition(micro):
    """Each further partition converts and copies: 3 times the latency."""
    interpreter = litert.Interpreter(model_content=micro[2])
    interpreter.allocate_tensors()
    operators = interpreter._get_ops_details()
    names = [operator["op_name"] for operator in operators]
    assert names.count("DELEGATE") == 1


def test_keys_and_values_have_zero_point_0(micro):
    """XNNPACK takes no other int8 BATCH_MATMUL."""
    file = model_file.ModelFile(micro[2])
    points = [
        file.tensors[operator.inputs[1]].zero_point
        for operator in file.operators
        if operator.name == "BATCH_MATMUL"
    ]
    assert points == [0] * 8


def _assert_int8_is_close_to_keras(config, head):
    model, _, content = _export(config, small_models.SEQUENCE_LENGTH, head=head)
    inputs = small_models.make_inputs(config, 16, seed=2)
    outputs = small_models.run(content, inputs)
    is_real = inputs["input_mask"].astype(bool)
    for name, reference in small_models.keras_outputs(model, inputs).items():
        values = outputs[name]
        assert values.dtype == np.float32
        if reference.shape[:2] == is_real.shape:
            reference, values = reference[is_real], values[is_real]
        error = np.sum((values - reference) ** 2)
        ratio = np.sum(reference**2) / error
        least = MIN_SQNR_DB
        if reference.shape[1:] == (1,):
            least = MIN_SQNR_OF_A_NUMBER_DB
        assert 10 * np.log10(ratio) >= least
        # It follows the example, not only the mean of all examples.
        assert error < 0.1 * np.sum((reference - reference.mean(axis=0)) ** 2)
    num_layers = graph_heads.from_model(model).num_layers
    census = model_file.ModelFile(content).census()
    assert verification.integer_failures(census, num_layers) == []
    assert census["FULLY_CONNECTED"].get("FLOAT32", 0) == num_layers
    # All of a LayerNorm is float, as the recipe says.
    for operator in ("MEAN", "SQUARED_DIFFERENCE", "RSQRT"):
        assert set(census.get(operator, {})) <= {"FLOAT32"}


@pytest.mark.parametrize(
    "name", ["mobilebert", "tiny", "without_opt", "teacher", "no_bottleneck"]
)
def test_int8_classifier_is_close_to_keras(name):
    config = small_models.CONFIGS[name]
    _assert_int8_is_close_to_keras(config, "classification")


_OTHERS = ("multiple_choice", "embedding_mean", "embedding_cls", "encoder")


@pytest.mark.parametrize(
    "head",
    [
        "regression",
        "question_answering",
        "token_classification",
        *(pytest.param(head, marks=pytest.mark.slow) for head in _OTHERS),
    ],
)
def test_int8_head_is_close_to_keras(head):
    config = small_models.CONFIGS["mobilebert"]
    _assert_int8_is_close_to_keras(config, head)


def test_signature_survives_quantization(micro):
    inputs = small_models.make_inputs(config_lib.micro(), 1, 64)
    outputs = small_models.run(micro[2], inputs)
    assert outputs["probabilities"].dtype == np.float32
    assert outputs["probabilities"].sum(axis=-1) == pytest.approx(1.0)


def test_calibration_ranges_are_those_of_the_examples():
    config = small_models.CONFIGS["mobilebert"]
    model = small_models.make_classifier(config)
    module = inference_graph.module_of(model, small_models.SEQUENCE_LENGTH)
    float_model = conversion.convert(module)
    inputs = small_models.make_inputs(config, 5)
    ranges = calibration.collect_ranges(
        float_model, calibration.single_rows(inputs)
    )
    expected = small_models.keras_outputs(model, inputs)["probabilities"]
    file = model_file.ModelFile(float_model)
    (output,) = [
        file.tensors[operator.outputs[0]].name
        for operator in file.operators[-1:]
    ]
    assert ranges[output]["min"].item() == pytest.approx(expected.min(), 1e-5)
    assert ranges[output]["max"].item() == pytest.approx(expected.max(), 1e-5)


def test_padding_does_not_widen_ranges():
    """The range of a logit is that at real positions."""
    config = small_models.CONFIGS["mobilebert"]
    model = small_models.MAKERS["question_answering"](config)
    # A last position that is only ever padding, far from all others.
    table = model.encoder.embeddings.position_table
    last = small_models.SEQUENCE_LENGTH - 1
    table.assign(tf.tensor_scatter_nd_update(table, [[last]], [table[0] * 50]))
    inputs = {
        name: ids[1:]
        for name, ids in small_models.make_inputs(config, 5).items()
    }
    assert not inputs["input_mask"][:, last].any()
    module = inference_graph.module_of(model, small_models.SEQUENCE_LENGTH)
    ranges = calibration.collect_ranges(
        conversion.convert(module), calibration.single_rows(inputs)
    )
    logits = small_models.keras_outputs(model, inputs)["start_logits"]
    real = logits[inputs["input_mask"] == 1]
    assert np.abs(logits[:, last]).min() > np.abs(real).max()
    (name,) = [each for each in ranges if "start_logits/" in each]
    assert ranges[name]["max"].item() == pytest.approx(real.max(), rel=1e-4)
    assert ranges[name]["min"].item() == pytest.approx(real.min(), rel=1e-4)


def test_calibration_names_a_tensor_that_is_not_finite():
    config = small_models.CONFIGS["mobilebert"]
    model = small_models.make_classifier(config)
    norm = model.encoder.blocks[0].output_bottleneck.normalization
    norm.gamma.assign(norm.gamma * 1e38)
    module = inference_graph.module_of(model, small_models.SEQUENCE_LENGTH)
    inputs = small_models.make_inputs(config, 1)
    with pytest.raises(ValueError, match="layer_.* is not finite"):
        calibration.collect_ranges(
            conversion.convert(module), calibration.single_rows(inputs)
        )


def test_calibration_without_examples():
    config = small_models.CONFIGS["tiny"]
    model = small_models.make_classifier(config)
    content = conversion.convert(
        inference_graph.module_of(model, small_models.SEQUENCE_LENGTH)
    )
    with pytest.raises(ValueError, match="expected examples, got none"):
        calibration.collect_ranges(content, [])


def test_choice_of_calibration_examples():
    chosen = calibration.choose_examples(1000, 50, seed=3)
    assert len(set(chosen.tolist())) == 50
    assert sorted(chosen) == chosen.tolist()
    assert 0 <= chosen.min() and chosen.max() < 1000
    again = calibration.choose_examples(1000, 50, seed=3)
    np.testing.assert_array_equal(chosen, again)
    other = calibration.choose_examples(1000, 50, seed=4)
    assert chosen.tolist() != other.tolist()
    assert calibration.choose_examples(3, 50, seed=0).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="expected at least 1, got 0"):
        calibration.choose_examples(3, 0, seed=0)


def test_recipe_errors(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        quantization.load_recipe("int3", str(tmp_path))
    (tmp_path / "int8.json").write_text("[")
    with pytest.raises(ValueError, match="int8.json: not JSON"):
        quantization.load_recipe("int8", str(tmp_path))
    (tmp_path / "int8.json").write_text("{}")
    with pytest.raises(ValueError, match="expected a list of rules, got dict"):
        quantization.load_recipe("int8", str(tmp_path))
