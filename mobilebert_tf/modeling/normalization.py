"""NoNorm, and the choice of normalisation.

Legend: B batch, S sequence, D any width.
"""

import tensorflow as tf
import tf_keras

_LAYER_NORM_EPSILON = 1e-12


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class NoNorm(tf_keras.layers.Layer):
    """Element-wise linear map in place of LayerNorm (paper section 3.4).

    y = gamma * x + beta, with gamma (ones) and beta (zeros) of the width of
    the last axis. Unlike LayerNorm it needs no statistics of the input, so it
    can be folded into its neighbours at export.

    Input and output: [..., D], same dtype.

    Example:

        >>> norm = NoNorm()  # gamma 1, beta 0
        >>> norm(tf.constant([[1.0, 2.0]])).numpy().tolist()
        [[1.0, 2.0]]
    """

    def build(self, input_shape):
        width = input_shape[-1]
        self.gamma = self.add_weight("gamma", [width], initializer="ones")
        self.beta = self.add_weight("beta", [width], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs):
        return inputs * self.gamma + self.beta


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class LayerNorm(tf_keras.layers.LayerNormalization):
    """Keras's LayerNormalization of the last axis, in one operation.

    y = (x - mean) * (gamma / sqrt(variance + epsilon)) + beta, written so that
    TensorFlow on a CPU (oneDNN) recognises it and makes one pass where nothing
    is differentiated; Keras's own order of the operations is not recognised.

    Input and output: [..., D], same dtype; computed in float32.
    """

    def call(self, inputs):
        x = tf.cast(inputs, self.dtype)
        centered = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centered), axis=-1, keepdims=True)
        scale = tf.math.rsqrt(variance + self.epsilon) * self.gamma
        return tf.cast(centered * scale + self.beta, self.compute_dtype)


def make_normalization(normalization_type: str) -> tf_keras.layers.Layer:
    """Returns a fresh normalisation layer, named as in the TF1 checkpoints.

    Args:
        normalization_type: "no_norm" or "layer_norm".

    Raises:
        ValueError: for another type.
    """
    if normalization_type == "no_norm":
        return NoNorm(name="FakeLayerNorm")
    if normalization_type == "layer_norm":
        return make_layer_norm()
    raise ValueError(
        "normalization_type: expected 'no_norm' or 'layer_norm', "
        f"got {normalization_type!r}"
    )


def make_layer_norm() -> LayerNorm:
    """Returns a LayerNorm over the last axis, epsilon 1e-12."""
    return LayerNorm(epsilon=_LAYER_NORM_EPSILON, name="LayerNorm")
