"""Base of the layers that are built from a MobileBertConfig."""

import tf_keras

from mobilebert_tf.modeling import config as config_lib


class ConfiguredLayer(tf_keras.layers.Layer):
    """A layer whose constructor takes a MobileBertConfig and serialises it.

    Args:
        config: MobileBertConfig.
        **kwargs: of tf_keras.layers.Layer.
    """

    def __init__(self, config, **kwargs):
        super().__init__(**kwargs)
        self.config = config

    def get_config(self):
        return {**super().get_config(), "config": self.config.to_dict()}

    @classmethod
    def from_config(cls, config):
        # Here, not in __init__: subclasses read fields of what they are given.
        network = config_lib.MobileBertConfig.from_dict(config["config"])
        return cls(**{**config, "config": network})


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
