"""Masked-language-model inputs and targets for blocks of segment pairs."""

import dataclasses
import functools

import numpy as np

from mobilebert_tf import tokenization
from mobilebert_tf.data.corpus import Corpus

# Of the chosen tokens, these shares become [MASK] and a random token; the
# others stay (BERT, section 3.1).
_MASK_SHARE = 0.8
_RANDOM_SHARE = 0.1

# Of the numbers that decide which tokens are chosen.
_SCORE_BITS = 62


@dataclasses.dataclass(frozen=True)
class MaskingOptions:
    """How tokens are chosen for prediction.

    Attributes:
        max_seq_length: S, special tokens included.
        max_predictions_per_seq: P.
        masked_lm_prob: share of the tokens of a sequence to predict, rounded,
            at least 1 and at most P.
        whole_words: choose all pieces of a word or none.
    """

    max_seq_length: int
    max_predictions_per_seq: int
    masked_lm_prob: float = 0.15
    whole_words: bool = False


class Masker:
    """Turns pairs from `sentence_pairs.plan` into model inputs."""

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: tokenization.WordPieceTokenizer,
        options: MaskingOptions,
    ):
        self._corpus = corpus
        self._tokenizer = tokenizer
        self._options = options

    @functools.cached_property
    def _is_suffix(self):
        """Whether a token continues a word, bool [vocabulary]."""
        return np.array(
            [
                token.startswith(tokenization.SUFFIX_INDICATOR)
                for token in self._tokenizer.vocabulary
            ]
        )

    def assemble(self, pairs: np.ndarray) -> dict[str, np.ndarray]:
        """Gathers [CLS] A [SEP] B [SEP] and pads with [PAD].

        Args:
            pairs: int64 [N, 5].

        Returns:
            `input_ids`, `input_mask`, `segment_ids`: int32 [N, S];
            `next_sentence_labels`: int32 [N, 1], 1 if B is random.
        """
        length = self._options.max_seq_length
        a_start, a_end, b_start, b_end, is_random = (
            pairs[:, column, np.newaxis] for column in range(pairs.shape[1])
        )
        first_sep = 1 + a_end - a_start  # [N, 1]
        last_sep = first_sep + 1 + b_end - b_start
        position = np.arange(length)[np.newaxis]  # [1, S]
        in_b = position > first_sep
        source = np.where(
            in_b, b_start + position - first_sep - 1, a_start + position - 1
        )
        ids = self._corpus.tokens[
            np.clip(source, 0, len(self._corpus.tokens) - 1)
        ]
        ids[:, 0] = self._tokenizer.cls_id
        is_sep = (position == first_sep) | (position == last_sep)
        ids[is_sep] = self._tokenizer.sep_id
        inside = position <= last_sep
        ids[~inside] = self._tokenizer.pad_id
        return {
            "input_ids": ids,
            "input_mask": inside.astype(np.int32),
            "segment_ids": (inside & in_b).astype(np.int32),
            "next_sentence_labels": is_random.astype(np.int32),
        }

    def mask(
        self, batch: dict[str, np.ndarray], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Chooses tokens to predict and corrupts the inputs.

        Args:
            batch: from `assemble`; not modified.
            rng: source of randomness.

        Returns:
            `batch` with corrupted `input_ids` and with
            `masked_lm_positions`, `masked_lm_ids` (int32) and
            `masked_lm_weights` (float32), each [N, P], zero-padded.
        """
        original = batch["input_ids"]
        chosen = self._choose(original, batch["input_mask"], rng)  # bool [N, S]
        rows, columns = np.nonzero(chosen)  # by row, then ascending position
        targets = original[rows, columns]

        draw = rng.random(len(rows))
        replacement = np.where(
            draw < _MASK_SHARE,
            self._tokenizer.mask_id,
            rng.integers(self._tokenizer.vocab_size, size=len(rows)),
        )
        corrupted = original.copy()
        corrupted[rows, columns] = np.where(
            draw < _MASK_SHARE + _RANDOM_SHARE, replacement, targets
        )

        counts = chosen.sum(axis=1)
        slot = np.arange(len(rows)) - np.repeat(
            np.cumsum(counts) - counts, counts
        )
        shape = len(original), self._options.max_predictions_per_seq
        positions = np.zeros(shape, np.int32)
        ids = np.zeros(shape, np.int32)
        weights = np.zeros(shape, np.float32)
        positions[rows, slot] = columns
        ids[rows, slot] = targets
        weights[rows, slot] = 1.0
        return batch | {
            "input_ids": corrupted,
            "masked_lm_positions": positions,
            "masked_lm_ids": ids,
            "masked_lm_weights": weights,
        }

    def _choose(self, ids, input_mask, rng):
        """Returns bool [N, S]: which tokens are to be predicted."""
        options = self._options
        candidate = (
            input_mask.astype(bool)
            & (ids != self._tokenizer.cls_id)
            & (ids != self._tokenizer.sep_id)
        )
        wanted = np.rint(input_mask.sum(axis=1) * options.masked_lm_prob)
        wanted = np.clip(wanted, 1, options.max_predictions_per_seq)
        wanted = wanted.astype(np.int64)
        if options.whole_words:
            return self._choose_words(ids, candidate, wanted, rng)
        return _choose_tokens(candidate, wanted, rng)

    def _choose_words(self, ids, candidate, wanted, rng):
        """Chooses all pieces of a word or none.

        Words come in random order; a word is taken unless it would exceed the
        number wanted.
        """
        # A suffix without its beginning (cut off, or another segment's) is a
        # word of its own.
        begins_word = candidate.copy()
        begins_word[:, 1:] &= ~(self._is_suffix[ids[:, 1:]] & candidate[:, :-1])
        # Tokens of word w of a row share the index w; 0 if there is none.
        word = np.cumsum(begins_word, axis=1) * candidate
        rows = np.arange(len(ids))
        sizes = np.zeros((len(ids), ids.shape[1] + 1), np.int64)
        np.add.at(sizes, (np.broadcast_to(rows[:, None], ids.shape), word), 1)
        sizes[:, 0] = 0

        score = rng.random(sizes.shape)
        score[sizes == 0] = 2.0  # after every word
        order = np.argsort(score, axis=1)
        taken = np.zeros(len(ids), np.int64)
        take_word = np.zeros(sizes.shape, bool)
        for rank in range(int(np.count_nonzero(sizes, axis=1).max())):
            next_word = order[:, rank]
            size = sizes[rows, next_word]
            fits = (size > 0) & (taken + size <= wanted)
            take_word[rows, next_word] = fits
            taken += np.where(fits, size, 0)
            if (taken == wanted).all():
                break
        return np.take_along_axis(take_word, word, axis=1) & candidate


def _choose_tokens(candidate, wanted, rng):
    """Chooses `wanted` [N] of the candidates [N, S] of each row, or all.

    Every candidate draws a number; the lowest ones are taken. The position in
    the low bits keeps equal numbers apart.
    """
    length = candidate.shape[1]
    position_bits = length.bit_length()
    score = rng.integers(
        1 << (_SCORE_BITS - position_bits), size=candidate.shape
    )
    score = score << position_bits | np.arange(length)
    score[~candidate] = 1 << _SCORE_BITS  # after every candidate
    most = int(wanted.max())
    lowest = np.partition(score, most - 1, axis=1)[:, :most]
    lowest.sort(axis=1)
    limit = np.take_along_axis(lowest, wanted[:, np.newaxis] - 1, axis=1)
    return (score <= limit) & candidate
