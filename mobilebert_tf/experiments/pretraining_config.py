"""Experiment configuration of pre-training and knowledge transfer."""

import dataclasses

from official.core import config_definitions
from official.modeling import optimization
from official.modeling.hyperparams import base_config

from mobilebert_tf import runtime
from mobilebert_tf.experiments import model_config
from mobilebert_tf.experiments import optimization_config
from mobilebert_tf.modeling import dense


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
        default_factory=lambda: optimization_config.lamb(
            1.5e-3, 1.5e-3, warmup_steps=0
        )
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

    model: model_config.ModelConfig = dataclasses.field(
        default_factory=model_config.ModelConfig
    )
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


def pretraining() -> config_definitions.ExperimentConfig:
    """Defaults of run_pretraining: the paper's schedule.

    trainer.train_steps counts the last stage (pre-training, or pre-training
    distillation); transfer stages come before it.
    """
    return config_definitions.ExperimentConfig(
        runtime=runtime.RuntimeConfig(distribution_strategy="one_device"),
        task=PretrainingTaskConfig(),
        trainer=config_definitions.TrainerConfig(
            train_steps=500_000,
            steps_per_loop=100,
            checkpoint_interval=1000,
            validation_steps=-1,
            optimizer_config=optimization_config.lamb(
                1.5e-3, 1.5e-7, warmup_steps=10_000
            ),
        ),
    )
