"""Token records: a stream of unmasked sequences, masked as it is read."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf.data import corpus as corpus_lib
from mobilebert_tf.data import dynamic_masking
from mobilebert_tf.data import masking
from mobilebert_tf.data import pretraining_builder
from mobilebert_tf.data import token_records
from tests.data import token_examples

_BATCH = 8
_LENGTH = 32


@pytest.fixture(scope="module", name="pattern")
def _pattern(tmp_path_factory, documents, tokenizer):
    """Three files of token records."""
    folder = tmp_path_factory.mktemp("tokens")
    for index in range(3):
        text_file = folder / f"{index}.txt"
        part = documents[2 * index : 2 * index + 2]
        text_file.write_text("\n\n".join("\n".join(d) for d in part))
        token_examples.write(
            str(folder / f"x-{index}"), str(text_file), tokenizer, _LENGTH
        )
    return str(folder / "x-*")


def _make(pattern, **kwargs):
    arguments = {
        "max_seq_length": _LENGTH,
        "batch_size": _BATCH,
        "is_training": True,
        "seed": 3,
    }
    return token_records.make_dataset([pattern], **(arguments | kwargs))


def _rows(batches, name="input_word_ids"):
    return [row.tobytes() for batch in batches for row in batch[name].numpy()]


def _masked(tokenizer, pattern, count, start_batch=0):
    batches = dynamic_masking.apply(
        _make(pattern, start_batch=start_batch),
        dynamic_masking.DynamicMasker(
            tokenizer, 6, dynamic_masking.MaskingOptions(), seed=3
        ),
        _BATCH,
        start_batch,
    )
    return list(itertools.islice(batches, count))


def test_contents_in_file_order(pattern):
    batches = list(_make(pattern, is_training=False, drop_remainder=False))
    names = {"input_ids": "input_word_ids", "segment_ids": "input_type_ids"}
    raw = [
        tf.train.Example.FromString(record.numpy()).features.feature
        for path in sorted(tf.io.gfile.glob(pattern))
        for record in tf.data.TFRecordDataset(path)
    ]
    assert set(batches[0]) == {
        names.get(name, name) for name in token_records.FEATURES
    }
    for name in token_records.FEATURES:
        values = np.concatenate([b[names.get(name, name)] for b in batches])
        assert values.dtype == np.int32
        expected = [feature[name].int64_list.value for feature in raw]
        np.testing.assert_array_equal(values, expected)


def test_files_mix_and_epochs_are_permutations(pattern):
    in_order = _rows(_make(pattern, is_training=False, drop_remainder=False))
    total = len(in_order)
    stream = _rows(itertools.islice(_make(pattern), 2 * total // _BATCH + 1))
    first, second = stream[:total], stream[total : 2 * total]
    assert sorted(first) == sorted(second) == sorted(in_order)
    assert in_order != first != second
    owner = {
        row: index
        for index in range(3)
        for row in _rows(
            _make(
                pattern.replace("*", str(index)),
                is_training=False,
                drop_remainder=False,
            )
        )
    }
    assert {owner[row] for row in stream[:32]} == {0, 1, 2}


def test_masks_are_new_in_each_epoch_and_resume(pattern, tokenizer):
    in_order = _rows(_make(pattern, is_training=False, drop_remainder=False))
    per_epoch = len(in_order) / _BATCH
    count = int(2.2 * per_epoch)
    batches = _masked(tokenizer, pattern, count)
    for start in (1, int(per_epoch), count - 2):
        resumed = _masked(tokenizer, pattern, 2, start)
        for got, expected in zip(resumed, batches[start:], strict=False):
            for name, value in expected.items():
                np.testing.assert_array_equal(got[name], value, name)

    plain = _rows(itertools.islice(_make(pattern), count))
    masks = {}
    for row, positions in zip(
        plain, _rows(batches, "masked_lm_positions"), strict=True
    ):
        masks.setdefault(row, []).append(positions)
    repeated = [m for m in masks.values() if len(m) == 2]
    assert len(repeated) > 20
    assert np.mean([one == other for one, other in repeated]) < 0.1


def test_masked_records_are_refused(tmp_path, documents, tokenizer):
    path = str(tmp_path / "masked")
    pretraining_builder.build(
        corpus_lib.tokenize(documents[:3], tokenizer),
        tokenizer,
        pretraining_builder.BuilderOptions(
            masking=masking.MaskingOptions(_LENGTH, 6), dupe_factor=1
        ),
        [path],
    )
    with pytest.raises(ValueError, match="got masked records.*do_masking"):
        _make(path)


def test_wrong_files(pattern, tmp_path, tokenizer):
    with pytest.raises(ValueError, match="got length 32, expected 64"):
        _make(pattern, max_seq_length=64)
    with pytest.raises(ValueError, match="than the vocabulary size 5"):
        _make(pattern, vocab_size=5)
    content = open(sorted(tf.io.gfile.glob(pattern))[0], "rb").read()
    path = tmp_path / "cut"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=rf"{path}: record \d+ is damaged"):
        _make(str(path))
    path.write_bytes(b"some plain text\n" * 40)
    with pytest.raises(ValueError, match=f"{path}: record 0 is damaged"):
        _make(str(path))
    with tf.io.TFRecordWriter(str(path)) as writer:
        example = tf.train.Example()
        example.features.feature["label"].int64_list.value.append(1)
        writer.write(example.SerializeToString())
    with pytest.raises(ValueError, match="got features label, expected input"):
        _make(str(path))
