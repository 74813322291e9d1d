"""A user's own tables: TSV, CSV and JSONL files with named columns.

TSV is read as GLUE's, without quoting; CSV through Python's csv module, with
it; JSONL has an object per line. All are UTF-8, and TSV and CSV begin with a
header.
"""

import csv
import dataclasses
import json
import os
from collections.abc import Iterable
from collections.abc import Mapping

from mobilebert_tf.data import glue
from mobilebert_tf.data import tsv

SUFFIXES = (".tsv", ".csv", ".jsonl")

# Texts of 100,000 characters and more are texts; the default limit is 2^17.
csv.field_size_limit(2**30)


@dataclasses.dataclass(frozen=True)
class Columns:
    """Names of the columns.

    Attributes:
        text: of the (first) text.
        text_b: of the second text of pairs; "" for single texts.
        label: of the label; "" for files without.
    """

    text: str
    text_b: str = ""
    label: str = ""


def read_examples(path: str, columns: Columns) -> list[glue.Example]:
    """Reads a table.

    Args:
        path: a file with one of SUFFIXES.
        columns: which to read; the file may have others.

    Returns:
        The examples in file order. A `guid` is "path:line", the line that
        the row begins on, from 1.

    Raises:
        ValueError: naming file and line, for another suffix, a column that is
            missing, a row with another number of fields, bytes that are not
            UTF-8, broken quoting or JSON, or an empty text or label; and for
            a file that is missing or has no rows.
    """
    names = {"text_a": columns.text}
    if columns.text_b:
        names["text_b"] = columns.text_b
    if columns.label:
        names["label"] = columns.label
    suffix = os.path.splitext(path)[1].lower()
    wanted = list(names.values())
    if suffix == ".tsv":
        rows = tsv.read_columns(path, wanted, has_header=True)
    elif suffix == ".csv":
        rows = tsv.select_columns(path, _csv_rows(path), wanted, True)
    elif suffix == ".jsonl":
        rows = _json_rows(path, wanted)
    else:
        raise ValueError(
            f"{path}: got the suffix {suffix!r}, expected one of "
            f"{', '.join(SUFFIXES)}"
        )
    examples = []
    for line, values in rows:
        example = glue.Example(
            guid=f"{path}:{line}", **dict(zip(names, values, strict=True))
        )
        glue.check_texts(example, names, example.guid)
        if example.label is not None:
            label = _checked_label(example.label, columns, example.guid)
            example = dataclasses.replace(example, label=label)
        examples.append(example)
    return examples


def infer_labels(
    examples: Iterable[glue.Example], path: str
) -> tuple[str, ...]:
    """Returns the different labels of examples, sorted as texts.

    Raises:
        ValueError: if there is but one: there is nothing to tell apart.
    """
    labels = tuple(sorted({example.label for example in examples}))
    if len(labels) < 2:
        raise ValueError(
            f"{path}: got the label {', '.join(labels)} alone, expected at "
            "least two"
        )
    return labels


def _checked_label(label, columns, place):
    """Returns a label without the spaces around it."""
    label = label.strip()
    if not label:
        raise ValueError(
            f"{place}: got an empty label in column {columns.label!r}"
        )
    # Files of labels and predictions have a label on a line, between tabs.
    if len(label.splitlines()) > 1 or "\t" in label:
        raise ValueError(
            f"{place}: got {label!r} in column {columns.label!r}, expected a "
            "label without tabs and line ends"
        )
    return label


def _csv_rows(path):
    """Returns (line that it begins on, fields) of each row with a field."""
    lines = (f"{line}\n" for _, line in tsv.decode_lines(path))
    reader = csv.reader(lines, strict=True)
    rows = []
    start = 1
    try:
        for fields in reader:
            if fields:
                rows.append((start, fields))
            start = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}:{start}: not CSV: {error}") from error
    return rows


def _json_rows(path, columns):
    rows = []
    for number, line in tsv.decode_lines(path):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{place}: not JSON: {error}") from error
        if not isinstance(record, dict):
            raise ValueError(
                f"{place}: got {type(record).__name__}, expected a JSON object"
            )
        rows.append(
            (number, [_json_text(record, name, place) for name in columns])
        )
    if not rows:
        raise ValueError(f"{path}: got no rows, expected at least one")
    return rows


def _json_text(record: Mapping[str, object], name: str, place: str) -> str:
    """Returns a field as a text: numbers and truth values as JSON has them."""
    if name not in record:
        raise ValueError(
            f"{place}: got keys {', '.join(record)}; expected a key {name!r}"
        )
    value = record[name]
    if isinstance(value, str):
        if not value.isascii() and _has_lone_surrogate(value):
            raise ValueError(
                f"{place}: {name}: got half of a surrogate pair, expected text"
            )
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise ValueError(
        f"{place}: {name}: got {json.dumps(value)}, expected a text or number"
    )


def _has_lone_surrogate(text):
    """Whether it has code points that UTF-8 lacks; JSON can escape them."""
    return any("\ud800" <= character <= "\udfff" for character in text)
