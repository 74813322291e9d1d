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

_EMPTY_LINES_BETWEEN_DOCUMENTS = 3

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


def read_documents(path: str, text_format: str = AUTO) -> Iterator[list[str]]:
    """Yields the documents of a file; empty ones are skipped.

    Args:
        path: a UTF-8 text file.
        text_format: one of FORMATS; `auto` decides by `guess_format`.

    Yields:
        The sentences of a document, stripped.

    Raises:
        OSError: if the file cannot be read.
        ValueError: at the first byte that is not UTF-8, with its offset.
    """
    text_format = find_format(path, text_format)
    lines = _read_lines(path)
    return _read_book(lines) if text_format == BOOK else _read_sentences(lines)


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


def _read_lines(path):
    """Yields the lines without surrounding white space."""
    offset = 0
    with tf.io.gfile.GFile(path, "rb") as stream:
        for line in stream:
            try:
                decoded = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}: got byte 0x{line[error.start]:02x} at offset "
                    f"{offset + error.start}, expected UTF-8 text"
                ) from error
            if not offset:
                decoded = decoded.removeprefix("\ufeff")
            offset += len(line)
            yield decoded.strip()


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
    for line in lines:
        if line:
            if empty_lines >= _EMPTY_LINES_BETWEEN_DOCUMENTS and document:
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
