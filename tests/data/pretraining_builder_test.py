"""Pairs, masks and files, against the definitions in BERT's script."""

import collections
import dataclasses
import glob
import random

import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf.data import corpus as corpus_lib
from mobilebert_tf.data import masking
from mobilebert_tf.data import pretraining_builder as builder
from mobilebert_tf.data import sentence_pairs

_OPTIONS = builder.BuilderOptions(
    masking=masking.MaskingOptions(
        max_seq_length=32, max_predictions_per_seq=6
    ),
    dupe_factor=3,
)


@pytest.fixture(scope="module", name="corpus")
def _corpus(documents, tokenizer):
    return corpus_lib.tokenize(documents, tokenizer)


def _plan(corpus, max_tokens=29, short_seq_prob=0.1, seed=5):
    rng = random.Random(seed)
    return list(sentence_pairs.plan(corpus, max_tokens, short_seq_prob, rng))


def _with_masking(**kwargs):
    return dataclasses.replace(
        _OPTIONS, masking=dataclasses.replace(_OPTIONS.masking, **kwargs)
    )


def test_corpus_layout(tokenizer):
    texts = [["ba be.", "\u200b", "bi"], [" "], ["bo"], []]
    corpus = corpus_lib.tokenize(texts, tokenizer)
    assert corpus.num_documents == 2
    assert corpus.num_sentences == 3
    expected = tokenizer.tokenize(["ba be. bi bo"]).flat_values.numpy()
    np.testing.assert_array_equal(corpus.tokens, expected)
    assert corpus.document_sizes().sum() == len(expected)
    last = corpus.select([1])
    np.testing.assert_array_equal(
        last.tokens, tokenizer.tokenize(["bo"]).flat_values.numpy()
    )
    nothing = corpus_lib.tokenize([[" "]], tokenizer)
    assert nothing.num_documents == nothing.num_sentences == 0
    both = corpus_lib.concatenate([last, nothing, corpus])
    assert both.num_documents == 3
    np.testing.assert_array_equal(
        both.select([1, 2]).sentence_ends, corpus.sentence_ends
    )


def test_split_holds_out_whole_documents(corpus):
    kept, held_out = corpus_lib.split(corpus, 0.1, seed=1)
    assert kept.num_documents + held_out.num_documents == corpus.num_documents
    total = len(corpus.tokens)
    assert len(kept.tokens) + len(held_out.tokens) == total
    assert 0.1 <= len(held_out.tokens) / total < 0.12
    sizes = collections.Counter(corpus.document_sizes().tolist())
    sizes.subtract(kept.document_sizes().tolist())
    sizes.subtract(held_out.document_sizes().tolist())
    assert not any(sizes.values())
    with pytest.raises(ValueError, match="1 document"):
        corpus_lib.split(corpus.select([3]), 0.1, seed=1)


def test_truncation_equals_popping_one_by_one():
    for a in range(1, 25):
        for b in range(1, 25):
            for room in range(2, 30):
                x, y = a, b
                while x + y > room:
                    if x > y:
                        x -= 1
                    else:
                        y -= 1
                assert sentence_pairs.truncated_lengths(a, b, room) == (x, y)


def test_pairs_are_well_formed(corpus):
    starts = corpus.sentence_ends[corpus.document_ends]
    for document, pairs in enumerate(_plan(corpus)):
        assert len(pairs)
        for a_start, a_end, b_start, b_end, is_random in pairs:
            assert a_start < a_end and b_start < b_end
            assert a_end - a_start + b_end - b_start <= 29
            home = starts[document], starts[document + 1]
            assert home[0] <= a_start and a_end <= home[1]
            [b_document] = {
                int(np.searchsorted(starts, position, "right")) - 1
                for position in (b_start, b_end - 1)
            }
            assert (b_document == document) != bool(is_random)
            assert is_random or b_start >= a_end


def test_every_token_is_used_if_nothing_is_cut(corpus):
    # With room for any document, A and the true B together are the chunk, and
    # what a random B displaced begins the next chunk.
    size = int(corpus.document_sizes().max())
    for document, pairs in enumerate(
        _plan(corpus, max_tokens=3 * size, short_seq_prob=0.0)
    ):
        covered = []
        for a_start, a_end, b_start, b_end, is_random in pairs:
            covered.append((a_start, a_end))
            if not is_random:
                covered.append((b_start, b_end))
        starts = corpus.sentence_ends[corpus.document_ends]
        assert covered[0][0] == starts[document]
        assert covered[-1][1] == starts[document + 1]
        for (_, end), (start, _) in zip(covered, covered[1:], strict=False):
            assert end == start


def test_plan_depends_on_seed_only(corpus):
    first = np.concatenate(_plan(corpus))
    np.testing.assert_array_equal(first, np.concatenate(_plan(corpus)))
    assert not np.array_equal(first, np.concatenate(_plan(corpus, seed=6)))


