"""Optimizers of a stage: rates per variable, schedules per phase.

Frozen variables need none of this: they are not handed to the optimizer.
"""

import re
from collections.abc import Mapping
from collections.abc import Sequence

import tensorflow as tf
import tf_keras
from official.modeling import optimization
from official.modeling.optimization import legacy_adamw

from mobilebert_tf.distillation import schedule
from mobilebert_tf.optimization import fused_lamb

# A replica's copy of a variable is named after the variable.
_NAME_END = re.compile(r"(/replica_\d+)?:\d+$")

# Arguments that the optimizers take as numbers or not at all.
_LEFT_OUT_IF_NONE = ("clipnorm", "clipvalue", "global_clipnorm")


class StageSchedule(tf_keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate within one stage.

    Args:
        learning_rate: a float, or a schedule over the stage's own steps.
        optimizer_offset: int. Updates of the optimizer before the stage.
        phase_steps: int or None. P of the official code's factor
            min(10 t / P, 0.9 + 0.1 sqrt(1 - t / P)), reference section 4.1;
            None for none.
    """

    def __init__(
        self,
        learning_rate,
        optimizer_offset: int = 0,
        phase_steps: int | None = None,
    ):
        super().__init__()
        self.learning_rate = learning_rate
        self.optimizer_offset = optimizer_offset
        self.phase_steps = phase_steps

    def __call__(self, step):
        step = tf.cast(step, tf.float32) - self.optimizer_offset
        rate = self.learning_rate
        if callable(rate):
            rate = rate(step)
        if self.phase_steps is not None:
            rate *= phase_factor(step, self.phase_steps)
        return rate

    def get_config(self):
        return {
            "learning_rate": self.learning_rate,
            "optimizer_offset": self.optimizer_offset,
            "phase_steps": self.phase_steps,
        }


class _Rated:
    """Scales the learning rate of single variables, its decay included."""

    _rates: Mapping[str, float] = {}

    def set_rates(self, rates: Mapping[str, float]) -> None:
        """Takes factors by variable name, without ":0"; others have 1."""
        self._rates = dict(rates)

    def _resource_apply_dense(self, grad, var, apply_state=None):
        state = self._scale(var, apply_state)
        return super()._resource_apply_dense(grad, var, state)

    def _resource_apply_sparse(self, grad, var, indices, apply_state=None):
        state = self._scale(var, apply_state)
        return super()._resource_apply_sparse(grad, var, indices, state)

    def _scale(self, var, apply_state):
        rate = self._rates.get(variable_name(var), 1.0)
        if rate == 1.0:
            return apply_state
        key = (var.device, var.dtype.base_dtype)
        coefficients = (apply_state or {}).get(
            key
        ) or self._fallback_apply_state(*key)
        scaled = {
            name: coefficients[name] * rate
            for name in ("lr_t", "lr")
            if name in coefficients
        }
        return {**(apply_state or {}), key: {**coefficients, **scaled}}


class RatedLamb(_Rated, fused_lamb.FusedLamb):
    """The Garden's LAMB with rates per variable."""


class RatedAdamW(_Rated, legacy_adamw.AdamWeightDecay):
    """The Garden's AdamW with rates per variable."""


_RATED = {"lamb": RatedLamb, "adamw": RatedAdamW}


def phase_factor(step: tf.Tensor, phase_steps: int) -> tf.Tensor:
    """Returns min(10 t / P, 0.9 + 0.1 sqrt(1 - t / P)), float32.

    Args:
        step: float32. t, from 0 to P.
        phase_steps: int. P.
    """
    progress = tf.clip_by_value(step / phase_steps, 0.0, 1.0)
    return tf.minimum(10.0 * progress, 0.9 + 0.1 * tf.sqrt(1.0 - progress))


def build(
    config: optimization.OptimizationConfig, stage: schedule.Stage
) -> tf_keras.optimizers.legacy.Optimizer:
    """Returns the optimizer of a stage.

    LAMB, and what has rates per block, has `set_rates`; else it is the
    Garden's own.

    Raises:
        ValueError: if the optimizer has no rates per variable and the stage
            needs them.
    """
    factory = optimization.OptimizerFactory(config)
    rate = factory.build_learning_rate()
    official = stage.phase_schedule == "official"
    if official or stage.optimizer_offset:
        rate = StageSchedule(
            rate, stage.optimizer_offset, stage.num_steps if official else None
        )
    kind = config.optimizer.type
    has_rates = stage.block_rates is not None and _has_rates(stage)
    if not has_rates and kind != "lamb":
        return factory.build_optimizer(rate)
    if kind not in _RATED:
        raise ValueError(
            f"optimizer.type: expected {' or '.join(_RATED)} with rates per "
            f"block, got {kind}"
        )
    options = {
        name: value
        for name, value in config.optimizer.get().as_dict().items()
        if value is not None or name not in _LEFT_OUT_IF_NONE
    }
    return _RATED[kind](**{**options, "learning_rate": rate})


def set_rates(
    optimizer: tf_keras.optimizers.legacy.Optimizer,
    rates: Sequence[tuple[tf.Variable, float]],
) -> None:
    """Gives an optimizer of `build` the factors on its learning rate."""
    if isinstance(optimizer, _Rated):
        optimizer.set_rates(
            {variable_name(variable): rate for variable, rate in rates}
        )


def variable_name(variable: tf.Variable) -> str:
    """Returns the name without ":0", the same for a replica's copy."""
    return _NAME_END.sub("", variable.name)


def _has_rates(stage):
    rates = {*stage.block_rates, stage.embeddings_rate}
    return bool(rates - {0.0, 1.0})
