"""Flags that the binaries of fine-tuning on files of a folder share."""

from collections.abc import Callable
from collections.abc import Mapping

from absl import flags
from official.core import config_definitions

from mobilebert_tf.experiments import experiment_flags

COMMON = {
    **experiment_flags.COMMON,
    "data_dir": experiment_flags.Field(
        str, "task.data_dir", "Folder of the task's files."
    ),
    "train_file": experiment_flags.Field(
        str, "task.train_file", "Its name in data_dir."
    ),
    "dev_file": experiment_flags.Field(
        str, "task.dev_file", "Its name in data_dir."
    ),
    "test_file": experiment_flags.Field(
        str, "task.test_file", "Its name in data_dir."
    ),
    "max_seq_length": experiment_flags.Field(
        int, "task.max_seq_length", "Tokens per sequence."
    ),
    "num_train_epochs": experiment_flags.Field(
        float, "task.num_train_epochs", "Epochs."
    ),
    "num_train_steps": experiment_flags.Field(
        int, "trainer.train_steps", "Steps; 0: by epochs."
    ),
    "warmup_proportion": experiment_flags.Field(
        float, "task.warmup_proportion", "Warm-up share."
    ),
}


def define(
    table: Mapping[str, experiment_flags.Field],
    flag_values: flags.FlagValues = flags.FLAGS,
) -> None:
    """Defines the flags of `table` and what to do with the files."""
    flags.DEFINE_bool("do_train", False, "Train on train_file.", flag_values)
    flags.DEFINE_bool("do_eval", False, "Evaluate on dev_file.", flag_values)
    flags.DEFINE_bool("do_predict", False, "Write predictions.", flag_values)
    flags.DEFINE_enum(
        "predict_split",
        "test",
        ["dev", "test"],
        "File of --do_predict.",
        flag_values,
    )
    experiment_flags.define_common(flag_values)
    experiment_flags.define_overrides(table, flag_values)


def run(
    task_run: Callable,
    defaults: config_definitions.ExperimentConfig,
    table: Mapping[str, experiment_flags.Field],
    flag_values: flags.FlagValues = flags.FLAGS,
) -> None:
    """Calls `task_run` with the experiment and actions of the parsed flags.

    Raises:
        ValueError: for wrong flags or input, in one line.
    """
    params = experiment_flags.build_experiment(defaults, table, flag_values)
    do_predict = flag_values["do_predict"].value
    task_run(
        params,
        flag_values["model_dir"].value,
        do_train=flag_values["do_train"].value,
        do_eval=flag_values["do_eval"].value,
        predict_split=flag_values["predict_split"].value if do_predict else "",
    )
