"""Experiment configurations: the Model Garden's dataclasses, and defaults.

A run is described by an ExperimentConfig (`runtime`, `task`, `trainer`).
"""

import dataclasses

from official.core import config_definitions
from official.modeling import optimization
from official.modeling.hyperparams import base_config

from mobilebert_tf import runtime

# Neither decayed nor, with LAMB, scaled by the trust ratio (reference code).
_EXCLUDED_FROM_DECAY = ["LayerNorm", "bias"]


@dataclasses.dataclass
class ModelConfig(base_config.Config):
    """Which network.

    Attributes:
        preset: str. Name in mobilebert_tf.modeling.config.PRESETS; used when
            bert_config_file is empty. The size of the word table follows the
            vocabulary file.
        bert_config_file: str. A bert_config.json; its vocab_size must equal
            the vocabulary's.
        vocab_file: str. One token per line.
        lower_case: bool. Whether the vocabulary is uncased.
        hidden_dropout_prob: float or None. Replaces the network's.
        attention_probs_dropout_prob: float or None. Replaces the network's.
    """

    preset: str = "mobilebert"
    bert_config_file: str = ""
    vocab_file: str = ""
    lower_case: bool = True
    hidden_dropout_prob: float | None = None
    attention_probs_dropout_prob: float | None = None


@dataclasses.dataclass
class PretrainingDataConfig(base_config.Config):
    """TFRecords of create_pretraining_data.

    Attributes:
        input_path: str. Files or globs, separated by commas.
        global_batch_size: int. Sequences per step over all replicas.
        max_seq_length: int. Tokens per sequence, as in the records.
        max_predictions_per_seq: int. Masked positions, as in the records.
        is_training: bool. Shuffle and repeat.
        seed: int. Of the shuffling.
    """

    input_path: str = ""
    global_batch_size: int = 32
    max_seq_length: int = 128
    max_predictions_per_seq: int = 20
    is_training: bool = True
    seed: int = 0


@dataclasses.dataclass
class KnowledgeTransferConfig(base_config.Config):
    """Layer-wise transfer from the teacher (paper sections 3.5 and 3.6).

    Attributes:
        strategy: str. "progressive", or "none" to skip the transfer stages;
            "" is progressive if there is a teacher.
        steps_per_block: int. Updates per transfer stage (10,000 in the
            official schedule).
        feature_map_factor: float. Weight of feature-map transfer.
        attention_factor: float. Weight of attention transfer.
        optimizer_config: of each transfer stage, restarted at its start.
    """

    strategy: str = ""
    steps_per_block: int = 10_000
    feature_map_factor: float = 1.0
    attention_factor: float = 1.0
    optimizer_config: optimization.OptimizationConfig = dataclasses.field(
        default_factory=lambda: lamb_config(1.5e-3, 1.5e-3, warmup_steps=0)
    )


@dataclasses.dataclass
class DistillationConfig(base_config.Config):
    """Pre-training distillation (paper section 3.5).

    Attributes:
        ground_truth_ratio: float in [0, 1]. alpha: the weight of the masked
            tokens' own labels; 1 - alpha goes to the teacher's distribution.
        temperature: float > 0. Divides both models' logits.
    """

    ground_truth_ratio: float = 0.5
    temperature: float = 1.0


@dataclasses.dataclass
class PretrainingTaskConfig(config_definitions.TaskConfig):
    """Pre-training with or without a teacher.

    Attributes:
        teacher_dir: str. Folder of a pre-trained teacher; "" trains without.
        seed: int. Of initialisation and dropout.
    """

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    teacher_dir: str = ""
    seed: int = 0
    knowledge_transfer: KnowledgeTransferConfig = dataclasses.field(
        default_factory=KnowledgeTransferConfig
    )
    distillation: DistillationConfig = dataclasses.field(
        default_factory=DistillationConfig
    )
    train_data: PretrainingDataConfig = dataclasses.field(
        default_factory=PretrainingDataConfig
    )
    validation_data: PretrainingDataConfig = dataclasses.field(
        default_factory=lambda: PretrainingDataConfig(is_training=False)
    )


@dataclasses.dataclass
class ClassificationDataConfig(base_config.Config):
    """Examples of a GLUE task.

    Attributes:
        global_batch_size: int. Examples per step over all replicas.
        is_training: bool. Shuffle and repeat.
        seed: int. Of the shuffling.
    """

    global_batch_size: int = 32
    is_training: bool = True
    seed: int = 0


