"""Segment pairs from raw text: contents, order, resume."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf.data import corpus as corpus_lib
from mobilebert_tf.data import raw_text
from mobilebert_tf.data import text_chunks

_BATCH = 8
_OPTIONS = raw_text.PairOptions(max_seq_length=32, seed=3)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Chunks of 2 KiB and blocks of 64 KiB, for the small test files."""
    monkeypatch.setattr(text_chunks, "_CHUNK_BYTES", 1 << 11)
    monkeypatch.setattr(text_chunks, "_MAX_CHUNK_BYTES", 1 << 12)
    monkeypatch.setattr(raw_text, "_BLOCK_BYTES", 1 << 16)
    for cached in (text_chunks._chunk_lengths, raw_text._open_version):
        cached.cache_clear()
    yield
    for cached in (text_chunks._chunk_lengths, raw_text._open_version):
        cached.cache_clear()


def _make(path, tokenizer, options=_OPTIONS, **kwargs):
    arguments = {"batch_size": _BATCH, "is_training": True} | kwargs
    return raw_text.make_dataset([path], tokenizer, options, **arguments)


def _rows(batches):
    return [
        row.tobytes()
        for batch in batches
        for row in batch["input_word_ids"].numpy()
    ]


def _segments(ids, types, mask, tokenizer):
    """Returns the tokens of A and B as bytes, after checking the frame."""
    length = mask.sum()
    assert mask[:length].all() and (ids[length:] == tokenizer.pad_id).all()
    end_a, end_b = np.flatnonzero(ids == tokenizer.sep_id)
    assert ids[0] == tokenizer.cls_id and end_b == length - 1
    in_b = np.flatnonzero(types)
    np.testing.assert_array_equal(in_b, range(end_a + 1, end_b + 1))
    return ids[1:end_a].tobytes(), ids[end_a + 1 : end_b].tobytes()


def test_pairs_are_of_the_text(text_file, documents, tokenizer):
    stream = raw_text.open_stream([text_file], tokenizer, _OPTIONS)
    assert stream.num_blocks > 2
    count = stream.block_pairs
    blocks = [stream.training_block(n) for n in range(stream.num_blocks)]
    assert {name: value.shape for name, value in blocks[1].items()} == {
        "input_ids": (count, 32),
        "input_mask": (count, 32),
        "segment_ids": (count, 32),
        "next_sentence_labels": (count, 1),
    }
    corpus = corpus_lib.tokenize(documents, tokenizer)
    whole = corpus.tokens.astype(np.int32).tobytes()
    rows = []
    names = "input_ids", "segment_ids", "input_mask", "next_sentence_labels"
    for ids, types, mask, (label,) in zip(
        *(np.concatenate([b[name] for b in blocks]) for name in names),
        strict=True,
    ):
        first, second = _segments(ids, types, mask, tokenizer)
        assert first in whole and second in whole
        rows.append((label, mask.sum() < 32, first + second in whole))
    labels, is_whole, is_adjacent = np.array(rows).T.astype(bool)
    # Pairs that are not cut follow each other in the text, or do not.
    assert is_adjacent[is_whole & ~labels].all()
    assert is_adjacent[is_whole & labels].mean() < 0.1
    assert (is_whole & ~labels).sum() >= 5
    # Half, and all chunks of a single sentence, as in BERT's script.
    assert 0.5 < labels.mean() < 0.8


def test_resumes_at_any_batch(text_file, tokenizer):
    stream = raw_text.open_stream([text_file], tokenizer, _OPTIONS)
    epoch = stream.num_blocks * stream.block_pairs / _BATCH
    block = stream.block_pairs / _BATCH
    count = int(2.1 * epoch)
    rows = _rows(itertools.islice(_make(text_file, tokenizer), count))
    assert len(rows) == count * _BATCH
    for start in (1, int(block), int(block) + 1, int(epoch), count - 3):
        resumed = _make(text_file, tokenizer, start_batch=start)
        got = _rows(itertools.islice(resumed, 3))
        assert got == rows[start * _BATCH : (start + 3) * _BATCH], start


