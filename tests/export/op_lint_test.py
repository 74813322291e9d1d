"""The lint reads versions, formats and metadata off a file."""

import numpy as np
import pytest
import small_models
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from export import calibration
from export import conversion
from export import flatbuffer_model
from export import inference_graph
from export import metadata
from export import op_lint
from export import op_versions
from export import quantization

_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_TOKENS += [f"word{i}" for i in range(35)]
_FULLY_CONNECTED = schema.BuiltinOperator.FULLY_CONNECTED


def _dynamic():
    """Returns the recipe of per-channel weights and float activations."""
    weights = dict(
        num_bits=8, symmetric=True, granularity="CHANNELWISE", dtype="INT"
    )
    options = dict(
        weight_tensor_config=weights,
        compute_precision="INTEGER",
        explicit_dequantize=False,
        skip_checks=False,
        min_weight_elements=0,
    )
    return [
        {
            "regex": ".*",
            "operation": "FULLY_CONNECTED",
            "algorithm_key": "min_max_uniform_quantize",
            "op_config": options,
        }
    ]


@pytest.fixture(scope="module")
def files():
    """Files of a classifier by variant, without metadata."""
    config = small_models.CONFIGS["mobilebert"]
    model = small_models.make_classifier(config)
    float_model = conversion.convert(
        inference_graph.module_of(model, small_models.SEQUENCE_LENGTH)
    )
    ranges = calibration.collect_ranges(
        float_model,
        calibration.single_rows(small_models.make_inputs(config, 8)),
    )
    int8 = quantization.load_recipe(quantization.INT8)
    return {
        "float32": float_model,
        "int8": quantization.quantize(float_model, int8, ranges),
        "dynamic": quantization.quantize(float_model, _dynamic(), ranges),
    }


def _pack(content, **changes):
    labels = ("a", "b", "c")
    return metadata.pack(
        content, metadata.Description("x", _TOKENS, labels, **changes)
    )


def _edited(content, edit):
    model = flatbuffer_model.read(content)
    edit(model)
    return flatbuffer_model.write(model)


def _set_version(version):
    def edit(model):
        for code in model.operatorCodes:
            if code.builtinCode == _FULLY_CONNECTED:
                code.version = version

    return edit


def _runtimes(content):
    return {each.name: each for each in op_lint.lint(content).runtimes}


@pytest.mark.parametrize("variant", ["float32", "int8", "dynamic"])
def test_packed_files_have_no_warnings(files, variant):
    assert op_lint.lint(_pack(files[variant])).findings == ()


def test_versions_of_a_float_file_are_the_converters(files):
    """TensorFlow's converter computes them in C++; nothing may change."""
    model = flatbuffer_model.read(files["float32"])
    before = [code.version for code in model.operatorCodes]
    op_versions.restamp(model)
    after = [code.version for code in model.operatorCodes]
    assert after == before


def test_dynamic_file_needs_2_17(files):
    """Per-channel weights with float activations."""
    runtimes = _runtimes(_pack(files["dynamic"]))
    assert runtimes[op_lint.TENSORFLOW_LITE].text.startswith("2.17.0")
    assert runtimes[op_lint.MEDIAPIPE].loads
    assert runtimes[op_lint.TASK_LIBRARY] == op_lint.Runtime(
        op_lint.TASK_LIBRARY,
        False,
        "its runtime is 2.14, older than FULLY_CONNECTED version 12",
    )


def test_understated_per_channel_weights_are_refused(files):
    content = _edited(_pack(files["dynamic"]), _set_version(5))
    (refusal,) = op_lint.lint(content).refusals
    assert refusal == (
        "FULLY_CONNECTED says version 5 but needs 12: older runtimes load it "
        "and compute nonsense"
    )


def test_packing_corrects_understated_versions(files):
    understated = _edited(files["dynamic"], _set_version(5))
    assert op_lint.lint(understated).refusals
    assert not op_lint.lint(_pack(understated)).refusals


def test_understated_int8_file_fails_late(files):
    content = _edited(files["int8"], _set_version(1))
    (finding,) = op_lint.lint(content).findings
    assert finding.level == op_lint.WARNING
    assert finding.text == (
        "FULLY_CONNECTED says version 1 but needs 4: older runtimes fail late"
    )


