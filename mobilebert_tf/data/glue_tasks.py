"""The tasks of GLUE as data: files, columns, labels and metrics.

Layouts are those of the official download (gluebenchmark.com); the order of
labels is that of the reference's run_classifier.py.
"""

import dataclasses
from collections.abc import Mapping

from mobilebert_tf.data import tsv

TRAIN = "train"
DEV = "dev"
TEST = "test"
SPLITS = (TRAIN, DEV, TEST)
# MNLI's texts of genres that its training data lack.
DEV_MISMATCHED = "dev_mismatched"
TEST_MISMATCHED = "test_mismatched"


@dataclasses.dataclass(frozen=True)
class FileLayout:
    """Where a file has its texts and labels.

    Attributes:
        file_names: in the task's folder; the first that is there is read.
        text_a: column of the (first) text: a header name, or an index in a
            file without header.
        text_b: column of the second text, if the task has pairs.
        label: column of the label; None in test files.
        num_columns: fields per row, of a file without header.
        has_torn_rows: whether the official file has rows that line ends
            within a text tore apart. They are passed over.
        has_empty_texts: whether it has texts without a word. They are kept.
    """

    file_names: tuple[str, ...]
    text_a: tsv.Column
    text_b: tsv.Column | None = None
    label: tsv.Column | None = None
    num_columns: int | None = None
    has_torn_rows: bool = False
    has_empty_texts: bool = False

    @property
    def has_header(self) -> bool:
        return self.num_columns is None


@dataclasses.dataclass(frozen=True)
class GlueTask:
    """A task.

    Attributes:
        name: official spelling.
        labels: texts of the labels in the files, by id; of a regression the
            name of the value.
        metrics: names of the official metrics, the one that selects models
            first.
        files: layout by split.
        value_range: least and greatest value of a regression, else None.
    """

    name: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    files: Mapping[str, FileLayout]
    value_range: tuple[float, float] | None = None


def _files(
    text_a: tsv.Column,
    text_b: tsv.Column | None = None,
    label: tsv.Column = "label",
    **quirks: bool,
) -> dict[str, FileLayout]:
    """Returns the layouts of a task whose files have headers alike."""
    layouts = {}
    for split in SPLITS:
        layouts[split] = FileLayout(
            (f"{split}.tsv",),
            text_a,
            text_b,
            None if split == TEST else label,
            **quirks,
        )
    return layouts


def _mnli_files() -> dict[str, FileLayout]:
    texts = "sentence1", "sentence2"
    return {
        TRAIN: FileLayout(("train.tsv",), *texts, "gold_label"),
        DEV: FileLayout(("dev_matched.tsv",), *texts, "gold_label"),
        DEV_MISMATCHED: FileLayout(
            ("dev_mismatched.tsv",), *texts, "gold_label"
        ),
        TEST: FileLayout(("test_matched.tsv",), *texts),
        TEST_MISMATCHED: FileLayout(("test_mismatched.tsv",), *texts),
    }


_BINARY = ("0", "1")
_ENTAILMENT = ("entailment", "not_entailment")
_INFERENCE = ("contradiction", "entailment", "neutral")

_COLA_COLUMNS = {"text_a": 3, "label": 1, "num_columns": 4}

_TASKS = (
    GlueTask(
        name="CoLA",
        labels=_BINARY,
        metrics=("matthews_correlation", "accuracy"),
        files={
            TRAIN: FileLayout(("train.tsv",), **_COLA_COLUMNS),
            DEV: FileLayout(("dev.tsv",), **_COLA_COLUMNS),
            TEST: FileLayout(("test.tsv",), "sentence"),
        },
    ),
    GlueTask(
        name="SST-2",
        labels=_BINARY,
        metrics=("accuracy",),
        files=_files("sentence"),
    ),
    GlueTask(
        name="MRPC",
        labels=_BINARY,
        metrics=("accuracy_and_f1", "accuracy", "f1"),
        files=_files("#1 String", "#2 String", "Quality"),
    ),
    GlueTask(
        name="STS-B",
        labels=("score",),
        metrics=("pearson_and_spearman", "pearson", "spearman"),
        files=_files("sentence1", "sentence2", "score"),
        value_range=(0.0, 5.0),
    ),
    GlueTask(
        name="QQP",
        labels=_BINARY,
        metrics=("accuracy_and_f1", "accuracy", "f1"),
        files={
            **_files(
                "question1", "question2", "is_duplicate", has_empty_texts=True
            ),
            TRAIN: FileLayout(
                ("train.tsv",),
                "question1",
                "question2",
                "is_duplicate",
                has_torn_rows=True,
                has_empty_texts=True,
            ),
        },
    ),
    GlueTask(
        name="MNLI",
        labels=_INFERENCE,
        metrics=("accuracy",),
        files=_mnli_files(),
    ),
    GlueTask(
        name="QNLI",
        labels=_ENTAILMENT,
        metrics=("accuracy",),
        files=_files("question", "sentence"),
    ),
    GlueTask(
        name="RTE",
        labels=_ENTAILMENT,
        metrics=("accuracy",),
        files=_files("sentence1", "sentence2"),
    ),
    GlueTask(
        name="WNLI",
        labels=_BINARY,
        metrics=("accuracy",),
        files=_files("sentence1", "sentence2"),
    ),
    # The diagnostic set, for models of MNLI. The download script and the
    # server name its file differently.
    GlueTask(
        name="AX",
        labels=_INFERENCE,
        metrics=("matthews_correlation",),
        files={
            TEST: FileLayout(
                ("diagnostic.tsv", "AX.tsv"), "sentence1", "sentence2"
            )
        },
    ),
)
TASKS = {task.name.lower(): task for task in _TASKS}
