"""The flags of run_squad: the official script's, and our shorter ways."""

from absl import flags
from official.core import config_definitions

from mobilebert_tf import model_directory
from mobilebert_tf.experiments import experiment_flags
from mobilebert_tf.experiments import question_answering_config
from mobilebert_tf.fine_tuning import fine_tuning_flags

FLAGS = flags.FLAGS

_Field = experiment_flags.Field
_PREDICT_BATCH = "task.validation_data.global_batch_size"

TABLE = {
    **fine_tuning_flags.COMMON,
    "train_file": _Field(
        str, "task.train_data.input_path", "JSON to train on."
    ),
    "predict_file": _Field(
        str, "task.validation_data.input_path", "JSON to answer or evaluate on."
    ),
    "data_dir": _Field(
        str, "task.data_dir", "Folder of the caches of windows."
    ),
    "predict_batch_size": _Field(int, _PREDICT_BATCH, "Windows at once."),
    "doc_stride": _Field(
        int, "task.doc_stride", "Tokens from one window to the next."
    ),
    "max_query_length": _Field(
        int, "task.max_query_length", "Tokens of a question."
    ),
    "version_2_with_negative": _Field(
        bool, "task.version_2_with_negative", "Some questions have no answer."
    ),
    "n_best_size": _Field(
        int, "task.decoding.n_best_size", "Answers in nbest_predictions.json."
    ),
    "max_answer_length": _Field(
        int, "task.decoding.max_answer_length", "Tokens of an answer."
    ),
    "null_score_diff_threshold": _Field(
        float,
        "task.decoding.null_score_diff_threshold",
        "No answer if the null score exceeds the best one's by more.",
    ),
    "tuned_null_threshold": _Field(
        ("exact", "f1"),
        "task.decoding.tuned_null_threshold",
        "Instead the threshold that was best by this score in the evaluation "
        "that is kept with the model.",
    ),
}

# One of them given, the other recorded: the given one counts.
_THRESHOLDS = ("null_score_diff_threshold", "tuned_null_threshold")

_WITHOUT_EFFECT = {
    "verbose_logging": (bool, "warnings on the data are always logged"),
}

# What the official script also does, and who does it here.
_ELSEWHERE = {
    "hub_module_url": (
        str,
        "start from a checkpoint: --init_checkpoint",
    ),
    "lite_model_path": (str, "score it with --evaluate"),
    "export_dir": (str, "fine-tuning does not export"),
    "use_quantized_training": (bool, "training is in floating point"),
    "use_post_quantization": (bool, "fine-tuning does not export"),
    "activation_quantization": (bool, "fine-tuning does not export"),
}


def define(flag_values: flags.FlagValues = FLAGS) -> None:
    """Defines all flags of the binary."""
    for name, text in (
        ("do_train", "Train on --train_file."),
        ("do_eval", "Score --predict_file, with --do_train as it trains."),
        ("do_predict", "Write the answers to --predict_file, and score them."),
    ):
        flags.DEFINE_bool(name, False, text, flag_values)
    fine_tuning_flags.define_search(flag_values)
    fine_tuning_flags.define_evaluate(flag_values)
    for name, (kind, reason) in _ELSEWHERE.items():
        definer = flags.DEFINE_bool if kind is bool else flags.DEFINE_string
        definer(name, None, f"Not supported: {reason}.", flag_values)
    experiment_flags.define_common(flag_values)
    experiment_flags.define_overrides(TABLE, flag_values)
    experiment_flags.define_without_effect(_WITHOUT_EFFECT, flag_values)


def build(
    flag_values: flags.FlagValues = FLAGS,
) -> config_definitions.ExperimentConfig:
    """Returns the experiment that the command line describes.

    Without --do_train and --search the defaults are what the run in
    --model_dir has recorded.

    Raises:
        ValueError: see experiment_flags.build_experiment; also for a flag of
            what is not supported, or a model of another kind.
    """
    for name, (_, reason) in _ELSEWHERE.items():
        if flag_values[name].value:
            raise ValueError(f"--{name} is not supported: {reason}")
    experiment_flags.note_without_effect(_WITHOUT_EFFECT, flag_values)
    return fine_tuning_flags.build(
        question_answering_config.question_answering(),
        model_directory.QUESTION_ANSWERING,
        TABLE,
        sources=_THRESHOLDS,
        flag_values=flag_values,
    )
