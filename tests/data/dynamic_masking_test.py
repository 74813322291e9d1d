"""Masking on the fly: what is chosen, what becomes of it, and its seeds."""

import collections

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_text

from mobilebert_tf.data import dynamic_masking

_LENGTH = 48
_PREDICTIONS = 7
_ROWS = 600
_STRATEGIES = dynamic_masking.STRATEGIES
# Seeds are fixed, so a check either always passes or always fails.
_LEAST_PROBABILITY = 1e-3


@pytest.fixture(scope="module", name="batch")
def _batch(tokenizer):
    """Random pairs of every length; two thirds of the tokens are suffixes."""
    rng = np.random.default_rng(5)
    special = {tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id}
    ordinary = [i for i in range(tokenizer.vocab_size) if i not in special]
    suffixes = [i for i in ordinary if tokenizer.vocabulary[i].startswith("##")]
    rows = []
    for _ in range(_ROWS):
        length_a = rng.integers(1, 23)
        length_b = rng.integers(1, 23)
        segments = [
            np.where(
                rng.random(length) < 0.6,
                rng.choice(suffixes, length),
                rng.choice(ordinary, length),
            ).tolist()
            for length in (length_a, length_b)
        ]
        ids = [tokenizer.cls_id, *segments[0], tokenizer.sep_id]
        ids += [*segments[1], tokenizer.sep_id]
        padding = [tokenizer.pad_id] * (_LENGTH - len(ids))
        types = [0] * (length_a + 2) + [1] * (length_b + 1)
        rows.append(
            (
                ids + padding,
                [1] * len(ids) + [0] * len(padding),
                types + [0] * len(padding),
            )
        )
    ids, mask, types = np.array(rows, np.int32).transpose(1, 0, 2)
    return {
        "input_word_ids": ids,
        "input_mask": mask,
        "input_type_ids": types,
        "next_sentence_labels": rng.integers(0, 2, [_ROWS, 1], np.int32),
    }


def _masker(tokenizer, strategy="token", seed=1, predictions=7, **options):
    return dynamic_masking.DynamicMasker(
        tokenizer,
        predictions,
        dynamic_masking.MaskingOptions(strategy, **options),
        seed,
    )


def _mask(masker, batch, first_index=0):
    """Masks eagerly; returns NumPy arrays."""
    tensors = {name: tf.constant(value) for name, value in batch.items()}
    masked = masker.mask(tensors, tf.constant(first_index, tf.int64))
    return {name: value.numpy() for name, value in masked.items()}


def _stream(masker, batch, batch_size, start_batch=0):
    """Masks in tf.data; returns NumPy arrays of all rows."""
    batches = tf.data.Dataset.from_tensor_slices(batch)
    batches = batches.skip(start_batch * batch_size)
    masked = list(
        dynamic_masking.apply(
            batches.batch(batch_size), masker, batch_size, start_batch
        )
    )
    return {
        name: np.concatenate([part[name] for part in masked])
        for name in masked[0]
    }


def _chosen(masked):
    """Returns bool [B, S] from the positions."""
    chosen = np.zeros(masked["input_word_ids"].shape, bool)
    rows, slots = np.nonzero(masked["masked_lm_weights"])
    chosen[rows, masked["masked_lm_positions"][rows, slots]] = True
    return chosen


def _words(batch, tokenizer):
    """Returns for each row the lists of positions of its words."""
    special = {tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id}
    rows = []
    for ids in batch["input_word_ids"].tolist():
        words = []
        previous_is_special = True
        for position, index in enumerate(ids):
            if index not in special:
                is_suffix = tokenizer.vocabulary[index].startswith("##")
                if is_suffix and not previous_is_special:
                    words[-1].append(position)
                else:
                    words.append([position])
            previous_is_special = index in special
        rows.append(words)
    return rows


def _wanted(batch):
    lengths = batch["input_mask"].sum(axis=1).tolist()
    return [min(_PREDICTIONS, max(1, round(n * 0.15))) for n in lengths]


