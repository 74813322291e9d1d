"""Task of token classification.

Legend: B batch, S sequence, C number of labels, N windows.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras
from absl import logging

from mobilebert_tf.data import tag_schemes
from mobilebert_tf.data import tagging
from mobilebert_tf.evaluation import tagging_metrics
from mobilebert_tf.experiments import fine_tuning_config
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models
from mobilebert_tf.tasks import fine_tuning


class TaggingTask(fine_tuning.FineTuningTask):
    """Cross-entropy at the first piece of each word.

    Args:
        params: TaggingTaskConfig.
        network: MobileBertConfig.
        labels: names of the C labels.
        train_features: of data/tagging.py, or None.
        validation_features: likewise, or None.
        start_step: int. Batches of the training data to pass over.
        encoder: pre-trained encoder to start from, or None.
    """

    def __init__(
        self,
        params: fine_tuning_config.TaggingTaskConfig,
        network: config_lib.MobileBertConfig,
        labels: Sequence[str],
        train_features: tagging.Features | None,
        validation_features: tagging.Features | None,
        start_step: int = 0,
        encoder: tf_keras.Model | None = None,
    ):
        super().__init__(
            params,
            network,
            train_features and train_features.arrays,
            validation_features and validation_features.arrays,
            start_step,
            encoder,
        )
        self.labels = tuple(labels)
        self.validation_words = validation_features

    def build_model(self) -> models.MobileBertForTokenClassification:
        model = models.MobileBertForTokenClassification(
            self.network,
            num_labels=len(self.labels),
            dropout_rate=self.task_config.classifier_dropout,
        )
        model.build_weights()
        return model

    def loss_weights(self, inputs):
        is_word = inputs["label_ids"] != tagging.IGNORED_LABEL
        return {fine_tuning.LOSS: tf.reduce_sum(tf.cast(is_word, tf.float32))}

    def compute_loss(self, inputs, model, training):
        losses, predictions = _losses_and_predictions(inputs, model, training)
        weight = self.loss_weights(inputs)[fine_tuning.LOSS]
        loss = tf.math.divide_no_nan(tf.reduce_sum(losses), weight)
        # No prediction equals the label of a position that is none.
        hits = tf.cast(predictions == inputs["label_ids"], tf.float32)
        accuracy = tf.math.divide_no_nan(tf.reduce_sum(hits), weight)
        return loss, {
            fine_tuning.LOSS: (loss, weight),
            "accuracy": (accuracy, weight),
        }

    def validation_step(self, inputs, model, metrics=None):
        losses, predictions = _losses_and_predictions(inputs, model, False)
        return {
            "losses": tf.reduce_sum(losses, axis=1),  # [B]
            "predictions": predictions,  # [B, S]
            "window_ids": inputs["window_ids"],  # [B]
        }

    def reduce_aggregated_logs(self, aggregated_logs, global_step=None):
        del global_step
        outputs = {
            name: np.concatenate(parts)
            for name, parts in aggregated_logs.items()
        }
        # Replicas hand in their windows in any order.
        order = np.argsort(outputs["window_ids"])
        words = self.validation_words
        tags = words.by_sentence(words.arrays["label_ids"], self.labels)
        predictions = words.by_sentence(
            outputs["predictions"][order], self.labels
        )
        scheme = self.task_config.scheme
        if scheme != tag_schemes.NONE:
            scores = tagging_metrics.entity_scores(tags, predictions, scheme)
            for line in tagging_metrics.table(scores):
                logging.info("%s", line)
        return {
            "validation_loss": float(
                outputs["losses"].sum() / len(words.positions)
            ),
            **tagging_metrics.compute(tags, predictions, scheme),
        }


def _losses_and_predictions(inputs, model, training):
    """Returns float32 [B, S], 0 where there is no word, and int32 [B, S]."""
    logits = model(fine_tuning.encoder_inputs(inputs), training=training)[
        "logits"
    ]  # [B, S, C]
    labels = inputs["label_ids"]
    is_word = labels != tagging.IGNORED_LABEL
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.where(is_word, labels, 0), logits
    )
    losses = tf.where(is_word, losses, 0.0)
    return losses, tf.argmax(logits, -1, labels.dtype)
