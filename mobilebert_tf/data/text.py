"""Raw text files as documents, each a list of sentences.

Two layouts are read:

* `sentences`: one sentence per line, an empty line between documents (the
  input of BERT's own script);
* `book`: hard-wrapped lines, an empty line between paragraphs; three or more
  empty lines in a row begin a new document (a chapter, usually).
"""

import itertools
import re
from collections.abc import Iterable
from collections.abc import Iterator

import tensorflow as tf
from absl import logging

from mobilebert_tf.data import sentences

SENTENCES = "sentences"
BOOK = "book"
AUTO = "auto"
FORMATS = (AUTO, SENTENCES, BOOK)

# Empty lines that begin a new document, by format.
EMPTY_LINES_BETWEEN_DOCUMENTS = {SENTENCES: 1, BOOK: 3}

# Read at a time.
_BLOCK_BYTES = 2**18

# `auto` looks at this many lines. Hard-wrapped text has short lines that mostly
# stop in the middle of a sentence.
_LINES_EXAMINED = 2000
_LONGEST_WRAPPED_LINE = 100
_MIN_SHORT_LINES = 0.95
_MAX_SENTENCE_ENDS = 0.7

_SENTENCE_END = re.compile(f"[.!?…:;]{sentences.CLOSING}*$")


def expand(patterns: Iterable[str]) -> list[str]:
    """Returns the files that match the paths or globs, each once, in order.

    Raises:
        ValueError: if there is no pattern or one of them matches no file.
    """
    paths = {}
    for pattern in patterns:
        matches = sorted(
            path
            for path in tf.io.gfile.glob(pattern)
            if not tf.io.gfile.isdir(path)
        )
        if not matches:
            raise ValueError(f"{pattern}: got no file, expected at least one")
        paths.update(dict.fromkeys(matches))
    if not paths:
        raise ValueError("got no input file, expected at least one")
    return list(paths)


def read_documents(
    path: str, text_format: str = AUTO, start: int = 0, end: int | None = None
) -> Iterator[list[str]]:
    """Yields the documents of a file; empty ones are skipped.

    Args:
        path: a UTF-8 text file.
        text_format: one of FORMATS; `auto` decides by `guess_format`.
        start: offset of the line to start with, in bytes.
        end: offset of the line to stop before; None: the end of the file.

    Yields:
        The sentences of a document, stripped.

    Raises:
        OSError: if the file cannot be read.
        ValueError: at the first byte that is not UTF-8, with its offset.
    """
    text_format = find_format(path, text_format)
    return documents(_read_lines(path, start, end), text_format)


def find_format(path: str, text_format: str) -> str:
    """Returns BOOK or SENTENCES; `auto` looks into the file and logs why.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if `text_format` is none of FORMATS, or the lines examined
            are not UTF-8.
    """
    if text_format not in FORMATS:
        raise ValueError(
            f"input format: got {text_format!r}, expected one of "
            f"{', '.join(FORMATS)}"
        )
    if text_format == AUTO:
        text_format, reason = guess_format(_read_lines(path))
        logging.info("%s: read as %s (%s)", path, text_format, reason)
    return text_format


def guess_format(lines: Iterable[str]) -> tuple[str, str]:
    """Decides between `book` and `sentences` by the first 2,000 lines.

    Only lines that another line follows directly count: in a hard-wrapped
    text these are the inner lines of paragraphs. `book` means that at least
    95 % of them have at most 100 characters and fewer than 70 % end
    with a punctuation mark.

    Returns:
        The format, and the figures that decided.
    """
    examined = [
        line
        for line, following in itertools.pairwise(
            itertools.islice(lines, _LINES_EXAMINED)
        )
        if line and following
    ]
    if not examined:
        return SENTENCES, "no two lines without an empty line between"
    short = sum(len(line) <= _LONGEST_WRAPPED_LINE for line in examined)
    ends = sum(bool(_SENTENCE_END.search(line)) for line in examined)
    short, ends = short / len(examined), ends / len(examined)
    wrapped = short >= _MIN_SHORT_LINES and ends < _MAX_SENTENCE_ENDS
    return (
        BOOK if wrapped else SENTENCES,
        f"{short:.0%} of lines within {_LONGEST_WRAPPED_LINE} characters, "
        f"{ends:.0%} end with punctuation",
    )


def raw_lines(path: str, start: int = 0) -> Iterator[bytes]:
    """Yields the lines of a file from byte `start` on, ends included.

    Iterating over a tf.io.gfile.GFile drops carriage returns, so that
    offsets into the file cannot be told.
    """
    rest = b""
    with tf.io.gfile.GFile(path, "rb") as stream:
        stream.seek(start)
        while block := stream.read(_BLOCK_BYTES):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                yield line + b"\n"
    if rest:
        yield rest


def _read_lines(path, start=0, end=None):
    """Yields the lines without surrounding white space."""
    offset = start
    for line in raw_lines(path, start):
        if end is not None and offset >= end:
            break
        try:
            decoded = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}: got byte 0x{line[error.start]:02x} at offset "
                f"{offset + error.start} (line {_line_number(path, offset)}), "
                "expected UTF-8 text"
            ) from error
        if not offset:
            decoded = decoded.removeprefix("\ufeff")
        offset += len(line)
        yield decoded.strip()


def _line_number(path, offset):
    """Returns the number, from 1, of the line that starts at `offset`."""
    number = 1
    for line in raw_lines(path):
        if offset <= 0:
            break
        offset -= len(line)
        number += 1
    return number


def _read_sentences(lines):
    document = []
    for line in lines:
        if line:
            document.append(line)
        elif document:
            yield document
            document = []
    if document:
        yield document


def _read_book(lines):
    document = []
    paragraph = []
    empty_lines = 0
    separator = EMPTY_LINES_BETWEEN_DOCUMENTS[BOOK]
    for line in lines:
        if line:
            if empty_lines >= separator and document:
                yield document
                document = []
            empty_lines = 0
            paragraph.append(line)
            continue
        empty_lines += 1
        document.extend(sentences.split(" ".join(paragraph)))
        paragraph = []
    document.extend(sentences.split(" ".join(paragraph)))
    if document:
        yield document


def documents(lines: Iterable[str], text_format: str) -> Iterator[list[str]]:
    """Yields the documents of stripped lines; BOOK or SENTENCES."""
    return _read_book(lines) if text_format == BOOK else _read_sentences(lines)
