"""The ranges of int8 activations, kept with a model's weights.

They are part of the model's checkpoints, as model/int8_ranges, beside its
weights: what reads the model without them reads an ordinary one.
"""

import re
from collections.abc import Callable
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from export import fake_quantization
from mobilebert_tf import model_directory
from mobilebert_tf.experiments import quantization_config

_BOUNDS = "bounds"
_FACTORS = "factors"
# As a checkpoint names a variable, "/" in names being ".S".
_KEY = re.compile(
    rf"model/{model_directory.INT8_RANGES}/([^/]+)\.S({_BOUNDS}|{_FACTORS})"
    "/.ATTRIBUTES/VARIABLE_VALUE"
)


class Range(NamedTuple):
    """The smallest and the largest value that int8 stores."""

    low: float
    high: float


class Ranges(tf_keras.layers.Layer):
    """A range for each activation: [low, high], 0 among them.

    Learned ranges are trained as exp(factor) times those of the first
    batches, which gives all of them steps of like size: a learning rate that
    fits weights fits them. One factor serves both ends of a symmetric range.

    Args:
        is_symmetric: by the name of an activation.
        config: QuantizationConfig.
        num_following: updates for which averaged ranges follow the batches.
    """

    def __init__(
        self,
        is_symmetric: Mapping[str, bool],
        config: quantization_config.QuantizationConfig,
        num_following: int,
    ):
        super().__init__(name=model_directory.INT8_RANGES)
        self._is_symmetric = dict(is_symmetric)
        self._is_learned = config.ranges == quantization_config.LEARNED
        self._rate = 1.0 - config.decay
        self._num_following = num_following
        self.bounds = {
            name: self._make(f"{name}/{_BOUNDS}", [2]) for name in is_symmetric
        }
        self.factors = {}
        if self._is_learned:
            self.factors = {
                name: self._make(
                    f"{name}/{_FACTORS}",
                    [1 if symmetric else 2],
                    trainable=True,
                )
                for name, symmetric in is_symmetric.items()
            }
        self.num_updates = self._make("num_updates", [], dtype=tf.int64)
        self.built = True

    def _make(self, name, shape, trainable=False, dtype=tf.float32):
        return self.add_weight(
            name=name,
            shape=shape,
            dtype=dtype,
            initializer="zeros",
            trainable=trainable,
            # Each replica follows its part of the batches; they are averaged
            # when saved, as the statistics of a batch normalisation.
            synchronization=(
                tf.VariableSynchronization.AUTO
                if trainable
                else tf.VariableSynchronization.ON_READ
            ),
            aggregation=(
                tf.VariableAggregation.ONLY_FIRST_REPLICA
                if dtype.is_integer
                else tf.VariableAggregation.MEAN
            ),
        )

    def of(self, name: str) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the range of an activation, float32 scalars."""
        bounds = tf.convert_to_tensor(self.bounds[name])
        if self._is_learned:
            bounds *= tf.exp(self.factors[name])
        return bounds[0], bounds[1]

    def start(self, bounds: Mapping[str, np.ndarray]) -> None:
        """Sets all ranges.

        Args:
            bounds: float32 [2] by name.

        Raises:
            ValueError: if one is not finite.
        """
        for name, values in bounds.items():
            if not np.all(np.isfinite(values)):
                raise ValueError(
                    f"quantization_aware: activation {name} is not finite in "
                    "the first batches, expected a model whose float32 form "
                    "works"
                )
            self.bounds[name].assign(self._final(name, values))

    def follow(
        self, bounds_of_batch: Callable[[], dict[str, tf.Tensor]]
    ) -> None:
        """Moves averaged ranges towards a batch's, while they follow them.

        Args:
            bounds_of_batch: returns float32 [2] by name.
        """
        if self._is_learned:
            return
        self.num_updates.assign_add(1)
        tf.cond(
            self.num_updates <= self._num_following,
            lambda: self._move(bounds_of_batch()),
            lambda: None,
        )

    def _move(self, bounds):
        for name, values in bounds.items():
            variable = self.bounds[name]
            difference = self._final(name, values) - variable
            variable.assign_add(self._rate * difference)

    def _final(self, name, values):
        if not self._is_symmetric[name]:
            return values
        return tf.stack(fake_quantization.symmetric(values[0], values[1]))


def read(checkpoint: str) -> dict[str, Range]:
    """Returns the ranges that a checkpoint has, {} if it has none.

    Args:
        checkpoint: prefix of a checkpoint of training.
    """
    reader = tf.train.load_checkpoint(checkpoint)
    parts = {_BOUNDS: {}, _FACTORS: {}}
    for key in reader.get_variable_to_shape_map():
        match = _KEY.fullmatch(key)
        if match:
            name = match[1].replace(".S", "/")
            parts[match[2]][name] = reader.get_tensor(key)
    return {
        name: Range(*(float(b) for b in bounds * _scale(parts, name)))
        for name, bounds in sorted(parts[_BOUNDS].items())
    }


def _scale(parts, name):
    factor = parts[_FACTORS].get(name)
    return 1.0 if factor is None else np.exp(factor)
