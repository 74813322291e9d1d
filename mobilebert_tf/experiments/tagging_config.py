"""Experiment configuration of token classification."""

import dataclasses

from official.core import config_definitions

from mobilebert_tf.data import tag_schemes
from mobilebert_tf.experiments import fine_tuning_config


@dataclasses.dataclass
class TaggingTaskConfig(fine_tuning_config.FolderTaskConfig):
    """Fine-tuning on token classification.

    Attributes:
        word_column: int. Index of the words' column, from 0; negative ones
            count from the last.
        tag_column: int. Likewise of the tags.
        scheme: str. One of data.tag_schemes.SCHEMES: how tags spell entities.
        check_transitions: bool. Whether a tag that the scheme forbids after
            the one before it is an error.
        labels: list of str. Tags in the order of the logits; if empty, all
            tags of the scheme for the types in the training file.
    """

    train_file: str = "train.txt"
    dev_file: str = "dev.txt"
    test_file: str = "test.txt"
    word_column: int = 0
    tag_column: int = -1
    scheme: str = tag_schemes.BIO
    check_transitions: bool = True
    labels: list[str] = dataclasses.field(default_factory=list)


def tagging() -> config_definitions.ExperimentConfig:
    """Defaults of run_tagger."""
    return fine_tuning_config.experiment(TaggingTaskConfig())