def _with_weights_outside(content):
    """Moves the largest buffer behind the FlatBuffer."""
    model = flatbuffer_model.read(content)
    buffers = [b for b in model.buffers if b.data is not None]
    buffer = max(buffers, key=lambda b: len(b.data))
    data, buffer.data = bytes(buffer.data), None
    buffer.size, buffer.offset = len(data), 1 << 20
    size = len(flatbuffer_utils.convert_object_to_bytearray(model))
    buffer.offset = size
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model)) + data


def test_weights_outside_are_told_and_packing_brings_them_inside(files):
    content = _with_weights_outside(files["float32"])
    (finding,) = op_lint.lint(content).findings
    assert finding.text.startswith("1 weights lie outside of the FlatBuffer")
    packed = _pack(content)
    assert op_lint.lint(packed).findings == ()
    inputs = small_models.make_inputs(small_models.CONFIGS["mobilebert"], 2)
    np.testing.assert_array_equal(
        small_models.run(packed, inputs)["probabilities"],
        small_models.run(files["float32"], inputs)["probabilities"],
    )


def test_packing_states_the_first_runtime(files):
    model = flatbuffer_model.read(_pack(files["dynamic"]))
    stated = {
        entry.name: bytes(model.buffers[entry.buffer].data)
        for entry in model.metadata
    }
    assert stated[b"min_runtime_version"].rstrip(b"\0") == b"2.17.0"


def test_no_metadata_no_client(files):
    runtimes = _runtimes(files["float32"])
    assert runtimes[op_lint.TENSORFLOW_LITE].loads
    assert runtimes[op_lint.MEDIAPIPE].text == "the file has no metadata"
    assert not runtimes[op_lint.TASK_LIBRARY].loads


def test_no_tokenizer_no_client(files):
    runtimes = _runtimes(_pack(files["float32"], clients_tokenize=False))
    assert not runtimes[op_lint.MEDIAPIPE].loads
    assert not runtimes[op_lint.TASK_LIBRARY].loads


def test_custom_operators_are_named(files):
    def edit(model):
        code = model.operatorCodes[0]
        code.builtinCode = schema.BuiltinOperator.CUSTOM
        code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = b"TFText>Tokenize"

    result = op_lint.lint(_edited(_pack(files["float32"]), edit))
    assert result.findings[0] == op_lint.Finding(
        op_lint.WARNING,
        "custom operator TFText>Tokenize: only where it is registered",
    )
    assert not result.runtimes[1].loads
    assert "TFText>Tokenize registered" in result.runtimes[0].text


def test_int16_and_float16_are_told(files):
    def edit(model):
        tensors = model.subgraphs[0].tensors
        operator = model.subgraphs[0].operators[0]
        tensors[operator.outputs[0]].type = schema.TensorType.INT16
        tensors[operator.inputs[-1]].type = schema.TensorType.FLOAT16

    levels = {
        finding.text.split()[0]: finding.level
        for finding in op_lint.lint(_edited(files["float32"], edit)).findings
    }
    assert levels["FLOAT16"] == op_lint.INFO
    assert levels["1"] == op_lint.WARNING


def test_unknown_versions_are_not_promised(files):
    content = _edited(_pack(files["float32"]), _set_version(99))
    runtimes = _runtimes(content)
    assert "not known since when: FULLY_CONNECTED" in (
        runtimes[op_lint.TENSORFLOW_LITE].text
    )
    assert not runtimes[op_lint.MEDIAPIPE].loads


def test_lines_have_runtimes_then_findings(files):
    lines = op_lint.lines(op_lint.lint(files["int8"]))
    assert lines[0] == "TensorFlow Lite: 2.3.0 or newer, LiteRT included"
    assert lines[1] == "MediaPipe Tasks 1.2.2: no, the file has no metadata"
    assert all(line.startswith("warning: ") for line in lines[3:])


def test_other_files_are_refused():
    with pytest.raises(ValueError, match="expected a .tflite file"):
        op_lint.lint(np.zeros(16, np.uint8).tobytes())
