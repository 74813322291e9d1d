"""Reads tab-separated files as GLUE distributes them.

No quoting: a quotation mark is a character like any other. A byte-order mark,
CRLF, empty lines and a missing final newline are accepted.
"""

import os
from collections.abc import Iterator
from collections.abc import Sequence

from absl import logging

# A column is named by the header or, where a file has none, by its index.
Column = str | int


def read_columns(
    path: str,
    columns: Sequence[Column],
    has_header: bool,
    num_columns: int | None = None,
    max_torn_share: float = 0.0,
) -> list[tuple[int, list[str]]]:
    """Reads some columns of a file.

    Args:
        path: a UTF-8 file.
        columns: header names, or indices if there is no header.
        has_header: whether the first line names the columns.
        num_columns: fields of each row; None takes the header's number.
        max_torn_share: rows with another number of fields are passed over,
            with a warning, if they are not more than this share of all.

    Returns:
        (line number from 1, one text per column) for each row.

    Raises:
        ValueError: if the file is missing, is not UTF-8 or has no rows, if
            the header lacks a column, or a row has another number of fields.
    """
    rows = [
        (number, line.split("\t"))
        for number, line in decode_lines(path)
        if line.strip()
    ]
    return select_columns(
        path, rows, columns, has_header, num_columns, max_torn_share
    )


def select_columns(
    path: str,
    rows: Sequence[tuple[int, list[str]]],
    columns: Sequence[Column],
    has_header: bool,
    num_columns: int | None = None,
    max_torn_share: float = 0.0,
) -> list[tuple[int, list[str]]]:
    """Does the same for rows that are split into fields.

    Args:
        path: where they are from, for messages.
        rows: (line number from 1, fields), the header first.
        columns: as of read_columns, with all that follows.
    """
    if has_header:
        if not rows:
            raise ValueError(f"{path}: got an empty file, expected a header")
        line, header = rows[0]
        rows = rows[1:]
        for column in columns:
            if header.count(column) != 1:
                raise ValueError(
                    f"{path}:{line}: got columns {', '.join(header)}; "
                    f"expected a column {column!r}"
                    + (", once" if column in header else "")
                )
        indices = [header.index(column) for column in columns]
        num_columns = num_columns or len(header)
    else:
        indices = list(columns)
    if not rows:
        raise ValueError(f"{path}: got no rows, expected at least one")
    whole = [row for row in rows if len(row[1]) == num_columns]
    num_torn = len(rows) - len(whole)
    if num_torn and num_torn <= max_torn_share * len(rows):
        logging.warning(
            "%s: passed over %d of %d rows, which are torn",
            path,
            num_torn,
            len(rows),
        )
        rows = whole
    for line, fields in rows:
        if len(fields) != num_columns:
            raise ValueError(
                f"{path}:{line}: got {len(fields)} columns, expected "
                f"{num_columns}"
            )
    return [
        (line, [fields[index] for index in indices]) for line, fields in rows
    ]


def decode_lines(path: str) -> Iterator[tuple[int, str]]:
    """Yields (number from 1, line without its end) of a UTF-8 file.

    A last line without an end is accepted with a warning: a file that was cut
    short may look like that.

    Raises:
        ValueError: if the file is missing or a line is not UTF-8.
    """
    if not os.path.isfile(path):
        raise ValueError(f"{path}: got no such file, expected a table")
    # Not text mode: it splits at other characters too, which occur in texts.
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                decoded = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}:{number}: got byte 0x{line[error.start]:02x}, "
                    "expected UTF-8 text"
                ) from error
            if number == 1:
                decoded = decoded.removeprefix("\ufeff")
            if not line.endswith(b"\n"):
                logging.warning(
                    "%s:%d: the last line has no end: was the file cut?",
                    path,
                    number,
                )
            yield number, decoded.removesuffix("\n").removesuffix("\r")
