"""Outputs of a Keras model on rows, with or without labels.

Legend: N rows, C labels or choices.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.evaluation import model_forms


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

    Raises:
        ValueError: if an output is not finite.
    """

    form = model_forms.KerasModel(model)
    parts = []
    for start in range(0, len(rows), batch_size):
        batch = rows.inputs(slice(start, start + batch_size))
        inputs = {name: batch[name] for name in rows_lib.INPUT_NAMES}
        parts.append(form.run(inputs, output_names))
    outputs = {
        name: np.concatenate([part[name] for part in parts])
        for name in output_names
    }
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{form.name}: {name}: got NaN or infinity")
    return outputs


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax of logits float32 [N, C]."""
    return tf.nn.softmax(logits).numpy()
