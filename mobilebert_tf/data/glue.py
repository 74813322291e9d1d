"""GLUE tasks: files -> examples -> features -> tf.data."""

import dataclasses
import functools
import os
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from mobilebert_tf import tokenization
from mobilebert_tf.data import epochs
from mobilebert_tf.data import tsv

TRAIN = "train"
DEV = "dev"
TEST = "test"
SPLITS = (TRAIN, DEV, TEST)

# Stands for the label of a test example.
UNKNOWN_LABEL = -1


@dataclasses.dataclass(frozen=True)
class FileLayout:
    """Where a file has its texts and labels.

    Attributes:
        file_name: in the task's folder.
        text_a: column of the (first) text: a header name, or an index in a
            file without header.
        text_b: column of the second text, if the task has pairs.
        label: column of the label; None in test files.
        num_columns: fields per row, of a file without header.
    """

    file_name: str
    text_a: tsv.Column
    text_b: tsv.Column | None = None
    label: tsv.Column | None = None
    num_columns: int | None = None

    @property
    def has_header(self) -> bool:
        return self.num_columns is None


@dataclasses.dataclass(frozen=True)
class GlueTask:
    """A task.

    Attributes:
        name: official spelling.
        labels: texts of the labels in the files, by id.
        metrics: names of the official metrics, the one that selects models
            first.
        files: layout by split.
    """

    name: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    files: Mapping[str, FileLayout]


@dataclasses.dataclass(frozen=True)
class Example:
    """One row: a text or a pair, and its label unless it is of a test set."""

    guid: str
    text_a: str
    text_b: str | None = None
    label: str | None = None


_TASKS = (
    GlueTask(
        name="CoLA",
        labels=("0", "1"),
        metrics=("matthews_correlation", "accuracy"),
        files={
            TRAIN: FileLayout("train.tsv", text_a=3, label=1, num_columns=4),
            DEV: FileLayout("dev.tsv", text_a=3, label=1, num_columns=4),
            TEST: FileLayout("test.tsv", text_a="sentence"),
        },
    ),
    GlueTask(
        name="SST-2",
        labels=("0", "1"),
        metrics=("accuracy",),
        files={
            TRAIN: FileLayout("train.tsv", text_a="sentence", label="label"),
            DEV: FileLayout("dev.tsv", text_a="sentence", label="label"),
            TEST: FileLayout("test.tsv", text_a="sentence"),
        },
    ),
)
TASKS = {task.name.lower(): task for task in _TASKS}


def get_task(name: str) -> GlueTask:
    """Returns a task by its official name in any case.

    Raises:
        ValueError: if there is no such task.
    """
    task = TASKS.get(name.lower())
    if task is None:
        raise ValueError(
            f"task: got {name!r}, expected one of "
            f"{', '.join(task.name for task in _TASKS)}"
        )
    return task


def read_examples(task: str, data_dir: str, split: str) -> list[Example]:
    """Reads one split of a task.

    Args:
        task: name of a task, in any case.
        data_dir: folder with the official files.
        split: one of SPLITS.

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
    path = os.path.join(data_dir, layout.file_name)
    fields = {
        name: column
        for name in ("text_a", "text_b", "label")
        if (column := getattr(layout, name)) is not None
    }
    rows = tsv.read_columns(
        path, list(fields.values()), layout.has_header, layout.num_columns
    )
    examples = []
    for line, values in rows:
        example = Example(
            guid=f"{split}-{len(examples)}",
            **dict(zip(fields, values, strict=True)),
        )
        for name in ("text_a", "text_b"):
            if name in fields and not getattr(example, name).strip():
                raise ValueError(
                    f"{path}:{line}: got an empty text in column "
                    f"{fields[name]!r}, expected some words"
                )
        if "label" in fields and example.label not in task.labels:
            raise ValueError(
                f"{path}:{line}: got label {example.label!r}, expected one "
                f"of {', '.join(task.labels)}"
            )
        examples.append(example)
    return examples


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
        labels: texts of the labels, by id.

    Returns:
        `input_word_ids`, `input_mask`, `input_type_ids`: int32 [N, S];
        `label_ids`: int32 [N], UNKNOWN_LABEL where an example has none.

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
    label_ids = {label: index for index, label in enumerate(labels)}
    return {
        "input_word_ids": ids,
        "input_mask": (position < start).astype(np.int32),
        "input_type_ids": types,
        "label_ids": np.array(
            [
                UNKNOWN_LABEL if e.label is None else label_ids[e.label]
                for e in examples
            ],
            np.int32,
        ),
    }


def make_dataset(
    features: Mapping[str, np.ndarray],
    batch_size: int,
    is_training: bool,
    seed: int,
    start_batch: int = 0,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Returns batches of features.

    For training the stream is endless, batches run across the ends of epochs,
    and every epoch is a permutation drawn from (seed, epoch). Otherwise it is
    one pass in order.

    Args:
        features: arrays [N, ...].
        batch_size: B.
        is_training: endless and shuffled, or one pass in order.
        seed: of the permutations.
        start_batch: batches to skip: the stream continues as it would after
            so many batches.
        drop_remainder: whether to drop the last, smaller batch (one pass
            only: an endless stream has none).

    Returns:
        A dataset of dicts of arrays [B, ...] with the names of `features`.
    """
    num_examples = len(next(iter(features.values())))
    if is_training:
        indices = epochs.endless(
            functools.partial(_permutation, num_examples),
            num_examples,
            start_batch * batch_size,
            seed,
        )
    else:
        indices = tf.data.Dataset.range(num_examples)
        indices = indices.skip(start_batch * batch_size)
    tensors = {name: tf.constant(value) for name, value in features.items()}
    batches = indices.batch(
        batch_size, drop_remainder=drop_remainder or is_training
    ).map(
        lambda rows: {
            name: tf.gather(tensor, rows) for name, tensor in tensors.items()
        }
    )
    return batches.prefetch(tf.data.AUTOTUNE)


def _permutation(size, epoch_seed):
    return tf.data.Dataset.from_tensor_slices(
        tf.random.experimental.stateless_shuffle(
            tf.range(size, dtype=tf.int64), epoch_seed
        )
    )


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
