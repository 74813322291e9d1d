"""Text files as an endless stream of segment pairs, made while training.

An epoch puts all chunks of the text in a new order and makes segment pairs of
one block of chunks (about 4 MiB) after the other. Each block of every epoch
gives the same number of pairs, as many as a sample of the text lets expect:
what is over is left out, what is missing comes from a second pass over the
block. So the block that holds the n-th pair of the stream is known, and a
stream can begin anywhere at the cost of one block. Memory holds a few blocks
and 24 bytes per chunk, whatever the size of the text.

Blocks are made in Python, so the input pipeline must run in this process:
remote TPU hosts need token records.
"""

import dataclasses
import functools
import itertools
import random
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from mobilebert_tf import tokenization
from mobilebert_tf.data import corpus as corpus_lib
from mobilebert_tf.data import masking
from mobilebert_tf.data import sentence_pairs
from mobilebert_tf.data import text
from mobilebert_tf.data import text_chunks

_BLOCK_BYTES = 1 << 22
# Blocks made side by side. Much of it holds Python's lock.
_BLOCKS_AT_ONCE = 2
_SPECIAL_TOKENS_PER_PAIR = 3
# What random numbers are for. Zeros at the end of a key do not count, so that
# keys of one length each are told apart.
_CHUNK_ORDER, _BLOCK_ORDER, _COPY_ORDER, _PAIRS = range(1, 5)


@dataclasses.dataclass(frozen=True)
class PairOptions:
    """How pairs are made.

    Attributes:
        max_seq_length: S, special tokens included.
        short_seq_prob: see `sentence_pairs.plan`.
        seed: of the order of the text and of all pairs.
    """

    max_seq_length: int
    short_seq_prob: float = 0.1
    seed: int = 0

    def __post_init__(self):
        least = _SPECIAL_TOKENS_PER_PAIR + 2
        if self.max_seq_length < least:
            raise ValueError(
                f"max_seq_length: got {self.max_seq_length}, expected at "
                f"least {least}"
            )
        if not 0 <= self.short_seq_prob <= 1:
            raise ValueError(
                f"short_seq_prob: got {self.short_seq_prob}, expected 0 to 1"
            )


