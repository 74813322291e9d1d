"""Text files as chunks of bytes that can be read in any order."""

import dataclasses
import functools
import re
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from mobilebert_tf.data import text

# A chunk ends at the first empty line behind so many bytes, or within a
# document that is longer than the other number at the end of a line.
_CHUNK_BYTES = 1 << 16
_MAX_CHUNK_BYTES = 1 << 18
_LONGEST_LINE_BYTES = 1 << 24

_EMPTY_LINE = re.compile(rb"\n[ \t\r]*\n")


@dataclasses.dataclass(frozen=True)
class TextChunks:
    """Where the chunks of some files lie.

    Attributes:
        paths: of the files.
        formats: of each file, text.SENTENCES or text.BOOK.
        chunks: int64 [chunks, 3]: index of the file, offset and length in
            bytes; in order of files and offsets, without gaps.
    """

    paths: tuple[str, ...]
    formats: tuple[str, ...]
    chunks: np.ndarray

    @property
    def num_bytes(self) -> int:
        return int(self.chunks[:, 2].sum())

    def documents(self, chunks: Sequence[int]) -> Iterator[list[str]]:
        """Yields the documents of some chunks as lists of sentences."""
        for file, offset, length in self.chunks[chunks].tolist():
            path = self.paths[file]
            with tf.io.gfile.GFile(path, "rb") as stream:
                stream.seek(offset)
                content = stream.read(length)
            try:
                lines = _lines(content, is_first=not offset)
            except UnicodeDecodeError:
                lines = None
            if lines is None or len(content) != length:
                raise ValueError(f"{path}: the file changed since the start")
            yield from text.documents(lines, self.formats[file])


def index(paths: Sequence[str], text_format: str = text.AUTO) -> TextChunks:
    """Reads all files once and finds their chunks.

    A document of more than 64 KiB may become several.

    Args:
        paths: of UTF-8 text files.
        text_format: one of text.FORMATS.

    Raises:
        ValueError: if a file is not UTF-8 or holds no text, naming file and
            line.
    """
    chunks = []
    formats = []
    for number, path in enumerate(paths):
        stat = tf.io.gfile.stat(path)
        lengths = _chunk_lengths(path, stat.mtime_nsec, stat.length)
        offsets = np.cumsum(lengths) - lengths
        chunks.append(
            np.stack([np.full_like(lengths, number), offsets, lengths], axis=1)
        )
        formats.append(text.find_format(path, text_format))
    return TextChunks(tuple(paths), tuple(formats), np.concatenate(chunks))


@functools.cache
def _chunk_lengths(path, mtime_nsec, length):
    """Returns int64 [chunks]; a file is read once for each content of it."""
    del mtime_nsec, length  # Keys of the cache only.
    lengths = []
    offset = line = 0
    has_text = False
    for content in _split(path):
        try:
            lines = _lines(content, is_first=not offset)
        except UnicodeDecodeError as error:
            line += 1 + content.count(b"\n", 0, error.start)
            raise ValueError(
                f"{path}: line {line}: got byte "
                f"0x{content[error.start]:02x} at offset "
                f"{offset + error.start}, expected UTF-8 text"
            ) from error
        has_text = has_text or any(lines)
        lengths.append(len(content))
        offset += len(content)
        line += content.count(b"\n")
        logging.log_every_n_seconds(
            logging.INFO, "%s: checked %d MB", 10, path, offset // 10**6
        )
    if not has_text:
        raise ValueError(f"{path}: got no text, expected some words")
    return np.array(lengths, np.int64)


def _split(path):
    """Yields the contents of the chunks of a file."""
    pending = b""
    with tf.io.gfile.GFile(path, "rb") as stream:
        while True:
            content = stream.read(_MAX_CHUNK_BYTES)
            pending += content
            end = _cut(pending)
            while end:
                yield pending[:end]
                pending = pending[end:]
                end = _cut(pending)
            if not content:
                break
            if len(pending) > _LONGEST_LINE_BYTES:
                raise ValueError(
                    f"{path}: got more than {_LONGEST_LINE_BYTES} bytes in a "
                    "line, expected lines of text"
                )
    if pending:
        yield pending


def _cut(pending):
    """Returns where the first chunk ends; 0 if more must be read."""
    empty_line = _EMPTY_LINE.search(pending, _CHUNK_BYTES, _MAX_CHUNK_BYTES)
    if empty_line:
        return empty_line.end()
    return pending.find(b"\n", _MAX_CHUNK_BYTES - 1) + 1


def _lines(content, is_first):
    """Returns the lines of a chunk without surrounding white space."""
    decoded = content.decode("utf-8")
    if is_first:
        decoded = decoded.removeprefix("\ufeff")
    return [line.strip() for line in decoded.split("\n")]
