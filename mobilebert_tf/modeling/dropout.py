"""Dropout whose random state is part of the checkpoint."""

import random

import tensorflow as tf
import tf_keras


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class CheckpointedDropout(tf_keras.layers.Layer):
    """Inverted dropout in training; the identity otherwise.

    tf_keras.layers.Dropout keeps its random state out of checkpoints, so a
    resumed run would draw other masks than an uninterrupted one. Here the
    state is a tf.random.Generator that is saved with the model.

    Args:
        rate: float in [0, 1), share of inputs set to zero.
        seed: int or None. None draws it from Python's `random`, which
            tf_keras.utils.set_random_seed seeds.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"dropout rate: expected [0, 1), got {rate}")
        self.rate = rate
        self.seed = random.randrange(2**31) if seed is None else seed
        if rate > 0.0:
            self.generator = tf.random.Generator.from_seed(self.seed)

    def call(self, inputs, training=None):
        if not training or self.rate == 0.0:
            return inputs
        uniform = self.generator.uniform(tf.shape(inputs), dtype=tf.float32)
        kept = tf.cast(uniform >= self.rate, inputs.dtype)
        return inputs * kept * (1.0 / (1.0 - self.rate))

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