@pytest.mark.parametrize("strategy", _STRATEGIES)
def test_contents(batch, tokenizer, strategy):
    masked = _mask(_masker(tokenizer, strategy), batch)
    original = batch["input_word_ids"]
    chosen = _chosen(masked)
    ordinary = batch["input_mask"].astype(bool)
    for special in (tokenizer.cls_id, tokenizer.sep_id):
        ordinary &= original != special
    assert not (chosen & ~ordinary).any()
    np.testing.assert_array_equal(
        masked["input_word_ids"][~chosen], original[~chosen]
    )
    rows = zip(
        masked["masked_lm_positions"],
        masked["masked_lm_ids"],
        masked["masked_lm_weights"],
        chosen,
        original,
        strict=True,
    )
    for positions, ids, weights, row_chosen, row in rows:
        expected = np.flatnonzero(row_chosen)
        count = len(expected)
        assert count == weights.sum()
        np.testing.assert_array_equal(positions[:count], expected)
        np.testing.assert_array_equal(ids[:count], row[expected])
        np.testing.assert_array_equal(weights, [1] * count + [0] * (7 - count))
        assert not positions[count:].any() and not ids[count:].any()
    for name in ("input_mask", "input_type_ids", "next_sentence_labels"):
        np.testing.assert_array_equal(masked[name], batch[name])


@pytest.mark.parametrize("strategy", _STRATEGIES)
def test_same_eagerly_and_in_tf_data_for_any_batch_size(
    batch, tokenizer, strategy
):
    masker = _masker(tokenizer, strategy)
    eager = _mask(masker, batch)
    for batch_size in (_ROWS, 7):
        streamed = _stream(masker, batch, batch_size)
        for name, value in eager.items():
            np.testing.assert_array_equal(streamed[name], value, name)
            assert streamed[name].dtype == value.dtype


def test_a_stream_begins_anywhere(batch, tokenizer):
    masker = _masker(tokenizer, "span")
    whole = _stream(masker, batch, 8)
    resumed = _stream(masker, batch, 8, start_batch=50)
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value[400:], name)


def test_masks_depend_on_seed_and_index_alone(batch, tokenizer):
    masker = _masker(tokenizer)
    first = _mask(masker, batch)["masked_lm_positions"]
    tf.random.set_seed(3)
    try:
        again = _mask(_masker(tokenizer), batch)["masked_lm_positions"]
    finally:
        tf.random.set_seed(None)
    np.testing.assert_array_equal(again, first)
    other_seed = _mask(_masker(tokenizer, seed=2), batch)
    next_epoch = _mask(masker, batch, first_index=_ROWS)
    for other in (other_seed, next_epoch):
        same = (other["masked_lm_positions"] == first).all(axis=1)
        assert same.mean() < 0.2


def test_rows_differ(batch, tokenizer):
    longest = batch["input_mask"].sum(axis=1).argmax()
    repeated = {
        name: np.repeat(value[longest : longest + 1], 50, axis=0)
        for name, value in batch.items()
    }
    positions = _mask(_masker(tokenizer), repeated)["masked_lm_positions"]
    assert len(np.unique(positions, axis=0)) == 50


def test_token_number_is_bert_s(batch, tokenizer):
    masked = _mask(_masker(tokenizer), batch)
    counts = masked["masked_lm_weights"].sum(axis=1)
    assert counts.tolist() == _wanted(batch)
    # The rounding of halves is that of Python: 10 and 30 tokens.
    lengths = batch["input_mask"].sum(axis=1)
    assert {10, 30} <= set(lengths.tolist())


def test_share_of_full_sequences_is_fifteen_percent(tokenizer):
    full = _full_rows(tokenizer, rows=64, length=128)
    for strategy in _STRATEGIES:
        masker = _masker(tokenizer, strategy, predictions=20)
        masked = _mask(masker, full)
        share = masked["masked_lm_weights"].sum() / full["input_mask"].sum()
        assert share == pytest.approx(0.15, abs=0.002), strategy


