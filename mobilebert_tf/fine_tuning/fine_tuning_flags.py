"""Flags that the binaries of fine-tuning share."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

from absl import flags
from official.core import config_definitions

from mobilebert_tf import model_directory
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import experiment_flags
from mobilebert_tf.fine_tuning import form_evaluation
from mobilebert_tf.fine_tuning import kinds
from mobilebert_tf.fine_tuning import search
from mobilebert_tf.fine_tuning import starting_models

_Field = experiment_flags.Field

COMMON = {
    **experiment_flags.COMMON,
    "max_seq_length": _Field(int, "task.max_seq_length", "Tokens per row."),
    "num_train_epochs": _Field(float, "task.num_train_epochs", "Epochs."),
    "num_train_steps": _Field(
        int, "trainer.train_steps", "Steps; 0: by epochs."
    ),
    "warmup_proportion": _Field(
        float, "task.warmup_proportion", "Warm-up share."
    ),
    "quantization_aware": _Field(
        bool,
        "task.quantization_aware",
        "Train what the int8 file will compute.",
    ),
    "teacher_dir": _Field(
        str, "task.distillation.teacher_dir", "Fine-tuned teacher."
    ),
    "distill_temperature": _Field(
        float, "task.distillation.temperature", "Of both models' logits."
    ),
    "distill_ground_truth_ratio": _Field(
        float,
        "task.distillation.ground_truth_ratio",
        "Weight of the labels; the rest goes to the teacher's logits.",
    ),
    "hidden_distill_factor": _Field(
        float,
        "task.distillation.feature_map_factor",
        "Weight of feature-map transfer.",
    ),
    "attention_distill_factor": _Field(
        float,
        "task.distillation.attention_factor",
        "Weight of attention transfer.",
    ),
}
# Of a FolderTaskConfig.
FOLDER = {
    **COMMON,
    "data_dir": _Field(str, "task.data_dir", "Folder of the task's files."),
    "train_file": _Field(str, "task.train_file", "Its name in data_dir."),
    "dev_file": _Field(str, "task.dev_file", "Its name in data_dir."),
    "test_file": _Field(str, "task.test_file", "Its name in data_dir."),
}


def define(
    table: Mapping[str, experiment_flags.Field],
    flag_values: flags.FlagValues = flags.FLAGS,
) -> None:
    """Defines the flags of `table` and what to do with the files."""
    flags.DEFINE_bool("do_train", False, "Train.", flag_values)
    define_search(flag_values)
    flags.DEFINE_bool("do_eval", False, "Evaluate on the dev set.", flag_values)
    flags.DEFINE_bool("do_predict", False, "Write predictions.", flag_values)
    define_evaluate(flag_values)
    flags.DEFINE_enum(
        "predict_split",
        "test",
        ["dev", "test"],
        "Split of --do_predict.",
        flag_values,
    )
    experiment_flags.define_common(flag_values)
    experiment_flags.define_overrides(table, flag_values)


def define_search(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines --search."""
    flags.DEFINE_bool(
        "search",
        False,
        "Instead of --do_train, try all values of the experiment's `search`, "
        "and keep the best model by dev score.",
        flag_values,
    )


