"""Task of sentence classification and regression.

Legend: B batch, N examples, C number of labels.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras
from absl import logging
from scipy import special

from mobilebert_tf.data import glue
from mobilebert_tf.data import sharding
from mobilebert_tf.evaluation import metrics as metrics_lib
from mobilebert_tf.experiments import classification_config
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models
from mobilebert_tf.tasks import gradient_steps

# Which of several validation sets an example is of.
_SET = "validation_set"


class ClassificationTask(gradient_steps.WeightedLossTask):
    """Cross-entropy on the pooled vector; metrics over whole validation sets.

    With one label it is a regression: the squared error of the only logit.

    Args:
        params: ClassificationTaskConfig.
        network: MobileBertConfig.
        labels: names of the C labels.
        metric_names: of evaluation/metrics.py.
        train_features: dict of arrays [N, ...] from data/glue.py, or None.
        validation_features: name of the set to likewise; {} for none. The
            metrics of the first have their own names, those of another
            "set/metric".
        start_step: int. Batches of the training data to pass over.
        encoder: pre-trained encoder to start from, or None.
        on_evaluation: called after each evaluation with the model, the
            global step, the metrics, and {name of the set: what
            evaluation/metrics.py counts by class}; None does without.

    Raises:
        ValueError: for a loss that does not fit the labels, or more frozen
            blocks than there are.
    """

    def __init__(
        self,
        params: classification_config.ClassificationTaskConfig,
        network: config_lib.MobileBertConfig,
        labels: Sequence[str],
        metric_names: Sequence[str],
        train_features: Mapping[str, np.ndarray] | None,
        validation_features: Mapping[str, Mapping[str, np.ndarray]],
        start_step: int = 0,
        encoder: tf_keras.Model | None = None,
        on_evaluation: Callable | None = None,
    ):
        super().__init__(params)
        self.network = network
        self.labels = tuple(labels)
        self.metric_names = tuple(metric_names)
        self.train_features = train_features
        self.validation_features = validation_features
        self.start_step = start_step
        self.encoder = encoder
        self._is_regression = glue.is_regression(labels)
        self._target = "label_values" if self._is_regression else "label_ids"
        self._on_evaluation = on_evaluation
        self._model = None
        check(params, network, labels)
        self._class_weights = _class_weights(
            params.loss, len(labels), train_features
        )

    def build_model(self) -> models.MobileBertForSequenceClassification:
        self._model = models.MobileBertForSequenceClassification(
            self.network,
            num_labels=len(self.labels),
            dropout_rate=self.task_config.classifier_dropout,
        )
        self._model.build_weights()
        return self._model

    def initialize(self, model) -> None:
        """Starts a run without checkpoint from the pre-trained encoder."""
        if self.encoder is not None:
            if (
                model.encoder.has_pooler_weights
                and not self.encoder.has_pooler_weights
            ):
                logging.warning("init_checkpoint has no pooler: a fresh one")
            model.encoder.copy_weights(self.encoder)

    def trainable_variables(self, model):
        count = self.task_config.num_frozen_blocks
        if count is None:
            return model.trainable_variables
        frozen = [model.encoder.embeddings, *model.encoder.blocks[:count]]
        # A variable compares by value.
        ids = {id(each) for part in frozen for each in part.trainable_variables}
        return [v for v in model.trainable_variables if id(v) not in ids]

    def build_inputs(
        self,
        params: classification_config.ClassificationDataConfig,
        input_context: tf.distribute.InputContext | None = None,
    ) -> tf.data.Dataset:
        training = params.is_training
        dataset = glue.make_dataset(
            self.train_features
            if training
            else _joined(list(self.validation_features.values())),
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
        if not training or self._is_regression:
            return []
        return [tf_keras.metrics.Mean("accuracy")]

    def loss_factors(self):
        return {self._loss_name: 1.0}

    def loss_weights(self, inputs):
        return {self._loss_name: tf.reduce_sum(self._example_weights(inputs))}

    def compute_loss(self, inputs, model, training):
        logits = model(inputs, training=training)["logits"]  # [B, C]
        targets = inputs[self._target]
        if self._is_regression:
            losses = tf.square(logits[:, 0] - targets)
        else:
            losses = _cross_entropies(
                logits, targets, self.task_config.loss.label_smoothing
            )
        weights = self._example_weights(inputs)
        weight = tf.reduce_sum(weights)
        loss = tf.math.divide_no_nan(tf.reduce_sum(weights * losses), weight)
        terms = {self._loss_name: (loss, weight)}
        if not self._is_regression:
            hits = tf.argmax(logits, -1, targets.dtype) == targets
            terms["accuracy"] = (
                tf.reduce_mean(tf.cast(hits, tf.float32)),
                tf.cast(tf.size(targets), tf.float32),
            )
        return loss, terms

    def validation_step(self, inputs, model, metrics=None):
        logits = model(inputs, training=False)["logits"]
        return {
            "logits": logits,
            "targets": inputs[self._target],
            _SET: inputs[_SET],
        }

    def aggregate_logs(self, state=None, step_outputs=None):
        state = state or {"logits": [], "targets": [], _SET: []}
        for name in state:
            state[name] += [part.numpy() for part in step_outputs[name]]
        return state

    def reduce_aggregated_logs(self, aggregated_logs, global_step=None):
        whole = {
            name: np.concatenate(parts)
            for name, parts in aggregated_logs.items()
        }
        metrics, counts = {}, {}
        for index, name in enumerate(self.validation_features):
            rows = whole[_SET] == index
            prefix = f"{name}/" if index else ""
            values, counts[name] = self._evaluate(
                whole["logits"][rows], whole["targets"][rows]
            )
            metrics |= {f"{prefix}{key}": v for key, v in values.items()}
        if self._on_evaluation is not None:
            step = 0 if global_step is None else int(global_step)
            self._on_evaluation(self._model, step, metrics, counts)
        return metrics

    @property
    def _loss_name(self):
        return "squared_error" if self._is_regression else "cross_entropy"

    def _example_weights(self, inputs):
        """Returns float32 [B]."""
        targets = inputs[self._target]
        if self._class_weights is None:
            return tf.ones_like(targets, tf.float32)
        return tf.gather(tf.constant(self._class_weights, tf.float32), targets)

    def _evaluate(self, logits, targets):
        """Returns the metrics of one set, and its counts by class."""
        if self._is_regression:
            values = logits[:, 0]
            loss = np.square(values - targets).mean()
            counts = {}
        else:
            values = logits.argmax(axis=-1)
            log_probabilities = special.log_softmax(logits, axis=-1)
            loss = -np.take_along_axis(
                log_probabilities, targets[:, np.newaxis], axis=-1
            ).mean()
            counts = metrics_lib.confusion(targets, values, self.labels)
        metrics = metrics_lib.compute(self.metric_names, targets, values)
        return {"validation_loss": float(loss), **metrics}, counts


def check(
    params: classification_config.ClassificationTaskConfig,
    network: config_lib.MobileBertConfig,
    labels: Sequence[str],
) -> None:
    """Raises ValueError if loss or frozen blocks do not fit the model."""
    loss = params.loss
    if not 0 <= loss.label_smoothing < 1:
        raise ValueError(
            "task.loss.label_smoothing: expected at least 0 and less than 1, "
            f"got {loss.label_smoothing}"
        )
    if loss.class_weights and loss.balance_classes:
        raise ValueError(
            "task.loss: expected class_weights or balance_classes, got both"
        )
    is_weighted = loss.class_weights or loss.balance_classes
    if glue.is_regression(labels) and (is_weighted or loss.label_smoothing):
        raise ValueError(
            "task.loss: a regression has no classes to weigh or smooth"
        )
    if loss.class_weights and (
        len(loss.class_weights) != len(labels)
        or not all(0 < weight < np.inf for weight in loss.class_weights)
    ):
        raise ValueError(
            "task.loss.class_weights: expected a positive number for each of "
            f"{', '.join(labels)}, got {list(loss.class_weights)}"
        )
    count = params.num_frozen_blocks
    if count is not None and not 0 <= count <= network.num_hidden_layers:
        raise ValueError(
            f"task.num_frozen_blocks: expected 0 to "
            f"{network.num_hidden_layers}, got {count}"
        )


def _class_weights(loss, num_labels, train_features):
    """Returns a weight per class, or None for all alike."""
    if loss.class_weights:
        return list(loss.class_weights)
    if not loss.balance_classes or train_features is None:
        return None
    ids = train_features["label_ids"]
    counts = np.bincount(ids, minlength=num_labels)
    # A class without examples needs no weight.
    return (len(ids) / (num_labels * np.maximum(counts, 1))).tolist()


def _cross_entropies(logits, label_ids, smoothing):
    """Returns the loss of each example, float32 [B]."""
    if not smoothing:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(label_ids, logits)
    num_labels = logits.shape[-1]
    labels = (1 - smoothing) * tf.one_hot(label_ids, num_labels)
    return tf.nn.softmax_cross_entropy_with_logits(
        labels + smoothing / num_labels, logits
    )


def _joined(sets):
    """Returns the features of all sets, one after the other, with _SET."""
    joined = {
        name: np.concatenate([features[name] for features in sets])
        for name in sets[0]
    }
    sizes = [len(features["input_word_ids"]) for features in sets]
    joined[_SET] = np.repeat(np.arange(len(sets), dtype=np.int32), sizes)
    return joined
