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
from typing import NamedTuple

import tensorflow as tf
from absl import logging


class Feature(NamedTuple):
    """What a record must hold under a name.

    Attributes:
        dtype: tf.int64 or tf.float32, in the file.
        length: number of values, or the name of a size.
        bound: more than each value: a number, or the name of a size; None for
            no bound. All values are at least 0.
    """

    dtype: tf.DType
    length: str | int
    bound: str | int | None = None


# Feature name to what it must be.
Features = Mapping[str, Feature]
# Name of a size to its value; None is unknown, and bounds nothing.
Sizes = Mapping[str, int | None]

_RECORDS_PER_CHECK = 1024
# Length, two checksums.
_FRAME_BYTES = 16
_SECONDS_BETWEEN_LINES = 10
# How messages call them.
_BOUNDS = {"V": "the vocabulary size ", "S": "the sequence length "}


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


def check(paths: Sequence[str], features: Features, sizes: Sizes) -> None:
    """Checks every record of every file.

    Slower than `count` by far: it is for telling what was wrong once
    TensorFlow has met something. It logs how far it is.

    Args:
        paths: files.
        features: what each record must hold.
        sizes: which `features` refer to.

    Raises:
        ValueError: for the first record that is not as expected.
    """
    for path in paths:
        logging.info("looking for the record at fault: %s", path)
        _count(path)
        number = 0
        for batch in tf.data.TFRecordDataset(path).batch(_RECORDS_PER_CHECK):
            for record in batch.numpy():
                check_record(path, number, record, features, sizes)
                number += 1
            logging.log_every_n_seconds(
                logging.INFO, "%d records are whole", 10, number
            )


def check_first(path: str, features: Features, sizes: Sizes) -> None:
    """Checks the first record of a file, as `check` does all of them."""
    record = next(iter(tf.data.TFRecordDataset(path).take(1))).numpy()
    check_record(path, 0, record, features, sizes)


def size(name: str | int | None, sizes: Sizes) -> int | None:
    """Returns the value of a length or bound of a Feature."""
    return sizes[name] if isinstance(name, str) else name


def check_record(
    path: str, number: int, record: bytes, features: Features, sizes: Sizes
) -> None:
    """Checks one record; `path` and `number` name it in the message.

    Args:
        path: file.
        number: int. Of the record in the file.
        record: a serialized tf.train.Example.
        features: as of `check`.
        sizes: likewise.

    Raises:
        ValueError: if it is no Example, or a feature is missing, or has
            another type or length or a value out of bounds.
    """
    where = f"{path}: record {number}"
    try:
        example = tf.train.Example.FromString(record)
    except Exception as error:
        raise ValueError(
            f"{where}: got {len(record)} bytes, expected a tf.train.Example"
        ) from error
    present = example.features.feature
    for name, feature in features.items():
        if name not in present:
            raise ValueError(
                f"{where}: got features {', '.join(sorted(present)) or 'none'}"
                f", expected {name}"
            )
        is_float = feature.dtype == tf.float32
        expected = "float_list" if is_float else "int64_list"
        kind = present[name].WhichOneof("kind")
        if kind not in (expected, None):
            raise ValueError(
                f"{where}: {name}: got a {kind}, expected a {expected}"
            )
        values = getattr(present[name], expected).value
        length = size(feature.length, sizes)
        if len(values) != length:
            raise ValueError(
                f"{where}: {name}: got length {len(values)}, expected {length}"
            )
        if min(values) < 0:
            raise ValueError(
                f"{where}: {name}: got {min(values)}, expected at least 0"
            )
        bound = size(feature.bound, sizes)
        if bound and max(values) >= bound:
            raise ValueError(
                f"{where}: {name}: got {max(values)}, expected less than "
                f"{_BOUNDS.get(feature.bound, '')}{bound}"
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
