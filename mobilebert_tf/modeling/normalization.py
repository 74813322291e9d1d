"""NoNorm, and the choice of normalisation.

Legend: B batch, S sequence, D any width.
"""

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


def make_layer_norm() -> tf_keras.layers.LayerNormalization:
    """Returns a LayerNorm over the last axis, epsilon 1e-12."""
    return tf_keras.layers.LayerNormalization(
        epsilon=_LAYER_NORM_EPSILON, name="LayerNorm"
    )
