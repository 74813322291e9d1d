"""The layers of the deployment graph as TensorFlow ops on constants.

Legend: R rows.
"""

import numpy as np
import tensorflow as tf

from export import weights as weights_lib

# Ops whose name holds it are a LayerNorm's. Recipes keep them in float.
LAYER_NORM_SCOPE = "layer_norm"

_LAYER_NORM_EPSILON = 1e-12


def constant(array: np.ndarray) -> tf.Tensor:
    """Returns the array as a float32 constant."""
    return tf.constant(array.astype(np.float32))


def dense(
    inputs: tf.Tensor, weights: weights_lib.Dense, name: str
) -> tf.Tensor:
    """Returns inputs [R, in] @ kernel + bias, [R, out]."""
    with tf.name_scope(name):
        outputs = tf.matmul(inputs, constant(weights.kernel))
        if weights.bias is None:
            return outputs
        return tf.nn.bias_add(outputs, constant(weights.bias))


def layer_norm(
    inputs: tf.Tensor, weights: weights_lib.Norm | None
) -> tf.Tensor:
    """Returns the LayerNorm of inputs [R, width] over the last axis.

    Without weights the inputs: their NoNorm has been folded.
    """
    if weights is None:
        return inputs
    with tf.name_scope(LAYER_NORM_SCOPE):
        mean = tf.reduce_mean(inputs, axis=-1, keepdims=True)
        centred = inputs - mean
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        normalized = centred * tf.math.rsqrt(variance + _LAYER_NORM_EPSILON)
        return normalized * constant(weights.gamma) + constant(weights.beta)
