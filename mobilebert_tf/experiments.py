"""Experiment configurations: the Model Garden's dataclasses, and defaults.

A run is described by an ExperimentConfig (`runtime`, `task`, `trainer`).
"""

import copy
import dataclasses

from official.core import config_definitions
from official.modeling import optimization
from official.modeling.hyperparams import base_config

from mobilebert_tf import classification_config
from mobilebert_tf import runtime
from mobilebert_tf.modeling import dense

ClassificationDataConfig = classification_config.ClassificationDataConfig

# Neither decayed nor, with LAMB, scaled by the trust ratio (reference code).
_EXCLUDED_FROM_DECAY = ["LayerNorm", "bias"]
_OPTIMIZERS = {
    "lamb": {
        "weight_decay_rate": 0.01,
        "exclude_from_weight_decay": _EXCLUDED_FROM_DECAY,
        "global_clipnorm": 1.0,
    },
    "adamw": {
        "weight_decay_rate": 0.01,
        "exclude_from_weight_decay": _EXCLUDED_FROM_DECAY,
        # Its own clipping would come before replicas are added up.
        "gradient_clip_norm": 0.0,
        "global_clipnorm": 1.0,
        "epsilon": 1e-6,
    },
}


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
class MaskingConfig(base_config.Config):
    """Masking while training; see data.dynamic_masking.MaskingOptions.

    Attributes:
        strategy: str. "token", "whole_word" or "span".
        masked_lm_prob: float in [0, 1]. Share of tokens to predict.
        mask_share: float in [0, 1]. Of those that become [MASK].
        random_share: float in [0, 1]. Of those that become a random token.
        span_stop_prob: float in [0, 1]. p of the geometric distribution of
            the words of a span.
        max_span_words: int. Words of the longest span.
    """

    strategy: str = "token"
    masked_lm_prob: float = 0.15
    mask_share: float = 0.8
    random_share: float = 0.1
    span_stop_prob: float = 0.2
    max_span_words: int = 10


@dataclasses.dataclass
class TextConfig(base_config.Config):
    """Segment pairs from raw text.

    Attributes:
        input_format: str. "sentences", "book" or "auto", as the flag of
            create_pretraining_data.
        short_seq_prob: float in [0, 1]. Share of documents cut into shorter
            sequences.
    """

    input_format: str = "auto"
    short_seq_prob: float = 0.1


@dataclasses.dataclass
class PretrainingDataConfig(base_config.Config):
    """Pre-training sequences, masked beforehand or while training.

    Attributes:
        data_format: str. What the files hold. "examples": TFRecords of
            create_pretraining_data. "tokens": such TFRecords that are not
            masked (--do_masking=false). "text": raw text.
        masking: used by "tokens" and "text".
        text: used by "text".
        input_path: str. Files or globs, separated by commas.
        global_batch_size: int. Sequences per step over all replicas.
        max_seq_length: int. Tokens per sequence, as in the records.
        max_predictions_per_seq: int. Masked positions, as in the records.
        is_training: bool. Shuffle and repeat.
        seed: int. Of the shuffling, and of pairs and masks that are made
            while training.
    """

    data_format: str = "examples"
    masking: MaskingConfig = dataclasses.field(default_factory=MaskingConfig)
    text: TextConfig = dataclasses.field(default_factory=TextConfig)
    input_path: str = ""
    global_batch_size: int = 32
    max_seq_length: int = 128
    max_predictions_per_seq: int = 20
    is_training: bool = True
    seed: int = 0