def define_evaluate(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines --evaluate."""
    flags.DEFINE_list(
        "evaluate",
        [],
        "Finished models to evaluate on the dev set, side by side: .tflite "
        "files, SavedModels, folders of models.",
        flag_values,
    )


def check_evaluate(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Sees to a --model_dir where there is --evaluate.

    Raises:
        ValueError: if there is something else to do.
    """
    paths = flag_values["evaluate"].value
    if not paths:
        return
    for name in ("do_train", "do_eval", "do_predict", "search"):
        if flag_values[name].value:
            raise ValueError(f"--evaluate and --{name}: expected one of them")
    flag_values.set_default("model_dir", form_evaluation.default_folder(paths))


def run(
    task_run: Callable[..., dict[str, float]],
    kind: type[kinds.Kind],
    defaults: config_definitions.ExperimentConfig,
    table: Mapping[str, experiment_flags.Field],
    sources: Sequence[str] = (),
    flag_values: flags.FlagValues = flags.FLAGS,
) -> None:
    """Does what the parsed flags ask for, on files of a folder.

    Args:
        task_run: `run` of a module of tasks.
        kind: of that module.
        defaults: of the experiment.
        table: of `define`.
        sources: see `build`.
        flag_values: parsed.

    Raises:
        ValueError: for wrong flags or input, in one line.
    """
    check_evaluate(flag_values)
    params = build(
        defaults, kind.head, table, ["data_dir"], sources, flag_values
    )
    do_predict = flag_values["do_predict"].value
    predict_split = flag_values["predict_split"].value if do_predict else ""
    act(task_run, kind, params, predict_split, flag_values)


def act(
    task_run: Callable[..., dict[str, float]],
    kind: type[kinds.Kind],
    params: config_definitions.ExperimentConfig,
    predict_split: str,
    flag_values: flags.FlagValues = flags.FLAGS,
) -> dict[str, float]:
    """Trains, evaluates, predicts, searches or compares, as flags say.

    Args:
        task_run: called with the experiment, --model_dir, --do_train,
            --do_eval and predict_split.
        kind: of the task.
        params: the experiment.
        predict_split: what to predict on, "" for nothing.
        flag_values: parsed, after check_evaluate.

    Returns:
        The metrics; empty without.

    Raises:
        ValueError: for wrong input, in one line.
    """
    model_dir = flag_values["model_dir"].value
    paths = list(dict.fromkeys(flag_values["evaluate"].value))
    if paths:
        form_evaluation.run(kind(params), paths, model_dir)
        return {}
    do_train, do_eval = (
        flag_values[name].value for name in ("do_train", "do_eval")
    )
    if flag_values["search"].value:
        if do_train:
            raise ValueError("--search and --do_train: expected one of them")
        metrics = search.run_kind(kind, params, model_dir, predict_split)
        # It has evaluated all that it trained.
        if not predict_split:
            return metrics
        do_train = do_eval = False
    return task_run(params, model_dir, do_train, do_eval, predict_split)


def build(
    defaults: config_definitions.ExperimentConfig,
    head: str,
    table: Mapping[str, experiment_flags.Field],
    forgotten: Sequence[str] = (),
    sources: Sequence[str] = (),
    flag_values: flags.FlagValues = flags.FLAGS,
) -> config_definitions.ExperimentConfig:
    """Returns the experiment that the command line describes.

    Without --do_train and --search the defaults are what the run in
    --model_dir has recorded.

    Args:
        defaults: of the experiment.
        head: of the task's models.
        table: of `define`.
        forgotten: flags of whose fields no record counts; model_info.json
            has what they stand for.
        sources: flags that say what is read. Where one of them is given,
            nothing that is recorded of them counts.
        flag_values: parsed.

    Raises:
        ValueError: see experiment_flags.build_experiment; also for a model of
            another kind.
    """
    model_dir = flag_values["model_dir"].value
    if (
        not (flag_values["do_train"].value or flag_values["search"].value)
        and model_dir
        and starting_models.is_model(model_dir)
    ):
        starting_models.check_head(model_dir, head)
        if head != model_directory.QUESTION_ANSWERING:
            _check_length(model_dir, flag_values["max_seq_length"].value)
        if any(flag_values[name].value is not None for name in sources):
            forgotten = [*forgotten, *sources]
        recorded = experiment_builder.with_recorded_task(defaults, model_dir)
        defaults = experiment_flags.with_fields_of(
            recorded, defaults, [table[name].key for name in forgotten]
        )
    return experiment_flags.build_experiment(defaults, table, flag_values)


def _check_length(model_dir, given):
    """Raises ValueError for another length than that of the training."""
    length = model_directory.read_info(model_dir).max_seq_length
    if given not in (None, length):
        raise ValueError(
            f"--max_seq_length={given}: the model in {model_dir} has "
            f"{length}, expected that or no such flag"
        )
