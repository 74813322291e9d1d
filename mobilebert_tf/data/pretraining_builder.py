"""Writes a corpus as pre-training TFRecords, and describes what it wrote."""

import collections
import dataclasses
import glob
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from absl import logging

from mobilebert_tf import files
from mobilebert_tf import tokenization
from mobilebert_tf.data import masking
from mobilebert_tf.data import sentence_pairs
from mobilebert_tf.data.corpus import Corpus

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
        short_seq_prob: see `sentence_pairs.plan`.
        dupe_factor: passes over the corpus, each with other pairs and masks.
        random_seed: the output is a function of corpus, options and seed.
    """

    masking: masking.MaskingOptions
    short_seq_prob: float = 0.1
    dupe_factor: int = 10
    random_seed: int = 12345

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


class Statistics:
    """Counts over the instances written."""

    def __init__(self):
        self._counts = collections.Counter()

    @property
    def instances(self) -> int:
        return self._counts["instances"]

    def add(
        self, assembled: dict, masked: dict, tokenizer, max_seq_length: int
    ) -> None:
        """Counts a block before (`assembled`) and after masking."""
        weights = masked["masked_lm_weights"] > 0
        inputs = np.take_along_axis(
            masked["input_ids"], masked["masked_lm_positions"], axis=1
        )[weights]
        targets = masked["masked_lm_ids"][weights]
        lengths = masked["input_mask"].sum(axis=1)
        is_mask = inputs == tokenizer.mask_id
        is_same = inputs == targets
        self._counts.update(
            instances=len(lengths),
            tokens=int(lengths.sum()),
            full=int((lengths == max_seq_length).sum()),
            predictions=len(targets),
            masked=int(is_mask.sum()),
            kept=int((is_same & ~is_mask).sum()),
            random_next=int(masked["next_sentence_labels"].sum()),
            unknown=int((assembled["input_ids"] == tokenizer.unk_id).sum()),
        )

    def table(self) -> list[tuple[str, str]]:
        """Returns (name, value) rows to print."""
        counts = self._counts
        instances, predictions = counts["instances"], counts["predictions"]
        pieces = counts["tokens"] - _SPECIAL_TOKENS_PER_PAIR * instances
        replaced = predictions - counts["masked"] - counts["kept"]
        mean_length = counts["tokens"] / instances
        # With whole words, none may fit.
        shared = max(1, predictions)
        return [
            ("instances", f"{instances:,}"),
            ("mean length", f"{mean_length:.2f}"),
            ("of full length", f"{counts['full'] / instances:.2%}"),
            ("predictions per instance", f"{predictions / instances:.2f}"),
            ("predicted tokens", f"{predictions / pieces:.2%}"),
            ("  replaced by [MASK]", f"{counts['masked'] / shared:.2%}"),
            ("  kept", f"{counts['kept'] / shared:.2%}"),
            ("  replaced at random", f"{replaced / shared:.2%}"),
            ("random next", f"{counts['random_next'] / instances:.2%}"),
            ("[UNK] tokens", f"{counts['unknown'] / pieces:.2%}"),
        ]


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


def build(
    corpus: Corpus,
    tokenizer: tokenization.WordPieceTokenizer,
    options: BuilderOptions,
    paths: list[str],
) -> Statistics:
    """Writes shuffled instances to `paths`, in equal shares.

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
    if corpus.num_documents == 1:
        logging.warning(
            "the corpus is a single document: random next segments come from "
            "the same document (empty lines separate documents)"
        )
    pairs = _plan(corpus, options)
    if len(pairs) < len(paths):
        raise ValueError(
            f"--num_shards: got {len(paths)} shards for {len(pairs)} "
            "instances, expected at most one shard per instance"
        )
    masker = masking.Masker(corpus, tokenizer, options.masking)
    statistics = Statistics()
    start = time.monotonic()
    for shard, path in enumerate(paths):
        first, last = (
            len(pairs) * place // len(paths) for place in (shard, shard + 1)
        )
        with files.atomic_path(path) as temporary:
            with tf.io.TFRecordWriter(temporary) as writer:
                for block in _blocks(pairs[first:last]):
                    # Seeded by the block's place, so that no block depends
                    # on how many numbers another has drawn.
                    rng = np.random.default_rng(
                        [options.random_seed, statistics.instances]
                    )
                    assembled = masker.assemble(block)
                    masked = masker.mask(assembled, rng)
                    for record in serialize(masked):
                        writer.write(record)
                    statistics.add(
                        assembled,
                        masked,
                        tokenizer,
                        options.masking.max_seq_length,
                    )
                    seconds = time.monotonic() - start
                    logging.log_every_n_seconds(
                        logging.INFO,
                        "wrote %d of %d instances (%.0f/s)",
                        10,
                        statistics.instances,
                        len(pairs),
                        statistics.instances / seconds,
                    )
        logging.info("%s: %d instances", path, last - first)
    return statistics


def serialize(batch: dict[str, np.ndarray]) -> Iterator[bytes]:
    """Yields one serialized tf.train.Example per row, BERT's feature names.

    Args:
        batch: arrays [N, ...]; floating-point ones become float lists.
    """
    columns = [
        (name, values.dtype.kind == "f", values.tolist())
        for name, values in batch.items()
    ]
    for row in range(len(columns[0][2])):
        example = tf.train.Example()
        features = example.features.feature
        for name, is_float, values in columns:
            if is_float:
                features[name].float_list.value.extend(values[row])
            else:
                features[name].int64_list.value.extend(values[row])
        yield example.SerializeToString(deterministic=True)


def _plan(corpus, options):
    """Returns the shuffled pairs of all passes, int64 [pairs, 5]."""
    max_tokens = options.masking.max_seq_length - _SPECIAL_TOKENS_PER_PAIR
    pairs = []
    for copy in range(options.dupe_factor):
        pairs.extend(
            sentence_pairs.plan(
                corpus,
                max_tokens,
                options.short_seq_prob,
                options.random_seed,
                copy,
            )
        )
        logging.log_every_n_seconds(
            logging.INFO,
            "planned %d of %d passes over %d documents",
            10,
            copy + 1,
            options.dupe_factor,
            corpus.num_documents,
        )
    pairs = np.concatenate(pairs)
    np.random.default_rng(options.random_seed).shuffle(pairs)
    return pairs


def _blocks(pairs):
    for start in range(0, len(pairs), _PAIRS_PER_BLOCK):
        yield pairs[start : start + _PAIRS_PER_BLOCK]