@dataclasses.dataclass
class KnowledgeTransferConfig(base_config.Config):
    """Layer-wise transfer from the teacher (paper sections 3.5 and 3.6).

    The defaults are the paper's. configs/distillation/official.yaml has the
    official code's.

    Attributes:
        strategy: str. "progressive": block after block, then pre-training
            distillation. "joint": all blocks at once, then pre-training
            distillation. "auxiliary": all blocks' losses are added to
            pre-training distillation. "none": that alone, or plain
            pre-training without a teacher. "" is progressive if there is a
            teacher.
        num_steps: int. Updates of all transfer stages together; progressive
            transfer gives each of L blocks num_steps // L. Not used by
            "auxiliary" and "none".
        layer_mapping: str. Which block of the teacher a block of the student
            learns from: "one_to_one"; "every_k" (the last of each group of k,
            for a teacher of k times the blocks); "explicit".
        teacher_layers: list of int. With "explicit", the teacher's block
            (0-based) for each block of the student.
        feature_map_loss: str. "mse" (paper), or "normalized": of the feature
            maps after a LayerNorm without parameters (official code).
        feature_map_factor: float. Weight of feature-map transfer.
        attention_factor: float. Weight of attention transfer.
        mean_factor: float. Weight of the squared difference of the channels'
            mean at each position (official beta_distill_factor).
        variance_factor: float. Weight of the absolute difference of the
            channels' variance at each position (official
            gamma_distill_factor).
        loss_scale: str. "sum" adds the blocks' losses; "num_blocks" divides
            them by the number of the student's blocks (official code).
        include_padding: bool. Whether padding positions count (official
            code).
        active_block_rate: float. Times the learning rate: of the blocks that
            have transfer losses in a transfer stage (official code 3).
        lower_blocks_rate: float. Likewise of the blocks below; 0 freezes them
            (official code 0.3).
        embeddings_rate: float. Likewise of the embeddings (Garden 1).
        phase_schedule: str. "constant", or "official": within each transfer
            stage of P steps the rate is multiplied by
            min(10 t / P, 0.9 + 0.1 sqrt(1 - t / P)) at step t.
        reset_moments: bool. Whether each transfer stage starts with new
            optimizer state.
        optimizer_config: of the transfer stages. A decay without decay_steps
            lasts one stage.
    """

    strategy: str = ""
    num_steps: int = 240_000
    layer_mapping: str = "one_to_one"
    teacher_layers: list[int] = dataclasses.field(default_factory=list)
    feature_map_loss: str = "mse"
    feature_map_factor: float = 1.0
    attention_factor: float = 1.0
    mean_factor: float = 0.0
    variance_factor: float = 0.0
    loss_scale: str = "sum"
    include_padding: bool = False
    active_block_rate: float = 1.0
    lower_blocks_rate: float = 0.0
    embeddings_rate: float = 0.0
    phase_schedule: str = "constant"
    reset_moments: bool = True
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
        teacher_precision: str. "float32", or "int8" for products of 8-bit
            integers in the teacher where only its logits are read: in stages
            without transfer losses. For x86 CPUs with AVX512-VNNI alone; how
            fast it is: benchmarks/pretraining_distillation.py.
    """

    ground_truth_ratio: float = 0.5
    temperature: float = 1.0
    teacher_precision: str = dense.FLOAT32


@dataclasses.dataclass
class OfficialDefectsConfig(base_config.Config):
    """What the official code does other than it says, for comparisons.

    All are off. They repeat google-research/mobilebert, run_pretraining.py.

    Attributes:
        all_teacher_blocks_in_moments: bool. The mean and variance terms of
            each block compare with the outputs of all the teacher's blocks
            and its embeddings, not with the mapped block's: the code passes
            the list in place of its element.
        temperature_on_teacher_hidden: bool. The temperature multiplies the
            teacher's sequence output before the masked-LM head, whose
            LayerNorm nearly cancels it, and is not applied to the student.
        adamw_ignores_rates: bool. AdamW discards the rates per block: in a
            transfer stage it trains embeddings and all blocks at the full
            rate. LAMB follows them.
        fixed_weight_decay: bool. The weight decay is 0.01 whatever is set.
        late_transfer_loss: bool. The loss of block l counts at steps
            (l P, (l + 1) P], one later than its learning rate: the first step
            has no loss, and the first step of each later stage has the loss
            of the block before.
        random_teacher_without_transfer: bool. Without a transfer stage the
            teacher is never loaded and distils random weights.
    """

    all_teacher_blocks_in_moments: bool = False
    temperature_on_teacher_hidden: bool = False
    adamw_ignores_rates: bool = False
    fixed_weight_decay: bool = False
    late_transfer_loss: bool = False
    random_teacher_without_transfer: bool = False


@dataclasses.dataclass
class PretrainingTaskConfig(config_definitions.TaskConfig):
    """Pre-training with or without a teacher.

    Attributes:
        teacher_dir: str. Folder of a pre-trained teacher; "" trains without.
        teacher_config_file: str. The teacher's bert_config.json where
            teacher_dir holds none.
        seed: int. Of initialisation and dropout.
        gradient_accumulation_steps: int. Parts that a batch is worked through
            in, one after the other; the update is that of the whole batch.
        first_train_steps: int. Updates of a first stretch of pre-training on
            first_train_data, before trainer.train_steps on train_data (the
            official first_* flags). The learning rate takes one course over
            both.
        first_train_data: of that stretch, as a rule shorter sequences.
    """

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    teacher_dir: str = ""
    teacher_config_file: str = ""
    seed: int = 0
    gradient_accumulation_steps: int = 1
    knowledge_transfer: KnowledgeTransferConfig = dataclasses.field(
        default_factory=KnowledgeTransferConfig
    )
    distillation: DistillationConfig = dataclasses.field(
        default_factory=DistillationConfig
    )
    official_defects: OfficialDefectsConfig = dataclasses.field(
        default_factory=OfficialDefectsConfig
    )
    first_train_steps: int = 0
    first_train_data: PretrainingDataConfig = dataclasses.field(
        default_factory=PretrainingDataConfig
    )
    train_data: PretrainingDataConfig = dataclasses.field(
        default_factory=PretrainingDataConfig
    )
    validation_data: PretrainingDataConfig = dataclasses.field(
        default_factory=lambda: PretrainingDataConfig(is_training=False)
    )


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

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    task_name: str = ""
    data_dir: str = ""
    table: classification_config.TableConfig = dataclasses.field(
        default_factory=classification_config.TableConfig
    )
    max_seq_length: int = 128
    num_train_epochs: float = 3.0
    warmup_proportion: float = 0.1
    classifier_dropout: float = 0.1
    loss: classification_config.ClassificationLossConfig = dataclasses.field(
        default_factory=classification_config.ClassificationLossConfig
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


def lamb_config(
    learning_rate: float, end_learning_rate: float, warmup_steps: int
) -> optimization.OptimizationConfig:
    """LAMB with linear warm-up and linear decay over the stage."""
    return _optimizer_config(
        "lamb", learning_rate, end_learning_rate, warmup_steps
    )


def adamw_config(
    learning_rate: float, end_learning_rate: float, warmup_steps: int
) -> optimization.OptimizationConfig:
    """AdamW with linear warm-up and linear decay over the run."""
    return _optimizer_config(
        "adamw", learning_rate, end_learning_rate, warmup_steps
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


def _optimizer_config(name, learning_rate, end_learning_rate, warmup_steps):
    return optimization.OptimizationConfig(
        {
            # Both, so that another type has this project's values too.
            "optimizer": {"type": name, **copy.deepcopy(_OPTIMIZERS)},
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
