"""What the tasks of fine-tuning a head have in common.

Legend: B batch.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tf_keras
from absl import logging

from mobilebert_tf.data import glue
from mobilebert_tf.data import sharding
from mobilebert_tf.experiments import fine_tuning_config
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.tasks import gradient_steps

LOSS = "cross_entropy"
_INPUTS = ("input_word_ids", "input_mask", "input_type_ids")


class FineTuningTask(gradient_steps.WeightedLossTask):
    """Cross-entropy of a head on an encoder; metrics over the whole dev set.

    A subclass makes the model and the loss, with the term LOSS, and
    "accuracy" as a metric.

    Args:
        params: FineTuningTaskConfig.
        network: MobileBertConfig.
        train_features: dict of arrays [N, ...], or None.
        validation_features: likewise, or None.
        start_step: int. Batches of the training data to pass over.
        encoder: pre-trained encoder to start from, or None.
    """

    def __init__(
        self,
        params: fine_tuning_config.FineTuningTaskConfig,
        network: config_lib.MobileBertConfig,
        train_features: Mapping[str, np.ndarray] | None,
        validation_features: Mapping[str, np.ndarray] | None,
        start_step: int = 0,
        encoder: tf_keras.Model | None = None,
    ):
        super().__init__(params)
        self.network = network
        self.train_features = train_features
        self.validation_features = validation_features
        self.start_step = start_step
        self.encoder = encoder

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
        params: fine_tuning_config.DataConfig,
        input_context: tf.distribute.InputContext | None = None,
    ) -> tf.data.Dataset:
        training = params.is_training
        batch_size = params.global_batch_size
        dataset = glue.make_dataset(
            self.train_features if training else self.validation_features,
            batch_size,
            is_training=training,
            seed=params.seed,
            start_batch=self.start_step if training else 0,
        )
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
        return {LOSS: 1.0}

    def aggregate_logs(self, state=None, step_outputs=None):
        state = state or {name: [] for name in step_outputs}
        for name in state:
            state[name] += [part.numpy() for part in step_outputs[name]]
        return state


def encoder_inputs(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the part of a batch that a model is called with."""
    return {name: inputs[name] for name in _INPUTS}
