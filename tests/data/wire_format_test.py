"""NumPy's bytes against the protobuf library's."""

import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf.data.pretraining_examples import wire_format


def _by_protobuf(batch):
    for row in range(len(next(iter(batch.values())))):
        example = tf.train.Example()
        for name, values in batch.items():
            feature = example.features.feature[name]
            if values.dtype.kind == "f":
                feature.float_list.value.extend(values[row].tolist())
            else:
                feature.int64_list.value.extend(values[row].tolist())
        yield example.SerializeToString(deterministic=True)


@pytest.mark.parametrize("length", [1, 2, 127, 128, 512])
def test_equals_protobuf(length):
    rng = np.random.default_rng(length)
    batch = {
        # Lengths of varints differ between rows and inside them.
        "input_ids": rng.integers(0, 30522, (9, length), np.int32),
        "segment_ids": rng.integers(0, 2, (9, length), np.int32),
        "masked_lm_weights": rng.random((9, 3), np.float32),
        "next_sentence_labels": rng.integers(0, 2, (9, 1)),
        "a": rng.integers(0, 2**63 - 1, (9, 4)) >> rng.integers(0, 63, (9, 4)),
    }
    assert wire_format.serialize(batch) == list(_by_protobuf(batch))


def test_limits_of_varints():
    values = [0, *(2**n + d for n in range(7, 63, 7) for d in (-1, 0))]
    batch = {"x": np.array([[v] for v in [*values, 2**63 - 1]], np.int64)}
    assert wire_format.serialize(batch) == list(_by_protobuf(batch))


def test_special_floats():
    batch = {"x": np.array([[np.nan, -0.0], [np.inf, 1e-45]], np.float32)}
    assert wire_format.serialize(batch) == list(_by_protobuf(batch))


def test_no_rows_and_negative_values():
    assert wire_format.serialize({"x": np.zeros([0, 3], np.int64)}) == []
    with pytest.raises(ValueError, match="x: got -2, expected no negative"):
        wire_format.serialize({"x": np.array([[1, -2]])})
