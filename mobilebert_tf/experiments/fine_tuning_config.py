"""Experiment configurations of token classification and multiple choice."""

import dataclasses

from official.core import config_definitions
from official.modeling.hyperparams import base_config

from mobilebert_tf import runtime
from mobilebert_tf.data import tag_schemes
from mobilebert_tf.experiments import model_config
from mobilebert_tf.experiments import optimization_config


@dataclasses.dataclass
class DataConfig(base_config.Config):
    """Batches of a fine-tuning task.

    Attributes:
        global_batch_size: int. Examples per step over all replicas; of
            tagging, windows of sentences.
        is_training: bool. Shuffle and repeat.
        seed: int. Of the shuffling.
    """

    global_batch_size: int = 32
    is_training: bool = True
    seed: int = 0


@dataclasses.dataclass
class FineTuningTaskConfig(config_definitions.TaskConfig):
    """What the fine-tuning tasks here have in common.

    Attributes:
        init_checkpoint: str. Folder of a pre-trained model; "" starts from
            random weights. Network and vocabulary are taken from it, and
            `model` may only replace its dropout.
        data_dir: str. Folder of the files below.
        train_file: str. Name of the file in data_dir, as those below.
        dev_file: str.
        test_file: str.
        max_seq_length: int. Tokens per sequence.
        num_train_epochs: float. Sets trainer.train_steps when that is 0.
        warmup_proportion: float. Share of the steps with rising rate, when
            the optimizer config has no warm-up of its own.
        classifier_dropout: float. On the input of the head.
        seed: int. Of initialisation and dropout.
        gradient_accumulation_steps: int. Parts that a batch is worked through
            in, one after the other; the update is that of the whole batch.
    """

    model: model_config.ModelConfig = dataclasses.field(
        default_factory=model_config.ModelConfig
    )
    data_dir: str = ""
    train_file: str = ""
    dev_file: str = ""
    test_file: str = ""
    max_seq_length: int = 128
    num_train_epochs: float = 3.0
    warmup_proportion: float = 0.1
    classifier_dropout: float = 0.1
    seed: int = 0
    gradient_accumulation_steps: int = 1
    train_data: DataConfig = dataclasses.field(default_factory=DataConfig)
    validation_data: DataConfig = dataclasses.field(
        default_factory=lambda: DataConfig(is_training=False)
    )


@dataclasses.dataclass
class TaggingTaskConfig(FineTuningTaskConfig):
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


@dataclasses.dataclass
class MultipleChoiceTaskConfig(FineTuningTaskConfig):
    """Fine-tuning on multiple choice, in SWAG's layout and file names."""

    train_file: str = "train.csv"
    dev_file: str = "val.csv"
    test_file: str = "test.csv"


def tagging() -> config_definitions.ExperimentConfig:
    """Defaults of run_tagger."""
    return _experiment(TaggingTaskConfig())


def multiple_choice() -> config_definitions.ExperimentConfig:
    """Defaults of run_multiple_choice."""
    return _experiment(MultipleChoiceTaskConfig())


def _experiment(task):
    return config_definitions.ExperimentConfig(
        runtime=runtime.RuntimeConfig(distribution_strategy="one_device"),
        task=task,
        trainer=config_definitions.TrainerConfig(
            train_steps=0,
            steps_per_loop=100,
            checkpoint_interval=1000,
            validation_steps=-1,
            optimizer_config=optimization_config.adamw(5e-5, 5e-9, 0),
        ),
    )