@pytest.mark.parametrize("strategy", ["token", "whole_word"])
def test_fates(batch, tokenizer, strategy):
    masked = _mask(_masker(tokenizer, strategy), batch)
    chosen = _chosen(masked)
    inputs = masked["input_word_ids"][chosen]
    is_same = inputs == batch["input_word_ids"][chosen]
    is_mask = inputs == tokenizer.mask_id
    # A random token is [MASK] or the same one in 1 of vocab_size cases each.
    chance = 0.1 / tokenizer.vocab_size
    for hits, share in (
        (is_mask, 0.8 + chance),
        (is_same & ~is_mask, 0.1 + chance),
        (~is_same & ~is_mask, 0.1 - 2 * chance),
    ):
        test = scipy.stats.binomtest(int(hits.sum()), len(hits), share)
        assert test.pvalue > _LEAST_PROBABILITY


def test_random_tokens_come_from_the_whole_vocabulary(batch, tokenizer):
    masker = _masker(tokenizer, mask_share=0.0, random_share=1.0)
    masked = _mask(masker, batch)
    inputs = masked["input_word_ids"][_chosen(masked)]
    counts = np.bincount(inputs, minlength=tokenizer.vocab_size)
    assert len(counts) == tokenizer.vocab_size
    assert scipy.stats.chisquare(counts).pvalue > _LEAST_PROBABILITY


def test_shares_are_options(batch, tokenizer):
    kept = _mask(_masker(tokenizer, mask_share=0.0, random_share=0.0), batch)
    np.testing.assert_array_equal(
        kept["input_word_ids"], batch["input_word_ids"]
    )
    masked = _mask(_masker(tokenizer, mask_share=1.0, random_share=0.0), batch)
    assert (
        masked["input_word_ids"][_chosen(masked)] == tokenizer.mask_id
    ).all()


def _full_rows(tokenizer, rows, length):
    """Rows of [CLS] A [SEP] B [SEP] without padding, whole words."""
    rng = np.random.default_rng(1)
    whole = [
        index
        for index, token in enumerate(tokenizer.vocabulary)
        if not token.startswith(("[", "##"))
    ]
    ids = rng.choice(whole, [rows, length]).astype(np.int32)
    middle = length // 2
    ids[:, 0] = tokenizer.cls_id
    ids[:, [middle, -1]] = tokenizer.sep_id
    types = np.zeros_like(ids)
    types[:, middle + 1 :] = 1
    return {
        "input_word_ids": ids,
        "input_mask": np.ones_like(ids),
        "input_type_ids": types,
    }


def test_statistics_are_those_of_tensorflow_text(tokenizer):
    """Same number, positions and fates as text.mask_language_model."""
    # 0.15 of 40 tokens, and 0.15 of 37 rounded up, are both 6.
    full = _full_rows(tokenizer, rows=500, length=40)
    ids = full["input_word_ids"]
    tf.random.set_seed(8)
    try:
        inputs, positions, targets = tensorflow_text.mask_language_model(
            tf.RaggedTensor.from_tensor(tf.constant(ids)),
            tensorflow_text.RandomItemSelector(
                max_selections_per_batch=_PREDICTIONS,
                selection_rate=0.15,
                unselectable_ids=[tokenizer.cls_id, tokenizer.sep_id],
            ),
            tensorflow_text.MaskValuesChooser(
                tokenizer.vocab_size, tokenizer.mask_id
            ),
        )
    finally:
        tf.random.set_seed(None)
    their_positions = positions.to_tensor().numpy()
    theirs = inputs.to_tensor().numpy()
    their_chosen = np.zeros(ids.shape, bool)
    np.put_along_axis(their_chosen, their_positions, True, axis=1)
    np.testing.assert_array_equal(
        targets.to_tensor(), np.take_along_axis(ids, their_positions, axis=1)
    )

    masked = _mask(_masker(tokenizer), full)
    chosen = _chosen(masked)
    np.testing.assert_array_equal(chosen.sum(axis=1), their_chosen.sum(axis=1))
    candidates = np.delete(np.arange(40), [0, 20, 39])
    table = np.stack([chosen.sum(axis=0), their_chosen.sum(axis=0)])
    assert table[:, candidates].sum() == table.sum()
    _assert_same_distribution(table[:, candidates])
    _assert_same_distribution(
        np.stack(
            [
                _fate_counts(values, ids, where, tokenizer.mask_id)
                for values, where in (
                    (masked["input_word_ids"], chosen),
                    (theirs, their_chosen),
                )
            ]
        )
    )


