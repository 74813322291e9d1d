"""Task of extractive question answering.

Legend: B batch, N windows, S sequence.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tf_keras

from mobilebert_tf.data import squad_batches
from mobilebert_tf.data import squad_features
from mobilebert_tf.experiments import question_answering_config
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models
from mobilebert_tf.tasks import gradient_steps

_LOSS = "cross_entropy"
_LOGITS = ("start_logits", "end_logits")

# Start and end logits, float32 [N, S] each, to metrics by name.
Score = Callable[[np.ndarray, np.ndarray], dict[str, float]]
# Called with the model, the global step and the metrics.
OnEvaluation = Callable[[tf_keras.Model, int, dict[str, float]], None]


class QuestionAnsweringTask(gradient_steps.WeightedLossTask):
    """Cross-entropy of the answer's first and last token.

    As in the official run_squad.py: the mean of both, each over all positions
    of the sequence, padding too; a window without the answer has both at
    [CLS].

    Args:
        params: QuestionAnsweringTaskConfig.
        network: MobileBertConfig.
        train_features: of squad_features, made for training, or None.
        validation_features: made for evaluation, or None.
        score: metrics of the logits of validation_features, or None.
        start_step: int. Batches of the training data to pass over.
        encoder: to start from, or None.
        span_head: likewise; None draws one at random.
        on_evaluation: called after each evaluation; None does without.
    """

    def __init__(
        self,
        params: question_answering_config.QuestionAnsweringTaskConfig,
        network: config_lib.MobileBertConfig,
        train_features: squad_features.Features | None,
        validation_features: squad_features.Features | None = None,
        score: Score | None = None,
        start_step: int = 0,
        encoder: tf_keras.Model | None = None,
        span_head: tf_keras.layers.Layer | None = None,
        on_evaluation: OnEvaluation | None = None,
    ):
        super().__init__(params)
        self.network = network
        self.train_features = train_features
        self.validation_features = validation_features
        self.start_step = start_step
        self._score = score
        self._encoder = encoder
        self._span_head = span_head
        self._on_evaluation = on_evaluation
        self._model = None

    def build_model(self) -> models.MobileBertForQuestionAnswering:
        self._model = models.MobileBertForQuestionAnswering(self.network)
        self._model.build_weights()
        return self._model

    def initialize(self, model) -> None:
        """Starts a run without checkpoint from what is pre-trained."""
        if self._encoder is not None:
            model.encoder.copy_weights(self._encoder)
        if self._span_head is not None:
            model.span.set_weights(self._span_head.get_weights())

    def build_inputs(
        self,
        params: question_answering_config.QuestionAnsweringDataConfig,
        input_context: tf.distribute.InputContext | None = None,
    ) -> tf.data.Dataset:
        if params.is_training:
            return squad_batches.shuffled(
                self.train_features,
                params.global_batch_size,
                params.seed,
                self.start_step,
                input_context,
            )
        # Each worker evaluates all windows: the scores are not means, and are
        # computed from the outputs of its own replicas.
        return squad_batches.in_order(
            self.validation_features, params.global_batch_size, input_context
        )

    def build_metrics(self, training: bool = True):
        return [tf_keras.metrics.Mean("accuracy")] if training else []

    def loss_factors(self):
        return {_LOSS: 1.0}

    def loss_weights(self, inputs):
        size = tf.size(inputs["start_positions"])
        return {_LOSS: tf.cast(size, tf.float32)}

    def compute_loss(self, inputs, model, training):
        outputs = model(squad_batches.model_inputs(inputs), training=training)
        losses, hits = 0.0, True
        for part in ("start", "end"):
            logits = outputs[f"{part}_logits"]  # [B, S]
            positions = inputs[f"{part}_positions"]  # [B]
            losses += tf.nn.sparse_softmax_cross_entropy_with_logits(
                positions, logits
            )
            hits &= tf.argmax(logits, -1, positions.dtype) == positions
        weight = self.loss_weights(inputs)[_LOSS]
        loss = tf.math.divide_no_nan(tf.reduce_sum(losses) / 2.0, weight)
        accuracy = tf.math.divide_no_nan(
            tf.reduce_sum(tf.cast(hits, tf.float32)), weight
        )
        return loss, {_LOSS: (loss, weight), "accuracy": (accuracy, weight)}

    def validation_step(self, inputs, model, metrics=None):
        outputs = model(squad_batches.model_inputs(inputs), training=False)
        return {
            squad_batches.ROW: inputs[squad_batches.ROW],
            **{name: outputs[name] for name in _LOGITS},
        }

    def aggregate_logs(self, state=None, step_outputs=None):
        state = state or {name: [] for name in step_outputs}
        for name, parts in state.items():
            parts += [part.numpy() for part in step_outputs[name]]
        return state

    def reduce_aggregated_logs(self, aggregated_logs, global_step=None):
        whole = {
            name: np.concatenate(parts)
            for name, parts in aggregated_logs.items()
        }
        # Replicas take turns.
        order = np.argsort(whole[squad_batches.ROW])
        metrics = self._score(*(whole[name][order] for name in _LOGITS))
        if self._on_evaluation is not None:
            step = 0 if global_step is None else int(global_step)
            self._on_evaluation(self._model, step, metrics)
        return metrics
