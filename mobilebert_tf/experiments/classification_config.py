"""Experiment configuration of sentence classification and regression."""

import dataclasses

from official.core import config_definitions
from official.modeling.hyperparams import base_config

from mobilebert_tf.experiments import fine_tuning_config


@dataclasses.dataclass
class TableConfig(base_config.Config):
    """A user's own TSV, CSV or JSONL files; see mobilebert_tf.data.tables.

    Attributes:
        train_file: str. Its labels are those of the model.
        dev_file: str.
        test_file: str. Needs no labels.
        text_column: str. Of the (first) text.
        text_b_column: str. Of the second text of pairs; "" for single texts.
        label_column: str.
        regression: bool. The labels are numbers to predict.
    """

    train_file: str = ""
    dev_file: str = ""
    test_file: str = ""
    text_column: str = "text"
    text_b_column: str = ""
    label_column: str = "label"
    regression: bool = False


@dataclasses.dataclass
class ClassificationTaskConfig(fine_tuning_config.LabelTaskConfig):
    """Fine-tuning on sentence classification or regression.

    Attributes:
        task_name: str. GLUE task (mobilebert_tf.data.glue_tasks); "" with
            `table`.
        data_dir: str. Folder of the GLUE task's files; "" takes them from
            tensorflow-datasets.
        tfds_data_dir: str. Its folder of datasets; "" is its own default.
        table: a user's own files, in place of a GLUE task.
    """

    task_name: str = ""
    data_dir: str = ""
    tfds_data_dir: str = ""
    table: TableConfig = dataclasses.field(default_factory=TableConfig)


def classification() -> config_definitions.ExperimentConfig:
    """Defaults of run_classifier."""
    return fine_tuning_config.experiment(ClassificationTaskConfig())
