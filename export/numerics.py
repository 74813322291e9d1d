"""In which numbers the deployment graph computes.

The graph is defined once and has two uses. In the file it is made of
constants, of one example, in float32: `Float`. In quantisation-aware training
it is made of functions of a Keras model's variables, of a batch, and rounds
wherever the int8 file will: `Int8`. Float has the same calls, so that nothing
in the graph asks which it is; what it leaves out, configs/export/int8.json
says of the file: the mask, the softmax, LayerNorm and the head's last layer
stay in float32.

Legend: B batch, S sequence, N heads, R rows computed of a sequence: S, or 1
where only the first token counts.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from export import fake_quantization

Array = np.ndarray | tf.Tensor
# Name of an activation to its range, float32 scalars.
RangeOf = Callable[[str], tuple[tf.Tensor, tf.Tensor]]

# Range of an int8 tanh, whatever the values: steps of 1/128, zero point 0.
_TANH_RANGE = (-1.0, 127 / 128)


@dataclasses.dataclass(frozen=True)
class Activation:
    """A tensor that int8 files store with a range of its own.

    Attributes:
        values: float32 [B * R, width]; of scores [B, N, R, S], in the graph of
            one example [N, R, S].
        is_symmetric: whether its zero point is 0.
        is_scores: see `values`.
        is_whole: whether R is S.
    """

    values: tf.Tensor
    is_symmetric: bool
    is_scores: bool
    is_whole: bool

    def bounds(self, real: tf.Tensor) -> tf.Tensor:
        """Returns the least and the largest value and 0, float32 [2].

        Of real positions: nothing reads what padding gives, or its scores.

        Args:
            real: float32 [B, S], 1 real and 0 padding.
        """
        values = tf.stop_gradient(self.values)
        if self.is_scores:
            values *= real[:, tf.newaxis, tf.newaxis]
            if self.is_whole:
                values *= real[:, tf.newaxis, :, tf.newaxis]
        elif self.is_whole:
            values *= tf.reshape(real, [-1, 1])
        low, high = tf.reduce_min(values), tf.reduce_max(values)
        return tf.stack([tf.minimum(low, 0.0), tf.maximum(high, 0.0)])

    def is_finite(self) -> tf.Tensor:
        """Returns whether no value is NaN or infinite: bounds may hide it."""
        return tf.reduce_all(tf.math.is_finite(self.values))


class Float:
    """float32, of numpy constants or of tensors.

    Attributes:
        activations: Activation by name, of what was computed so far. A name
            is the scopes that it was computed in, joined by "/", and its own;
            with them begin the names of the operators that compute it.
    """

    def __init__(self):
        self.activations = {}
        self._scopes = []

    @contextlib.contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """A part of the graph."""
        self._scopes.append(name)
        with tf.name_scope(name):
            yield
        self._scopes.pop()

    def exact(self, array: Array) -> tf.Tensor:
        """Returns what is never rounded to 8 bits, such as a bias."""
        if tf.is_tensor(array):
            return array
        return tf.constant(array.astype(np.float32))

    def kernel(self, array: Array) -> tf.Tensor:
        """Returns a kernel [..., in, out]."""
        return self.exact(array)

    def operand(self, array: Array) -> tf.Tensor:
        """Returns the constant side of a sum or product of elements."""
        return self.exact(array)

    def look_up(self, table: Array, ids: tf.Tensor, name: str) -> tf.Tensor:
        """Returns rows of a table."""
        return tf.gather(self.exact(table), ids, name=name)

    def activation(
        self,
        values: tf.Tensor,
        name: str,
        is_symmetric: bool = False,
        is_scores: bool = False,
        is_whole: bool = True,
    ) -> tf.Tensor:
        """Returns values as they are stored; see Activation."""
        name = "/".join([*self._scopes, name])
        if name in self.activations:
            raise ValueError(f"two activations have the name {name}")
        self.activations[name] = Activation(
            values, is_symmetric, is_scores, is_whole
        )
        return self._stored(values, name)

    def tanh(self, values: tf.Tensor, name: str) -> tf.Tensor:
        """Returns the tanh, whose range is fixed."""
        return tf.tanh(values, name=name)

    def _stored(self, values, name):
        del name
        return values


class Int8(Float):
    """What an int8 file computes, in float32 and with gradients.

    Args:
        range_of: of each activation.
        float_names: of activations that nothing in int8 computes or reads.
        float_scopes: outermost scopes that compute in float32.
    """

    def __init__(
        self,
        range_of: RangeOf,
        float_names: Collection[str] = (),
        float_scopes: Collection[str] = (),
    ):
        super().__init__()
        self._range_of = range_of
        self._float_names = frozenset(float_names)
        self._float_scopes = frozenset(float_scopes)

    def kernel(self, array):
        if self._is_float:
            return super().kernel(array)
        return fake_quantization.kernel(self.exact(array))

    def operand(self, array):
        if self._is_float:
            return super().operand(array)
        return fake_quantization.constant(self.exact(array))

    def look_up(self, table, ids, name):
        if self._is_float:
            return super().look_up(table, ids, name)
        return fake_quantization.table_rows(self.exact(table), ids)

    def tanh(self, values, name):
        return fake_quantization.activation(
            super().tanh(values, name), *_TANH_RANGE
        )

    @property
    def _is_float(self):
        return bool(self._scopes) and self._scopes[0] in self._float_scopes

    def _stored(self, values, name):
        if self._is_float or name in self._float_names:
            return values
        return fake_quantization.activation(values, *self._range_of(name))
