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
from mobilebert_tf.data import record_files
from mobilebert_tf.data import sharding

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


def test_the_mixture_follows_from_file_order_blocks_and_seed(
    tmp_path, monkeypatch
):
    """Against the definition, in plain Python but for the random order."""
    monkeypatch.setattr(pretraining, "_FILES_AT_ONCE", 3)
    monkeypatch.setattr(pretraining, "_SHUFFLE_BLOCK", 8)
    paths = [str(tmp_path / f"{index}") for index in range(5)]
    for index, path in enumerate(paths):
        _write(path, [f"{index}-{number}".encode() for number in range(4)])
    seed = tf.constant([5, 6], tf.int64)

    def shuffled(values, seed):
        order = tf.random.experimental.stateless_shuffle(values, seed)
        return order.numpy().tolist()

    open_files = [
        [f"{os.path.basename(path.decode())}-{n}" for n in range(4)]
        for path in shuffled(tf.constant(paths), seed)
    ]
    mixed = []
    slots, waiting = [None] * 3, open_files
    while waiting or any(slots):
        for index in range(3):
            if slots[index] is None and waiting:
                slots[index] = waiting.pop(0)
            if slots[index]:
                mixed.append(slots[index].pop(0))
            else:
                slots[index] = None  # The next file opens in the next round.
    expected = []
    for block in range(0, len(mixed), 8):
        expected += shuffled(
            tf.constant(mixed[block : block + 8]), seed + block // 8 + 1
        )
    got = pretraining._shuffled_records(tf.constant(paths), seed)
    assert [record.numpy() for _, record in got] == expected


@pytest.mark.parametrize(
    "workers, replicas, is_training",
    [(2, 2, True), (1, 2, False), (2, 2, False), (4, 1, False)],
)
def test_workers_share_the_same_global_batches(
    pattern, workers, replicas, is_training
):
    """The last batch of a pass is smaller, for some workers empty."""
    kwargs = {"is_training": is_training, "drop_remainder": False}
    whole = _make(pattern, **kwargs)
    if is_training:
        whole = whole.take(4)
    shares = []
    for worker in range(workers):
        context = tf.distribute.InputContext(
            workers, worker, workers * replicas
        )
        rows = _make(pattern, input_context=context, **kwargs)
        batches = sharding.split_among_replicas(rows, _BATCH, context)
        if is_training:
            batches = batches.take(4 * replicas)
        shares.append([_rows([batch]) for batch in batches])
    size = _BATCH // workers // replicas
    for step, batch in enumerate(whole):
        together = [
            row
            for share in shares
            for part in share[step * replicas : (step + 1) * replicas]
            for row in part
        ]
        assert together == _rows([batch])
        if len(together) == _BATCH:
            assert {
                len(part)
                for share in shares
                for part in share[step * replicas : (step + 1) * replicas]
            } == {size}


def test_a_batch_must_divide_among_the_replicas(pattern):
    context = tf.distribute.InputContext(1, 0, 3)
    with pytest.raises(ValueError, match="global_batch_size=8.* 3 replicas"):
        sharding.shard_batches(_make(pattern), _BATCH, context)


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


def _first_records(pattern, count):
    (path, *_) = sorted(tf.io.gfile.glob(pattern))
    return [r.numpy() for r in tf.data.TFRecordDataset(path).take(count)]


def _write(path, records):
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record)


def _changed(record, name, change):
    example = tf.train.Example.FromString(record)
    change(example.features.feature[name])
    return example.SerializeToString()


def _to_strings(feature):
    feature.bytes_list.value.append(b"x")


@pytest.mark.parametrize(
    "name, change, message",
    [
        (
            "input_mask",
            lambda feature: feature.int64_list.value.append(0),
            "input_mask: got length 33, expected 32",
        ),
        (
            "next_sentence_labels",
            lambda feature: feature.Clear(),
            "next_sentence_labels: got length 0, expected 1",
        ),
        (
            "masked_lm_ids",
            lambda feature: feature.int64_list.value.__setitem__(2, 999),
            "masked_lm_ids: got 999, expected less than the vocabulary "
            "size 900",
        ),
        (
            "masked_lm_positions",
            lambda feature: feature.int64_list.value.__setitem__(0, 32),
            "masked_lm_positions: got 32, expected less than the sequence "
            "length 32",
        ),
        (
            "next_sentence_labels",
            lambda feature: feature.int64_list.value.__setitem__(0, 7),
            "next_sentence_labels: got 7, expected less than 2",
        ),
        (
            "input_ids",
            lambda feature: feature.int64_list.value.__setitem__(1, -4),
            "input_ids: got -4, expected at least 0",
        ),
        ("input_ids", _to_strings, "input_ids: got a bytes_list, expected a"),
        (
            "masked_lm_weights",
            lambda feature: feature.int64_list.value.append(1),
            "masked_lm_weights: got a int64_list, expected a float_list",
        ),
    ],
)
def test_a_later_record_is_named(tmp_path, pattern, name, change, message):
    path = str(tmp_path / "x")
    records = _first_records(pattern, 7)
    _write(path, [*records[:5], _changed(records[5], name, change), records[6]])
    with pytest.raises(ValueError) as error:
        with pretraining.named_damage([path], 32, 6, vocab_size=900):
            list(_make(path, is_training=False, batch_size=2, vocab_size=900))
    assert str(error.value).startswith(f"{path}: record 5: {message}")


@pytest.mark.parametrize("replacement", ["cut", "foreign", "absent"])
def test_a_file_replaced_after_the_check_is_named(
    tmp_path, pattern, replacement
):
    path = tmp_path / "x"
    _write(str(path), _first_records(pattern, 6))
    content = path.read_bytes()
    with pytest.raises(ValueError) as error:
        with pretraining.named_damage([str(path)], 32, 6):
            dataset = _make(str(path), batch_size=2)
            if replacement == "cut":
                path.write_bytes(content[:-40])
            elif replacement == "foreign":
                path.write_text("plain text " * 99)
            else:
                path.unlink()
            list(dataset.take(9))
    expected = {
        "cut": f"{path}: record 5 is damaged",
        "foreign": f"{path}: record 0 is damaged",
        "absent": f"{path}: got no file",
    }
    assert str(error.value).startswith(expected[replacement])


def test_an_error_of_another_origin_stays(pattern):
    with pytest.raises(tf.errors.InvalidArgumentError, match="elsewhere"):
        with pretraining.named_damage([pattern], 32, 6):
            raise tf.errors.InvalidArgumentError(None, None, "elsewhere")


def test_an_unchanged_file_is_counted_once(tmp_path, pattern, monkeypatch):
    content = open(sorted(tf.io.gfile.glob(pattern))[0], "rb").read()
    path = tmp_path / "x"
    path.write_bytes(content)
    scanned = []
    measure = record_files._measure

    def counted(*args):
        scanned.append(args)
        return measure(*args)

    monkeypatch.setattr(record_files, "_measure", counted)
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
