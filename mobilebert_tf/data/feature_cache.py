"""Features on disk that are those asked for, whole, or made anew.

One file: a line that identifies it, a line of JSON (the key and the columns),
one record of fixed size per row, a SHA-256 of everything before it.
"""

import hashlib
import json
import os
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping

import numpy as np
from absl import logging

from mobilebert_tf import files

Features = Mapping[str, np.ndarray]
Key = Mapping[str, str | int | float | bool]

_MAGIC = b"mobilebert_tf features 1\n"
_DIGEST_BYTES = hashlib.sha256().digest_size
_BLOCK_BYTES = 2**22


class _UnusableError(Exception):
    """Why the features of a file cannot be used."""


def digest(path: str) -> str:
    """Returns the SHA-256 of a file's content in hexadecimal digits.

    Raises:
        OSError: if it cannot be read.
    """
    with open(path, "rb") as stream:
        return _hash(stream, os.path.getsize(path)).hexdigest()


def load_or_build(
    path: str, key: Key, build: Callable[[], Iterable[Features]]
) -> Features:
    """Returns the features that `path` holds for `key`, or builds them.

    Another key, a cut-off or a changed file means a line in the log and a new
    file, which replaces the old one once it is whole. So a process that reads
    the old one goes on reading it.

    Args:
        path: the cache file; its folder is made if absent.
        key: what the features depend on: digests of files, lengths, task,
            version of the code. Values of JSON.
        build: called if need be; returns batches of features, arrays
            [n, ...] that agree in all but n. At least one.

    Returns:
        The features of all batches in order, [N, ...]. They are mapped from
        the file and cannot be written to.

    Raises:
        OSError: if the file can be neither read nor written.
        ValueError: if there is no batch, or the columns of one differ from
            those of the first.
    """
    key = dict(key)
    try:
        features = _read(path, key)
    except _UnusableError as reason:
        logging.info("%s: making features: %s", path, reason)
        _write(path, key, build())
    else:
        logging.info("%s: using the features of an earlier run", path)
        return features
    try:
        return _read(path, key)
    except _UnusableError as reason:
        raise OSError(f"{path}: written just now, but {reason}") from None


def _read(path, key):
    """Returns the features of a file.

    Raises:
        _UnusableError: if they are not those of `key`, or are damaged.
    """
    if not os.path.isfile(path):
        raise _UnusableError("no such file")
    with open(path, "rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise _UnusableError("it holds no features")
        # Nothing that is damaged is interpreted.
        num_bytes = os.fstat(stream.fileno()).st_size - _DIGEST_BYTES
        stream.seek(0)
        if _hash(stream, num_bytes).digest() != stream.read():
            raise _UnusableError("it is cut off or damaged")
        stream.seek(len(_MAGIC))
        header = json.loads(stream.readline())
        found = header["key"]
        names = [n for n in {**found, **key} if found.get(n) != key.get(n)]
        if names:
            raise _UnusableError(f"it was made with other {', '.join(names)}")
        dtype = _dtype(header["columns"])
        offset = stream.tell()
        rows = (num_bytes - offset) // dtype.itemsize
        if rows:
            records = np.memmap(stream, dtype, "r", offset, shape=(rows,))
        else:  # nothing cannot be mapped
            records = np.empty(0, dtype)
    return {name: records[name] for name in dtype.names}


def _hash(stream, num_bytes):
    """Returns the SHA-256 object of so many bytes, or fewer at the end."""
    hasher = hashlib.sha256()
    while num_bytes > 0 and (
        block := stream.read(min(num_bytes, _BLOCK_BYTES))
    ):
        hasher.update(block)
        num_bytes -= len(block)
    return hasher


def _write(path, key, batches):
    hasher = hashlib.sha256()
    dtype = None
    with files.atomic_path(path) as temporary:
        with open(temporary, "wb") as stream:

            def write(data):
                hasher.update(data)
                stream.write(data)

            for batch in batches:
                columns = _columns(batch)
                if dtype is None:
                    dtype, first = _dtype(columns), columns
                    write(_MAGIC + _header(key, columns))
                elif columns != first:
                    raise ValueError(
                        f"features of {path}: got columns {columns}, expected "
                        f"{first}"
                    )
                write(_records(batch, dtype).tobytes())
            if dtype is None:
                raise ValueError(
                    f"features of {path}: got none, expected at least one batch"
                )
            stream.write(hasher.digest())


def _header(key, columns):
    return json.dumps({"key": key, "columns": columns}).encode() + b"\n"


def _columns(batch):
    """Returns [name, dtype, shape of a row] of each column."""
    return [
        [name, values.dtype.newbyteorder("<").str, list(values.shape[1:])]
        for name, values in batch.items()
    ]


def _dtype(columns):
    return np.dtype(
        [(name, kind, tuple(shape)) for name, kind, shape in columns]
    )


def _records(batch, dtype):
    rows = {len(values) for values in batch.values()}
    if len(rows) != 1:
        raise ValueError(f"features: got columns of {sorted(rows)} rows")
    records = np.empty(rows.pop(), dtype)
    for name, values in batch.items():
        records[name] = values
    return records
