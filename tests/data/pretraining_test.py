"""The pre-training reader: contents, order, resume, damaged files."""

import itertools
import os

import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf.data import corpus as corpus_lib
from mobilebert_tf.data import masking
from mobilebert_tf.data import pretraining
from mobilebert_tf.data import pretraining_builder

_BATCH = 8


@pytest.fixture(scope="module", name="pattern")
def _pattern(tmp_path_factory, documents, tokenizer):
    """Three shards of distinct instances."""
    corpus = corpus_lib.tokenize(documents[:20], tokenizer)
    output = str(tmp_path_factory.mktemp("records") / "x")
    options = pretraining_builder.BuilderOptions(
        masking=masking.MaskingOptions(32, 6), dupe_factor=1
    )
    paths = pretraining_builder.shard_paths(output, 3)
    pretraining_builder.build(corpus, tokenizer, options, paths)
    return f"{output}-*"


def _make(pattern, **kwargs):
    arguments = {
        "max_seq_length": 32,
        "max_predictions_per_seq": 6,
        "batch_size": _BATCH,
        "is_training": True,
        "seed": 3,
    }
    return pretraining.make_dataset([pattern], **(arguments | kwargs))


def _rows(batches):
    return [
        row.tobytes()
        for batch in batches
        for row in batch["input_word_ids"].numpy()
    ]


def test_contents_in_file_order(pattern):
    raw = [
        tf.train.Example.FromString(record.numpy()).features.feature
        for path in sorted(tf.io.gfile.glob(pattern))
        for record in tf.data.TFRecordDataset(path)
    ]
    batches = list(_make(pattern, is_training=False, drop_remainder=False))
    names = {"input_ids": "input_word_ids", "segment_ids": "input_type_ids"}
    for name in pretraining.FEATURES:
        values = np.concatenate([b[names.get(name, name)] for b in batches])
        is_weight = name == "masked_lm_weights"
        assert values.dtype == (np.float32 if is_weight else np.int32)
        kind = "float_list" if is_weight else "int64_list"
        expected = [getattr(feature[name], kind).value for feature in raw]
        np.testing.assert_array_equal(values, expected)
    assert batches[0]["next_sentence_labels"].shape == [_BATCH, 1]


def test_one_pass_can_drop_and_skip(pattern):
    total = pretraining.count_records([pattern])
    assert total % _BATCH
    every = _rows(_make(pattern, is_training=False, drop_remainder=False))
    assert len(every) == total
    kept = _rows(_make(pattern, is_training=False, start_batch=2))
    assert kept == every[2 * _BATCH : total // _BATCH * _BATCH]


def test_every_epoch_is_another_permutation(pattern):
    total = pretraining.count_records([pattern])
    stream = _rows(itertools.islice(_make(pattern), total // 2))
    epochs = [stream[i * total : (i + 1) * total] for i in range(3)]
    in_order = _rows(_make(pattern, is_training=False, drop_remainder=False))
    for epoch in epochs:
        assert sorted(epoch) == sorted(in_order)
        assert epoch != in_order
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_records_of_all_files_mix(pattern):
    files = sorted(tf.io.gfile.glob(pattern))
    owner = {
        row: index
        for index, path in enumerate(files)
        for row in _rows(_make(path, is_training=False, drop_remainder=False))
    }
    stream = _rows(itertools.islice(_make(pattern), 12))
    for start in range(0, len(stream), 32):
        assert {owner[row] for row in stream[start : start + 32]} == {0, 1, 2}


def test_order_depends_on_the_seed_alone(pattern):
    first = _rows(itertools.islice(_make(pattern), 5))
    tf.random.set_seed(0)
    try:
        assert _rows(itertools.islice(_make(pattern), 5)) == first
    finally:
        tf.random.set_seed(None)
    assert _rows(itertools.islice(_make(pattern, seed=4), 5)) != first


def test_resumes_at_any_batch(pattern):
    per_epoch = pretraining.count_records([pattern]) / _BATCH
    count = int(2.5 * per_epoch)
    stream = _rows(itertools.islice(_make(pattern), count))
    boundary = int(per_epoch)
    for start in (0, 1, boundary - 1, boundary, boundary + 1, count - 3):
        resumed = _make(pattern, start_batch=start)
        rows = _rows(itertools.islice(resumed, 3))
        assert rows == stream[start * _BATCH : (start + 3) * _BATCH], start


def _damaged(pattern, tmp_path, change):
    content = open(sorted(tf.io.gfile.glob(pattern))[0], "rb").read()
    path = tmp_path / "damaged"
    path.write_bytes(change(content))
    return str(path)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda data: data[: len(data) // 2], r"record [1-9]\d* is damaged"),
        (lambda data: data[:-1], r"record [1-9]\d* is damaged"),
        (lambda data: data + data[:5], r"record [1-9]\d* is damaged"),
        (lambda data: data[:-9] + b"!" + data[-8:], r"record \d+ is damaged"),
        (lambda data: b"plain text " * 50, "record 0 is damaged"),
        (lambda data: b"", "got no record"),
    ],
)
def test_damaged_file(pattern, tmp_path, change, message):
    path = _damaged(pattern, tmp_path, change)
    with pytest.raises(ValueError, match=message) as error:
        _make(path)
    assert path in str(error.value)


def test_damaged_record_is_counted_from_zero(pattern, tmp_path):
    def flip_in_second(data):
        length = int.from_bytes(data[:8], "little")
        position = 16 + length + 12 + 5  # header and footer are 16 bytes
        flipped = bytes([data[position] ^ 1])
        return data[:position] + flipped + data[position + 1 :]

    path = _damaged(pattern, tmp_path, flip_in_second)
    with pytest.raises(ValueError, match="record 1 is damaged"):
        pretraining.count_records([path])


def test_foreign_record(tmp_path):
    path = str(tmp_path / "x")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"\xff\xff not an example")
    with pytest.raises(ValueError, match=f"{path}: record 0: .*Example"):
        _make(path)
    with tf.io.TFRecordWriter(path) as writer:
        example = tf.train.Example()
        example.features.feature["label"].int64_list.value.append(1)
        writer.write(example.SerializeToString())
    with pytest.raises(ValueError, match="got features label, expected input"):
        _make(path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"max_seq_length": 64}, "input_ids: got length 32, expected 64"),
        (
            {"max_predictions_per_seq": 9},
            "masked_lm_positions: got length 6, expected 9",
        ),
        ({"vocab_size": 5}, "expected less than the vocabulary size 5"),
        ({"batch_size": 10**6}, "expected at least one batch of 1000000"),
    ],
)
def test_mismatch(pattern, change, message):
    with pytest.raises(ValueError, match=message):
        _make(pattern, **change)


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match="absent.*got no file"):
        _make(f"{tmp_path}/absent*")


