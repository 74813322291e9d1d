"""Flags that every training binary has, and flags that stand for a field.

Each short flag replaces one field of the experiment (or the same field of
several parts of it), so that the usual changes need no YAML. Names are those
of the official scripts.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import NamedTuple

from absl import flags
from absl import logging
from official.core import config_definitions

from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import overrides

FLAGS = flags.FLAGS

OPTIMIZER = "trainer.optimizer_config"
_POLYNOMIAL = "learning_rate.polynomial"
# The inverse of the official optimizer's end_lr_rate.
_END_FACTOR = 1e4

_DEFINERS = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
}


class Field(NamedTuple):
    """What a short flag stands for.

    Attributes:
        kind: type of the value, or the values that it may have.
        key: dotted keys of the experiment that it sets, after blanks.
        help: text.
    """

    kind: type | Sequence[str]
    key: str
    help: str


# Of all official scripts that train.
COMMON = {
    "preset": Field(str, "task.model.preset", "Network."),
    "bert_config_file": Field(
        str, "task.model.bert_config_file", "Network, in place of --preset."
    ),
    "vocab_file": Field(
        str,
        "task.model.vocab_file",
        "Vocabulary; what a run starts from or learns from may bring it.",
    ),
    "do_lower_case": Field(
        bool, "task.model.lower_case", "Uncased vocabulary."
    ),
    "init_checkpoint": Field(
        str, "task.init_checkpoint", "Pre-trained model to start from."
    ),
    "train_batch_size": Field(
        int, "task.train_data.global_batch_size", "Batch."
    ),
    "eval_batch_size": Field(
        int, "task.validation_data.global_batch_size", "Batch."
    ),
    "learning_rate": Field(
        float,
        f"{OPTIMIZER}.{_POLYNOMIAL}.initial_learning_rate",
        "Peak rate; falls to 1e-4 of it unless a configuration says otherwise.",
    ),
    "save_checkpoints_steps": Field(
        int, "trainer.checkpoint_interval", "Steps between checkpoints."
    ),
    "iterations_per_loop": Field(
        int, "trainer.steps_per_loop", "Steps between progress lines."
    ),
}

# Accepted so that published commands run; the text says why they do nothing.
_TPU_WITHOUT_EFFECT = {
    "tpu_zone": (str, "TensorFlow finds the zone of --tpu_name"),
    "gcp_project": (str, "TensorFlow finds the project of --tpu_name"),
    "num_tpu_cores": (int, "all cores of the TPU are used"),
}


def define_common(flag_values: flags.FlagValues = FLAGS) -> None:
    """Defines --config_file, --params_override, --model_dir and the TPU's."""
    flags.DEFINE_multi_string(
        "config_file",
        [],
        "YAML files of experiment fields, later ones win.",
        flag_values,
    )
    flags.DEFINE_string(
        "params_override",
        "",
        'Experiment fields, "task.seed=1,trainer.train_steps=100" or JSON.',
        flag_values,
    )
    flags.DEFINE_string(
        "model_dir",
        None,
        "Folder of checkpoints, logs and configuration.",
        flag_values,
    )
    flags.DEFINE_alias("output_dir", "model_dir", flag_values)
    flags.DEFINE_bool("use_tpu", None, "Train on --tpu_name.", flag_values)
    flags.DEFINE_string(
        "tpu_name",
        None,
        'Name or grpc:// address of the TPU; "local", the default, on a TPU '
        "VM.",
        flag_values,
    )
    flags.DEFINE_string("master", None, "As --tpu_name.", flag_values)
    define_without_effect(_TPU_WITHOUT_EFFECT, flag_values)


def define_overrides(
    table: Mapping[str, Field], flag_values: flags.FlagValues = FLAGS
) -> None:
    """Defines the short flags, none of them set."""
    for name, (kind, key, text) in table.items():
        text = f"{text} ({key.split()[0]})"
        if kind in _DEFINERS:
            _DEFINERS[kind](name, None, text, flag_values=flag_values)
        else:
            flags.DEFINE_enum(name, None, kind, text, flag_values)


def define_without_effect(
    table: Mapping[str, tuple[type, str]],
    flag_values: flags.FlagValues = FLAGS,
) -> None:
    """Defines flags that are accepted and change nothing.

    Args:
        table: flag name to type and reason.
        flag_values: where they are defined.
    """
    for name, (kind, reason) in table.items():
        _DEFINERS[kind](
            name, None, f"No effect: {reason}.", flag_values=flag_values
        )


def note_without_effect(
    table: Mapping[str, tuple[type, str]], flag_values: flags.FlagValues
) -> None:
    """Logs which flags of `table` are given, and why they do nothing."""
    for name, (_, reason) in table.items():
        if flag_values[name].value is not None:
            logging.info("--%s has no effect: %s", name, reason)


def build_experiment(
    defaults: config_definitions.ExperimentConfig,
    table: Mapping[str, Field],
    flag_values: flags.FlagValues = FLAGS,
) -> config_definitions.ExperimentConfig:
    """Merges defaults, YAML files, --params_override and short flags.

    Args:
        defaults: not modified.
        table: of define_overrides.
        flag_values: parsed.

    Raises:
        ValueError: what experiment_builder.build raises; also without
            --model_dir.
    """
    if not flag_values["model_dir"].value:
        raise ValueError("--model_dir is required: got nothing")
    given = {
        key: flag_values[name].value
        for name, field in table.items()
        if flag_values[name].value is not None
        for key in field.key.split()
    }
    rate = flag_values["learning_rate"].value
    if rate is not None:
        defaults = with_defaults(
            defaults,
            {
                f"{OPTIMIZER}.{_POLYNOMIAL}.end_learning_rate": rate
                / _END_FACTOR
            },
        )
    return experiment_builder.build(
        defaults,
        flag_values["config_file"].value,
        flag_values["params_override"].value,
        {**given, **_devices(flag_values)},
    )


def with_defaults(
    params: config_definitions.ExperimentConfig, values: Mapping[str, object]
) -> config_definitions.ExperimentConfig:
    """Returns a copy of `params` with the fields `values`, by dotted key."""
    params = params.replace()
    for key, value in values.items():
        overrides.apply(params, overrides.nested(key, value), "flags")
    return params


def with_fields_of(
    params: config_definitions.ExperimentConfig,
    other: config_definitions.ExperimentConfig,
    keys: Sequence[str],
) -> config_definitions.ExperimentConfig:
    """Returns a copy of `params` with the fields `keys` of another."""
    values = {}
    for key in keys:
        value = other
        for part in key.split("."):
            value = getattr(value, part)
        values[key] = value
    return with_defaults(params, values)


def _devices(flag_values):
    note_without_effect(_TPU_WITHOUT_EFFECT, flag_values)
    name = flag_values["tpu_name"].value or flag_values["master"].value
    if flag_values["use_tpu"].value:
        return {
            "runtime.distribution_strategy": "tpu",
            "runtime.tpu": name or "local",
        }
    if name:
        logging.info("--tpu_name and --master have no effect: no --use_tpu")
    return {}
