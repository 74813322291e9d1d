"""What a cache of features returns, whatever lies at its path."""

import numpy as np
import pytest

from mobilebert_tf.data import feature_cache

_KEY = {"task": "x", "input": "abc", "max_seq_length": 4}


def _batches(value=1):
    return [
        {
            "ids": np.full([rows, 4], value, np.int32),
            "label": np.arange(rows, dtype=np.int64),
            "is_real": np.ones(rows, bool),
        }
        for rows in (3, 0, 2)
    ]


class _Builder:
    """Counts how often the features are made."""

    def __init__(self, batches):
        self.calls = 0
        self._batches = batches

    def __call__(self):
        self.calls += 1
        return iter(self._batches)


@pytest.fixture(name="path")
def _path(tmp_path):
    return tmp_path / "folder" / "x.features"


def _load(path, key=None, batches=None):
    """Returns the features, and whether they were made anew."""
    builder = _Builder(_batches() if batches is None else batches)
    features = feature_cache.load_or_build(str(path), key or _KEY, builder)
    return features, bool(builder.calls)


def _assert_is(features, value=1):
    expected = {
        name: np.concatenate([batch[name] for batch in _batches(value)])
        for name in _batches()[0]
    }
    assert list(features) == list(expected)
    for name, values in expected.items():
        assert features[name].dtype == values.dtype
        np.testing.assert_array_equal(features[name], values)


def test_is_made_once(path):
    features, is_made = _load(path)
    _assert_is(features)
    assert is_made
    features, is_made = _load(path, batches=_batches(2))
    _assert_is(features)
    assert not is_made


def test_cannot_be_written_to(path):
    features, _ = _load(path)
    with pytest.raises(ValueError, match="read-only"):
        features["ids"][0, 0] = 7


@pytest.mark.parametrize("name, value", [("input", "d"), ("version", 2)])
def test_another_key_makes_it_anew_and_says_so(path, caplog, name, value):
    _load(path)
    with caplog.at_level("INFO", "absl"):
        features, is_made = _load(path, _KEY | {name: value}, _batches(2))
    assert is_made
    assert f"it was made with other {name}" in caplog.text
    _assert_is(features, 2)
    assert not _load(path, _KEY | {name: value})[1]


def test_file_in_use_stays_as_it_is(path):
    features, _ = _load(path)
    _load(path, _KEY | {"input": "d"}, _batches(2))
    _assert_is(features)


def test_cut_off_anywhere_is_made_anew(path):
    _load(path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        features, is_made = _load(path)
        assert is_made, length
    _assert_is(features)
    assert path.read_bytes() == content


def test_every_changed_byte_is_noticed(path):
    _load(path)
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        features, is_made = _load(path)
        assert is_made, position
    _assert_is(features)


@pytest.mark.parametrize("added", [b"x", b"x" * 25, b"x" * 1000])
def test_longer_file_is_made_anew(path, added):
    _load(path)
    path.write_bytes(path.read_bytes() + added)
    assert _load(path)[1]


@pytest.mark.parametrize("content", [b"", b"\n" * 99, b"{}" * 99, b"\0" * 99])
def test_foreign_file_is_made_anew(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    features, is_made = _load(path)
    assert is_made
    _assert_is(features)


def test_nothing_is_left_of_a_build_that_fails(path):
    def build():
        yield _batches()[0]
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        feature_cache.load_or_build(str(path), _KEY, build)
    assert not list(path.parent.iterdir())


def test_old_file_survives_a_build_that_fails(path):
    _load(path)
    content = path.read_bytes()
    with pytest.raises(ValueError, match="got none, expected at least one"):
        _load(path, _KEY | {"input": "d"}, [])
    assert path.read_bytes() == content


def test_no_rows(path):
    features, _ = _load(path, batches=[_batches()[1]])
    assert features["ids"].shape == (0, 4)
    assert not _load(path)[1]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"ids": np.zeros([1, 5], np.int32)}, "got columns .*expected"),
        ({"ids": np.zeros([1, 4], np.int64)}, "got columns .*expected"),
        ({"label": np.zeros(2, np.int64)}, r"got columns of \[2, 3\] rows"),
    ],
)
def test_batches_that_differ(path, change, message):
    batches = [_batches()[0], _batches()[0] | change]
    with pytest.raises(ValueError, match=message):
        _load(path, batches=batches)
    assert not path.exists()


def test_digest_is_of_the_content(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"x" * 2**23)
    second.write_bytes(b"x" * 2**23)
    assert feature_cache.digest(first) == feature_cache.digest(second)
    second.write_bytes(b"x" * (2**23 - 1) + b"y")
    assert feature_cache.digest(first) != feature_cache.digest(second)
