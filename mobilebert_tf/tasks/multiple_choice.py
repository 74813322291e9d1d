"""Task of multiple choice.

Legend: B batch, C choices.
"""

import numpy as np
import tensorflow as tf
from scipy import special

from mobilebert_tf.evaluation import metrics as metrics_lib
from mobilebert_tf.modeling import models
from mobilebert_tf.tasks import fine_tuning


class MultipleChoiceTask(fine_tuning.FineTuningTask):
    """Cross-entropy over the scores of the choices."""

    def build_model(self) -> models.MobileBertForMultipleChoice:
        model = models.MobileBertForMultipleChoice(
            self.network, dropout_rate=self.task_config.classifier_dropout
        )
        model.build_weights()
        return model

    def loss_weights(self, inputs):
        size = tf.shape(inputs["label_ids"])[0]
        return {fine_tuning.LOSS: tf.cast(size, tf.float32)}

    def compute_loss(self, inputs, model, training):
        logits = _logits(inputs, model, training)  # [B, C]
        labels = inputs["label_ids"]
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        )
        hits = tf.argmax(logits, -1, labels.dtype) == labels
        weight = self.loss_weights(inputs)[fine_tuning.LOSS]
        return loss, {
            fine_tuning.LOSS: (loss, weight),
            "accuracy": (tf.reduce_mean(tf.cast(hits, tf.float32)), weight),
        }

    def validation_step(self, inputs, model, metrics=None):
        return {
            "logits": _logits(inputs, model, training=False),
            "label_ids": inputs["label_ids"],
        }

    def reduce_aggregated_logs(self, aggregated_logs, global_step=None):
        del global_step
        logits = np.concatenate(aggregated_logs["logits"])
        label_ids = np.concatenate(aggregated_logs["label_ids"])
        losses = -np.take_along_axis(
            special.log_softmax(logits, axis=-1),
            label_ids[:, np.newaxis],
            axis=-1,
        )
        metrics = metrics_lib.compute(
            ["accuracy"], label_ids, logits.argmax(axis=-1)
        )
        return {"validation_loss": float(losses.mean()), **metrics}


def _logits(inputs, model, training):
    outputs = model(fine_tuning.encoder_inputs(inputs), training=training)
    return outputs["logits"]
