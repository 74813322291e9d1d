"""Int8 rounding in float32, with gradients.

The grids are those of ai-edge-quantizer's min_max_uniform_quantize, which
writes the file: x becomes (q - z) * scale for an integer q.

| what | q | scale | z |
|---|---|---|---|
| activations, constants, tables | -128..127 | per tensor | any integer |
| keys and values | -128..127 | per tensor | 0 |
| kernels | -127..127 | per output channel | 0 |

Gradients pass straight through the rounding, and stop where a value was
clipped (Jacob et al., 2018, section 3).
"""

import tensorflow as tf

# Of a range that is all zeros.
_LEAST_WIDTH = 1e-8
# The lowest value of a symmetric range, in highest ones.
_LOWEST = -128 / 127


def activation(x: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    """Rounds to the 256 values of a range.

    Args:
        x: float32.
        low, high: float32 scalars. The range, to which 0 is added. They get
            the gradients of the values that they clip (PACT, Choi et al.,
            2018).
    """
    low = tf.minimum(low, 0.0)
    high = tf.maximum(tf.maximum(high, 0.0), low + _LEAST_WIDTH)
    return tf.quantization.fake_quant_with_min_max_vars(x, low, high)


def kernel(kernel: tf.Tensor) -> tf.Tensor:
    """Rounds a kernel [..., in, out] to 255 values per output channel."""
    axes = list(range(kernel.shape.rank - 1))
    bound = tf.reduce_max(tf.abs(tf.stop_gradient(kernel)), axis=axes)
    bound = tf.maximum(bound, _LEAST_WIDTH)  # [out]
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(
        kernel, -bound, bound, narrow_range=True
    )


def constant(values: tf.Tensor) -> tf.Tensor:
    """Rounds constant operands to 256 values of their whole range."""
    return activation(values, *whole_range(values))


def table_rows(table: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """Looks up ids [...] in a rounded table [rows, width]: [..., width]."""
    return activation(tf.gather(table, ids), *whole_range(table))


def whole_range(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the smallest and the largest value, without gradients."""
    values = tf.stop_gradient(values)
    return tf.reduce_min(values), tf.reduce_max(values)


def symmetric(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Widens a range so that its zero point is 0."""
    bound = tf.maximum(tf.abs(low), tf.abs(high))
    return bound * _LOWEST, bound
