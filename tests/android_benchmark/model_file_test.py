"""Inputs and their safe ranges, read from the flatbuffer."""

import numpy as np
import pytest
import tiny_bert

from android_benchmark import model_file


def _inputs(tmp_path, **options):
    path = tmp_path / "model.tflite"
    tiny_bert.write(path, **options)
    return model_file.read_inputs(str(path))


def test_ranges_come_from_the_tables(tmp_path):
    assert _inputs(tmp_path, vocab_size=37, length=8) == (
        model_file.ModelInput("segment_ids", "int32", (1, 8), 0, 0),
        model_file.ModelInput("ids", "int32", (1, 8), 0, 36),
        model_file.ModelInput("mask", "int32", (1, 8), 1, 1),
    )


def test_tensor_names_serve_without_a_signature(tmp_path):
    types, words, mask = _inputs(tmp_path, vocab_size=37, signature=False)
    assert words.name == "serving_default_ids:0"
    assert (types.high, words.high, mask.low) == (0, 36, 1)


def test_values_are_seeded_and_within_range(tmp_path):
    inputs = _inputs(tmp_path, vocab_size=3, length=500)
    types, words, mask = model_file.random_values(inputs, seed=7)
    assert words.dtype == np.int32 and words.shape == (1, 500)
    assert sorted(set(words.flat)) == [0, 1, 2]
    assert set(types.flat) == {0} and set(mask.flat) == {1}
    again = model_file.random_values(inputs, seed=7)
    np.testing.assert_array_equal(words, again[1])
    assert (words != model_file.random_values(inputs, seed=8)[1]).any()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("input_word_ids", (0, 1000)),
        ("serving_default_input_ids:0", (0, 1000)),
        ("input_type_ids", (0, 0)),
        ("token_type_ids", (0, 0)),
        ("input_mask", (1, 1)),
        ("hidden", (0, 1)),
    ],
)
def test_ranges_without_a_table_follow_the_name(name, expected):
    assert model_file._value_range(name, "int32", None) == expected


def test_small_tables_and_types_limit_every_range():
    assert model_file._value_range("input_mask", "int32", 1) == (0, 0)
    assert model_file._value_range("ids", "int8", None) == (0, 127)


def test_dynamic_shapes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"dynamic shape \[1, -1\]"):
        _inputs(tmp_path, dynamic=True)


def test_no_model(tmp_path):
    path = tmp_path / "x.tflite"
    for content, message in (
        (b"", "expected a .tflite model"),
        (b"PK\3\4 something else", "expected a .tflite model"),
        (b"\xff\xff\xff\x7fTFL3" + bytes(9), "damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            model_file.read_inputs(str(path))


def test_labels_are_as_short_as_they_can_be(tmp_path):
    paths = []
    for name in ("a/model.tflite", "b/model.tflite"):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(name)
        paths.append(str(path))
    both = model_file.open_all(paths)
    assert [m.label for m in both] == ["a/model.tflite", "b/model.tflite"]
    assert both[0].sha256 != both[1].sha256
    assert model_file.open_all(paths[:1])[0].label == "model.tflite"
    with pytest.raises(ValueError, match="given twice"):
        model_file.open_all([paths[0], str(tmp_path / "a/../a/model.tflite")])
    with pytest.raises(ValueError, match="nope.tflite.*no such file"):
        model_file.open_all(["nope.tflite"])