def _fate_counts(inputs, original, chosen, mask_id):
    is_mask = (inputs == mask_id) & chosen
    is_same = (inputs == original) & chosen
    return [is_mask.sum(), is_same.sum(), (chosen & ~is_mask & ~is_same).sum()]


def _assert_same_distribution(table):
    result = scipy.stats.chi2_contingency(table)
    assert result.pvalue > _LEAST_PROBABILITY


@pytest.mark.parametrize("strategy", ["whole_word", "span"])
def test_words_are_never_split(batch, tokenizer, strategy):
    chosen = _chosen(_mask(_masker(tokenizer, strategy), batch))
    sizes = collections.Counter()
    for row, words, wanted in zip(
        chosen, _words(batch, tokenizer), _wanted(batch), strict=True
    ):
        taken = [word for word in words if row[word].any()]
        assert all(row[word].all() for word in taken)
        assert row.sum() <= wanted
        # Nothing that would still have fit was left out.
        left = [len(word) for word in words if not row[word].any()]
        assert wanted - row.sum() < min(left, default=_LENGTH)
        sizes.update(len(word) for word in taken)
    assert len(sizes) > 3


def test_token_splits_words(batch, tokenizer):
    """The check above can fail."""
    chosen = _chosen(_mask(_masker(tokenizer), batch))
    assert any(
        row[word].any() and not row[word].all()
        for row, words in zip(chosen, _words(batch, tokenizer), strict=True)
        for word in words
    )


def test_whole_words_are_chosen_alike(batch, tokenizer):
    """Every word of one piece is as likely at any place of the sequence."""
    full = _full_rows(tokenizer, rows=1500, length=40)
    chosen = _chosen(_mask(_masker(tokenizer, "whole_word"), full))
    counts = np.delete(chosen.sum(axis=0), [0, 20, 39])
    assert scipy.stats.chisquare(counts).pvalue > _LEAST_PROBABILITY


def test_span_lengths_are_spanbert_s():
    options = dynamic_masking.MaskingOptions("span")
    probabilities = options.span_length_probabilities()
    geometric = scipy.stats.geom(0.2).pmf(np.arange(1, 11))
    np.testing.assert_allclose(probabilities, geometric / geometric.sum())
    # "which yields a mean span length of mean(l) = 3.8" (section 3.1).
    mean = np.dot(probabilities, np.arange(1, 11))
    assert mean == pytest.approx(3.8, abs=0.01)


def test_first_spans_have_those_lengths(tokenizer):
    """With room for one span per sequence, lengths are as drawn."""
    full = _full_rows(tokenizer, rows=2000, length=160)
    # 11 tokens: the first span fits whole, others fill up elsewhere.
    masker = _masker(tokenizer, "span", predictions=11, masked_lm_prob=0.07)
    noise = masker._noise(2000, 161, tf.constant(0, tf.int64))
    lengths = masker._lengths(noise).numpy()
    counts = np.bincount(lengths.ravel(), minlength=11)[1:]
    expected = dynamic_masking.MaskingOptions("span")
    expected = np.array(expected.span_length_probabilities()) * counts.sum()
    assert scipy.stats.chisquare(counts, expected).pvalue > _LEAST_PROBABILITY

    first = noise[:, 0].numpy()[:, 1:158].argmin(axis=1) + 1
    chosen = _chosen(_mask(masker, full))
    ordinary = np.delete(np.arange(160), [0, 80, 159])
    for row, word, row_lengths in zip(chosen, first, lengths, strict=True):
        end = word + row_lengths[word]
        if word <= 79:
            end = min(end, 80)
        assert row[ordinary[word - 1 : min(end, 158) - 1]].all()


