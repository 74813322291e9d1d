"""Reads tab-separated files as GLUE distributes them.

No quoting: a quotation mark is a character like any other. A byte-order mark,
CRLF, empty lines and a missing final newline are accepted.
"""

import os
from collections.abc import Sequence

# A column is named by the header or, where a file has none, by its index.
Column = str | int


def read_columns(
    path: str,
    columns: Sequence[Column],
    has_header: bool,
    num_columns: int | None = None,
) -> list[tuple[int, list[str]]]:
    """Reads some columns of a file.

    Args:
        path: a UTF-8 file.
        columns: header names, or indices if there is no header.
        has_header: whether the first line names the columns.
        num_columns: fields of each row; None takes the header's number.

    Returns:
        (line number from 1, one text per column) for each row.

    Raises:
        ValueError: if the file is missing, is not UTF-8 or has no rows, if
            the header lacks a column, or a row has another number of fields.
    """
    rows = _split_rows(path)
    if has_header:
        if not rows:
            raise ValueError(f"{path}: got an empty file, expected a header")
        line, header = rows[0]
        rows = rows[1:]
        for column in columns:
            if column not in header:
                raise ValueError(
                    f"{path}:{line}: got columns {', '.join(header)}; "
                    f"expected a column {column!r}"
                )
        indices = [header.index(column) for column in columns]
        num_columns = num_columns or len(header)
    else:
        indices = list(columns)
    if not rows:
        raise ValueError(f"{path}: got no rows, expected at least one")
    selected = []
    for line, fields in rows:
        if len(fields) != num_columns:
            raise ValueError(
                f"{path}:{line}: got {len(fields)} columns, expected "
                f"{num_columns}"
            )
        selected.append((line, [fields[index] for index in indices]))
    return selected


def _split_rows(path):
    if not os.path.isfile(path):
        raise ValueError(f"{path}: got no such file, expected a TSV file")
    with open(path, "rb") as stream:
        data = stream.read()
    rows = []
    # Not str.splitlines: it also splits at characters that occur in texts.
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            decoded = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}:{number}: got byte 0x{line[error.start]:02x}, "
                "expected UTF-8 text"
            ) from error
        if number == 1:
            decoded = decoded.removeprefix("\ufeff")
        decoded = decoded.removesuffix("\r")
        if decoded.strip():
            rows.append((number, decoded.split("\t")))
    return rows
