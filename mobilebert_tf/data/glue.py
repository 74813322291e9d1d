"""GLUE tasks: files -> examples -> features.

Legend: N examples, S sequence.
"""

import dataclasses
import math
import os
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
from absl import logging

from mobilebert_tf import tokenization
from mobilebert_tf.data import glue_tasks
from mobilebert_tf.data import tsv

TRAIN = glue_tasks.TRAIN
DEV = glue_tasks.DEV
TEST = glue_tasks.TEST
SPLITS = glue_tasks.SPLITS

# Stands for the label of a test example.
UNKNOWN_LABEL = -1

# More of them than in any official file: it is another file.
_MAX_TORN_SHARE = 0.01


@dataclasses.dataclass(frozen=True)
class Example:
    """A text or a pair, and its label unless it is of a test set.

    Attributes:
        guid: names it in messages.
        text_a: the (first) text.
        text_b: the second text of a pair.
        label: its text in the file; of a regression that of a number.
    """

    guid: str
    text_a: str
    text_b: str | None = None
    label: str | None = None


def get_task(name: str) -> glue_tasks.GlueTask:
    """Returns a task by its official name in any case.

    Raises:
        ValueError: if there is no such task.
    """
    task = glue_tasks.TASKS.get(name.lower())
    if task is None:
        names = ", ".join(task.name for task in glue_tasks.TASKS.values())
        raise ValueError(f"task: got {name!r}, expected one of {names}")
    return task


def read_examples(task: str, data_dir: str, split: str) -> list[Example]:
    """Reads one split of a task.

    Args:
        task: name of a task, in any case.
        data_dir: folder with the official files.
        split: one that the task has.

    Returns:
        The examples in file order.

    Raises:
        ValueError: if the task or split is unknown, or the file is not as the
            task says, with file and line.
    """
    task = get_task(task)
    if split not in task.files:
        raise ValueError(
            f"split of {task.name}: got {split!r}, expected one of "
            f"{', '.join(task.files)}"
        )
    layout = task.files[split]
    path = _find(data_dir, layout.file_names)
    fields = {
        name: column
        for name in ("text_a", "text_b", "label")
        if (column := getattr(layout, name)) is not None
    }
    rows = tsv.read_columns(
        path,
        list(fields.values()),
        layout.has_header,
        layout.num_columns,
        max_torn_share=_MAX_TORN_SHARE if layout.has_torn_rows else 0.0,
    )
    examples = []
    for line, values in rows:
        place = f"{path}:{line}"
        example = Example(
            guid=f"{split}-{len(examples)}",
            **dict(zip(fields, values, strict=True)),
        )
        if not layout.has_empty_texts:
            check_texts(example, fields, place)
        if example.label is not None:
            check_label(example.label, task.labels, place, task.value_range)
        examples.append(example)
    return examples


def is_regression(labels: Sequence[str]) -> bool:
    """Whether these labels of a task or model name one value to predict."""
    return len(labels) == 1


def check_texts(
    example: Example, columns: Mapping[str, tsv.Column], place: str
) -> None:
    """Raises ValueError if a text has nothing but white space.

    Args:
        example: its texts are checked.
        columns: names of the columns of text_a and text_b.
        place: file and row.
    """
    for name in ("text_a", "text_b"):
        text = getattr(example, name)
        if text is not None and not text.strip():
            raise ValueError(
                f"{place}: got an empty text in column {columns[name]!r}, "
                "expected some words"
            )


def check_label(
    label: str,
    labels: Sequence[str],
    place: str,
    value_range: tuple[float, float] | None = None,
) -> None:
    """Raises ValueError for a label that the task does not have.

    Args:
        label: as in the file.
        labels: those of the task.
        place: file and row.
        value_range: least and greatest value of a regression; None takes any
            finite number.
    """
    if not is_regression(labels):
        if label not in labels:
            raise ValueError(
                f"{place}: got label {label!r}, expected one of "
                f"{', '.join(labels)}"
            )
        return
    low, high = value_range or (-math.inf, math.inf)
    try:
        value = float(label)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and low <= value <= high):
        expected = (
            f"a number from {low:g} to {high:g}" if value_range else "a number"
        )
        raise ValueError(f"{place}: got {label!r}, expected {expected}")


