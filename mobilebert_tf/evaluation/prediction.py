"""Outputs of a Keras model on whole sets.

Legend: N rows, C labels or choices.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from mobilebert_tf.data import batches
from mobilebert_tf.data import rows as rows_lib


def predict(
    model: tf_keras.Model,
    rows: rows_lib.Rows,
    output_names: Sequence[str],
    batch_size: int = 64,
) -> dict[str, np.ndarray]:
    """Returns outputs of a model, float32 [N, ...] by name, in order.

    Args:
        model: of modeling.models.
        rows: N rows of its inputs; targets are passed over.
        output_names: which of its outputs.
        batch_size: int.
    """

    @tf.function
    def run(batch):
        inputs = {name: batch[name] for name in rows_lib.INPUT_NAMES}
        outputs = model(inputs, training=False)
        return {name: outputs[name] for name in output_names}

    parts = {name: [] for name in output_names}
    for batch in batches.in_order(rows, batch_size):
        for name, values in run(batch).items():
            parts[name].append(values.numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax of logits float32 [N, C]."""
    return tf.nn.softmax(logits).numpy()
