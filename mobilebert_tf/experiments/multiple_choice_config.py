"""Experiment configuration of multiple choice."""

import dataclasses

from official.core import config_definitions

from mobilebert_tf.experiments import fine_tuning_config


@dataclasses.dataclass
class MultipleChoiceTaskConfig(fine_tuning_config.FolderTaskConfig):
    """Fine-tuning on multiple choice, in SWAG's layout and file names."""

    train_file: str = "train.csv"
    dev_file: str = "val.csv"
    test_file: str = "test.csv"


def multiple_choice() -> config_definitions.ExperimentConfig:
    """Defaults of run_multiple_choice."""
    return fine_tuning_config.experiment(MultipleChoiceTaskConfig())
