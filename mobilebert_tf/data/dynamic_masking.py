"""Masks token sequences on the fly, as vectorised TensorFlow ops.

Legend: B batch, S max_seq_length, P max_predictions_per_seq, W = S + 1 words
(word 0 stands for the tokens that belong to none).

Not tensorflow-text's `mask_language_model`: its `MaskValuesChooser` draws from
TensorFlow's global generator and `RandomItemSelector` calls its shuffle row by
row without telling it the row, so no seed can make element i of a stream the
same in a resumed run. Its selector also bounds the number of words, not of
pieces, and has no spans. Here every number is a function of (seed, index of
the element in the stream): the masks do not depend on the batch size or on
where the stream begins.
"""

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from mobilebert_tf import wordpiece
from mobilebert_tf.data import sharding

TOKEN = "token"
WHOLE_WORD = "whole_word"
SPAN = "span"
STRATEGIES = (TOKEN, WHOLE_WORD, SPAN)

# [CLS], [SEP], [SEP].
_SPECIAL_TOKENS_PER_PAIR = 3
# TensorFlow's number of the algorithm Philox.
_PHILOX = 1
# What a sequence needs random numbers for: order of the words, what becomes
# of a token, random tokens, lengths of spans.
_ORDER, _FATE, _TOKEN, _LENGTH = range(4)
_KINDS = 4
# Later in order than any random number in [0, 1).
_LAST = 2.0


@dataclasses.dataclass(frozen=True)
class MaskingOptions:
    """How tokens are chosen for prediction, and what becomes of them.

    Attributes:
        strategy: "token": each token by itself (BERT, section 3.1).
            "whole_word": all pieces of a word or none (BERT's later option).
            "span": runs of whole words of one segment whose number is drawn
            from a geometric distribution (SpanBERT, section 3.1).
        masked_lm_prob: share of the tokens of a sequence to predict, rounded,
            at least 1 and at most P.
        mask_share: of the chosen tokens that become [MASK].
        random_share: of the chosen tokens that become a random token. The
            others stay.
        span_stop_prob: p of the geometric distribution.
        max_span_words: words of the longest span. With p = 0.2 and 10 words
            the mean is 3.80.
    """

    strategy: str = TOKEN
    masked_lm_prob: float = 0.15
    mask_share: float = 0.8
    random_share: float = 0.1
    span_stop_prob: float = 0.2
    max_span_words: int = 10

    def __post_init__(self):
        if self.strategy not in STRATEGIES:
            raise ValueError(
                f"masking.strategy: got {self.strategy!r}, expected one of "
                f"{', '.join(STRATEGIES)}"
            )
        for name, low, high in (
            ("masked_lm_prob", 0, 1),
            ("mask_share", 0, 1),
            ("random_share", 0, 1 - self.mask_share),
            ("span_stop_prob", 0, 1),
        ):
            value = getattr(self, name)
            # Shares like 0.7 and 0.3 add up to more than 1 by rounding.
            if not low <= value <= high + 1e-9:
                raise ValueError(
                    f"masking.{name}: got {value}, expected {low} to {high:g}"
                )
        if self.max_span_words < 1:
            raise ValueError(
                f"masking.max_span_words: got {self.max_span_words}, expected "
                "1 or more"
            )

    def span_length_probabilities(self) -> list[float]:
        """Returns the probability of 1, 2, ... max_span_words words."""
        weights = [
            self.span_stop_prob * (1 - self.span_stop_prob) ** extra
            if self.span_stop_prob
            else 1.0
            for extra in range(self.max_span_words)
        ]
        return [weight / sum(weights) for weight in weights]


