"""Parts of the configuration of fine-tuning on sentence classification."""

import dataclasses

from official.core import config_definitions
from official.modeling.hyperparams import base_config

from mobilebert_tf import runtime
from mobilebert_tf.experiments import model_config
from mobilebert_tf.experiments import optimization_config


@dataclasses.dataclass
class ClassificationDataConfig(base_config.Config):
    """Batches of examples.

    Attributes:
        global_batch_size: int. Examples per step over all replicas.
        is_training: bool. Shuffle and repeat.
        seed: int. Of the shuffling.
    """

    global_batch_size: int = 32
    is_training: bool = True
    seed: int = 0


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
class ClassificationLossConfig(base_config.Config):
    """How examples and labels count in training; evaluation is not changed.

    Attributes:
        class_weights: list of float. Weight of the examples of each class, in
            the order of the labels; [] weighs all alike. The loss is the
            weighted mean.
        balance_classes: bool. Weigh each class by N / (C N_c): N examples, C
            classes, N_c examples of the class (scikit-learn's "balanced").
        label_smoothing: float in [0, 1). Share of each label that is spread
            evenly over all classes.
    """

    class_weights: list[float] = dataclasses.field(default_factory=list)
    balance_classes: bool = False
    label_smoothing: float = 0.0


@dataclasses.dataclass
class ClassificationTaskConfig(config_definitions.TaskConfig):
    """Fine-tuning on sentence classification or regression.

    Attributes:
        init_checkpoint: str. Folder of a pre-trained model; "" starts from
            random weights. Network and vocabulary are taken from it, and
            `model` may only replace its dropout.
        task_name: str. GLUE task (mobilebert_tf.data.glue_tasks); "" with
            `table`.
        data_dir: str. Folder of the GLUE task's files.
        table: a user's own files, in place of a GLUE task.
        max_seq_length: int. Tokens per example, longer ones are cut.
        num_train_epochs: float. Sets trainer.train_steps when that is 0.
        warmup_proportion: float. Share of the steps with rising rate, when
            the optimizer config has no warm-up of its own.
        classifier_dropout: float. On the pooled vector.
        loss: how examples and labels count.
        num_frozen_blocks: int or None. The embeddings and so many of the
            lowest blocks keep their weights; None trains all.
        selection_metric: str. Which of the task's metrics selects the best
            checkpoint; "" takes the task's first.
        keep_best: bool. Whether the weights of the best evaluation of a run
            are kept in model_dir/best.
        early_stopping_patience: int. The run ends when so many evaluations in
            a row were not better than the best before; 0 never ends it early.
        seed: int. Of initialisation and dropout.
        gradient_accumulation_steps: int. Parts that a batch is worked through
            in, one after the other; the update is that of the whole batch.
    """

    model: model_config.ModelConfig = dataclasses.field(
        default_factory=model_config.ModelConfig
    )
    task_name: str = ""
    data_dir: str = ""
    table: TableConfig = dataclasses.field(default_factory=TableConfig)
    max_seq_length: int = 128
    num_train_epochs: float = 3.0
    warmup_proportion: float = 0.1
    classifier_dropout: float = 0.1
    loss: ClassificationLossConfig = dataclasses.field(
        default_factory=ClassificationLossConfig
    )
    num_frozen_blocks: int | None = None
    selection_metric: str = ""
    keep_best: bool = True
    early_stopping_patience: int = 0
    seed: int = 0
    gradient_accumulation_steps: int = 1
    train_data: ClassificationDataConfig = dataclasses.field(
        default_factory=ClassificationDataConfig
    )
    validation_data: ClassificationDataConfig = dataclasses.field(
        default_factory=lambda: ClassificationDataConfig(is_training=False)
    )


def classification() -> config_definitions.ExperimentConfig:
    """Defaults of run_classifier: the published fine-tuning recipe."""
    return config_definitions.ExperimentConfig(
        runtime=runtime.RuntimeConfig(distribution_strategy="one_device"),
        task=ClassificationTaskConfig(),
        trainer=config_definitions.TrainerConfig(
            train_steps=0,
            steps_per_loop=100,
            checkpoint_interval=1000,
            validation_steps=-1,
            optimizer_config=optimization_config.adamw(
                5e-5, 5e-9, warmup_steps=0
            ),
        ),
    )