def test_large_id_in_a_later_record(tmp_path, pattern, tokenizer):
    batches = list(_make(pattern, is_training=False, drop_remainder=False))
    ids = np.concatenate([batch["input_word_ids"] for batch in batches])
    largest = ids.max(axis=1)
    size = int(np.sort(largest)[-1])
    assert largest[0] < size
    dataset = _make(pattern, is_training=False, vocab_size=size)
    with pytest.raises(tf.errors.InvalidArgumentError, match="/x-0000"):
        list(dataset)
    list(_make(pattern, is_training=False, vocab_size=tokenizer.vocab_size))


def test_another_length_in_a_later_record(tmp_path, pattern):
    records = [
        record.numpy()
        for path in sorted(tf.io.gfile.glob(pattern))
        for record in tf.data.TFRecordDataset(path)
    ]
    for name in pretraining.FEATURES:
        example = tf.train.Example.FromString(records[3])
        feature = example.features.feature[name]
        kind = feature.WhichOneof("kind")
        getattr(feature, kind).value.append(0)
        path = str(tmp_path / name)
        with tf.io.TFRecordWriter(path) as writer:
            for record in [*records[:3], example.SerializeToString()]:
                writer.write(record)
        batches = _make(path, is_training=False, batch_size=4)
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            list(batches)
        told = error.value.message.splitlines()[0]
        assert path in told and "got lengths" in told
        assert "[32 32 32 6 6 6 1]" in told


def test_an_unchanged_file_is_counted_once(tmp_path, pattern, monkeypatch):
    content = open(sorted(tf.io.gfile.glob(pattern))[0], "rb").read()
    path = tmp_path / "x"
    path.write_bytes(content)
    scanned = []
    measure = pretraining._measure

    def counted(*args):
        scanned.append(args)
        return measure(*args)

    monkeypatch.setattr(pretraining, "_measure", counted)
    count = pretraining.count_records([str(path)])
    assert pretraining.count_records([str(path)]) == count
    _make(str(path))
    assert len(scanned) == 1
    path.write_bytes(2 * content)
    assert pretraining.count_records([str(path)]) == 2 * count
    changed = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(changed, changed))
    pretraining.count_records([str(path)])
    assert len(scanned) == 3
