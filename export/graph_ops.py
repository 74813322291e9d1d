"""The layers of the deployment graph as TensorFlow ops.

Legend: R rows.
"""

import tensorflow as tf

from export import numerics as numerics_lib
from export import weights as weights_lib

# Ops whose name holds it are a LayerNorm's. Recipes keep them in float.
LAYER_NORM_SCOPE = "layer_norm"

_LAYER_NORM_EPSILON = 1e-12


def dense(
    numerics: numerics_lib.Float,
    inputs: tf.Tensor,
    weights: weights_lib.Dense,
    name: str,
    is_exact: bool = False,
) -> tf.Tensor:
    """Returns inputs [R, in] @ kernel + bias, [R, out].

    Args:
        is_exact: whether the layer is never one of 8-bit integers.
    """
    read = numerics.exact if is_exact else numerics.kernel
    with tf.name_scope(name):
        outputs = tf.matmul(inputs, read(weights.kernel))
        if weights.bias is None:
            return outputs
        return tf.nn.bias_add(outputs, numerics.exact(weights.bias))


def layer_norm(
    numerics: numerics_lib.Float,
    inputs: tf.Tensor,
    weights: weights_lib.Norm,
    is_whole: bool = True,
) -> tf.Tensor:
    """Returns the LayerNorm of inputs [R, width] over the last axis.

    Args:
        is_whole: of the outputs, see numerics.Activation.
    """
    with numerics.scope(LAYER_NORM_SCOPE):
        mean = tf.reduce_mean(inputs, axis=-1, keepdims=True)
        centred = inputs - mean
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        normalized = centred * tf.math.rsqrt(variance + _LAYER_NORM_EPSILON)
        # The converter would fuse a sum into the dense layers that read it:
        # they would round to int8 what is normalized, not the outputs.
        outputs = tf.subtract(
            normalized * numerics.exact(weights.gamma),
            numerics.exact(-weights.beta),
            name="outputs",
        )
        return numerics.activation(outputs, "outputs", is_whole=is_whole)
