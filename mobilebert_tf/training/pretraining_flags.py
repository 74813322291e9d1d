"""The flags of run_pretraining: the official script's, and our shorter ways.

A flag sets the field of its row. A few of the official ones say more than one
field can hold; what they stand for are defaults, so that --config_file,
--params_override and the rows win over them:

    --layer_wise_warmup         progressive transfer as the official code does
                                it (OFFICIAL_TRANSFER)
    --bert_teacher_config_file  there is a teacher, and --init_checkpoint is
                                where; without --layer_wise_warmup for
                                pre-training distillation alone
    --do_eval                   without --eval_input_file on --input_file;
                                without --do_train, the task that the run in
                                --model_dir has recorded
"""

from absl import flags
from absl import logging
from official.core import config_definitions

from mobilebert_tf.data import dynamic_masking
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import experiment_flags
from mobilebert_tf.experiments import pretraining_config
from mobilebert_tf.tasks import pretraining_inputs

FLAGS = flags.FLAGS

_TRANSFER = "task.knowledge_transfer"
_OPTIMIZERS = (
    experiment_flags.OPTIMIZER,
    f"{_TRANSFER}.optimizer_config",
)
# Fields that tell how files are read, whatever they are read for.
_OF_THE_FILES = ("input_path", "data_format", "masking", "text")
_TRAINING_DATA = ("task.train_data", "task.first_train_data")
# The official script's default of --max_eval_steps.
_EVAL_STEPS = 100

TABLE = {
    **experiment_flags.COMMON,
    "teacher_dir": experiment_flags.Field(
        str, "task.teacher_dir", "Pre-trained teacher, in any format."
    ),
    "bert_teacher_config_file": experiment_flags.Field(
        str,
        "task.teacher_config_file",
        "Network of the teacher, which is then at --init_checkpoint unless "
        "--teacher_dir is given.",
    ),
    "input_file": experiment_flags.Field(
        str, "task.train_data.input_path", "Files or globs, with commas."
    ),
    "eval_input_file": experiment_flags.Field(
        str, "task.validation_data.input_path", "Files or globs, with commas."
    ),
    "data_format": experiment_flags.Field(
        pretraining_inputs.FORMATS,
        " ".join(f"{data}.data_format" for data in _TRAINING_DATA),
        "What training files hold: masked examples, tokens or raw text.",
    ),
    "eval_data_format": experiment_flags.Field(
        pretraining_inputs.FORMATS,
        "task.validation_data.data_format",
        "What --eval_input_file holds.",
    ),
    "masking": experiment_flags.Field(
        dynamic_masking.STRATEGIES,
        " ".join(f"{data}.masking.strategy" for data in _TRAINING_DATA),
        "Masking of tokens and raw text while training.",
    ),
    "masked_lm_prob": experiment_flags.Field(
        float,
        " ".join(f"{data}.masking.masked_lm_prob" for data in _TRAINING_DATA),
        "Share of tokens masked there.",
    ),
    "max_seq_length": experiment_flags.Field(
        int, "task.train_data.max_seq_length", "Tokens."
    ),
    "max_predictions_per_seq": experiment_flags.Field(
        int, "task.train_data.max_predictions_per_seq", "Masked positions."
    ),
    "first_input_file": experiment_flags.Field(
        str, "task.first_train_data.input_path", "Data of the first stretch."
    ),
    "first_max_seq_length": experiment_flags.Field(
        int, "task.first_train_data.max_seq_length", "Tokens there."
    ),
    "first_train_batch_size": experiment_flags.Field(
        int, "task.first_train_data.global_batch_size", "Batch there."
    ),
    "first_num_train_steps": experiment_flags.Field(
        int,
        "task.first_train_steps",
        "Of --num_train_steps, those on --first_input_file, which come first.",
    ),
    "num_train_steps": experiment_flags.Field(
        int,
        "trainer.train_steps",
        "Steps after transfer, --first_num_train_steps among them.",
    ),
    "num_warmup_steps": experiment_flags.Field(
        int,
        f"{experiment_flags.OPTIMIZER}.warmup.linear.warmup_steps",
        "Warm-up of these.",
    ),
    "max_eval_steps": experiment_flags.Field(
        int, "trainer.validation_steps", "Batches per evaluation; -1 for all."
    ),
    "optimizer": experiment_flags.Field(
        ("adamw", "lamb"),
        " ".join(f"{config}.optimizer.type" for config in _OPTIMIZERS),
        "Of transfer too.",
    ),
    "weight_decay_rate": experiment_flags.Field(
        float,
        " ".join(
            f"{config}.optimizer.{name}.weight_decay_rate"
            for config in _OPTIMIZERS
            for name in ("lamb", "adamw")
        ),
        "Of transfer too.",
    ),
    "num_distill_steps": experiment_flags.Field(
        int,
        f"{_TRANSFER}.num_steps",
        "Steps of all transfer stages together.",
    ),
    "distill_temperature": experiment_flags.Field(
        float,
        "task.distillation.temperature",
        "Temperature of both models' logits.",
    ),
    "distill_ground_truth_ratio": experiment_flags.Field(
        float,
        "task.distillation.ground_truth_ratio",
        "alpha of pre-training distillation.",
    ),
    "attention_distill_factor": experiment_flags.Field(
        float,
        f"{_TRANSFER}.attention_factor",
        "Weight of attention transfer.",
    ),
    "hidden_distill_factor": experiment_flags.Field(
        float,
        f"{_TRANSFER}.feature_map_factor",
        "Weight of feature-map transfer.",
    ),
    "beta_distill_factor": experiment_flags.Field(
        float,
        f"{_TRANSFER}.mean_factor",
        "Weight of the difference of the feature maps' means.",
    ),
    "gamma_distill_factor": experiment_flags.Field(
        float,
        f"{_TRANSFER}.variance_factor",
        "Weight of the difference of the feature maps' variances.",
    ),
}

