"""Where the examples of a classifier come from: a GLUE task or own tables.

Both kinds of source have the same attributes and methods:

    task       the GLUE task, None for tables
    labels     names of the labels in the order of the logits; of a
               regression the name of the value
    metrics    names in evaluation/metrics.py, the one that selects first
    splits_of  the splits to work on when "dev" or "test" is asked for
    read       the examples of a split
"""

from collections.abc import Sequence

from mobilebert_tf import files
from mobilebert_tf.data import glue
from mobilebert_tf.data import glue_tasks
from mobilebert_tf.data import glue_tfds
from mobilebert_tf.data import tables
from mobilebert_tf.experiments import classification_config

_CLASSIFICATION_METRICS = ("accuracy", "macro_f1", "matthews_correlation")
_REGRESSION_METRICS = (
    "pearson_and_spearman",
    "pearson",
    "spearman",
    "mean_squared_error",
)


class GlueSource:
    """A GLUE task, of the official files or of tensorflow-datasets.

    Args:
        task: the task.
        data_dir: folder of its files, "" for tensorflow-datasets.
        tfds_data_dir: folder of its datasets, "" for its own default.
    """

    def __init__(
        self,
        task: glue_tasks.GlueTask,
        data_dir: str,
        tfds_data_dir: str = "",
    ):
        self.task = task
        self.labels = task.labels
        self.metrics = task.metrics
        self.data_dir = data_dir
        self.tfds_data_dir = tfds_data_dir

    def splits_of(self, split: str) -> list[str]:
        """Returns `split`, and for MNLI its mismatched one."""
        mismatched = f"{split}_mismatched"
        return [split, *([mismatched] if mismatched in self.task.files else [])]

    def read(self, split: str) -> list[glue.Example]:
        """Returns the examples of a split in file order.

        Raises:
            ValueError: as glue.read_examples or glue_tfds.read_examples; also
                if there is no such folder.
        """
        if not self.data_dir:
            return glue_tfds.read_examples(
                self.task.name, split, self.tfds_data_dir
            )
        files.require_directory(self.data_dir, "data_dir")
        return glue.read_examples(self.task.name, self.data_dir, split)


class TableSource:
    """A user's own files.

    Args:
        table: files and columns.
        labels: of the model; None infers them from the training file.

    Raises:
        ValueError: what reading the training file raises, or if it has one
            label only.
    """

    task = None

    def __init__(
        self,
        table: classification_config.TableConfig,
        labels: Sequence[str] | None = None,
    ):
        self._table = table
        self._train = None
        if labels is None:
            if table.regression:
                labels = (table.label_column,)
            else:
                self._train = self._read_file(glue.TRAIN)
                labels = tables.infer_labels(self._train, table.train_file)
        self.labels = tuple(labels)
        self.metrics = (
            _REGRESSION_METRICS
            if glue.is_regression(self.labels)
            else _CLASSIFICATION_METRICS
        )

    def splits_of(self, split: str) -> list[str]:
        """Returns `split`: it is one file."""
        return [split]

    def read(self, split: str) -> list[glue.Example]:
        """Returns the examples of "train", "dev" or "test" in file order.

        Those of "test" have no labels, whatever the file has.

        Raises:
            ValueError: as tables.read_examples; also for a label that the
                model does not have, or without a file.
        """
        if split == glue.TRAIN and self._train is not None:
            return self._train
        examples = self._read_file(split)
        for example in examples:
            if example.label is not None:
                glue.check_label(example.label, self.labels, example.guid)
        return examples

    def _read_file(self, split):
        flag = f"{split}_file"
        path = files.require_file(getattr(self._table, flag), flag)
        if split != glue.TEST and not self._table.label_column:
            raise ValueError(f"{path}: --label_column is required: got nothing")
        columns = tables.Columns(
            self._table.text_column,
            self._table.text_b_column,
            "" if split == glue.TEST else self._table.label_column,
        )
        return tables.read_examples(path, columns)


def has_files(table: classification_config.TableConfig) -> bool:
    """Whether any file is given."""
    return bool(table.train_file or table.dev_file or table.test_file)
