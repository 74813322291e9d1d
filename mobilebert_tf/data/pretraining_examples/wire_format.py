"""Serializes batches of tf.train.Example at once with NumPy.

The bytes are those of `SerializeToString(deterministic=True)`: features
sorted by name, packed values. Making one message per row takes most of the
time of a builder that uses the message classes.

Legend: N rows, L values of a feature in a row.
"""

import functools

import numpy as np

# Field numbers and wire types of tensorflow/core/example/{example,feature}
# .proto: Example.features, Features.feature, the map entry's key and value,
# the kinds of Feature, and the packed `value` of either list.
_EXAMPLE_FEATURES = b"\x0a"
_FEATURES_ENTRY = b"\x0a"
_ENTRY_KEY = b"\x0a"
_ENTRY_VALUE = b"\x12"
_FEATURE_FLOATS = b"\x12"
_FEATURE_INTEGERS = b"\x1a"
_LIST_VALUES = b"\x0a"

# 7 bits of an integer go into each byte; the eighth says that more follow.
_GROUP_BITS = 7
_MORE = 0x80


def serialize(batch: dict[str, np.ndarray]) -> list[bytes]:
    """Returns one serialized tf.train.Example per row.

    Args:
        batch: arrays [N, L], L of at least 1: non-negative integers become
            int64 lists, floating-point numbers float lists.

    Raises:
        ValueError: if an integer is negative.
    """
    columns = [_entries(name, batch[name]) for name in sorted(batch)]
    records = []
    for entries in zip(*columns, strict=True):
        features = b"".join(entries)
        records.append(_EXAMPLE_FEATURES + _sized(features))
    return records


def _entries(name, values):
    """Returns the map entry of one feature for each row."""
    if values.dtype.kind == "f":
        kind = _FEATURE_FLOATS
        data = values.astype("<f4").tobytes()
        ends = 4 * values.shape[1] * np.arange(len(values) + 1)
    else:
        kind = _FEATURE_INTEGERS
        data, ends = _varints(name, values)
    ends = ends.tolist()
    key = _ENTRY_KEY + _sized(name.encode())
    # Few lengths occur, so what precedes the values is made once for each.
    before = {
        length: _before_values(key, kind, length)
        for length in set(map(int.__sub__, ends[1:], ends))
    }
    return [
        before[end - start] + data[start:end]
        for start, end in zip(ends, ends[1:], strict=False)
    ]


def _before_values(key, kind, length):
    values = _LIST_VALUES + _varint(length)
    feature = kind + _varint(len(values) + length) + values
    entry = key + _ENTRY_VALUE + _varint(len(feature) + length) + feature
    return _FEATURES_ENTRY + _varint(len(entry) + length) + entry


def _varints(name, values):
    """Encodes integers [N, L].

    Returns:
        All bytes, and int64 [N + 1]: where each row begins, and the end.
    """
    if values.size and values.min() < 0:
        raise ValueError(
            f"{name}: got {values.min()}, expected no negative value"
        )
    flat = values.reshape(-1)
    largest = int(flat.max(initial=0))
    groups = max(1, -(-largest.bit_length() // _GROUP_BITS))
    # Every group of every integer, of which the leading ones are kept.
    encoded = np.empty([len(flat), groups], np.uint8)
    kept = np.ones([len(flat), groups], bool)
    for group in range(groups):
        encoded[:, group] = (flat >> _GROUP_BITS * group) & (_MORE - 1)
    for group in range(1, groups):
        kept[:, group] = flat >= 1 << _GROUP_BITS * group
        encoded[:, group - 1] |= np.where(kept[:, group], _MORE, 0).astype(
            np.uint8
        )
    ends = np.zeros(len(values) + 1, np.int64)
    sizes = np.count_nonzero(
        kept.reshape([len(values), groups * values.shape[1]]), axis=1
    )
    np.cumsum(sizes, out=ends[1:])
    return encoded[kept].tobytes(), ends


@functools.cache
def _varint(value):
    groups = bytearray()
    while value >= _MORE:
        groups.append(value & (_MORE - 1) | _MORE)
        value >>= _GROUP_BITS
    groups.append(value)
    return bytes(groups)


def _sized(data):
    return _varint(len(data)) + data
