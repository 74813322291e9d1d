"""Reads and extends files in the CoNLL layout: a word per line, in columns.

    EU      NNP  B-NP  B-ORG
    rejects VBZ  B-VP  O

    Peter   NNP  B-NP  B-PER

Columns are separated by a tab each if the first row has one, else by runs of
spaces. A blank line ends a sentence, and so does a -DOCSTART- line, which is
no word. In a file with tabs a line that starts with # and has none is a
comment. A byte-order mark, CRLF and a missing final newline are accepted.
"""

import enum
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from absl import logging

from mobilebert_tf import files

_DOCUMENT_START = b"-DOCSTART-"
_SPACES = re.compile(" +")
_BOM = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """A line of a word.

    Attributes:
        number: of the line, from 1.
        fields: text of each column.
    """

    number: int
    fields: list[str]


class _Kind(enum.Enum):
    WORD = enum.auto()
    BLANK = enum.auto()
    DOCUMENT_START = enum.auto()
    COMMENT = enum.auto()


def read_sentences(path: str) -> list[list[Row]]:
    """Reads the rows of each sentence.

    Args:
        path: a UTF-8 file.

    Returns:
        Sentences of one or more rows, all with the same number of fields.

    Raises:
        ValueError: if the file is missing, is not UTF-8 or has no words, or
            if a row has not the first one's number of columns, with file and
            line.
    """
    sentences = [[]]
    lines = _lines(path)
    if lines[-1]:
        logging.warning(
            "%s:%d: the last line has no end: was the file cut?",
            path,
            len(lines),
        )
    for number, (kind, fields) in enumerate(_parse(path, lines), 1):
        if kind == _Kind.WORD:
            sentences[-1].append(Row(number, fields))
        elif kind != _Kind.COMMENT and sentences[-1]:
            sentences.append([])
    if not sentences[-1]:
        sentences.pop()
    if not sentences:
        raise ValueError(f"{path}: got no words, expected at least one")
    return sentences


def append_column(source: str, target: str, values: Sequence[str]) -> None:
    """Copies a file, with one more column at the end of each row.

    All that was in a line stays as it was, byte for byte. -DOCSTART- lines
    with the columns of a row get an "O", as CoNLL's own files have it there.

    Args:
        source: a file that `read_sentences` reads.
        target: file to write, whole or not at all.
        values: text for each row.

    Raises:
        ValueError: as read_sentences, or if there are not as many rows as
            values.
    """
    lines = _lines(source)
    parsed = list(_parse(source, lines))
    widths = [len(fields) for kind, fields in parsed if kind == _Kind.WORD]
    if len(widths) != len(values):
        raise ValueError(
            f"{source}: got {len(widths)} words, expected {len(values)}: it "
            "has changed since it was read"
        )
    separator = b"\t" if _has_tabs(lines) else b" "
    remaining = iter(values)
    written = []
    for line, (kind, fields) in zip(lines, parsed, strict=True):
        value = ""
        if kind == _Kind.WORD:
            value = next(remaining)
        elif kind == _Kind.DOCUMENT_START and [len(fields)] == widths[:1]:
            value = "O"
        if value:
            text = line.removesuffix(b"\r")
            line = text + separator + value.encode() + line[len(text) :]
        written.append(line)
    files.write_bytes(target, b"\n".join(written))


def _lines(path):
    if not os.path.isfile(path):
        raise ValueError(f"{path}: got no such file, expected columns of words")
    with open(path, "rb") as stream:
        # Not splitlines: it also splits at characters that occur in words.
        return stream.read().split(b"\n")


def _has_tabs(lines):
    """Whether the first row is separated by tabs."""
    for line in lines:
        text = line.removeprefix(_BOM).strip()
        if text and not text.startswith((b"#", _DOCUMENT_START)):
            return b"\t" in line
    return False


def _parse(path, lines):
    """Yields the kind and the fields of each line."""
    has_tabs = _has_tabs(lines)
    num_columns = None
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}:{number}: got byte 0x{line[error.start]:02x}, "
                "expected UTF-8 text"
            ) from error
        if number == 1:
            text = text.removeprefix("\ufeff")
        text = text.removesuffix("\r")
        fields = (
            text.split("\t") if has_tabs else _SPACES.split(text.rstrip(" "))
        )
        if not text.strip(" \t"):
            yield _Kind.BLANK, []
        elif fields[0].encode() == _DOCUMENT_START:
            yield _Kind.DOCUMENT_START, fields
        elif has_tabs and len(fields) == 1 and text.startswith("#"):
            yield _Kind.COMMENT, []
        else:
            num_columns = num_columns or len(fields)
            if len(fields) != num_columns:
                raise ValueError(
                    f"{path}:{number}: got {len(fields)} columns, expected "
                    f"{num_columns}"
                )
            yield _Kind.WORD, fields
