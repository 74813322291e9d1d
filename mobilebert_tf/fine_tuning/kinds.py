"""What is special to a kind of fine-tuning task."""

import abc
import math
import os
from collections.abc import Sequence

import numpy as np
from official.core import config_definitions

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.distillation import task_distillation
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.evaluation import prediction
from mobilebert_tf.experiments import quantization_config
from mobilebert_tf.fine_tuning import starting_models
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.tasks import fine_tuning

TRAIN = "train"
DEV = "dev"
TEST = "test"

VALIDATION_LOSS = "validation_loss"


class Kind(abc.ABC):
    """What is special to a kind of task; an object is one task of it.

    Args:
        params: the experiment.

    Attributes:
        params: as above.
        config: params.task.
        head: one of model_directory.HEADS.
    """

    head: str

    def __init__(self, params: config_definitions.ExperimentConfig):
        self.params = params
        self.config = params.task

    def check(self) -> None:
        """Raises ValueError for fields that mean nothing."""
        config = self.config
        for name in ("train_data", "validation_data"):
            size = getattr(config, name).global_batch_size
            if size < 1:
                raise ValueError(
                    f"task.{name}.global_batch_size: expected at least 1, got "
                    f"{size}"
                )
        if config.early_stopping_patience < 0:
            raise ValueError(
                "task.early_stopping_patience: got "
                f"{config.early_stopping_patience}, expected 0 or more"
            )
        if not 0 < config.num_train_epochs < math.inf:
            raise ValueError(
                f"task.num_train_epochs: got {config.num_train_epochs}, "
                "expected a number above 0"
            )
        if not 0 < config.layerwise_rate_decay <= 1:
            raise ValueError(
                "task.layerwise_rate_decay: got "
                f"{config.layerwise_rate_decay}, expected above 0, at most 1"
            )
        if not 0 <= config.warmup_proportion < 1:
            raise ValueError(
                f"task.warmup_proportion: got {config.warmup_proportion}, "
                "expected at least 0 and less than 1"
            )
        validation_steps = self.params.trainer.validation_steps
        if validation_steps != -1:
            raise ValueError(
                f"trainer.validation_steps: got {validation_steps}, expected "
                "-1: the metrics are of whole sets"
            )
        if config.quantization_aware:
            _check_quantization(config)
        task_distillation.check(config.distillation)

    @abc.abstractmethod
    def check_split(self, split: str) -> None:
        """Reads a file to predict on, for its mistakes to show."""

    @abc.abstractmethod
    def check_model(
        self, network: config_lib.MobileBertConfig, labels: Sequence[str]
    ) -> None:
        """Raises ValueError for fields that do not fit the model."""

    @abc.abstractmethod
    def training_labels(self) -> tuple[str, ...]:
        """Reads the training file; returns its labels, () without."""

    @abc.abstractmethod
    def training_rows(
        self, reader: starting_models.Reader, output_dir: str
    ) -> rows_lib.Rows:
        """Returns the rows to train on, with targets.

        Args:
            reader: what features are made with.
            output_dir: of the run, for caches.
        """

    @abc.abstractmethod
    def num_examples(self) -> int:
        """Returns the number of examples of an epoch, once they are read."""

    @abc.abstractmethod
    def training_file(self) -> str:
        """Returns where the training data are, for messages."""

    @abc.abstractmethod
    def evaluation_sets(
        self, reader: starting_models.Reader, output_dir: str
    ) -> list[evaluation_set.EvaluationSet]:
        """Returns the sets to evaluate on, that which selects first.

        Args:
            reader: what features are made with.
            output_dir: of the run, for caches.
        """

    @abc.abstractmethod
    def metric_names(self) -> Sequence[str]:
        """Returns the metrics that can select a model, the default first."""

    @abc.abstractmethod
    def make_task(
        self,
        network: config_lib.MobileBertConfig,
        labels: Sequence[str],
        train_rows: rows_lib.Rows,
        **kwargs,
    ) -> fine_tuning.FineTuningTask:
        """Returns the Model Garden task; kwargs are FineTuningTask's."""

    @abc.abstractmethod
    def predict(
        self, trained: starting_models.Trained, output_dir: str, split: str
    ) -> None:
        """Writes predictions to the folder of the run."""

    def info_fields(self) -> dict[str, str]:
        """Returns what ModelInfo records of the task, by field."""
        return {}

    def share_caches(self, folder: str) -> None:
        """Keeps what is cached in `folder`, for several runs on the data."""
        del folder

    def for_model(self, info: model_directory.ModelInfo, folder: str) -> None:
        """Takes over what a trained model says of its use.

        Args:
            info: of the model.
            folder: where it is, "" if that is none of this project's.

        Raises:
            ValueError: if the task does not fit the model.
        """
        del folder
        self.config = self.config.replace(max_seq_length=info.max_seq_length)

    def predict_outputs(
        self,
        trained: starting_models.Trained,
        rows: rows_lib.Rows,
        output_names: Sequence[str] = ("logits",),
    ) -> dict[str, np.ndarray]:
        """Returns a model's outputs on some rows; see prediction.predict."""
        return prediction.predict(
            trained.model,
            rows,
            output_names,
            self.config.validation_data.global_batch_size,
        )


def _check_quantization(config):
    quantization_config.check(config.quantization)
    for name in ("feature_map_factor", "attention_factor"):
        factor = getattr(config.distillation, name)
        if factor:
            raise ValueError(
                f"task.distillation.{name}: got {factor}, expected 0 with "
                "task.quantization_aware: its graph has logits alone"
            )


def split_file(config, split: str) -> str:
    """Returns the file of a split of a FolderTaskConfig.

    Raises:
        ValueError: if the folder or the file is missing.
    """
    files.require_directory(config.data_dir, "data_dir")
    name = getattr(config, f"{split}_file")
    found = os.path.join(config.data_dir, name)
    if not name or not os.path.isfile(found):
        raise ValueError(
            f"task.{split}_file: got {name!r}, expected a file of "
            f"{config.data_dir}"
        )
    return found