def test_order_depends_on_the_seed_alone(text_file, tokenizer):
    first = _rows(itertools.islice(_make(text_file, tokenizer), 4))
    raw_text._open_version.cache_clear()
    tf.random.set_seed(0)
    try:
        again = _rows(itertools.islice(_make(text_file, tokenizer), 4))
    finally:
        tf.random.set_seed(None)
    assert again == first
    other = raw_text.PairOptions(32, seed=-4)
    other = _make(text_file, tokenizer, other)
    assert _rows(itertools.islice(other, 4)) != first


def test_an_epoch_is_the_text_in_new_order(text_file, tokenizer):
    stream = raw_text.open_stream([text_file], tokenizer, _OPTIONS)
    chunks = len(stream._chunks.chunks)
    orders = []
    for epoch in range(2):
        parts = [
            stream._block_chunks(epoch, block)
            for block in range(stream.num_blocks)
        ]
        assert max(map(len, parts)) <= min(map(len, parts)) + 1
        orders.append(np.concatenate(parts).tolist())
        assert sorted(orders[-1]) == list(range(chunks))
    assert orders[0] != orders[1]
    # As many pairs as one pass over the text has.
    in_order = _make(
        text_file, tokenizer, is_training=False, drop_remainder=False
    )
    total = len(_rows(in_order))
    assert stream.num_blocks * stream.block_pairs == pytest.approx(
        total, rel=0.1
    )


def test_a_poor_block_is_filled_by_another_pass(text_file, tokenizer):
    stream = raw_text.open_stream([text_file], tokenizer, _OPTIONS)
    stream.block_pairs = int(2.5 * stream.block_pairs)
    block = stream.training_block(0)
    assert len(block["input_ids"]) == stream.block_pairs
    assert len(np.unique(block["input_ids"], axis=0)) > 0.7 * stream.block_pairs


def test_one_pass_in_order(text_file, tokenizer):
    passes = [
        _rows(
            _make(text_file, tokenizer, is_training=False, drop_remainder=False)
        )
        for _ in range(2)
    ]
    assert passes[0] == passes[1]
    rest = _make(
        text_file,
        tokenizer,
        is_training=False,
        drop_remainder=False,
        start_batch=2,
    )
    assert _rows(rest) == passes[0][2 * _BATCH :]


def test_files_mix(tmp_path, vocab_file, tokenizer):
    """Each file repeats one word; a block holds words of all."""
    words = [t for t in tokenizer.vocabulary if t.isalpha()][:4]
    for word in words:
        line = " ".join([word] * 10) + "\n"
        (tmp_path / f"{word}.txt").write_text((line * 20 + "\n") * 40)
    dataset = _make(str(tmp_path / "*.txt"), tokenizer, batch_size=32)
    for batch in itertools.islice(dataset, 5):
        ids = set(np.unique(batch["input_word_ids"].numpy()).tolist())
        assert {tokenizer.ids[word] for word in words} <= ids


def test_a_block_reads_its_own_chunks_alone(text_file, tokenizer, monkeypatch):
    stream = raw_text.open_stream([text_file], tokenizer, _OPTIONS)
    read = []
    documents = text_chunks.TextChunks.documents

    def counted(self, chunks):
        read.append(self.chunks[chunks, 2].sum())
        return documents(self, chunks)

    monkeypatch.setattr(text_chunks.TextChunks, "documents", counted)
    stream.training_block(7)
    (num_bytes,) = read
    assert num_bytes < 1.3 * raw_text._BLOCK_BYTES


def test_wrong_input(tmp_path, text_file, tokenizer):
    with pytest.raises(ValueError, match="absent: got no file"):
        _make(str(tmp_path / "absent"), tokenizer)
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ValueError, match="empty: got no text"):
        _make(str(tmp_path / "empty"), tokenizer)
    with pytest.raises(ValueError, match="max_seq_length: got 4, expected at"):
        raw_text.PairOptions(4)
    with pytest.raises(ValueError, match="short_seq_prob: got 2, expected 0"):
        raw_text.PairOptions(32, 2)
    with pytest.raises(ValueError, match="input format: got 'pdf'"):
        _make(text_file, tokenizer, text_format="pdf")