def _take_spans_slowly(sizes, words_of_a, wanted, scores, lengths):
    """Span masking as SpanBERT's section 3.1 tells it, one word at a time."""
    taken = {}
    last = max(word for word, size in enumerate(sizes) if size)
    for first in sorted(range(1, last + 1), key=lambda word: scores[word]):
        if first in taken:
            continue
        end = words_of_a if first <= words_of_a else last
        for word in range(first, min(end, first + lengths[first] - 1) + 1):
            if word in taken:
                continue
            if sum(sizes[w] for w in taken) + sizes[word] > wanted:
                break
            taken[word] = first
    return taken


def test_spans_are_those_of_a_plain_loop():
    rng = np.random.default_rng(4)
    rows, num_words = 60, 25
    counts = rng.integers(2, num_words, rows)
    sizes = rng.integers(1, 4, [rows, num_words]).astype(np.int32)
    place = np.arange(num_words)
    sizes[(place == 0) | (place > counts[:, None])] = 0
    words_of_a = rng.integers(1, counts).astype(np.int32)
    wanted = rng.integers(1, 15, rows).astype(np.int32)
    scores = rng.random([rows, num_words]).astype(np.float32)
    lengths = rng.integers(1, 11, [rows, num_words]).astype(np.int32)
    taken, owner = dynamic_masking._take_spans(
        *map(tf.constant, (sizes, words_of_a, wanted, scores, lengths))
    )
    for row in range(rows):
        expected = _take_spans_slowly(
            *(a[row].tolist() for a in (sizes, words_of_a, wanted)),
            scores[row].tolist(),
            lengths[row].tolist(),
        )
        got = np.flatnonzero(taken[row])
        assert sorted(expected) == got.tolist()
        assert [expected[w] for w in got] == owner.numpy()[row][got].tolist()


def test_a_span_has_one_fate(tokenizer):
    full = _full_rows(tokenizer, rows=300, length=64)
    masker = _masker(
        tokenizer, "span", span_stop_prob=0.0, mask_share=0.5, random_share=0.0
    )
    masked = _mask(masker, full)
    chosen = _chosen(masked)
    is_mask = masked["input_word_ids"] == tokenizer.mask_id
    pairs = chosen[:, 1:] & chosen[:, :-1]
    agree = (is_mask[:, 1:] == is_mask[:, :-1])[pairs].mean()
    # Only where two spans touch may the fate change.
    assert agree > 0.9
    assert is_mask[chosen].mean() == pytest.approx(0.5, abs=0.1)


def test_batches_look_like_those_of_the_records(batch, tokenizer):
    batches = tf.data.Dataset.from_tensor_slices(batch)
    masked = dynamic_masking.apply(
        batches.batch(8, drop_remainder=True), _masker(tokenizer), 8
    )
    assert {name: spec.shape for name, spec in masked.element_spec.items()} == {
        "input_word_ids": [8, _LENGTH],
        "input_mask": [8, _LENGTH],
        "input_type_ids": [8, _LENGTH],
        "masked_lm_positions": [8, _PREDICTIONS],
        "masked_lm_ids": [8, _PREDICTIONS],
        "masked_lm_weights": [8, _PREDICTIONS],
        "next_sentence_labels": [8, 1],
    }


@pytest.mark.parametrize(
    "options, message",
    [
        ({"strategy": "words"}, "got 'words', expected one of token, whole"),
        ({"masked_lm_prob": 1.2}, "masked_lm_prob: got 1.2, expected 0 to 1"),
        ({"mask_share": -0.1}, "mask_share: got -0.1, expected 0 to 1"),
        ({"random_share": 0.3}, "random_share: got 0.3, expected 0 to 0.2"),
        ({"span_stop_prob": 2}, "span_stop_prob: got 2, expected 0 to 1"),
        ({"max_span_words": 0}, "max_span_words: got 0, expected 1 or more"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        dynamic_masking.MaskingOptions(**options)


@pytest.mark.parametrize("predictions", [0, 30])
def test_wrong_number_of_predictions(predictions):
    message = f"got {predictions}, expected 1 to 29 with max_seq_length 32"
    with pytest.raises(ValueError, match=message):
        dynamic_masking.check_lengths(32, predictions)
