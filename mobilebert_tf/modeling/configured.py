"""Bases of the layers and models built from a MobileBertConfig."""

from collections.abc import Mapping

import tensorflow as tf
import tf_keras

from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import dense


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

    Keras' compile, fit and evaluate compare the outputs that the targets name
    ({"logits": labels}); a bare target is that of `main_output`. Everything
    else in the dict of outputs is left out of losses and metrics.

    Args:
        config: MobileBertConfig, or its dict form as found in get_config.
        **kwargs: of tf_keras.Model.

    Raises:
        ValueError: for a float16 policy.
        TypeError: for a config of another type.
    """

    # Name of the output that a bare target belongs to.
    main_output = None

    def __init__(self, config, **kwargs):
        super().__init__(**kwargs)
        _refuse_float16(self)
        if isinstance(config, dict):
            config = config_lib.MobileBertConfig.from_dict(config)
        if not isinstance(config, config_lib.MobileBertConfig):
            raise TypeError(
                f"config: expected a MobileBertConfig, got {config!r}"
            )
        self.config = config

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        y_pred = self._named_outputs(y, y_pred)
        return super().compute_loss(x, y, y_pred, sample_weight)

    def compute_metrics(self, x, y, y_pred, sample_weight):
        y_pred = self._named_outputs(y, y_pred)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def _named_outputs(self, y, outputs):
        if isinstance(y, Mapping):
            return {name: outputs[name] for name in y}
        if self.main_output is None:
            raise ValueError(
                f"{type(self).__name__}: expected targets by the name of an "
                f"output ({', '.join(outputs)}), got {type(y).__name__}"
            )
        return outputs[self.main_output]

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
    return dense.RowDense(
        units,
        activation=activation,
        kernel_initializer=kernel_initializer(config),
        name=name,
    )
