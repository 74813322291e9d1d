"""Each quantised variant is what its name says, and close to the Keras model.

int8 has more tests of its own in quantization_test.py.
"""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import small_models
import tensorflow as tf
from ai_edge_litert import interpreter as litert

from export import calibration
from export import delegation
from export import exporter
from export import inference_graph
from export import metadata
from export import model_file
from export import op_lint
from export import quantization
from export import verification
from mobilebert_tf.modeling import config as config_lib

LENGTH = 64
# SQNR of the outputs against Keras. Weights of 11 and of 8 bits leave about
# 70 and 40 dB of a layer, of which several are in a row; static int8 rounds
# the activations too.
MIN_SQNR_DB = {
    "float16": 60.0,
    "dynamic": 25.0,
    "dynamic_per_tensor": 25.0,
    "int8_weights": 30.0,
    "int16x8": 30.0,
    "int8": 20.0,
}
# Size in that of float32: half, or a quarter and what is not quantised.
MAX_SIZE = {
    "float16": 0.53,
    "dynamic": 0.30,
    "dynamic_per_tensor": 0.30,
    "int8_weights": 0.30,
    "int8": 0.30,
    # The table has the format of the activations.
    "int16x8": 0.45,
}
QUANTIZED = tuple(MIN_SQNR_DB)


class _Files:
    """Files of a model, made when asked for."""

    def __init__(self, config, length, head="classification"):
        self.model = small_models.MAKERS[head](config)
        self.config = config
        self.length = length
        self.float32 = quantization.convert(
            inference_graph.module_of(self.model, length)
        )
        self._inputs = small_models.make_inputs(config, 24, length, seed=1)
        self._ranges = None
        self._contents = {}

    def __getitem__(self, variant):
        if variant not in self._contents:
            self._contents[variant] = self.quantize(variant)
        return self._contents[variant]

    def quantize(self, variant, **options):
        recipe = quantization.load_recipe(variant)
        ranges = {}
        if quantization.needs_ranges(recipe):
            ranges = self.ranges()
        return quantization.quantize(self.float32, recipe, ranges, **options)

    def ranges(self):
        if self._ranges is None:
            self._ranges = calibration.collect_ranges(
                self.float32, calibration.single_rows(self._inputs)
            )
        return self._ranges


@pytest.fixture(scope="module")
def micro():
    return _Files(config_lib.micro(), LENGTH)


@pytest.fixture(scope="module")
def small():
    """Files of a small model, by head."""
    files = {}

    def files_of(head):
        if head not in files:
            files[head] = _Files(
                small_models.CONFIGS["mobilebert"],
                small_models.SEQUENCE_LENGTH,
                head,
            )
        return files[head]

    return files_of


def test_every_variant_has_a_recipe_and_no_recipe_is_left():
    names = {
        path.stem for path in pathlib.Path(quantization.RECIPE_DIR).iterdir()
    } - {"README"}
    assert names == set(QUANTIZED) == set(quantization.VARIANTS) - {"float32"}


def test_names_are_decoded():
    readme = pathlib.Path(quantization.RECIPE_DIR, "README.md").read_text()
    for name in QUANTIZED:
        assert f"`{name}.json`" in readme


def test_only_integer_activations_need_examples():
    needing = {
        name
        for name in QUANTIZED
        if quantization.needs_ranges(quantization.load_recipe(name))
    }
    assert needing == {"int8", "int16x8"}


@pytest.mark.parametrize("variant", QUANTIZED)
def test_size(micro, variant):
    assert len(micro[variant]) <= MAX_SIZE[variant] * len(micro.float32)


@pytest.mark.parametrize("variant", QUANTIZED)
def test_formats_are_those_that_verification_expects(micro, variant):
    file = model_file.ModelFile(micro[variant])
    allowed = {"FULLY_CONNECTED": 1}  # The head's.
    failures = verification.format_failures(
        verification.expectation(variant),
        file.census(),
        file.weight_census(),
        allowed,
    )
    assert failures == []