# What --layer_wise_warmup means in the official code, with the factors of its
# README. configs/distillation/official.yaml has the same.
OFFICIAL_TRANSFER = {
    "strategy": "progressive",
    "feature_map_loss": "normalized",
    "feature_map_factor": 100.0,
    "attention_factor": 1.0,
    "mean_factor": 5000.0,
    "variance_factor": 5.0,
    "loss_scale": "num_blocks",
    "include_padding": True,
    "active_block_rate": 3.0,
    "lower_blocks_rate": 0.3,
    "embeddings_rate": 0.0,
    "phase_schedule": "official",
    "reset_moments": True,
}

_WITHOUT_EFFECT = {
    "use_einsum": (bool, "the products are the same either way"),
    "use_summary": (bool, "summaries are always written"),
}


def define(flag_values: flags.FlagValues = FLAGS) -> None:
    """Defines all flags of the binary."""
    flags.DEFINE_bool(
        "do_train",
        False,
        "Train. Without --do_train and --do_eval: train, and evaluate if there "
        "is --eval_input_file.",
        flag_values,
    )
    flags.DEFINE_bool(
        "do_eval",
        False,
        "Evaluate, as it trains if with --do_train. On --input_file without "
        "--eval_input_file.",
        flag_values,
    )
    flags.DEFINE_bool(
        "layer_wise_warmup",
        None,
        "Progressive knowledge transfer as in the official code: normalised "
        "feature maps, mean and variance terms with the README's factors, "
        "averages over all blocks and positions, 3 and 0.3 times the rate for "
        "the active and the lower blocks, warm-up in each stage. Files and "
        "flags that set these fields win.",
        flag_values,
    )
    experiment_flags.define_common(flag_values)
    experiment_flags.define_overrides(TABLE, flag_values)
    experiment_flags.define_without_effect(_WITHOUT_EFFECT, flag_values)


def build(
    flag_values: flags.FlagValues = FLAGS,
) -> config_definitions.ExperimentConfig:
    """Returns the experiment that the command line describes.

    Raises:
        ValueError: see experiment_flags.build_experiment; also for a teacher
            that is described but nowhere.
    """
    experiment_flags.note_without_effect(_WITHOUT_EFFECT, flag_values)
    defaults = pretraining_config.pretraining()
    if _only_evaluates(flag_values):
        defaults = experiment_builder.with_recorded_task(
            defaults, flag_values["model_dir"].value
        )
    defaults = experiment_flags.with_defaults(defaults, _implied(flag_values))
    params = experiment_flags.build_experiment(defaults, TABLE, flag_values)
    task = params.task
    _count_first_steps(params, flag_values)
    if task.teacher_config_file and not task.teacher_dir:
        raise ValueError(
            f"--bert_teacher_config_file={task.teacher_config_file}: there is "
            "no teacher: give its checkpoint as --init_checkpoint or "
            "--teacher_dir"
        )
    if flag_values["do_eval"].value and not task.validation_data.input_path:
        logging.info("no --eval_input_file: evaluation is on --input_file")
        for name in _OF_THE_FILES:
            setattr(task.validation_data, name, getattr(task.train_data, name))
        if flag_values["max_eval_steps"].value is None:
            params.trainer.validation_steps = _EVAL_STEPS
    return params


def modes(
    params: config_definitions.ExperimentConfig,
    flag_values: flags.FlagValues = FLAGS,
) -> tuple[bool, bool]:
    """Returns whether to train, and whether to evaluate."""
    do_train = flag_values["do_train"].value
    do_eval = flag_values["do_eval"].value
    has_data = bool(params.task.validation_data.input_path)
    if not (do_train or do_eval):
        if flag_values["do_train"].present:
            raise ValueError(
                "nothing to do: expected --do_train or --do_eval, got "
                "--do_train=false"
            )
        return True, has_data
    if has_data and not do_eval:
        logging.info("--eval_input_file has no effect: no --do_eval")
    return do_train, do_eval


def _only_evaluates(flag_values):
    return flag_values["do_eval"].value and not flag_values["do_train"].value


def _count_first_steps(params, flag_values):
    """Takes the first steps from --num_train_steps, which counts them too."""
    first = flag_values["first_num_train_steps"].value
    total = flag_values["num_train_steps"].value
    if first is None or total is None:
        return
    if first > total:
        raise ValueError(
            f"--first_num_train_steps={first}: expected at most "
            f"--num_train_steps={total}"
        )
    params.trainer.train_steps = total - first


def _implied(flag_values):
    """Returns the defaults that the official flags stand for."""
    values = {}

    def given(name):
        return flag_values[name].value

    if given("layer_wise_warmup"):
        values.update(
            {f"{_TRANSFER}.{k}": v for k, v in OFFICIAL_TRANSFER.items()}
        )
        rate = given("learning_rate")
        if rate is not None:
            polynomial = f"{_OPTIMIZERS[1]}.learning_rate.polynomial"
            values[f"{polynomial}.initial_learning_rate"] = rate
            values[f"{polynomial}.end_learning_rate"] = rate
    elif given("bert_teacher_config_file") or (
        given("layer_wise_warmup") is not None
    ):
        values[f"{_TRANSFER}.strategy"] = "none"
    if given("bert_teacher_config_file") and given("init_checkpoint"):
        values["task.teacher_dir"] = given("init_checkpoint")
    for name, key in (
        ("max_predictions_per_seq", "max_predictions_per_seq"),
        ("train_batch_size", "global_batch_size"),
    ):
        if given(name) is not None:
            values[f"task.first_train_data.{key}"] = given(name)
    return values