def features(
    examples: Sequence[Example],
    tokenizer: tokenization.WordPieceTokenizer,
    max_seq_length: int,
    labels: Sequence[str],
) -> dict[str, np.ndarray]:
    """Converts examples to [CLS] a [SEP] (b [SEP]), cut and padded.

    Of a pair too long, the longer text loses tokens from its end, b if they
    are equal.

    Args:
        examples: all with, or all without, a second text.
        tokenizer: maps texts to ids.
        max_seq_length: S.
        labels: texts of the labels, by id; one of them means a regression.

    Returns:
        `input_word_ids`, `input_mask`, `input_type_ids`: int32 [N, S];
        `label_ids`: int32 [N], UNKNOWN_LABEL where an example has none; of a
        regression in its place `label_values`: float32 [N], NaN likewise.

    Raises:
        ValueError: if `max_seq_length` has no room for a token of each text.
    """
    is_pair = bool(examples) and examples[0].text_b is not None
    segments = [tokenizer.tokenize([e.text_a for e in examples])]
    if is_pair:
        segments.append(tokenizer.tokenize([e.text_b for e in examples]))
    room = max_seq_length - 1 - len(segments)
    if room < len(segments):
        raise ValueError(
            f"max_seq_length: got {max_seq_length}, expected at least "
            f"{1 + 2 * len(segments)}"
        )
    lengths = [segment.row_lengths().numpy() for segment in segments]
    kept = _truncated_lengths(lengths, room)
    _warn_if_cut(lengths, kept, max_seq_length)

    shape = len(examples), max_seq_length
    ids = np.full(shape, tokenizer.pad_id, np.int32)
    types = np.zeros(shape, np.int32)
    ids[:, 0] = tokenizer.cls_id
    position = np.arange(max_seq_length)[np.newaxis]  # [1, S]
    start = np.ones([len(examples), 1], np.int64)
    for index, segment in enumerate(segments):
        end = start + kept[index][:, np.newaxis]  # [N, 1], that of the [SEP]
        inside = (position >= start) & (position < end)
        offsets = segment.row_starts().numpy()[:, np.newaxis]
        ids[inside] = segment.flat_values.numpy()[
            (offsets + position - start)[inside]
        ]
        ids[position == end] = tokenizer.sep_id
        types[(position >= start) & (position <= end)] = index
        start = end + 1
    return {
        "input_word_ids": ids,
        "input_mask": (position < start).astype(np.int32),
        "input_type_ids": types,
        **_label_features(examples, labels),
    }


def _find(data_dir, file_names):
    """Returns the path of the first that is there, else that of the first."""
    paths = [os.path.join(data_dir, name) for name in file_names]
    return next(filter(os.path.isfile, paths), paths[0])


def _label_features(examples, labels):
    if is_regression(labels):
        values = [math.nan if e.label is None else e.label for e in examples]
        return {"label_values": np.array(values, np.float32)}
    ids = {label: index for index, label in enumerate(labels)}
    return {
        "label_ids": np.array(
            [
                UNKNOWN_LABEL if e.label is None else ids[e.label]
                for e in examples
            ],
            np.int32,
        )
    }


def _truncated_lengths(lengths, room):
    if len(lengths) == 1:
        return [np.minimum(lengths[0], room)]
    a, b = lengths
    # The end of "shorten the longer by one, b if equal, until both fit".
    a_kept = np.maximum((room + 1) // 2, room - b)
    b_kept = np.maximum(room // 2, room - a)
    fits = a + b <= room
    return [
        np.where(fits, a, np.minimum(a, a_kept)),
        np.where(fits, b, np.minimum(b, b_kept)),
    ]


def _warn_if_cut(lengths, kept, max_seq_length):
    cut = np.sum(sum(kept) < sum(lengths))
    if cut:
        logging.warning(
            "%d of %d examples are longer than %d tokens and were cut",
            cut,
            len(kept[0]),
            max_seq_length,
        )