_LAYERS = 15 * config_lib.micro().num_hidden_layers


@pytest.mark.parametrize(
    "variant, computed, stored, table",
    [
        ("float16", {"FLOAT32"}, {"FLOAT16": _LAYERS + 1}, "FLOAT16"),
        (
            "dynamic",
            {"FLOAT32"},
            {"INT8": _LAYERS, "FLOAT32": 1},
            "INT8",
        ),
        (
            "dynamic_per_tensor",
            {"FLOAT32"},
            {"INT8": _LAYERS, "FLOAT32": 1},
            "INT8",
        ),
        (
            "int8_weights",
            {"FLOAT32"},
            {"INT8": _LAYERS, "FLOAT32": 1},
            "INT8",
        ),
        (
            "int16x8",
            {"INT16", "FLOAT32"},
            {"INT8": _LAYERS, "FLOAT32": 1},
            "INT16",
        ),
    ],
)
def test_census(micro, variant, computed, stored, table):
    file = model_file.ModelFile(micro[variant])
    assert set(file.census()["FULLY_CONNECTED"]) == computed
    assert file.weight_census()["FULLY_CONNECTED"] == stored
    assert file.weight_census()["GATHER"] == {table: 2}


@pytest.mark.parametrize(
    "variant, is_per_channel",
    [("dynamic", True), ("dynamic_per_tensor", False)],
)
def test_dynamic_activations_are_quantised_while_running(
    micro, variant, is_per_channel
):
    """Weights go into the product as integers, without being unpacked."""
    file = model_file.ModelFile(micro[variant])
    count = 0
    for operator in file.operators:
        if operator.name not in ("FULLY_CONNECTED", "CONV_2D"):
            continue
        inputs, weights = (file.tensors[i] for i in operator.inputs[:2])
        assert inputs.type == "FLOAT32"
        if weights.type == "FLOAT32":
            continue
        channels = weights.shape[0]
        assert weights.num_scales == (channels if is_per_channel else 1)
        count += 1
    assert count == _LAYERS + 1


def test_int8_weights_are_unpacked_per_channel(micro):
    file = model_file.ModelFile(micro["int8_weights"])
    unpacked = [
        file.tensors[operator.inputs[0]]
        for operator in file.operators
        if operator.name == "DEQUANTIZE"
        and file.tensors[operator.inputs[0]].is_constant
    ]
    assert len(unpacked) == _LAYERS + 1
    assert all(each.num_scales == each.shape[0] for each in unpacked)


@pytest.mark.parametrize(
    "variant", ["float16", "dynamic", "dynamic_per_tensor", "int8_weights"]
)
def test_xnnpack_takes_it_in_one_partition(micro, variant):
    result = delegation.delegation(micro[variant])
    assert result.partitions == 1
    assert result.num_left_out <= 6


def test_xnnpack_takes_no_int16_layer(micro):
    left_out = delegation.delegation(micro["int16x8"]).left_out
    assert left_out["FULLY_CONNECTED"] == _LAYERS


_RUNTIMES = {
    "float16": (True, True),
    # FULLY_CONNECTED version 12.
    "dynamic": (True, False),
    "dynamic_per_tensor": (True, True),
    "int8_weights": (True, True),
    "int8": (True, True),
    "int16x8": (True, True),
}


@pytest.mark.parametrize("variant", QUANTIZED)
def test_runtimes_that_load_it(micro, variant):
    description = metadata.Description("x", ["[PAD]", "a"], ("a", "b", "c"))
    lint = op_lint.lint(metadata.pack(micro[variant], description))
    loads = {each.name: each.loads for each in lint.runtimes}
    assert (
        loads[op_lint.MEDIAPIPE],
        loads[op_lint.TASK_LIBRARY],
    ) == _RUNTIMES[variant]
    assert lint.refusals == ()


