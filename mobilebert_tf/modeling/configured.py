"""Bases of the layers and models built from a MobileBertConfig."""

import tensorflow as tf
import tf_keras

from mobilebert_tf.modeling import config as config_lib


class ConfiguredLayer(tf_keras.layers.Layer):
    """A layer whose constructor takes a MobileBertConfig and serialises it.

    Args:
        config: MobileBertConfig.
        **kwargs: of tf_keras.layers.Layer.

    Raises:
        ValueError: for a float16 policy.
    """

    def __init__(self, config, **kwargs):
        super().__init__(**kwargs)
        _refuse_float16(self)
        self.config = config

    def get_config(self):
        return {**super().get_config(), "config": self.config.to_dict()}

    @classmethod
    def from_config(cls, config):
        # Here, not in __init__: subclasses read fields of what they are given.
        network = config_lib.MobileBertConfig.from_dict(config["config"])
        return cls(**{**config, "config": network})


class ConfiguredModel(tf_keras.Model):
    """A model of token ids whose constructor takes a MobileBertConfig.

    Args:
        config: MobileBertConfig, or its dict form as found in get_config.
        **kwargs: of tf_keras.Model.

    Raises:
        ValueError: for a float16 policy.
    """

    def __init__(self, config, **kwargs):
        super().__init__(**kwargs)
        _refuse_float16(self)
        if isinstance(config, dict):
            config = config_lib.MobileBertConfig.from_dict(config)
        self.config = config

    def build_weights(self) -> None:
        """Creates all variables without real input."""
        self({"input_word_ids": tf.zeros([1, 1], tf.int32)})

    def get_config(self):
        return {**super().get_config(), "config": self.config.to_dict()}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        del custom_objects
        return cls(**config)

    def build_from_config(self, config):
        # Keras would try float inputs, which are no ids.
        del config
        self.build_weights()


def _refuse_float16(layer):
    if layer.compute_dtype == "float16":
        raise ValueError(
            f"{type(layer).__name__}: got dtype policy "
            f"{layer.dtype_policy.name!r}: float16 ends at 65504 and "
            "MobileBERT's activations reach 1e7; use float32 or mixed_bfloat16"
        )


def kernel_initializer(config: config_lib.MobileBertConfig):
    """Returns a fresh truncated-normal initializer for kernels and tables."""
    return tf_keras.initializers.TruncatedNormal(
        stddev=config.initializer_range
    )


def make_dense(
    config: config_lib.MobileBertConfig, units: int, name: str, activation=None
) -> tf_keras.layers.Dense:
    """Returns a Dense layer with bias and the config's initializer."""
    return tf_keras.layers.Dense(
        units,
        activation=activation,
        kernel_initializer=kernel_initializer(config),
        name=name,
    )
