"""Tasks of sentence classification and regression.

Legend: N examples, C number of labels.
"""

from collections.abc import Sequence

import tensorflow as tf

from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.experiments import classification_config
from mobilebert_tf.modeling import models
from mobilebert_tf.tasks import fine_tuning
from mobilebert_tf.tasks import gradient_steps
from mobilebert_tf.tasks import label_losses


class ClassificationTask(fine_tuning.FineTuningTask):
    """Cross-entropy on the pooled vector.

    Args:
        params: ClassificationTaskConfig.
        network: MobileBertConfig.
        labels: names of the C labels.
        train_rows: with `label_ids` int32 [N], or None.
        **kwargs: as FineTuningTask.

    Raises:
        ValueError: for a loss that does not fit the labels, or more frozen
            blocks than there are.
    """

    def __init__(
        self,
        params: classification_config.ClassificationTaskConfig,
        network,
        labels: Sequence[str],
        train_rows: rows_lib.ArrayRows | None = None,
        **kwargs,
    ):
        super().__init__(params, network, train_rows, **kwargs)
        self._num_labels = len(labels)
        ids = None if train_rows is None else train_rows.arrays["label_ids"]
        self._loss = label_losses.LabelLoss(params.loss, labels, ids)

    def make_model(self) -> models.MobileBertForSequenceClassification:
        return _model(self, self._num_labels)

    def label_weights(self, inputs):
        return self._loss.weights(inputs["label_ids"])

    def label_terms(self, inputs, outputs):
        loss, accuracy = self._loss.terms(
            inputs["label_ids"], outputs["logits"]
        )
        return {self.loss_name: loss, fine_tuning.ACCURACY: accuracy}


class RegressionTask(fine_tuning.FineTuningTask):
    """Squared error of the only logit.

    Args:
        params: ClassificationTaskConfig.
        network: MobileBertConfig.
        train_rows: with `label_values` float32 [N], or None.
        **kwargs: as FineTuningTask.

    Raises:
        ValueError: for a loss of classes, or more frozen blocks than there
            are.
    """

    loss_name = "squared_error"
    training_metrics = ()

    def __init__(
        self,
        params: classification_config.ClassificationTaskConfig,
        network,
        train_rows: rows_lib.ArrayRows | None = None,
        **kwargs,
    ):
        super().__init__(params, network, train_rows, **kwargs)
        label_losses.check_without_classes(params.loss, "a regression")

    def make_model(self) -> models.MobileBertForSequenceClassification:
        return _model(self, num_labels=1)

    def label_weights(self, inputs):
        return tf.ones_like(inputs["label_values"])

    def label_terms(self, inputs, outputs):
        values = inputs["label_values"]
        losses = tf.square(outputs["logits"][:, 0] - values)
        return {
            self.loss_name: gradient_steps.weighted_mean(
                losses, self.label_weights(inputs)
            )
        }


def _model(task, num_labels):
    return models.MobileBertForSequenceClassification(
        task.network,
        num_labels=num_labels,
        dropout_rate=task.task_config.classifier_dropout,
    )