@pytest.mark.parametrize("variant", QUANTIZED)
def test_unpacked_file_tells_the_truth(micro, variant):
    """Versions are those needed, and weights are inside."""
    findings = op_lint.lint(micro[variant]).findings
    about_formats = {"float16": 1, "int16x8": 1}
    assert len(findings) == about_formats.get(variant, 0)


def _sqnr_db(content, model, inputs):
    outputs = small_models.run(content, inputs)
    is_real = inputs["input_mask"].astype(bool)
    noise = signal = 0.0
    for name, reference in small_models.keras_outputs(model, inputs).items():
        values = outputs[name]
        assert values.dtype == np.float32
        if reference.shape[:2] == is_real.shape:
            reference, values = reference[is_real], values[is_real]
        noise += np.sum((values - reference) ** 2)
        signal += np.sum(reference**2)
    return 10 * np.log10(signal / noise)


@pytest.mark.parametrize("variant", QUANTIZED)
@pytest.mark.parametrize(
    "head", ["classification", "question_answering", "token_classification"]
)
def test_close_to_keras(small, head, variant):
    files = small(head)
    inputs = small_models.make_inputs(files.config, 16, seed=2)
    sqnr_db = _sqnr_db(files[variant], files.model, inputs)
    assert sqnr_db >= MIN_SQNR_DB[variant]
    assert sqnr_db < 120  # It is quantised.


def test_int16_activations_are_closer_than_int8(small):
    files = small("token_classification")
    inputs = small_models.make_inputs(files.config, 16, seed=2)
    int16x8, int8 = (
        _sqnr_db(files[variant], files.model, inputs)
        for variant in ("int16x8", "int8")
    )
    assert int16x8 > int8 + 3


def test_float16_is_rounding_of_float32(micro):
    """Tables and kernels are numpy's float16 of the float32 file's."""
    file = model_file.ModelFile(micro.float32)
    expected = [
        table.astype(np.float16) for table in file.gathered_tables().values()
    ]
    interpreter = litert.Interpreter(model_content=micro["float16"])
    tables = [
        interpreter.get_tensor(detail["index"])
        for detail in interpreter.get_tensor_details()
        if detail["dtype"] == np.float16
    ]
    for each in expected:
        assert any(np.array_equal(each, table) for table in tables)


def test_weight_beyond_float16():
    config = small_models.CONFIGS["mobilebert"]
    model = small_models.make_classifier(config)
    table = model.encoder.embeddings.word_table
    table.assign(tf.tensor_scatter_nd_update(table, [[3, 2]], [70000.0]))
    float_model = quantization.convert(
        inference_graph.module_of(model, small_models.SEQUENCE_LENGTH)
    )
    recipe = quantization.load_recipe("float16")
    with pytest.raises(ValueError, match="embeddings/.* are beyond 65504"):
        quantization.quantize(float_model, recipe, {})


@pytest.mark.parametrize("variant", ["int8", "int16x8"])
@pytest.mark.parametrize(
    "output_type, zero_point", [("uint8", 0), ("int8", -128)]
)
def test_integer_probabilities(small, variant, output_type, zero_point):
    files = small("classification")
    content = files.quantize(variant, output_type=output_type)
    runner = litert.Interpreter(model_content=content).get_signature_runner()
    detail = runner.get_output_details()["probabilities"]
    assert detail["quantization"] == (1 / 256, zero_point)
    inputs = small_models.make_inputs(files.config, 8, seed=2)
    values = small_models.run(content, inputs)["probabilities"]
    assert values.dtype == np.dtype(output_type)
    reference = small_models.run(files[variant], inputs)["probabilities"]
    values = (values.astype(np.float32) - zero_point) / 256
    # Half a step of rounding; 1.0 is not representable.
    np.testing.assert_allclose(values, reference, atol=0.51 / 256)
    for name in small_models.INPUT_NAMES:
        assert runner.get_input_details()[name]["dtype"] == np.int32


