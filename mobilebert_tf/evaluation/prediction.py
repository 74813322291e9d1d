"""Predictions of a classifier on whole evaluation sets.

Legend: N examples, S sequence, C labels.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tf_keras

from mobilebert_tf.data import glue


def predict_probabilities(
    model: tf_keras.Model,
    features: Mapping[str, np.ndarray],
    batch_size: int = 64,
) -> np.ndarray:
    """Returns softmax probabilities float32 [N, C] of a classifier.

    Args:
        model: MobileBertForSequenceClassification.
        features: arrays [N, ...] by name, with the inputs int32 [N, S].
        batch_size: int.
    """
    return _predict(model, features, batch_size, tf.nn.softmax)


def predict_values(
    model: tf_keras.Model,
    features: Mapping[str, np.ndarray],
    batch_size: int = 64,
) -> np.ndarray:
    """Returns the values float32 [N] of a regression.

    Args:
        model: MobileBertForSequenceClassification with one label.
        features: as of predict_probabilities.
        batch_size: int.
    """
    return _predict(model, features, batch_size, lambda logits: logits[:, 0])


def _predict(model, features, batch_size, activation):
    predict = tf.function(
        lambda batch: activation(model(batch, training=False)["logits"])
    )
    dataset = glue.make_dataset(
        features, batch_size, is_training=False, seed=0, drop_remainder=False
    )
    return np.concatenate([predict(batch).numpy() for batch in dataset])
