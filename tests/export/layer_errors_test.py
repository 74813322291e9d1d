"""Errors of a small int8 file, tensor by tensor."""

import copy

import numpy as np
import pytest
import small_models
from ai_edge_litert.tools import flatbuffer_utils

from export import calibration
from export import comparison
from export import conversion
from export import inference_graph
from export import layer_errors
from export import quantization

CONFIG = small_models.CONFIGS["pad_invariant"]
DAMAGED = "layer_1/ffn_1/output/"


class Files:
    """A classifier's float32 and int8 files, and examples."""

    def __init__(self):
        model = small_models.make_classifier(CONFIG)
        self.inputs = small_models.make_inputs(CONFIG, 6)
        self.rows = list(calibration.single_rows(self.inputs))
        self.float32 = conversion.convert(
            inference_graph.module_of(model, small_models.SEQUENCE_LENGTH)
        )
        ranges = calibration.collect_ranges(self.float32, self.rows)
        recipe = quantization.load_recipe(quantization.INT8)
        self.int8 = quantization.quantize(self.float32, recipe, ranges)
        self.errors = layer_errors.measure(self.float32, self.int8, self.rows)

    def by_name(self, errors=None):
        return {each.name: each for each in (errors or self.errors).tensors}


@pytest.fixture(scope="module")
def files():
    return Files()


def test_last_tensor_errs_as_the_output_of_the_file(files):
    compared = comparison.compare(
        small_models.run(files.float32, files.inputs)["probabilities"],
        small_models.run(files.int8, files.inputs)["probabilities"],
    )
    assert files.errors.num_examples == 6
    last = files.errors.tensors[-1]
    assert last.operator == "SOFTMAX"
    assert last.number_format == "FLOAT32"
    assert last.sqnr_db == pytest.approx(compared.sqnr_db, abs=0.1)
    # What is computed in float32 adds nothing of its own.
    assert last.local_sqnr_db > 100


def test_error_of_a_lookup_is_that_of_rounding_the_table(files):
    words = files.by_name()["embeddings/words;"]
    assert words.operator == "GATHER"
    assert words.number_format == "INT8"
    assert words.sqnr_db == words.local_sqnr_db
    table = small_models.make_classifier(CONFIG).encoder.embeddings
    table = {v.name: v.numpy() for v in table.weights}
    (table,) = (v for v in table.values() if len(v) == CONFIG.vocab_size)
    scale = (table.max() - min(table.min(), 0)) / 255
    real = files.inputs["input_mask"] == 1
    looked_up = table[files.inputs["input_word_ids"][real]]
    # The error of rounding is spread evenly over a step of the scale.
    expected = 10 * np.log10(np.mean(looked_up**2) / (scale**2 / 12))
    assert words.local_sqnr_db == pytest.approx(expected, abs=1.0)
    assert words.lowest == pytest.approx(looked_up.min(), abs=1e-6)
    assert words.highest == pytest.approx(looked_up.max(), abs=1e-6)


def test_damaged_operator_is_named(files):
    """Weights of one layer a tenth too large: 20 dB, but for the bias."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(files.int8))
    graph = model.subgraphs[0]
    (operator,) = (
        operator
        for operator in graph.operators
        if graph.tensors[operator.outputs[0]].name.startswith(DAMAGED.encode())
    )
    kernel = graph.tensors[operator.inputs[1]]
    kernel.quantization = copy.copy(kernel.quantization)
    kernel.quantization.scale = kernel.quantization.scale * np.float32(1.1)
    damaged = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    errors = layer_errors.measure(files.float32, damaged, files.rows)
    worst = errors.worst(1)[0]
    assert worst.name.startswith(DAMAGED)
    assert 20 < worst.local_sqnr_db < 24
    assert files.by_name()[worst.name].local_sqnr_db > 30
    before = files.by_name()
    is_after = False
    for name, each in files.by_name(errors).items():
        if name == worst.name:
            is_after = True
            continue
        assert each.local_sqnr_db == before[name].local_sqnr_db
        if not is_after:
            assert each.sqnr_db == before[name].sqnr_db
    assert errors.tensors[-3].sqnr_db < files.errors.tensors[-3].sqnr_db


def test_padding_does_not_count(files):
    padded = files.inputs["input_mask"] == 0
    assert padded.any()
    changed = dict(files.inputs)
    changed["input_type_ids"] = np.where(
        padded, 1, changed["input_type_ids"]
    ).astype(np.int32)
    errors = layer_errors.measure(
        files.float32, files.int8, calibration.single_rows(changed)
    )
    assert files.by_name(errors) == files.by_name()


def test_file_against_itself(files):
    errors = layer_errors.measure(files.float32, files.float32, files.rows[:1])
    assert all(each.sqnr_db > 120 for each in errors.tensors)


def test_refuses_what_cannot_be_compared(files):
    with pytest.raises(ValueError, match="expected examples, got none"):
        layer_errors.measure(files.float32, files.int8, [])
    other = flatbuffer_utils.read_model_from_bytearray(bytearray(files.int8))
    for tensor in other.subgraphs[0].tensors:
        tensor.name = b"other/" + tensor.name
    other = bytes(flatbuffer_utils.convert_object_to_bytearray(other))
    with pytest.raises(ValueError, match="names of the float32"):
        layer_errors.measure(files.float32, other, files.rows)
    blank = {name: 0 * ids for name, ids in files.rows[0].items()}
    with pytest.raises(ValueError, match="got padding alone"):
        layer_errors.measure(files.float32, files.int8, [blank])
