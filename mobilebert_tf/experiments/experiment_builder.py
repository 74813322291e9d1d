"""From defaults, YAML files and flags to one experiment, and its record."""

import json
import os
from collections.abc import Mapping

import yaml
from absl import logging
from official.core import config_definitions

from mobilebert_tf import files
from mobilebert_tf.experiments import overrides

PARAMS_FILE = "params.yaml"

# Fields of the Garden's configs that this project's loop does not follow. To
# accept and ignore them would be a trap.
_UNSUPPORTED = (
    "trainer.summary_interval",
    "trainer.continuous_eval_timeout",
    "trainer.best_checkpoint_export_subdir",
    "trainer.best_checkpoint_eval_metric",
    "trainer.best_checkpoint_metric_comp",
    "trainer.loss_upper_bound",
    "trainer.recovery_begin_steps",
    "trainer.recovery_max_trials",
    "trainer.validation_summary_subdir",
    "trainer.preemption_on_demand_checkpoint",
    "trainer.optimizer_config.ema",
    "task.knowledge_transfer.optimizer_config.ema",
    "runtime.enable_xla",
    "runtime.gpu_thread_mode",
    "runtime.dataset_num_private_threads",
    "runtime.per_gpu_thread_count",
    "runtime.loss_scale",
    "runtime.run_eagerly",
    "runtime.batchnorm_spatial_persistent",
    "runtime.num_cores_per_replica",
    "runtime.default_shard_dim",
    "runtime.use_tpu_mp_strategy",
    "task.name",
    "task.differential_privacy_config",
    "task.allow_image_summary",
    "task.first_train_data.is_training",
    "task.train_data.is_training",
    "task.validation_data.is_training",
)

# Files, globs or folders of data, several between commas.
_PATHS = (
    "task.data_dir",
    "task.distillation.teacher_dir",
    "task.table.train_file",
    "task.table.dev_file",
    "task.table.test_file",
    "task.train_data.input_path",
    "task.validation_data.input_path",
)

# What may differ when a run is continued: where files lie, evaluation, and
# how a batch is worked through.
_MAY_CHANGE = (
    "task.init_checkpoint",
    "task.teacher_dir",
    "task.teacher_config_file",
    "task.distillation.teacher_dir",
    "task.data_dir",
    "task.train_file",
    "task.dev_file",
    "task.test_file",
    "task.table.train_file",
    "task.table.dev_file",
    "task.table.test_file",
    "task.model.vocab_file",
    "task.model.bert_config_file",
    "task.first_train_data.input_path",
    "task.train_data.input_path",
    "task.validation_data",
    "task.gradient_accumulation_steps",
    "task.early_stopping_patience",
)
# A place that may change, but not become one or cease to be.
_THERE_OR_NOT = ("task.teacher_dir", "task.distillation.teacher_dir")
_TRAIN_STEPS = "trainer.train_steps"
# These may change too, for a purpose: a rate that was too high, a longer run.
# But not an optimizer's type: its state is in the checkpoint.
_CHANGE_IS_LOGGED = (
    "task.knowledge_transfer.optimizer_config",
    "trainer.optimizer_config",
    _TRAIN_STEPS,
    "runtime.mixed_precision_dtype",
)


def build(
    defaults: config_definitions.ExperimentConfig,
    config_files: list[str],
    params_override: str,
    flag_overrides: Mapping[str, object],
) -> config_definitions.ExperimentConfig:
    """Merges defaults, YAML files, --params_override and flags, in order.

    Args:
        defaults: the experiment's defaults; not modified.
        config_files: YAML files of nested keys.
        params_override: "a.b=1,c.d=x" or a JSON/YAML mapping.
        flag_overrides: dotted key to value.

    Raises:
        ValueError: for an unreadable file, an unknown key or a value of the
            wrong type, naming file and key.
    """
    params = defaults.replace()
    for path in config_files:
        overrides.apply(params, files.read_yaml(path), source=path)
    if params_override:
        values = overrides.parse(params_override)
        overrides.apply(params, values, source="--params_override")
    for key, value in flag_overrides.items():
        overrides.apply(params, overrides.nested(key, value), source="flags")
    for key in _UNSUPPORTED:
        value, default = _get(params, key), _get(defaults, key)
        if value != default:
            raise ValueError(
                f"{key}={value} is not supported here, expected {default}"
            )
    return params


def check_continues(
    params: config_definitions.ExperimentConfig, model_dir: str
) -> None:
    """Checks that the run of `model_dir` can go on with `params`.

    Changed rates, numbers of steps and precision are logged.

    Raises:
        ValueError: if params.yaml there has another task or optimizer: its
            checkpoints would be continued with other data, stages or losses.
    """
    path = os.path.join(model_dir, PARAMS_FILE)
    if not os.path.exists(path):
        return
    before, now = _flat(files.read_yaml(path)), _flat(_plain(params))
    # What an earlier version had no field for was as the defaults are.
    defaults = _flat({"task": _plain(type(params.task)())})
    before = {**defaults, **before}
    # Types first: with another one the rest differs for its sake alone.
    for name in sorted(
        before | now, key=lambda name: (not _is_type(name), name)
    ):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if _is_below(name, _MAY_CHANGE):
            if name not in _THERE_OR_NOT or bool(old) == bool(new):
                continue
        elif _is_below(name, _CHANGE_IS_LOGGED) and not _is_type(name):
            if name == _TRAIN_STEPS and not new:
                continue  # It is yet to be filled in, by the epochs.
            logging.warning("%s was %s in %s, now %s", name, old, path, new)
            continue
        elif not _is_below(name, ("task", *_CHANGE_IS_LOGGED)):
            continue
        raise ValueError(
            f"{name} is {old!r} in {path}, this run has {new!r}; choose "
            "another --model_dir"
        )


def with_recorded_task(
    params: config_definitions.ExperimentConfig, model_dir: str | None
) -> config_definitions.ExperimentConfig:
    """Returns a copy of `params` with the task that a run has recorded.

    Args:
        params: defaults.
        model_dir: of the run; without a record there, nothing changes.

    Raises:
        ValueError: if the record is of another kind of task.
    """
    params = params.replace()
    path = os.path.join(model_dir or "", PARAMS_FILE)
    if os.path.exists(path):
        task = files.read_yaml(path).get("task", {})
        overrides.apply(params, {"task": task}, source=path)
    return params


def _whole_path(path):
    path = path.strip()
    return path if "://" in path else os.path.abspath(path)


def _flat(values, prefix=""):
    """Returns {dotted key: value} of nested dicts."""
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _is_below(name, keys):
    return any(name == key or name.startswith(f"{key}.") for key in keys)


def _is_type(name):
    return name.endswith(".type")


def _get(params, key):
    for part in key.split("."):
        params = getattr(params, part, None)
    return params


def _plain(params):
    """Returns dicts, lists and scalars alone."""
    return json.loads(json.dumps(params.as_dict()))


def write_params(
    params: config_definitions.ExperimentConfig, model_dir: str
) -> None:
    """Writes the merged experiment to model_dir/params.yaml.

    Files and folders to read are recorded with their whole paths: a record is
    used from other folders too.
    """
    values = _plain(params)
    for key in _PATHS:
        *parents, name = key.split(".")
        part = values
        for parent in parents:
            part = part.get(parent, {})
        if part.get(name):
            part[name] = ",".join(map(_whole_path, part[name].split(",")))
    text = yaml.safe_dump(values, sort_keys=False)
    files.write_text(os.path.join(model_dir, PARAMS_FILE), text)
