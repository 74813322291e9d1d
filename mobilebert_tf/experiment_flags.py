"""Flags that every training binary has, and flags that stand for a key.

Each short flag replaces one field of the experiment, so that the usual
changes need no YAML. Names are those of the official scripts.
"""

from collections.abc import Mapping

from absl import flags
from official.core import config_definitions

from mobilebert_tf import experiment_builder

FLAGS = flags.FLAGS

_DEFINERS = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
}


def define_common() -> None:
    """Defines --config_file, --params_override and --model_dir."""
    flags.DEFINE_multi_string(
        "config_file", [], "YAML files of experiment fields, later ones win."
    )
    flags.DEFINE_string(
        "params_override",
        "",
        'Experiment fields, "task.seed=1,trainer.train_steps=100" or JSON.',
    )
    flags.DEFINE_string(
        "model_dir", None, "Folder of checkpoints, logs and configuration."
    )
    flags.DEFINE_alias("output_dir", "model_dir")


def define_overrides(table: Mapping[str, tuple[type, str, str]]) -> None:
    """Defines the short flags.

    Args:
        table: flag name to (type, dotted key of the experiment, help text).
    """
    for name, (kind, key, text) in table.items():
        _DEFINERS[kind](name, None, f"{text} ({key})")


def build_experiment(
    defaults: config_definitions.ExperimentConfig,
    table: Mapping[str, tuple[type, str, str]],
) -> config_definitions.ExperimentConfig:
    """Merges defaults, YAML files, --params_override and short flags.

    Raises:
        ValueError: what experiment_builder.build raises; also without
            --model_dir.
    """
    if not FLAGS.model_dir:
        raise ValueError("--model_dir is required: got nothing")
    overrides = {
        key: FLAGS[name].value
        for name, (_, key, _) in table.items()
        if FLAGS[name].value is not None
    }
    return experiment_builder.build(
        defaults, FLAGS.config_file, FLAGS.params_override, overrides
    )
