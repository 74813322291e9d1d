"""Task of token classification.

Legend: N windows, S sequence, C number of labels.
"""

from collections.abc import Sequence

from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.data import tagging
from mobilebert_tf.experiments import tagging_config
from mobilebert_tf.modeling import models
from mobilebert_tf.tasks import fine_tuning
from mobilebert_tf.tasks import label_losses


class TaggingTask(fine_tuning.FineTuningTask):
    """Cross-entropy at the first piece of each word.

    Args:
        params: TaggingTaskConfig.
        network: MobileBertConfig.
        labels: names of the C labels.
        train_rows: with `label_ids` int32 [N, S], or None.
        **kwargs: as FineTuningTask.

    Raises:
        ValueError: for a loss that does not fit the labels, or more frozen
            blocks than there are.
    """

    def __init__(
        self,
        params: tagging_config.TaggingTaskConfig,
        network,
        labels: Sequence[str],
        train_rows: rows_lib.ArrayRows | None = None,
        **kwargs,
    ):
        super().__init__(params, network, train_rows, **kwargs)
        self._num_labels = len(labels)
        ids = None
        if train_rows is not None:
            ids = train_rows.arrays["label_ids"]
            ids = ids[ids != tagging.IGNORED_LABEL]
        self._loss = label_losses.LabelLoss(params.loss, labels, ids)

    def make_model(self) -> models.MobileBertForTokenClassification:
        return models.MobileBertForTokenClassification(
            self.network,
            num_labels=self._num_labels,
            dropout_rate=self.task_config.classifier_dropout,
        )

    def label_weights(self, inputs):
        return self._loss.weights(inputs["label_ids"])

    def label_terms(self, inputs, outputs):
        loss, accuracy = self._loss.terms(
            inputs["label_ids"], outputs["logits"]
        )
        return {self.loss_name: loss, fine_tuning.ACCURACY: accuracy}