class PairStream:
    """The pairs of some text, block by block.

    Attributes:
        num_blocks: blocks of an epoch.
        block_pairs: pairs that each block gives.
    """

    def __init__(
        self,
        chunks: text_chunks.TextChunks,
        tokenizer: tokenization.WordPieceTokenizer,
        options: PairOptions,
    ):
        """Counts the pairs of a sample, the first block.

        Raises:
            ValueError: if the sample has no word.
        """
        self._chunks = chunks
        self._tokenizer = tokenizer
        self._options = options
        num_bytes = chunks.num_bytes
        self.num_blocks = min(-(-num_bytes // _BLOCK_BYTES), len(chunks.chunks))
        sample = self._block_chunks(0, 0)
        corpus = self._corpus(sample)
        pairs = len(self._plan(corpus, epoch=0, block=0, copy=0))
        share = chunks.chunks[sample, 2].sum() / num_bytes
        self.block_pairs = max(1, round(pairs / share / self.num_blocks))
        logging.info(
            "%d files of text, %d bytes: %d pairs per epoch",
            len(chunks.paths),
            num_bytes,
            self.num_blocks * self.block_pairs,
        )

    def training_block(self, number: int) -> dict[str, np.ndarray]:
        """Makes a block of the endless stream.

        Args:
            number: of the block since the beginning.

        Returns:
            As `masking.Masker.assemble`: [block_pairs, S] and
            [block_pairs, 1], shuffled.

        Raises:
            ValueError: if a file has changed since the start, or the block
                has no word.
        """
        epoch, block = divmod(number, self.num_blocks)
        corpus = self._corpus(self._block_chunks(epoch, block))
        pairs = np.zeros([0, 5], np.int64)
        for copy in itertools.count():
            if len(pairs) >= self.block_pairs:
                break
            more = self._plan(corpus, epoch, block, copy)
            # Each pass by itself, so that the first is used whole.
            self._rng(_COPY_ORDER, epoch, block, copy).shuffle(more)
            pairs = np.concatenate([pairs, more])
        pairs = pairs[: self.block_pairs]
        self._rng(_BLOCK_ORDER, epoch, block).shuffle(pairs)
        return self._assemble(corpus, pairs)

    def block_in_order(self, block: int) -> dict[str, np.ndarray]:
        """Makes all pairs of a block of the text in its own order."""
        bounds = self._bounds()
        corpus = self._corpus(np.arange(bounds[block], bounds[block + 1]))
        return self._assemble(corpus, self._plan(corpus, 0, block, copy=0))

    def _bounds(self):
        """Returns the first chunk of each block, and the end."""
        blocks = np.arange(self.num_blocks + 1)
        return len(self._chunks.chunks) * blocks // self.num_blocks

    def _block_chunks(self, epoch, block):
        order = self._rng(_CHUNK_ORDER, epoch).permutation(
            len(self._chunks.chunks)
        )
        bounds = self._bounds()
        return order[bounds[block] : bounds[block + 1]]

    def _rng(self, purpose, *key):
        return np.random.default_rng(
            [self._options.seed % 2**64, purpose, *key]
        )

    def _corpus(self, chunks):
        return corpus_lib.tokenize(
            self._chunks.documents(chunks), self._tokenizer
        )

    def _plan(self, corpus, epoch, block, copy):
        rng = self._rng(_PAIRS, epoch, block, copy)
        seed = int(rng.integers(1 << 62))
        return np.concatenate(
            list(
                sentence_pairs.plan(
                    corpus,
                    self._options.max_seq_length - _SPECIAL_TOKENS_PER_PAIR,
                    self._options.short_seq_prob,
                    random.Random(seed),
                )
            )
        )

    def _assemble(self, corpus, pairs):
        options = masking.MaskingOptions(self._options.max_seq_length, 1)
        masker = masking.Masker(corpus, self._tokenizer, options)
        return masker.assemble(pairs)


def make_dataset(
    input_files: Sequence[str],
    tokenizer: tokenization.WordPieceTokenizer,
    options: PairOptions,
    batch_size: int,
    *,
    is_training: bool,
    text_format: str = text.AUTO,
    start_batch: int = 0,
    drop_remainder: bool = True,
) -> tf.data.Dataset:
    """Returns batches of segment pairs to mask.

    Args:
        input_files: paths or globs.
        tokenizer: of the model to train.
        options: lengths and seed.
        batch_size: B.
        is_training: endless and shuffled, or one pass in order.
        text_format: one of text.FORMATS.
        start_batch: batches to skip: the stream continues as it would after
            so many batches.
        drop_remainder: whether to drop the last, smaller batch.

    Returns:
        A dataset of dicts: `input_word_ids`, `input_mask`, `input_type_ids`
        int32 [B, S], `next_sentence_labels` int32 [B, 1] (1 if B is random).

    Raises:
        ValueError: if a pattern matches no file, or a file is not UTF-8 or
            holds no text.
    """
    stream = open_stream(input_files, tokenizer, options, text_format)
    length = options.max_seq_length
    if is_training:
        first, offset = divmod(start_batch * batch_size, stream.block_pairs)
        blocks = tf.data.Dataset.counter(first)
        make_block = stream.training_block
    else:
        first = offset = 0
        blocks = tf.data.Dataset.range(stream.num_blocks)
        make_block = stream.block_in_order

    def rows(number):
        block = make_block(int(number))
        begin = offset if number == first else 0
        return (
            block["input_ids"][begin:],
            block["input_mask"][begin:],
            block["segment_ids"][begin:],
            block["next_sentence_labels"][begin:],
        )

    def columns(number):
        ids, mask, types, labels = tf.numpy_function(
            rows, [number], [tf.int32] * 4, stateful=False
        )
        return {
            "input_word_ids": tf.ensure_shape(ids, [None, length]),
            "input_mask": tf.ensure_shape(mask, [None, length]),
            "input_type_ids": tf.ensure_shape(types, [None, length]),
            "next_sentence_labels": tf.ensure_shape(labels, [None, 1]),
        }

    batches = blocks.map(
        columns, num_parallel_calls=_BLOCKS_AT_ONCE, deterministic=True
    ).rebatch(batch_size, drop_remainder=drop_remainder or is_training)
    if is_training:
        return batches.apply(
            tf.data.experimental.assert_cardinality(
                tf.data.experimental.INFINITE_CARDINALITY
            )
        )
    return batches.skip(start_batch)


def open_stream(
    input_files: Sequence[str],
    tokenizer: tokenization.WordPieceTokenizer,
    options: PairOptions,
    text_format: str = text.AUTO,
) -> PairStream:
    """Checks and samples the text, once for each content of it.

    Raises:
        ValueError: as `make_dataset`.
    """
    versions = []
    for path in text.expand(input_files):
        stat = tf.io.gfile.stat(path)
        versions.append((path, stat.mtime_nsec, stat.length))
    return _open_version(tuple(versions), tokenizer, options, text_format)


@functools.lru_cache(maxsize=8)
def _open_version(versions, tokenizer, options, text_format):
    chunks = text_chunks.index([path for path, *_ in versions], text_format)
    return PairStream(chunks, tokenizer, options)
