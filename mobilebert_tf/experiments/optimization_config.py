"""Optimizers with their schedules: defaults, and what a run fills in."""

import copy

from official.modeling import optimization

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


def lamb(
    learning_rate: float, end_learning_rate: float, warmup_steps: int
) -> optimization.OptimizationConfig:
    """LAMB with linear warm-up and linear decay over the stage."""
    return _optimizer_config(
        "lamb", learning_rate, end_learning_rate, warmup_steps
    )


def adamw(
    learning_rate: float, end_learning_rate: float, warmup_steps: int
) -> optimization.OptimizationConfig:
    """AdamW with linear warm-up and linear decay over the run."""
    return _optimizer_config(
        "adamw", learning_rate, end_learning_rate, warmup_steps
    )


def complete(
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
                f"stage of {num_steps} steps; set fewer in "
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
