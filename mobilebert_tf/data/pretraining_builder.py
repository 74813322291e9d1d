"""Makes pre-training records of a tokenized corpus."""

import dataclasses
import glob
import hashlib
import itertools
import random
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from mobilebert_tf import files
from mobilebert_tf import tokenization
from mobilebert_tf.data import masking
from mobilebert_tf.data import sentence_pairs
from mobilebert_tf.data.corpus import Corpus
from mobilebert_tf.data.pretraining_examples import shuffling
from mobilebert_tf.data.pretraining_examples import statistics as statistics_lib
from mobilebert_tf.data.pretraining_examples import wire_format

# The two data sets that one corpus may be split into.
TRAINING = "training"
HELD_OUT = "held_out"

# [CLS], [SEP], [SEP] and one token per segment.
_SPECIAL_TOKENS_PER_PAIR = 3
MIN_SEQ_LENGTH = _SPECIAL_TOKENS_PER_PAIR + 2

# Pairs masked at once.
_PAIRS_PER_BLOCK = 4096


@dataclasses.dataclass(frozen=True)
class BuilderOptions:
    """What to make of a corpus.

    Attributes:
        masking: lengths and masking.
        do_masking: whether to choose and corrupt tokens, or leave it to
            training (the features masked_lm_* are then absent).
        short_seq_prob: see `sentence_pairs.plan`.
        dupe_factor: passes over the corpus, each with other pairs and masks.
        random_seed: the output is a function of corpus, options and seed.
    """

    masking: masking.MaskingOptions
    short_seq_prob: float = 0.1
    dupe_factor: int = 10
    random_seed: int = 12345
    do_masking: bool = True

    def __post_init__(self):
        for name, value, low, high in (
            (
                "max_seq_length",
                self.masking.max_seq_length,
                MIN_SEQ_LENGTH,
                None,
            ),
            (
                "max_predictions_per_seq",
                self.masking.max_predictions_per_seq,
                1,
                self.masking.max_seq_length - _SPECIAL_TOKENS_PER_PAIR,
            ),
            ("masked_lm_prob", self.masking.masked_lm_prob, 0, 1),
            ("short_seq_prob", self.short_seq_prob, 0, 1),
            ("dupe_factor", self.dupe_factor, 1, None),
        ):
            if value < low or (high is not None and value > high):
                expected = (
                    f"at least {low}" if high is None else f"{low} to {high}"
                )
                raise ValueError(f"--{name}: got {value}, expected {expected}")


def shard_paths(output: str, num_shards: int) -> list[str]:
    """Returns `output`, or `output-00000-of-0000N`, ... for several shards.

    Raises:
        ValueError: if shards of another number lie there already: a glob
            over both would mix two data sets.
    """
    if num_shards < 1:
        raise ValueError(f"--num_shards: got {num_shards}, expected 1 or more")
    paths = [
        f"{output}-{shard:05d}-of-{num_shards:05d}"
        for shard in range(num_shards)
    ]
    if num_shards == 1:
        paths = [output]
    pattern = f"{glob.escape(output)}-[0-9]*-of-[0-9]*"
    stale = sorted(set(glob.glob(pattern)) - set(paths))
    if stale:
        raise ValueError(
            f"{stale[0]}: got shards of an earlier run with another "
            "--num_shards; remove them first"
        )
    return paths


def records(
    corpus: Corpus,
    tokenizer: tokenization.WordPieceTokenizer,
    options: BuilderOptions,
    name: str,
) -> Iterator[tuple[shuffling.Block, statistics_lib.Statistics]]:
    """Makes the records of one pass over a corpus.

    Args:
        corpus: the text, tokenized by `tokenizer`; may be empty.
        tokenizer: names the special tokens.
        options: lengths, probabilities, seed.
        name: tells this pass over this corpus apart from all others. All
            choices are a function of it and of the seed.

    Yields:
        Blocks of records whose keys go on ascending, and the counts of each.
    """
    pairs = list(
        sentence_pairs.plan(
            corpus,
            options.masking.max_seq_length - _SPECIAL_TOKENS_PER_PAIR,
            options.short_seq_prob,
            random.Random(f"{options.random_seed}/{name}"),
        )
    )
    if not pairs:
        return
    pairs = np.concatenate(pairs)
    digest = hashlib.sha256(f"{options.random_seed}/{name}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "big"))
    keys = rng.integers(2**64, size=len(pairs), dtype=np.uint64)
    order = np.argsort(keys, kind="stable")
    masker = masking.Masker(corpus, tokenizer, options.masking)
    for start in range(0, len(pairs), _PAIRS_PER_BLOCK):
        chosen = order[start : start + _PAIRS_PER_BLOCK]
        assembled = masker.assemble(pairs[chosen])
        batch = assembled
        if options.do_masking:
            batch = masker.mask(assembled, rng)
        counts = statistics_lib.Statistics()
        counts.add(assembled, batch, tokenizer)
        block = shuffling.make_block(keys[chosen], wire_format.serialize(batch))
        yield block, counts


def build(
    corpus: Corpus,
    tokenizer: tokenization.WordPieceTokenizer,
    options: BuilderOptions,
    paths: Sequence[str],
) -> statistics_lib.Statistics:
    """Writes shuffled instances of a small corpus to `paths`, in equal shares.

    All records are held in memory; `pretraining_examples.local_runner` writes
    the same files from text of any size.

    Args:
        corpus: the text, tokenized by `tokenizer`.
        tokenizer: names the special tokens.
        options: lengths, probabilities, seed.
        paths: of the shards; each is written whole or not at all.

    Returns:
        Counts over all instances.

    Raises:
        ValueError: if there are fewer instances than shards.
    """
    statistics = statistics_lib.Statistics()
    blocks = []
    for copy in range(options.dupe_factor):
        name = pass_name(TRAINING, copy, piece=0)
        for block, counts in records(corpus, tokenizer, options, name):
            blocks.append(block)
            statistics.update(counts)
    ranges = shuffling.shard_ranges(statistics.instances, len(paths))
    shuffled = shuffling.merge(blocks) if blocks else iter(())
    for (start, end), path in zip(ranges, paths, strict=True):
        write_shard(path, itertools.islice(shuffled, end - start))
    return statistics


def pass_name(split: str, copy: int, piece: int) -> str:
    """Returns the name of a pass over a piece of the text, for `records`."""
    return f"{split}-{copy:04d}-{piece:06d}"


def write_shard(path: str, shuffled: Iterable[bytes]) -> int:
    """Writes a TFRecord file, whole or not at all, and returns its size.

    Returns:
        The number of records.
    """
    count = 0
    with files.atomic_path(path) as temporary:
        with tf.io.TFRecordWriter(temporary) as writer:
            for record in shuffled:
                writer.write(record)
                count += 1
    return count
