"""What keeps NaN and infinity out of the weights, and remembers where from."""

from collections.abc import Sequence

import tensorflow as tf


class FiniteGuard(tf.Module):
    """Watches the numbers of each update inside the training loop.

    The first update with a number that is not finite shuts the guard: neither
    that update nor a later one may be applied. What it was stays in variables
    of the graph, so that the host has to look only between two loops.
    """

    def __init__(self):
        super().__init__()
        self._names = ()
        self._culprit = _make_variable(-1, tf.int32)
        self._value = _make_variable(0.0, tf.float32)
        self._num_refused = _make_variable(0, tf.int32)

    def admit(self, names: Sequence[str], values: tf.Tensor) -> tf.Tensor:
        """Returns whether an update may be applied; bool scalar.

        Args:
            names: what the values are, in the order in which they are blamed.
            values: float32 [len(names)]; under a distribution strategy, the
                sums over its replicas, so that all decide alike.
        """
        self._names = tuple(names)
        wrong = tf.logical_not(tf.math.is_finite(values))
        first = tf.argmax(tf.cast(wrong, tf.int32), output_type=tf.int32)
        shuts = (self._culprit < 0) & tf.reduce_any(wrong)
        self._value.assign(tf.where(shuts, values[first], self._value))
        self._culprit.assign(tf.where(shuts, first, self._culprit))
        is_open = self._culprit < 0
        self._num_refused.assign_add(tf.where(is_open, 0, 1))
        return is_open

    @property
    def num_refused(self) -> int:
        """Updates refused so far, the one that shut the guard included."""
        return int(self._num_refused.numpy())

    @property
    def reason(self) -> str:
        """What shut the guard, such as "loss term masked_lm_loss is nan"."""
        name = self._names[int(self._culprit.numpy())]
        return f"{name} is {float(self._value.numpy())}"


def _make_variable(value, dtype):
    """Each replica has its own; all hold the same."""
    return tf.Variable(
        value,
        trainable=False,
        dtype=dtype,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
