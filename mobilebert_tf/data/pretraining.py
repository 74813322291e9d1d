"""Reads pre-training TFRecords as a deterministic, resumable stream."""

import contextlib
import functools
from collections.abc import Iterator
from collections.abc import Sequence

import tensorflow as tf

from mobilebert_tf.data import epochs
from mobilebert_tf.data import record_files
from mobilebert_tf.data import sharding
from mobilebert_tf.data import text

# Files read side by side, each with a buffer of 256 KB, and records shuffled
# at a time: twice 80 MB at length 512.
_FILES_AT_ONCE = 64
_SHUFFLE_BLOCK = 32768

# Keras-side names of the features that change name.
_KERAS_NAMES = {"input_ids": "input_word_ids", "segment_ids": "input_type_ids"}

# S is max_seq_length, P max_predictions_per_seq, V the vocabulary's size.
FEATURES = {
    "input_ids": record_files.Feature(tf.int64, "S", "V"),
    "input_mask": record_files.Feature(tf.int64, "S", 2),
    "segment_ids": record_files.Feature(tf.int64, "S", 2),
    "masked_lm_positions": record_files.Feature(tf.int64, "P", "S"),
    "masked_lm_ids": record_files.Feature(tf.int64, "P", "V"),
    "masked_lm_weights": record_files.Feature(tf.float32, "P"),
    "next_sentence_labels": record_files.Feature(tf.int64, 1, 2),
}


