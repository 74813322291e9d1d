"""Checks of an experiment's values, before anything is read or built."""

import operator

from mobilebert_tf.experiments import pretraining_config
from mobilebert_tf.modeling import dense
from mobilebert_tf.tasks import pretraining_inputs

STRATEGIES = ("progressive", "joint", "auxiliary", "none")
LAYER_MAPPINGS = ("one_to_one", "every_k", "explicit")
FEATURE_MAP_LOSSES = ("mse", "normalized")
LOSS_SCALES = ("sum", "num_blocks")
PHASE_SCHEDULES = ("constant", "official")

_CHOICES = {
    "knowledge_transfer.strategy": ("", *STRATEGIES),
    "knowledge_transfer.layer_mapping": LAYER_MAPPINGS,
    "knowledge_transfer.feature_map_loss": FEATURE_MAP_LOSSES,
    "knowledge_transfer.loss_scale": LOSS_SCALES,
    "knowledge_transfer.phase_schedule": PHASE_SCHEDULES,
    "distillation.teacher_precision": dense.PRECISIONS,
    "train_data.data_format": pretraining_inputs.FORMATS,
    "first_train_data.data_format": pretraining_inputs.FORMATS,
    "validation_data.data_format": pretraining_inputs.FORMATS,
}

# Key: least and greatest value, None for no bound.
_RANGES = {
    "train_data.global_batch_size": (1, None),
    "validation_data.global_batch_size": (1, None),
    "first_train_data.global_batch_size": (1, None),
    "first_train_steps": (0, None),
    "knowledge_transfer.num_steps": (0, None),
    "knowledge_transfer.feature_map_factor": (0, None),
    "knowledge_transfer.attention_factor": (0, None),
    "knowledge_transfer.mean_factor": (0, None),
    "knowledge_transfer.variance_factor": (0, None),
    "knowledge_transfer.active_block_rate": (0, None),
    "knowledge_transfer.lower_blocks_rate": (0, None),
    "knowledge_transfer.embeddings_rate": (0, None),
    "distillation.ground_truth_ratio": (0, 1),
}


def check_pretraining(task: pretraining_config.PretrainingTaskConfig) -> None:
    """Checks what needs no file and no network.

    Raises:
        ValueError: for a value out of its range or set, or a combination that
            means nothing, naming the key.
    """
    for key, choices in _CHOICES.items():
        value = operator.attrgetter(key)(task)
        if value not in choices:
            names = ", ".join(name for name in choices if name)
            raise ValueError(
                f"task.{key}: expected one of {names}, got {value!r}"
            )
    for key, (low, high) in _RANGES.items():
        value = operator.attrgetter(key)(task)
        # A NaN is in no range.
        if not value >= low or (high is not None and value > high):
            expected = f"at least {low}" if high is None else f"{low} to {high}"
            raise ValueError(f"task.{key}: expected {expected}, got {value}")
    if not task.distillation.temperature > 0:
        raise ValueError(
            "task.distillation.temperature: expected more than 0, got "
            f"{task.distillation.temperature}"
        )
    _check_transfer(task)


def strategy(task: pretraining_config.PretrainingTaskConfig) -> str:
    """Returns the name in STRATEGIES that `task` asks for."""
    return task.knowledge_transfer.strategy or (
        "progressive" if task.teacher_dir else "none"
    )


def never_loads_teacher(task: pretraining_config.PretrainingTaskConfig) -> bool:
    """Whether the official code's random teacher is asked for."""
    return (
        task.official_defects.random_teacher_without_transfer
        and strategy(task) == "none"
    )


def _check_transfer(task):
    transfer = task.knowledge_transfer
    if strategy(task) != "none" and not task.teacher_dir:
        raise ValueError(
            f"task.knowledge_transfer.strategy={strategy(task)} needs a "
            "teacher: --teacher_dir is empty"
        )
    if transfer.teacher_layers and transfer.layer_mapping != "explicit":
        raise ValueError(
            "task.knowledge_transfer.teacher_layers: expected none with "
            f"layer_mapping={transfer.layer_mapping}, "
            f"got {transfer.teacher_layers}"
        )
    if strategy(task) == "none":
        return
    factors = ("feature_map", "attention", "mean", "variance")
    if not any(getattr(transfer, f"{name}_factor") for name in factors):
        raise ValueError(
            f"task.knowledge_transfer.strategy={strategy(task)} has no loss: "
            "expected one of the factors above 0, got 0 for "
            + ", ".join(f"{name}_factor" for name in factors)
        )
    if strategy(task) != "auxiliary" and not transfer.active_block_rate:
        raise ValueError(
            "task.knowledge_transfer.active_block_rate: expected more than 0, "
            f"got {transfer.active_block_rate}"
        )