def test_single_document_takes_random_segments_from_itself(corpus):
    single = corpus.select([int(np.argmax(corpus.document_sizes()))])
    [pairs] = _plan(single)
    assert pairs[:, sentence_pairs.IS_RANDOM_NEXT].any()


def test_assemble(corpus, tokenizer):
    pairs = np.concatenate(_plan(corpus))
    masker = masking.Masker(corpus, tokenizer, _OPTIONS.masking)
    batch = masker.assemble(pairs)
    for row in range(0, len(pairs), 7):
        a_start, a_end, b_start, b_end, is_random = pairs[row]
        a = corpus.tokens[a_start:a_end].tolist()
        b = corpus.tokens[b_start:b_end].tolist()
        ids = [tokenizer.cls_id, *a, tokenizer.sep_id, *b, tokenizer.sep_id]
        padding = [0] * (32 - len(ids))
        assert batch["input_ids"][row].tolist() == ids + padding
        assert batch["input_mask"][row].sum() == len(ids)
        segments = [0] * (len(a) + 2) + [1] * (len(b) + 1) + padding
        assert batch["segment_ids"][row].tolist() == segments
        assert batch["next_sentence_labels"][row] == [is_random]


@pytest.mark.parametrize("whole_words", [False, True])
def test_masks(corpus, tokenizer, whole_words):
    options = dataclasses.replace(_OPTIONS.masking, whole_words=whole_words)
    masker = masking.Masker(corpus, tokenizer, options)
    assembled = masker.assemble(np.concatenate(_plan(corpus)))
    masked = masker.mask(assembled, np.random.default_rng(1))
    is_suffix = [t.startswith("##") for t in tokenizer.vocabulary]
    full = 0
    for row in range(len(assembled["input_ids"])):
        original = assembled["input_ids"][row]
        length = assembled["input_mask"][row].sum()
        weights = masked["masked_lm_weights"][row]
        count = int(weights.sum())
        wanted = min(6, max(1, round(length * 0.15)))
        assert count <= wanted
        full += count == wanted
        assert weights.tolist() == [1.0] * count + [0.0] * (6 - count)
        positions = masked["masked_lm_positions"][row]
        assert (np.diff(positions[:count]) > 0).all()
        assert not positions[count:].any()
        ids = masked["masked_lm_ids"][row]
        np.testing.assert_array_equal(ids[:count], original[positions[:count]])
        assert not ids[count:].any()
        chosen = np.zeros(32, bool)
        chosen[positions[:count]] = True
        untouched = masked["input_ids"][row][~chosen]
        np.testing.assert_array_equal(untouched, original[~chosen])
        special = (tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id)
        assert not np.isin(original[chosen], special).any()
        if whole_words:
            for position in range(2, length - 1):
                if (
                    is_suffix[original[position]]
                    and original[position - 1] != tokenizer.sep_id
                ):
                    assert chosen[position] == chosen[position - 1]
    # A whole word may not fit into what is left of a row's number.
    assert full / len(assembled["input_ids"]) > (0.7 if whole_words else 0.999)


def test_mask_statistics(corpus, tokenizer):
    masker = masking.Masker(corpus, tokenizer, _OPTIONS.masking)
    pairs = np.concatenate(_plan(corpus, short_seq_prob=0.0))
    pairs = np.tile(pairs, [20, 1])
    assembled = masker.assemble(pairs)
    masked = masker.mask(assembled, np.random.default_rng(2))
    chosen = masked["masked_lm_weights"] > 0
    inputs = np.take_along_axis(
        masked["input_ids"], masked["masked_lm_positions"], axis=1
    )[chosen]
    targets = masked["masked_lm_ids"][chosen]
    total = len(inputs)
    assert total > 50_000
    is_mask = inputs == tokenizer.mask_id
    tolerance = 4 * 0.5 / total**0.5
    vocab_size = tokenizer.vocab_size
    assert abs(is_mask.mean() - 0.8 - 0.1 / vocab_size) < tolerance
    kept = (inputs == targets).mean()
    assert abs(kept - 0.1 - 0.1 / vocab_size) < tolerance
    # Random tokens come from the whole vocabulary, special ones included.
    replaced = inputs[~is_mask & (inputs != targets)]
    counts = np.bincount(replaced, minlength=vocab_size)
    assert counts[: tokenizer.mask_id].all() and (counts > 0).mean() > 0.99
    # Every position is as likely as any other.
    rows = (assembled["input_mask"].sum(axis=1) == 32).nonzero()[0]
    positions = masked["masked_lm_positions"][rows][chosen[rows]]
    counts = np.bincount(positions, minlength=32)[1:31]
    middle_sep = np.bincount(
        (assembled["segment_ids"][rows] == 0).sum(axis=1) - 1, minlength=32
    )[1:31]
    rates = counts / (len(rows) - middle_sep)
    assert abs(rates / rates.mean() - 1).max() < 0.1