def test_integer_logits_have_the_range_of_calibration(small):
    files = small("question_answering")
    content = files.quantize("int8", output_type="int8")
    runner = litert.Interpreter(model_content=content).get_signature_runner()
    details = runner.get_output_details()
    inputs = small_models.make_inputs(files.config, 4, seed=1)
    values = small_models.run(content, inputs)
    reference = small_models.run(files["int8"], inputs)
    is_real = inputs["input_mask"] == 1
    for name, detail in details.items():
        scale, zero_point = detail["quantization"]
        real = (values[name].astype(np.float32) - zero_point) * scale
        np.testing.assert_allclose(
            real[is_real], reference[name][is_real], atol=0.51 * scale
        )


def test_integer_output_of_unknown_range(small):
    files = small("question_answering")
    recipe = quantization.load_recipe("dynamic")
    with pytest.raises(ValueError, match="logits: no range of it is known"):
        quantization.quantize(files.float32, recipe, {}, "int8")


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(operation="FULLY_DISCONNECTED"), "FULLY_DISCONNECTED"),
        (dict(algorithm_key="guess"), "guess"),
        (dict(regex="("), "quantization failed"),
        (
            dict(op_config={"bits": 8}),
            "quantization failed: KeyError: .weight_ten",
        ),
    ],
)
def test_recipe_that_the_quantiser_refuses(small, change, message):
    rule = {**quantization.load_recipe("dynamic")[0], **change}
    with pytest.raises(ValueError, match=message):
        quantization.quantize(small("classification").float32, [rule], {})


def test_rule_without_an_operation(tmp_path):
    path = tmp_path / "int8.json"
    path.write_text('[{"regex": ".*", "algorithm_key": "no_quantize"}]')
    with pytest.raises(ValueError, match="rule 1: expected a operation"):
        quantization.load_recipe("int8", str(tmp_path))
    path.write_text('["int8"]')
    with pytest.raises(ValueError, match="rule 1: expected a regex"):
        quantization.load_recipe("int8", str(tmp_path))


def test_static_recipe_without_ranges(small):
    recipe = quantization.load_recipe("int8")
    with pytest.raises(ValueError, match="quantization failed"):
        quantization.quantize(small("classification").float32, recipe, {})


def test_one_command_for_all(tmp_path):
    """Verified; the output type is that of integer variants alone."""
    model_dir = small_models.write_model_directory(str(tmp_path / "model"))
    result = exporter.export(
        exporter.Options(
            model_dir,
            str(tmp_path / "out"),
            variants=quantization.VARIANTS,
            max_metric_drop=2,
            measure_secs=0,
            inference_output_type="uint8",
        )
    )
    for variant in result.variants:
        assert variant.failures == (), variant.name
        runner = litert.Interpreter(variant.path).get_signature_runner()
        detail = runner.get_output_details()["probabilities"]
        is_integer = variant.name in ("int8", "int16x8")
        assert detail["dtype"] == (np.uint8 if is_integer else np.float32)


def test_unknown_output_type(tmp_path):
    options = exporter.Options(
        "model", str(tmp_path), inference_output_type="int16"
    )
    with pytest.raises(ValueError, match="got 'int16', expected one of float"):
        exporter.export(options)


@pytest.mark.slow
def test_recipes_are_in_the_wheel(tmp_path):
    root = pathlib.Path(quantization.__file__).parents[1]
    subprocess.run(
        [
            *(sys.executable, "setup.py", "-q", "egg_info", "-e", tmp_path),
            *("build_py", "-d", tmp_path / "wheel"),
        ],
        cwd=root,
        check=True,
    )
    found = subprocess.run(
        [
            *(sys.executable, "-c"),
            "from export import quantization as q;"
            "print(q.RECIPE_DIR, len(q.load_recipe('dynamic')))",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "wheel")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == [
        str(tmp_path / "wheel" / "export" / "recipes"),
        "4",
    ]
