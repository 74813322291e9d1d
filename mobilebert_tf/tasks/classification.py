"""Task of sentence classification.

Legend: B batch, C number of labels.
"""

from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras
from absl import logging
from scipy import special

from mobilebert_tf import experiments
from mobilebert_tf.data import glue
from mobilebert_tf.data import sharding
from mobilebert_tf.evaluation import metrics as metrics_lib
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models
from mobilebert_tf.tasks import gradient_steps


class ClassificationTask(gradient_steps.WeightedLossTask):
    """Cross-entropy on the pooled vector; metrics over the whole dev set.

    Args:
        params: ClassificationTaskConfig.
        network: MobileBertConfig.
        labels: names of the C labels.
        metric_names: of evaluation/metrics.py.
        train_features: dict of arrays from data/glue.py, or None.
        validation_features: likewise, or None.
        start_step: int. Batches of the training data to pass over.
        encoder: pre-trained encoder to start from, or None.
    """

    def __init__(
        self,
        params: experiments.ClassificationTaskConfig,
        network: config_lib.MobileBertConfig,
        labels: Sequence[str],
        metric_names: Sequence[str],
        train_features: Mapping[str, np.ndarray] | None,
        validation_features: Mapping[str, np.ndarray] | None,
        start_step: int = 0,
        encoder: tf_keras.Model | None = None,
    ):
        super().__init__(params)
        self.network = network
        self.labels = tuple(labels)
        self.metric_names = tuple(metric_names)
        self.train_features = train_features
        self.validation_features = validation_features
        self.start_step = start_step
        self.encoder = encoder

    def build_model(self) -> models.MobileBertForSequenceClassification:
        model = models.MobileBertForSequenceClassification(
            self.network,
            num_labels=len(self.labels),
            dropout_rate=self.task_config.classifier_dropout,
        )
        model.build_weights()
        return model

    def initialize(self, model) -> None:
        """Starts a run without checkpoint from the pre-trained encoder."""
        if self.encoder is not None:
            if (
                model.encoder.has_pooler_weights
                and not self.encoder.has_pooler_weights
            ):
                logging.warning("init_checkpoint has no pooler: a fresh one")
            model.encoder.copy_weights(self.encoder)

    def build_inputs(
        self,
        params: experiments.ClassificationDataConfig,
        input_context: tf.distribute.InputContext | None = None,
    ) -> tf.data.Dataset:
        training = params.is_training
        features = self.train_features if training else self.validation_features
        dataset = glue.make_dataset(
            features,
            params.global_batch_size,
            is_training=training,
            seed=params.seed,
            start_batch=self.start_step if training else 0,
            drop_remainder=training,
        )
        batch_size = params.global_batch_size
        if training:
            return sharding.shard_batches(dataset, batch_size, input_context)
        # Each worker evaluates all examples: the metrics are not means, and
        # are computed from the outputs of its own replicas.
        return sharding.split_among_replicas(
            dataset, batch_size, input_context, across_workers=False
        )

    def build_metrics(self, training: bool = True):
        return [tf_keras.metrics.Mean("accuracy")] if training else []

    def loss_factors(self):
        return {"cross_entropy": 1.0}

    def loss_weights(self, inputs):
        return {"cross_entropy": _batch_size(inputs)}

    def compute_loss(self, inputs, model, training):
        logits = model(inputs, training=training)["logits"]  # [B, C]
        labels = inputs["label_ids"]
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        )
        hits = tf.argmax(logits, -1, labels.dtype) == labels
        weight = _batch_size(inputs)
        return loss, {
            "cross_entropy": (loss, weight),
            "accuracy": (tf.reduce_mean(tf.cast(hits, tf.float32)), weight),
        }

    def validation_step(self, inputs, model, metrics=None):
        logits = model(inputs, training=False)["logits"]
        return {"logits": logits, "label_ids": inputs["label_ids"]}

    def aggregate_logs(self, state=None, step_outputs=None):
        state = state or {"logits": [], "label_ids": []}
        for name in state:
            state[name] += [part.numpy() for part in step_outputs[name]]
        return state

    def reduce_aggregated_logs(self, aggregated_logs, global_step=None):
        del global_step
        logits = np.concatenate(aggregated_logs["logits"])
        label_ids = np.concatenate(aggregated_logs["label_ids"])
        log_probabilities = special.log_softmax(logits, axis=-1)
        loss = -np.take_along_axis(
            log_probabilities, label_ids[:, np.newaxis], axis=-1
        ).mean()
        metrics = metrics_lib.compute(
            self.metric_names, label_ids, logits.argmax(axis=-1)
        )
        return {"validation_loss": float(loss), **metrics}


def _batch_size(inputs):
    return tf.cast(tf.shape(inputs["label_ids"])[0], tf.float32)
