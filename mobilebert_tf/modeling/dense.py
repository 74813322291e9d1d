"""Dense layers: as rows, and with 8-bit integers where nothing is learned.

Legend: R rows, D input width, N units.
"""

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tf_keras

FLOAT32 = "float32"
INT8 = "int8"
PRECISIONS = (FLOAT32, INT8)

_LARGEST_INPUT = 255.0  # of uint8
_LARGEST_KERNEL = 127.0  # of int8


class RowDense(tf_keras.layers.Dense):
    """A Dense layer that multiplies [..., D] as rows [R, D].

    Keras puts a reshape between product and bias, which keeps TensorFlow from
    computing product, bias and activation as one operation.
    """

    # With one, the product is of integers; see set_precision.
    integer_kernel = None

    def call(self, inputs):
        width = inputs.shape[-1]
        rows = tf.reshape(inputs, [-1, width])
        if self.integer_kernel is None:
            outputs = super().call(rows)
        else:
            outputs = _integer_product(
                rows, self.integer_kernel, self.bias, self.activation
            )
            outputs = tf.cast(outputs, self.compute_dtype)
        if inputs.shape.rank == 2:
            return outputs
        shape = tf.concat([tf.shape(inputs)[:-1], [self.units]], axis=0)
        outputs = tf.reshape(outputs, shape)
        outputs.set_shape(inputs.shape[:-1] + [self.units])
        return outputs


@dataclasses.dataclass(frozen=True)
class IntegerKernel:
    """A kernel rounded to 127 steps of its column's largest absolute value.

    Attributes:
        values: int8 [D, N].
        steps: float32 [N], what 1 in each column stands for.
        sums: float32 [N], of the columns before rounding.
    """

    values: tf.Tensor
    steps: tf.Tensor
    sums: tf.Tensor


def round_kernel(kernel: np.ndarray) -> IntegerKernel:
    """Rounds a float kernel [D, N]."""
    largest = np.abs(kernel).max(axis=0)
    steps = np.where(largest > 0, largest, 1.0) / _LARGEST_KERNEL
    return IntegerKernel(
        tf.constant(np.round(kernel / steps), tf.int8),
        tf.constant(steps, tf.float32),
        tf.constant(kernel.sum(axis=0), tf.float32),
    )


def set_precision(model: tf_keras.Model, precision: str) -> None:
    """Chooses the products of all RowDense layers of a built model.

    With "int8" each input row is rounded to 255 steps between its smallest
    and its largest value, each column of a kernel to 127 steps either side of
    zero; products are summed as 32-bit integers, exactly, and scaled back.
    The kernels are rounded now: call it again after a change. No gradient
    flows through such a layer. It holds for functions traced from now on.

    Args:
        model: any Keras model.
        precision: one of PRECISIONS.

    Raises:
        ValueError: for another precision, or where TensorFlow has no such
            product (it comes with oneDNN, on x86 CPUs).
    """
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision: expected one of {PRECISIONS}, got {precision!r}"
        )
    if precision == INT8:
        _check_products()
    for layer in model.submodules:
        if isinstance(layer, RowDense):
            layer.integer_kernel = (
                round_kernel(layer.kernel.numpy())
                if precision == INT8
                else None
            )


@contextlib.contextmanager
def float_products(model: tf_keras.Model) -> Iterator[None]:
    """Lets what is traced within the block multiply floats.

    Args:
        model: of set_precision; it is as before after the block.
    """
    kernels = {
        layer: layer.integer_kernel
        for layer in model.submodules
        if isinstance(layer, RowDense)
    }
    try:
        for layer in kernels:
            layer.integer_kernel = None
        yield
    finally:
        for layer, kernel in kernels.items():
            layer.integer_kernel = kernel


def _integer_product(rows, kernel, bias, activation):
    rows = tf.stop_gradient(tf.cast(rows, tf.float32))
    low = tf.reduce_min(rows, axis=-1, keepdims=True)  # [R, 1]
    high = tf.reduce_max(rows, axis=-1, keepdims=True)
    product = _multiply(_round_rows(rows, low, high), kernel.values)
    return _scale_back(
        product, low, high, kernel.steps, kernel.sums, bias, activation
    )


def _multiply(left, right):
    """Returns uint8 [R, D] times int8 [D, N] as int32 [R, N]."""
    zeros = tf.zeros([right.shape[1]], tf.int32)
    product = tf.raw_ops.QuantizedMatMulWithBias(
        a=tf.bitcast(left, tf.quint8),
        b=tf.bitcast(right, tf.qint8),
        bias=tf.bitcast(zeros, tf.qint32),
        # Unit steps: the product of the integers as they are.
        min_a=0.0,
        max_a=_LARGEST_INPUT,
        min_b=-_LARGEST_KERNEL,
        max_b=_LARGEST_KERNEL,
        Toutput=tf.qint32,
        input_quant_mode="SCALED",
    ).out
    return tf.bitcast(product, tf.int32)


# XLA makes one pass over the data of each of these, the activation included.
@tf.function(jit_compile=True, autograph=False)
def _round_rows(rows, low, high):
    scale = _LARGEST_INPUT / tf.maximum(high - low, 1e-30)
    return tf.cast((rows - low) * scale + 0.5, tf.uint8)


@tf.function(jit_compile=True, autograph=False)
def _scale_back(product, low, high, steps, sums, bias, activation):
    scale = (high - low) / _LARGEST_INPUT
    outputs = tf.cast(product, tf.float32) * scale * steps
    return activation(outputs + (low * sums + bias))


def _check_products():
    left = tf.constant([[0, 1, 255]], tf.uint8)
    right = tf.constant([[1, -127], [2, 0], [127, 127]], tf.int8)
    try:
        product = _multiply(left, right).numpy().tolist()
    except (tf.errors.NotFoundError, tf.errors.InvalidArgumentError) as error:
        raise ValueError(
            "precision int8: this TensorFlow has no product of 8-bit integers "
            "on this device (oneDNN on x86 CPUs has)"
        ) from error
    if product != [[32387, 32385]]:
        raise ValueError(
            "precision int8: expected the product [[32387, 32385]], got "
            f"{product}"
        )
