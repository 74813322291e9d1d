"""Rows and batches."""

import itertools

import numpy as np

from mobilebert_tf.data import batches
from mobilebert_tf.data import rows as rows_lib

_ROWS = rows_lib.ArrayRows(
    {
        "input_word_ids": np.arange(46, dtype=np.int32).reshape([23, 2]),
        "label_ids": np.arange(23, dtype=np.int32),
    }
)


def _numbers(dataset, count=None):
    """The rows of each batch, checked against their arrays."""
    numbers = []
    for batch in itertools.islice(dataset, count):
        row = batch[batches.ROW].numpy()
        for name, values in _ROWS.arrays.items():
            np.testing.assert_array_equal(batch[name], values[row])
        numbers.append(row.tolist())
    return numbers


def test_one_pass_in_order():
    numbers = _numbers(batches.in_order(_ROWS, 4))
    assert sum(numbers, []) == list(range(23))
    assert [len(each) for each in numbers] == [4, 4, 4, 4, 4, 3]


def test_training_stream_permutes_and_resumes():
    numbers = _numbers(batches.shuffled(_ROWS, 4, seed=1), 30)
    flat = sum(numbers, [])
    for epoch in range(5):
        part = flat[epoch * 23 : (epoch + 1) * 23]
        assert sorted(part) == list(range(23))
        assert part != list(range(23))
    assert flat[:23] != flat[23:46]
    for start in (1, 5, 6, 23, 27):
        resumed = batches.shuffled(_ROWS, 4, seed=1, start_batch=start)
        assert _numbers(resumed, 3) == numbers[start : start + 3]
    assert _numbers(batches.shuffled(_ROWS, 4, seed=2), 5) != numbers[:5]
    large = _numbers(batches.shuffled(_ROWS, 50, seed=1), 3)
    assert [len(each) for each in large] == [50, 50, 50]


def test_joined_rows_are_those_of_the_parts():
    parts = [
        rows_lib.ArrayRows({"x": np.arange(first, first + size)})
        for first, size in ((0, 3), (3, 1), (4, 6))
    ]
    joined = rows_lib.JoinedRows(parts)
    assert len(joined) == 10
    for rows in (slice(None), slice(2, 5), np.array([0, 3, 9]), slice(4, 4)):
        expected = np.arange(10)[rows]
        np.testing.assert_array_equal(joined.inputs(rows)["x"], expected)


def test_more_arrays_come_with_their_rows():
    arrays = {"one": np.arange(5), "two": 10 * np.arange(5)}
    rows = rows_lib.ExtendedRows(
        rows_lib.ArrayRows({"one": arrays["one"]}), {"two": arrays["two"]}
    )
    assert len(rows) == 5
    for chosen in (slice(1, 3), np.array([4, 0, 4])):
        values = rows.inputs(chosen)
        assert list(values) == ["one", "two"]
        for name, array in arrays.items():
            np.testing.assert_array_equal(values[name], array[chosen])
