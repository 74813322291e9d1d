"""What the experiment configurations of all fine-tuning have in common."""

import dataclasses

from official.core import config_definitions
from official.modeling.hyperparams import base_config

from mobilebert_tf import runtime
from mobilebert_tf.experiments import model_config
from mobilebert_tf.experiments import optimization_config
from mobilebert_tf.experiments import quantization_config
from mobilebert_tf.experiments import search_config
from mobilebert_tf.experiments import task_distillation_config


@dataclasses.dataclass
class DataConfig(base_config.Config):
    """Batches of examples.

    Attributes:
        global_batch_size: int. Rows per step over all replicas: examples; of
            tagging and question answering, windows of texts.
        is_training: bool. Shuffle and repeat.
        seed: int. Of the shuffling.
    """

    global_batch_size: int = 32
    is_training: bool = True
    seed: int = 0


@dataclasses.dataclass
class LossConfig(base_config.Config):
    """How rows and labels count in training; evaluation is not changed.

    Attributes:
        class_weights: list of float. Weight of the examples (of tagging, the
            words) of each class, in the order of the labels; [] weighs all
            alike. The loss is the weighted mean.
        balance_classes: bool. Weigh each class by N / (C N_c): N examples, C
            classes, N_c examples of the class (scikit-learn's "balanced").
        label_smoothing: float in [0, 1). Share of each label that is spread
            evenly over all classes.
    """

    class_weights: list[float] = dataclasses.field(default_factory=list)
    balance_classes: bool = False
    label_smoothing: float = 0.0


@dataclasses.dataclass
class FineTuningTaskConfig(config_definitions.TaskConfig):
    """Fine-tuning a head on labelled data.

    Attributes:
        init_checkpoint: str. Pre-trained model of any format of
            mobilebert_tf.checkpoints; "" starts from random weights. What it
            says of network and vocabulary, `model` may repeat, dropout apart.
            One with the same head and labels brings its head.
        max_seq_length: int. Tokens per row.
        num_train_epochs: float. Sets trainer.train_steps when that is 0.
        warmup_proportion: float. Share of the steps with rising rate, when
            the optimizer config has no warm-up of its own.
        num_frozen_blocks: int or None. The embeddings and so many of the
            lowest blocks keep their weights; None trains all.
        layerwise_rate_decay: float in (0, 1]. The rate of the last block is
            so much of the head's, that of each block so much of the next
            one's, and that of the embeddings so much of the first block's.
            1 has one rate for all.
        selection_metric: str. Which of the task's metrics selects the best
            checkpoint; "" takes the task's first.
        keep_best: bool. Whether the weights of the best evaluation of a run
            are kept in model_dir/best.
        early_stopping_patience: int. The run ends when so many evaluations in
            a row were not better than the best before; 0 never ends it early.
        distillation: learning from a fine-tuned teacher.
        quantization_aware: bool. Train and evaluate what the int8 file will
            compute, best from a model that is fine-tuned already.
        quantization: of quantization_aware.
        seed: int. Of initialisation and dropout.
        gradient_accumulation_steps: int. Parts that a batch is worked through
            in, one after the other; the update is that of the whole batch.
    """

    model: model_config.ModelConfig = dataclasses.field(
        default_factory=model_config.ModelConfig
    )
    max_seq_length: int = 128
    num_train_epochs: float = 3.0
    warmup_proportion: float = 0.1
    num_frozen_blocks: int | None = None
    layerwise_rate_decay: float = 1.0
    selection_metric: str = ""
    keep_best: bool = True
    early_stopping_patience: int = 0
    distillation: task_distillation_config.TaskDistillationConfig = (
        dataclasses.field(
            default_factory=task_distillation_config.TaskDistillationConfig
        )
    )
    quantization_aware: bool = False
    quantization: quantization_config.QuantizationConfig = dataclasses.field(
        default_factory=quantization_config.QuantizationConfig
    )
    seed: int = 0
    gradient_accumulation_steps: int = 1
    train_data: DataConfig = dataclasses.field(default_factory=DataConfig)
    validation_data: DataConfig = dataclasses.field(
        default_factory=lambda: DataConfig(is_training=False)
    )


@dataclasses.dataclass
class LabelTaskConfig(FineTuningTaskConfig):
    """Fine-tuning of a head that chooses among labels.

    Attributes:
        classifier_dropout: float. On the input of the head.
        loss: how rows and labels count.
    """

    classifier_dropout: float = 0.1
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)


@dataclasses.dataclass
class FolderTaskConfig(LabelTaskConfig):
    """Fine-tuning on files of one folder.

    Attributes:
        data_dir: str. Folder of the files below.
        train_file: str. Name of the file in data_dir, as those below.
        dev_file: str.
        test_file: str.
    """

    data_dir: str = ""
    train_file: str = ""
    dev_file: str = ""
    test_file: str = ""


@dataclasses.dataclass
class FineTuningExperimentConfig(config_definitions.ExperimentConfig):
    """An experiment, and the values to try where it is searched.

    Attributes:
        search: the space of --search; without it, nothing.
    """

    search: search_config.SearchConfig = dataclasses.field(
        default_factory=search_config.SearchConfig
    )


def experiment(task: FineTuningTaskConfig) -> FineTuningExperimentConfig:
    """Returns the defaults of fine-tuning: the published recipe."""
    return FineTuningExperimentConfig(
        runtime=runtime.RuntimeConfig(distribution_strategy="one_device"),
        task=task,
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