def _read(paths):
    return [
        record.numpy()
        for path in paths
        for record in tf.data.TFRecordDataset(path)
    ]


def test_files_are_a_function_of_the_seed(tmp_path, corpus, tokenizer):
    def build(name, num_shards, options=_OPTIONS):
        paths = builder.shard_paths(str(tmp_path / name), num_shards)
        statistics = builder.build(corpus, tokenizer, options, paths)
        assert statistics.instances == len(_read(paths))
        return _read(paths)

    first = build("a", 1)
    assert build("b", 1) == first
    assert len(build("c", 3)) == len(first)
    other = build("d", 1, dataclasses.replace(_OPTIONS, random_seed=1))
    assert set(other).isdisjoint(first)
    assert not glob.glob(str(tmp_path / ".*"))


def test_shards_share_instances_evenly(tmp_path, corpus, tokenizer):
    paths = builder.shard_paths(str(tmp_path / "x"), 4)
    assert paths[1].endswith("x-00001-of-00004")
    builder.build(corpus, tokenizer, _OPTIONS, paths)
    sizes = [len(_read([path])) for path in paths]
    assert max(sizes) - min(sizes) <= 1
    with pytest.raises(ValueError, match="another --num_shards"):
        builder.shard_paths(str(tmp_path / "x"), 2)
    assert builder.shard_paths(str(tmp_path / "x"), 4) == paths


def test_interrupted_shard_leaves_nothing(
    tmp_path, corpus, tokenizer, monkeypatch
):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(tf.io.TFRecordWriter, "write", fail)
    with pytest.raises(OSError):
        builder.build(corpus, tokenizer, _OPTIONS, [str(tmp_path / "x")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change, message",
    [
        ({"max_seq_length": 4}, "--max_seq_length: got 4, expected at least 5"),
        ({"max_predictions_per_seq": 30}, "got 30, expected 1 to 29"),
        ({"masked_lm_prob": 1.5}, "got 1.5, expected 0 to 1"),
    ],
)
def test_bad_options(change, message):
    with pytest.raises(ValueError, match=message):
        _with_masking(**change)


def test_smallest_lengths_work(tmp_path, corpus, tokenizer):
    options = _with_masking(max_seq_length=5, max_predictions_per_seq=1)
    path = str(tmp_path / "x")
    assert builder.build(corpus, tokenizer, options, [path]).instances > 0


def test_no_word_fits_the_predictions(tmp_path, tokenizer):
    """Words of two pieces, one prediction: whole words cannot be masked."""
    pair = next(t for t in tokenizer.vocabulary if t.startswith("##"))[2:]
    words = [
        word
        for word in (first + pair for first in "bcdfghklmnprst")
        if len(tokenizer.tokenize([word]).flat_values) == 2
    ]
    documents = [[f"{word} {word}", f"{word} {word}"] for word in words]
    path = str(tmp_path / "x")
    statistics = builder.build(
        corpus_lib.tokenize(documents, tokenizer),
        tokenizer,
        _with_masking(max_predictions_per_seq=1, whole_words=True),
        [path],
    )
    table = dict(statistics.table())
    assert table["predictions per instance"] == "0.00"
    assert table["  kept"] == "0.00%"


def test_passes_differ(corpus, tokenizer):
    names = builder.pass_name("a", 0, 0), builder.pass_name("a", 1, 0)
    first, again, other = (
        b"".join(
            block.data
            for block, _ in builder.records(corpus, tokenizer, _OPTIONS, name)
        )
        for name in (names[0], *names)
    )
    assert first == again != other


def test_tokens_only(tmp_path, corpus, tokenizer):
    path = str(tmp_path / "x")
    options = dataclasses.replace(_OPTIONS, do_masking=False)
    statistics = builder.build(corpus, tokenizer, options, [path])
    records = _read([path])
    assert statistics.instances == len(records)
    assert not any("predict" in name for name, _ in statistics.table())
    for record in records[:50]:
        feature = tf.train.Example.FromString(record).features.feature
        assert sorted(feature) == [
            "input_ids",
            "input_mask",
            "next_sentence_labels",
            "segment_ids",
        ]
        ids = list(feature["input_ids"].int64_list.value)
        assert tokenizer.mask_id not in ids
        assert ids[0] == tokenizer.cls_id and ids.count(tokenizer.sep_id) == 2


def test_random_cut_takes_from_both_ends():
    rng = random.Random(0)
    fronts = {sentence_pairs._cut(0, 12, 8, rng)[0] for _ in range(200)}
    assert fronts == {0, 1, 2, 3, 4}
