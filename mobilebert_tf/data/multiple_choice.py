"""Multiple choice in SWAG's layout: CSV -> examples -> features.

A row has a context (`sent1`), the beginning that all choices share (`sent2`,
may be absent or empty), a choice in each of `ending0`, `ending1` and so on,
and the index of the right one (`label`); other columns are passed over.

Legend: N examples, C choices, S sequence.
"""

import csv
import dataclasses
import os
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np

from mobilebert_tf import tokenization
from mobilebert_tf.data import glue

# As of data/tables.py: the default limit is 2^17 characters.
csv.field_size_limit(2**30)

_CONTEXT = "sent1"
_BEGINNING = "sent2"
_CHOICE = "ending"
_LABEL = "label"


@dataclasses.dataclass(frozen=True)
class Example:
    """A context and how it may go on.

    Attributes:
        context: text.
        choices: C texts.
        label: index of the right one, None in a test set.
    """

    context: str
    choices: tuple[str, ...]
    label: int | None = None


def read_examples(path: str, has_labels: bool) -> list[Example]:
    """Reads a file.

    Args:
        path: a UTF-8 CSV file with a header.
        has_labels: whether to read the column `label`.

    Returns:
        The examples in file order, all with the same number of choices.

    Raises:
        ValueError: if the file is missing, is not UTF-8 or CSV, has no rows
            or lacks a column, or if a row has another number of fields, an
            empty context or choice, or a label that is no index of a choice,
            with file and line.
    """
    rows = _read_rows(path)
    line, header = next(rows, (1, []))
    names = [
        name
        for name in (f"{_CHOICE}{i}" for i in range(len(header)))
        if name in header
    ]
    expected = [f"{_CHOICE}{i}" for i in range(max(2, len(names)))]
    needed = [_CONTEXT, *expected, *([_LABEL] if has_labels else [])]
    for name in needed:
        if name not in header:
            raise ValueError(
                f"{path}:{line}: got columns {', '.join(header) or 'none'}; "
                f"expected a column {name!r}"
            )
    examples = []
    for line, fields in rows:
        if len(fields) != len(header):
            raise ValueError(
                f"{path}:{line}: got {len(fields)} columns, expected "
                f"{len(header)}"
            )
        row = dict(zip(header, fields, strict=True))
        examples.append(_example(f"{path}:{line}", row, names, has_labels))
    if not examples:
        raise ValueError(f"{path}: got no rows, expected at least one")
    return examples


def features(
    examples: Sequence[Example],
    tokenizer: tokenization.WordPieceTokenizer,
    max_seq_length: int,
) -> dict[str, np.ndarray]:
    """Converts examples to [CLS] context [SEP] choice [SEP], cut and padded.

    Of a pair too long, the longer text loses tokens from its end, the choice
    if they are equal.

    Args:
        examples: all with C choices.
        tokenizer: maps texts to ids.
        max_seq_length: S.

    Returns:
        `input_word_ids`, `input_mask`, `input_type_ids`: int32 [N, C, S];
        `label_ids`: int32 [N], glue.UNKNOWN_LABEL where an example has none.

    Raises:
        ValueError: if `max_seq_length` has no room for a token of each text.
    """
    num_choices = len(examples[0].choices)
    pairs = [
        glue.Example(guid="", text_a=example.context, text_b=choice)
        for example in examples
        for choice in example.choices
    ]
    arrays = glue.features(pairs, tokenizer, max_seq_length, labels=())
    shape = len(examples), num_choices, max_seq_length
    return {
        **{
            name: arrays[name].reshape(shape)
            for name in ("input_word_ids", "input_mask", "input_type_ids")
        },
        "label_ids": np.array(
            [
                glue.UNKNOWN_LABEL if example.label is None else example.label
                for example in examples
            ],
            np.int32,
        ),
    }


def _example(place, row, names, has_labels):
    context = row[_CONTEXT].strip()
    if not context:
        raise ValueError(
            f"{place}: got an empty {_CONTEXT}, expected some words"
        )
    for name in names:
        if not row[name].strip():
            raise ValueError(
                f"{place}: got an empty {name}, expected some words"
            )
    beginning = row.get(_BEGINNING, "").strip()
    choices = tuple(f"{beginning} {row[name]}".strip() for name in names)
    if not has_labels:
        return Example(context, choices)
    indices = [str(index) for index in range(len(names))]
    label = row[_LABEL].strip()
    if label not in indices:
        raise ValueError(
            f"{place}: got label {label!r}, expected one of "
            f"{', '.join(indices)}"
        )
    return Example(context, choices, int(label))


def _read_rows(path) -> Iterator[tuple[int, list[str]]]:
    """Yields the line that a row begins in, and its fields."""
    reader = csv.reader(_read_lines(path), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(
                f"{path}:{line}: got a row that is no CSV ({error}), expected "
                "fields between commas, quoted ones closed"
            ) from error
        if fields:
            yield line, fields


def _read_lines(path) -> Iterator[str]:
    if not os.path.isfile(path):
        raise ValueError(f"{path}: got no such file, expected a CSV file")
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}:{number}: got byte 0x{line[error.start]:02x}, "
                    "expected UTF-8 text"
                ) from error
            yield text.removeprefix("\ufeff") if number == 1 else text