def make_dataset(
    input_files: Sequence[str],
    max_seq_length: int,
    max_predictions_per_seq: int,
    batch_size: int,
    *,
    is_training: bool,
    seed: int,
    start_batch: int = 0,
    drop_remainder: bool = True,
    vocab_size: int | None = None,
    features: record_files.Features = FEATURES,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Returns batches of pre-training examples.

    For training the stream is endless, batches run across the ends of epochs,
    and every epoch is shuffled anew by a function of (seed, epoch): the
    order of the files, 64 of which are read side by side, and blocks of
    32,768 records of the mixture. Otherwise it is one pass in file order.

    Global batches are a function of files and seed. Each of several workers
    reads all records, but parses only its rows of each batch.

    Args:
        input_files: paths or globs.
        max_seq_length: S, as the files were made.
        max_predictions_per_seq: P, as the files were made.
        batch_size: B.
        is_training: endless and shuffled, or one pass in order.
        seed: of the shuffling.
        start_batch: batches to skip: the stream continues as it would after
            so many batches.
        drop_remainder: whether to drop the last, smaller batch (one pass
            only: an endless stream has none).
        vocab_size: if given, token ids are checked against it.
        features: what each record must hold and the batches will.
        input_context: of the strategy, to return this worker's rows of each
            global batch; None is all.

    Returns:
        A dataset of dicts, for FEATURES: `input_word_ids`, `input_mask`,
        `input_type_ids` int32 [B, S]; `masked_lm_positions`, `masked_lm_ids`
        int32 [B, P]; `masked_lm_weights` float32 [B, P];
        `next_sentence_labels` int32 [B, 1].

    Raises:
        ValueError: if a pattern matches no file, a file is damaged or holds
            no record, its first record does not have the lengths S and P or
            holds a value out of bounds, or there are fewer records than one
            batch. Later records are checked while reading; that
            error is a tf.errors.OpError: see `named_damage`.
    """
    sizes = _sizes(max_seq_length, max_predictions_per_seq, vocab_size)
    paths = text.expand(input_files)
    num_records = sum(record_files.count(paths))
    for path in paths:
        record_files.check_first(path, features, sizes)
    if num_records < batch_size and (is_training or drop_remainder):
        raise ValueError(
            f"{paths[0]}{' ...' if len(paths) > 1 else ''}: got {num_records} "
            f"records, expected at least one batch of {batch_size}"
        )
    if is_training:
        records = epochs.endless(
            functools.partial(_shuffled_records, tf.constant(paths)),
            num_records,
            start_batch * batch_size,
            seed,
        )
    else:
        records = _records(tf.data.Dataset.from_tensor_slices(paths), 1)
        records = records.skip(start_batch * batch_size)
    batches = records.batch(
        batch_size, drop_remainder=drop_remainder or is_training
    )
    batches = sharding.take_rows(batches, batch_size, input_context).map(
        lambda path, record: _parse(path, record, features, sizes),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return batches.prefetch(tf.data.AUTOTUNE)


def count_records(input_files: Sequence[str]) -> int:
    """Counts the records of files, checking their framing and checksums.

    Args:
        input_files: paths or globs.

    Raises:
        ValueError: if a pattern matches no file, or a file is empty, is no
            TFRecord or is cut off, with the number of the damaged record.
    """
    return sum(record_files.count(text.expand(input_files)))


@contextlib.contextmanager
def named_damage(
    input_files: Sequence[str],
    max_seq_length: int,
    max_predictions_per_seq: int,
    vocab_size: int | None = None,
    features: record_files.Features = FEATURES,
) -> Iterator[None]:
    """Says which record is at fault when reading fails within the block.

    A file may have been replaced since make_dataset looked at it, or a record
    late in it may differ from the first. TensorFlow's errors name no record,
    and some no file; so the files are read again.

    Args:
        input_files: as of make_dataset.
        max_seq_length: likewise.
        max_predictions_per_seq: likewise.
        vocab_size: likewise.
        features: likewise.

    Raises:
        ValueError: naming file and record, instead of a tf.errors.OpError
            that comes from it.
    """
    try:
        yield
    except (
        tf.errors.DataLossError,
        tf.errors.InvalidArgumentError,
        tf.errors.NotFoundError,
    ):
        record_files.check(
            text.expand(input_files),
            features,
            _sizes(max_seq_length, max_predictions_per_seq, vocab_size),
        )
        raise


def _sizes(max_seq_length, max_predictions_per_seq, vocab_size):
    return {"S": max_seq_length, "P": max_predictions_per_seq, "V": vocab_size}


def _shuffled_records(paths, epoch_seed):
    order = tf.random.experimental.stateless_shuffle(paths, epoch_seed)
    records = _records(
        tf.data.Dataset.from_tensor_slices(order), _FILES_AT_ONCE
    )
    # Not Dataset.shuffle: its order also depends on tf.random.set_seed.
    blocks = records.batch(_SHUFFLE_BLOCK).enumerate()
    return blocks.map(
        lambda block, columns: _shuffle_block(columns, epoch_seed + block + 1)
    ).unbatch()


def _shuffle_block(columns, seed):
    order = tf.random.experimental.stateless_shuffle(
        tf.range(tf.size(columns[0])), seed
    )
    return tuple(tf.gather(column, order) for column in columns)


def _records(paths, files_at_once):
    """Returns a dataset of (path, record)."""
    return paths.interleave(
        lambda path: tf.data.TFRecordDataset(path).map(
            lambda record: (path, record)
        ),
        cycle_length=files_at_once,
        block_length=1,
    )


def _parse(path, record, features, sizes):
    # Not FixedLenFeature: its error for another length names no file.
    ragged = tf.io.parse_example(
        record,
        {
            name: tf.io.RaggedFeature(feature.dtype)
            for name, feature in features.items()
        },
    )
    check = _check_lengths(path, ragged, features, sizes)
    with tf.control_dependencies([check]):
        parsed = {
            name: tf.reshape(
                ragged[name].flat_values,
                [
                    record.shape[0] or -1,
                    record_files.size(feature.length, sizes),
                ],
            )
            for name, feature in features.items()
        }
    checks = [
        _check_values(path, name, parsed[name], feature, sizes)
        for name, feature in features.items()
        if feature.dtype == tf.int64
    ]
    with tf.control_dependencies(checks):
        return {
            _KERAS_NAMES.get(name, name): (
                tf.cast(value, tf.int32)
                if value.dtype == tf.int64
                else tf.identity(value)
            )
            for name, value in parsed.items()
        }


def _check_lengths(path, ragged, features, sizes):
    """Returns an operation that fails if a row has not the lengths expected."""
    names = list(features)
    expected = [
        record_files.size(features[name].length, sizes) for name in names
    ]
    got = tf.stack([ragged[name].row_lengths() for name in names], axis=1)
    is_wrong = got != expected  # [B, features]
    worst = tf.argmax(tf.reduce_any(is_wrong, axis=1))
    return tf.debugging.Assert(
        tf.logical_not(tf.reduce_any(is_wrong)),
        [
            path[worst],
            f"{', '.join(names)}: got lengths",
            got[worst],
            "expected",
            expected,
        ],
        summarize=len(names),
    )


def _check_values(path, name, values, feature, sizes):
    """Returns an operation that fails if a value is out of bounds."""
    bound = record_files.size(feature.bound, sizes) or values.dtype.max
    is_wrong = (values < 0) | (values >= bound)  # [B, length]
    worst = tf.argmax(tf.reduce_any(is_wrong, axis=1))
    return tf.debugging.Assert(
        tf.logical_not(tf.reduce_any(is_wrong)),
        [path[worst], f"{name}: got", values[worst], "expected 0 to", bound],
        summarize=8,
    )
