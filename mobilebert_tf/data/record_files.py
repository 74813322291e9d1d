"""Checks of TFRecord files: whole, and of the records expected.

A mistake is told with file and number of the record, from 0.
"""

import concurrent.futures
import contextlib
import functools
import os
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

import tensorflow as tf
from absl import logging

Features = Mapping[str, tuple[tf.DType, str | int]]

_RECORDS_PER_CHECK = 1024
# Length, two checksums.
_FRAME_BYTES = 16
_SECONDS_BETWEEN_LINES = 10


def count(paths: Sequence[str]) -> list[int]:
    """Counts the records of each file, checking framing and checksums.

    Every byte is read, by a thread for each processor, once per process and
    content of the file. That takes minutes for a hundred gigabytes, so it logs
    how far it is; more processes cannot save it, since each needs to know how
    long an epoch is and that no file is damaged.

    Args:
        paths: files.

    Raises:
        ValueError: if a file is empty, is no TFRecord or is cut off, with the
            number of the damaged record.
    """
    start = shown = time.monotonic()
    counts = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for counted in pool.map(_count, paths):
            counts.append(counted)
            now = time.monotonic()
            if now - shown >= _SECONDS_BETWEEN_LINES:
                shown = now
                logging.info(
                    "counted %d of %d files, %d records, in %d s",
                    len(counts),
                    len(paths),
                    sum(counts),
                    now - start,
                )
    if shown != start:
        logging.info("%d files have %d records", len(paths), sum(counts))
    return counts


def check(
    paths: Sequence[str],
    features: Features,
    lengths: Mapping[str | int, int],
    vocab_size: int | None,
) -> None:
    """Checks every record of every file.

    Slower than `count` by far: it is for telling what was wrong once
    TensorFlow has met something.

    Args:
        paths: files.
        features: name to (dtype in the file, which length it has).
        lengths: which length to its value.
        vocab_size: more than each id, if given.

    Raises:
        ValueError: for the first record that is not as expected.
    """
    for path in paths:
        _count(path)
        number = 0
        for batch in tf.data.TFRecordDataset(path).batch(_RECORDS_PER_CHECK):
            for record in batch.numpy():
                check_record(
                    path, number, record, features, lengths, vocab_size
                )
                number += 1


def check_first(
    path: str,
    features: Features,
    lengths: Mapping[str | int, int],
    vocab_size: int | None,
) -> None:
    """Checks the first record of a file, as `check` does all of them."""
    record = next(iter(tf.data.TFRecordDataset(path).take(1))).numpy()
    check_record(path, 0, record, features, lengths, vocab_size)


def check_record(
    path: str,
    number: int,
    record: bytes,
    features: Features,
    lengths: Mapping[str | int, int],
    vocab_size: int | None,
) -> None:
    """Checks one record; `path` and `number` name it in the message.

    Args:
        path: file.
        number: int. Of the record in the file.
        record: a serialized tf.train.Example.
        features: as of `check`.
        lengths: likewise.
        vocab_size: likewise.

    Raises:
        ValueError: if it is no Example, or a feature is missing, or has
            another type or length, or an id outside of the vocabulary.
    """
    where = f"{path}: record {number}"
    try:
        example = tf.train.Example.FromString(record)
    except Exception as error:
        raise ValueError(
            f"{where}: got {len(record)} bytes, expected a tf.train.Example"
        ) from error
    present = example.features.feature
    for name, (dtype, length) in features.items():
        if name not in present:
            raise ValueError(
                f"{where}: got features {', '.join(sorted(present)) or 'none'}"
                f", expected {name}"
            )
        expected = "float_list" if dtype == tf.float32 else "int64_list"
        kind = present[name].WhichOneof("kind")
        if kind not in (expected, None):
            raise ValueError(
                f"{where}: {name}: got a {kind}, expected a {expected}"
            )
        values = getattr(present[name], expected).value
        if len(values) != lengths[length]:
            raise ValueError(
                f"{where}: {name}: got length {len(values)}, expected "
                f"{lengths[length]}"
            )
        if min(values) < 0:
            raise ValueError(
                f"{where}: {name}: got {min(values)}, expected at least 0"
            )
        if vocab_size and name.endswith("_ids") and max(values) >= vocab_size:
            raise ValueError(
                f"{where}: {name}: got id {max(values)}, expected less than "
                f"the vocabulary size {vocab_size}"
            )


def _count(path):
    stat = tf.io.gfile.stat(path)
    return _count_version(path, stat.mtime_nsec, stat.length)


@functools.cache
def _count_version(path, mtime_nsec, length):
    """Counts the records of a file, once for each content of it.

    Every stage of a training makes a dataset of the same files.
    """
    del mtime_nsec  # A key of the cache only.
    records = size = 0
    try:
        for more, num_bytes in _measure(path, _RECORDS_PER_CHECK):
            records += more
            size += num_bytes + more * _FRAME_BYTES
    except tf.errors.DataLossError:
        raise _damaged(path, _first_damaged(path)) from None
    # TensorFlow takes up to 11 bytes of a cut-off header for the end.
    if size != length:
        raise _damaged(path, records)
    if not records:
        raise ValueError(f"{path}: got no record, expected TFRecords")
    return records


def _damaged(path, record):
    return ValueError(
        f"{path}: record {record} is damaged: got a cut-off or foreign file, "
        "expected TFRecords"
    )


def _measure(path, batch_size) -> Iterator[tuple[int, int]]:
    """Yields (records, sum of their lengths) of each batch."""
    dataset = tf.data.TFRecordDataset(path).batch(batch_size)
    for records, length in dataset.map(
        lambda batch: (
            tf.size(batch),
            tf.reduce_sum(tf.cast(tf.strings.length(batch), tf.int64)),
        )
    ):
        yield int(records), int(length)


def _first_damaged(path):
    number = 0
    with contextlib.suppress(tf.errors.DataLossError):
        for records, _ in _measure(path, 1):
            number += records
    return number