@dataclasses.dataclass
class ClassificationTaskConfig(config_definitions.TaskConfig):
    """Fine-tuning on a sentence classification task.

    Attributes:
        init_checkpoint: str. Folder of a pre-trained model; "" starts from
            random weights. Network and vocabulary are taken from it, and
            `model` may only replace its dropout.
        task_name: str. Name in mobilebert_tf.data.glue.TASKS.
        data_dir: str. Folder of the task's train.tsv, dev.tsv and test.tsv.
        max_seq_length: int. Tokens per example, longer ones are cut.
        num_train_epochs: float. Sets trainer.train_steps when that is 0.
        warmup_proportion: float. Share of the steps with rising rate, when
            the optimizer config has no warm-up of its own.
        classifier_dropout: float. On the pooled vector.
        seed: int. Of initialisation and dropout.
    """

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    task_name: str = ""
    data_dir: str = ""
    max_seq_length: int = 128
    num_train_epochs: float = 3.0
    warmup_proportion: float = 0.1
    classifier_dropout: float = 0.1
    seed: int = 0
    train_data: ClassificationDataConfig = dataclasses.field(
        default_factory=ClassificationDataConfig
    )
    validation_data: ClassificationDataConfig = dataclasses.field(
        default_factory=lambda: ClassificationDataConfig(is_training=False)
    )


def lamb_config(
    learning_rate: float, end_learning_rate: float, warmup_steps: int
) -> optimization.OptimizationConfig:
    """LAMB with linear warm-up and linear decay over the stage."""
    return _optimizer_config(
        "lamb",
        {
            "weight_decay_rate": 0.01,
            "exclude_from_weight_decay": _EXCLUDED_FROM_DECAY,
            "global_clipnorm": 1.0,
        },
        learning_rate,
        end_learning_rate,
        warmup_steps,
    )


def adamw_config(
    learning_rate: float, end_learning_rate: float, warmup_steps: int
) -> optimization.OptimizationConfig:
    """AdamW with linear warm-up and linear decay over the run."""
    return _optimizer_config(
        "adamw",
        {
            "weight_decay_rate": 0.01,
            "exclude_from_weight_decay": _EXCLUDED_FROM_DECAY,
            # Its own clipping would come before replicas are added up.
            "gradient_clip_norm": 0.0,
            "global_clipnorm": 1.0,
            "epsilon": 1e-6,
        },
        learning_rate,
        end_learning_rate,
        warmup_steps,
    )


def pretraining() -> config_definitions.ExperimentConfig:
    """Defaults of run_pretraining: the paper's schedule.

    trainer.train_steps counts the last stage (pre-training, or pre-training
    distillation); transfer stages come before it.
    """
    return config_definitions.ExperimentConfig(
        runtime=_runtime(),
        task=PretrainingTaskConfig(),
        trainer=config_definitions.TrainerConfig(
            train_steps=500_000,
            steps_per_loop=100,
            checkpoint_interval=1000,
            validation_steps=-1,
            optimizer_config=lamb_config(1.5e-3, 1.5e-7, warmup_steps=10_000),
        ),
    )


def classification() -> config_definitions.ExperimentConfig:
    """Defaults of run_classifier: the published fine-tuning recipe."""
    return config_definitions.ExperimentConfig(
        runtime=_runtime(),
        task=ClassificationTaskConfig(),
        trainer=config_definitions.TrainerConfig(
            train_steps=0,
            steps_per_loop=100,
            checkpoint_interval=1000,
            validation_steps=-1,
            optimizer_config=adamw_config(5e-5, 5e-9, warmup_steps=0),
        ),
    )


def complete_optimizer_config(
    config: optimization.OptimizationConfig,
    num_steps: int,
    warmup_steps: int | None = None,
) -> optimization.OptimizationConfig:
    """Fills in what depends on the length of the stage.

    Args:
        config: optimizer, learning rate and warm-up. A polynomial decay
            without decay_steps lasts the whole stage.
        num_steps: int. Updates of the stage.
        warmup_steps: int or None. Used when the config has none (0).

    Returns:
        A copy of `config`. A warm-up of 0 steps is removed: the Garden's
        schedule would divide by it.

    Raises:
        ValueError: if the warm-up is not shorter than the stage.
    """
    config = config.replace()
    schedule = config.learning_rate.get()
    if getattr(schedule, "decay_steps", 0) is None:
        schedule.decay_steps = num_steps
    warmup = config.warmup.get()
    if warmup is not None:
        if not warmup.warmup_steps and warmup_steps:
            warmup.warmup_steps = warmup_steps
        if not warmup.warmup_steps:
            config.warmup.type = None
        elif warmup.warmup_steps >= num_steps:
            raise ValueError(
                f"warm-up of {warmup.warmup_steps} steps never ends within a "
                f"stage of {num_steps} steps; set --num_warmup_steps or "
                "warmup.linear.warmup_steps"
            )
    return config


def _optimizer_config(
    name, fields, learning_rate, end_learning_rate, warmup_steps
):
    return optimization.OptimizationConfig(
        {
            "optimizer": {"type": name, name: fields},
            "learning_rate": {
                "type": "polynomial",
                "polynomial": {
                    "initial_learning_rate": learning_rate,
                    "end_learning_rate": end_learning_rate,
                },
            },
            "warmup": {
                "type": "linear",
                "linear": {
                    "warmup_steps": warmup_steps,
                    "warmup_learning_rate": 0.0,
                },
            },
        }
    )


def _runtime():
    return runtime.RuntimeConfig(distribution_strategy="one_device")
