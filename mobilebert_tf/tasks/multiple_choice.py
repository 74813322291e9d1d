"""Task of multiple choice.

Legend: N examples.
"""

from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.experiments import fine_tuning_config
from mobilebert_tf.experiments import multiple_choice_config
from mobilebert_tf.modeling import models
from mobilebert_tf.tasks import fine_tuning
from mobilebert_tf.tasks import label_losses


class MultipleChoiceTask(fine_tuning.FineTuningTask):
    """Cross-entropy over the choices of each example.

    Args:
        params: MultipleChoiceTaskConfig.
        network: MobileBertConfig.
        train_rows: with `label_ids` int32 [N], or None.
        **kwargs: as FineTuningTask.

    Raises:
        ValueError: for weights of classes, which choices are not, or more
            frozen blocks than there are.
    """

    def __init__(
        self,
        params: multiple_choice_config.MultipleChoiceTaskConfig,
        network,
        train_rows: rows_lib.ArrayRows | None = None,
        **kwargs,
    ):
        super().__init__(params, network, train_rows, **kwargs)
        check_loss(params.loss)
        self._loss = label_losses.LabelLoss(params.loss, (), None)

    def make_model(self) -> models.MobileBertForMultipleChoice:
        return models.MobileBertForMultipleChoice(
            self.network, dropout_rate=self.task_config.classifier_dropout
        )

    def label_weights(self, inputs):
        return self._loss.weights(inputs["label_ids"])

    def label_terms(self, inputs, outputs):
        loss, accuracy = self._loss.terms(
            inputs["label_ids"], outputs["logits"]
        )
        return {self.loss_name: loss, fine_tuning.ACCURACY: accuracy}


def check_loss(config: fine_tuning_config.LossConfig) -> None:
    """Raises ValueError for options that do not fit choices."""
    if config.class_weights or config.balance_classes:
        raise ValueError(
            "task.loss: choices are no classes that could have weights"
        )
    label_losses.check(config, ())