class DynamicMasker:
    """Chooses tokens to predict and corrupts the inputs.

    Words (or spans) come in random order. Each is taken unless it would
    exceed the number of tokens wanted; a span is then cut to the words that
    fit. As in BERT each chosen token has a fate of its own, even within a
    word; as in SpanBERT a span has one for all of its tokens. Random tokens
    come from the whole vocabulary.
    """

    def __init__(
        self,
        tokenizer: wordpiece.VocabularyTokenizer,
        max_predictions_per_seq: int,
        options: MaskingOptions,
        seed: int,
    ):
        """Takes the special tokens and suffixes from `tokenizer`.

        Args:
            tokenizer: with which the tokens were made.
            max_predictions_per_seq: P.
            options: how to mask.
            seed: of all choices.
        """
        self._tokenizer = tokenizer
        self._max_predictions = max_predictions_per_seq
        self._options = options
        self._seed = seed
        self._is_suffix = [
            token.startswith(wordpiece.SUFFIX_INDICATOR)
            for token in tokenizer.vocabulary
        ]

    def mask(
        self, batch: Mapping[str, tf.Tensor], first_index: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Masks consecutive elements of a stream.

        Args:
            batch: `input_word_ids`, `input_mask`, `input_type_ids` int32
                [B, S], sequences of [CLS] A [SEP] B [SEP] and padding; what
                else it holds is passed on.
            first_index: int64 scalar; index of the first element.

        Returns:
            `batch` with corrupted `input_word_ids` and with
            `masked_lm_positions` (ascending), `masked_lm_ids` int32 and
            `masked_lm_weights` float32, each [B, P], zero-padded.
        """
        ids = batch["input_word_ids"]
        noise = self._noise(tf.shape(ids)[0], ids.shape[1] + 1, first_index)
        chosen, fate = self._choose(
            ids, batch["input_mask"], batch["input_type_ids"], noise
        )
        # Equal values come in order of their positions.
        hits, positions = tf.math.top_k(
            tf.cast(chosen, tf.int32), self._max_predictions
        )
        positions *= hits
        targets = tf.gather(ids, positions, batch_dims=1) * hits
        return {
            **batch,
            "input_word_ids": self._corrupt(ids, chosen, fate, noise),
            "masked_lm_positions": positions,
            "masked_lm_ids": targets,
            "masked_lm_weights": tf.cast(hits, tf.float32),
        }

    def _noise(self, num_rows, num_words, first_index):
        """Returns float32 [B, 4, W], uniform in [0, 1).

        Philox makes 4 numbers per value of its counter. Element i owns the W
        values from i * W, so that any batch is one draw.
        """
        key, _ = tf.raw_ops.StatelessRandomGetKeyCounter(
            seed=tf.constant([self._seed, 0], tf.int64)
        )
        start = tf.cast(first_index * num_words, tf.uint64)
        noise = tf.raw_ops.StatelessRandomUniformV2(
            shape=tf.stack([num_rows, _KINDS, num_words]),
            key=key,
            counter=tf.stack([start, tf.zeros_like(start)]),
            alg=_PHILOX,
            dtype=tf.float32,
        )
        return tf.ensure_shape(noise, [None, _KINDS, num_words])

    def _choose(self, ids, input_mask, type_ids, noise):
        """Returns bool [B, S], and the fate of each token, float32 [B, S]."""
        tokenizer = self._tokenizer
        candidate = (
            tf.cast(input_mask, tf.bool)
            & (ids != tokenizer.cls_id)
            & (ids != tokenizer.sep_id)
            & (ids != tokenizer.pad_id)
        )
        # In float64, as Python's round in BERT's script.
        length = tf.cast(tf.reduce_sum(input_mask, axis=1), tf.float64)
        wanted = tf.clip_by_value(
            tf.cast(tf.round(length * self._options.masked_lm_prob), tf.int32),
            1,
            self._max_predictions,
        )  # [B]
        fate = noise[:, _FATE, :-1]
        if self._options.strategy == TOKEN:
            score = tf.where(candidate, noise[:, _ORDER, :-1], _LAST)
            rank = tf.argsort(tf.argsort(score, stable=True), stable=True)
            return candidate & (rank < wanted[:, tf.newaxis]), fate
        word = self._words(ids, candidate)
        sizes = _count(word)
        words_of_a = tf.reduce_max(tf.where(type_ids == 0, word, 0), axis=1)
        chosen, owner = _take_spans(
            sizes, words_of_a, wanted, noise[:, _ORDER], self._lengths(noise)
        )
        if self._options.strategy == SPAN:
            fate = tf.gather(
                noise[:, _FATE],
                tf.gather(owner, word, batch_dims=1),
                batch_dims=1,
            )
        return tf.gather(chosen, word, batch_dims=1), fate

    def _words(self, ids, candidate):
        """Returns the word of each token, int32 [B, S]; 0 for none.

        A suffix without its beginning (cut off, or another segment's) begins
        a word.
        """
        is_suffix = tf.gather(tf.constant(self._is_suffix), ids)
        follows = tf.pad(candidate[:, :-1], [[0, 0], [1, 0]])
        begins = candidate & ~(is_suffix & follows)
        word = tf.cumsum(tf.cast(begins, tf.int32), axis=1)
        return tf.where(candidate, word, 0)

    def _lengths(self, noise):
        """Returns the length of a span that begins at each word, [B, W]."""
        draws = noise[:, _LENGTH]
        if self._options.strategy == WHOLE_WORD:
            return tf.ones_like(draws, tf.int32)
        bounds = tf.cumsum(
            tf.constant(self._options.span_length_probabilities(), tf.float32)
        )[:-1]
        above = draws[..., tf.newaxis] >= bounds
        return 1 + tf.reduce_sum(tf.cast(above, tf.int32), axis=-1)

    def _corrupt(self, ids, chosen, fate, noise):
        options = self._options
        random_ids = tf.cast(
            noise[:, _TOKEN, :-1] * self._tokenizer.vocab_size, tf.int32
        )
        replacement = tf.where(
            fate < options.mask_share, self._tokenizer.mask_id, random_ids
        )
        is_replaced = fate < options.mask_share + options.random_share
        return tf.where(chosen & is_replaced, replacement, ids)


def apply(
    batches: tf.data.Dataset,
    masker: DynamicMasker,
    batch_size: int,
    start_batch: int = 0,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Masks this worker's rows of a stream of global batches.

    Args:
        batches: see `DynamicMasker.mask`; only the last may be smaller.
        masker: masks them.
        batch_size: B.
        start_batch: number of the first batch in the whole stream.
        input_context: see `sharding.take_rows`; None keeps all rows.

    Returns:
        The masked batches, prefetched.
    """

    def with_indices(number, batch):
        rows = tf.shape(batch["input_word_ids"])[0]
        indices = number * batch_size + tf.range(tf.cast(rows, tf.int64))
        return indices, batch

    numbered = batches.enumerate(start_batch).map(with_indices)
    return (
        sharding.take_rows(numbered, batch_size, input_context)
        .map(
            lambda indices, batch: masker.mask(batch, indices[0]),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        .prefetch(tf.data.AUTOTUNE)
    )


def check_lengths(max_seq_length: int, max_predictions_per_seq: int) -> None:
    """Checks P against S.

    Raises:
        ValueError: if P is not between 1 and the tokens of a full sequence
            that are not special.
    """
    most = max_seq_length - _SPECIAL_TOKENS_PER_PAIR
    if not 1 <= max_predictions_per_seq <= most:
        raise ValueError(
            f"max_predictions_per_seq: got {max_predictions_per_seq}, expected "
            f"1 to {most} with max_seq_length {max_seq_length}"
        )


def _count(word):
    """Returns how many tokens each word has, int32 [B, W]; 0 for word 0."""
    num_words = word.shape[1] + 1
    num_rows = tf.shape(word)[0]
    flat = word + tf.range(num_rows)[:, tf.newaxis] * num_words
    sizes = tf.math.bincount(
        tf.reshape(flat, [-1]),
        minlength=num_rows * num_words,
        maxlength=num_rows * num_words,
    )
    sizes = tf.reshape(sizes, [num_rows, num_words])
    return sizes * tf.cast(tf.range(num_words) > 0, tf.int32)


def _take_spans(sizes, words_of_a, wanted, scores, lengths):
    """Takes spans in order of their scores until the tokens wanted are full.

    A span begins at a word not taken before and ends with its segment. Words
    within it that are taken already count towards its length.

    Args:
        sizes: int32 [B, W], tokens of each word.
        words_of_a: int32 [B], the last word of the first segment.
        wanted: int32 [B], tokens at most.
        scores: float32 [B, W], of the span that begins at each word.
        lengths: int32 [B, W], words of that span.

    Returns:
        bool [B, W], whether a word is taken; int32 [B, W], at which word its
        span begins.
    """
    num_words = sizes.shape[1]
    exists = sizes > 0
    order = tf.argsort(tf.where(exists, scores, _LAST), stable=True)
    count = tf.reduce_max(tf.reduce_sum(tf.cast(exists, tf.int32), axis=1))
    place = tf.range(num_words)[tf.newaxis]  # [1, W]

    def goes_on(rank, taken, owner, left):
        del taken, owner
        return (rank < count) & tf.reduce_any(left > 0)

    def take_next(rank, taken, owner, left):
        first = order[:, rank, tf.newaxis]  # [B, 1]
        last_of_segment = tf.where(
            first <= words_of_a[:, tf.newaxis],
            words_of_a[:, tf.newaxis],
            num_words,
        )
        end = first + tf.gather(lengths, first, batch_dims=1)
        free = exists & ~taken
        span = (
            free
            & (place >= first)
            & (place < end)
            & (place <= last_of_segment)
            & tf.gather(free, first, batch_dims=1)
        )
        tokens = tf.where(span, sizes, 0)
        # A prefix of the span: the sum only rises.
        span &= tf.cumsum(tokens, axis=1) <= left[:, tf.newaxis]
        left -= tf.reduce_sum(tf.where(span, sizes, 0), axis=1)
        return rank + 1, taken | span, tf.where(span, first, owner), left

    _, taken, owner, _ = tf.while_loop(
        goes_on,
        take_next,
        (0, tf.zeros_like(exists), tf.zeros_like(sizes), wanted),
    )
    return taken, owner
