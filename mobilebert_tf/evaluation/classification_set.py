"""Scoring of sentence classification, regression and multiple choice.

Legend: N examples, C labels or choices, S sequence.
"""

from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
from scipy import special

from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.evaluation import metrics as metrics_lib

_Outputs = evaluation_set.Outputs


class ClassificationSet(evaluation_set.EvaluationSet):
    """Examples with one of C labels; the model's output is `logits` [N, C].

    The metrics are "validation_loss", the mean cross-entropy, and those named.

    Args:
        name: of the set.
        features: inputs int32 [N, S], and `label_ids` int32 [N].
        labels: names of the labels.
        metric_names: of evaluation/metrics.py.
        texts: what each example says, for the table of errors.
    """

    def __init__(
        self,
        name: str,
        features: Mapping[str, np.ndarray],
        labels: Sequence[str],
        metric_names: Sequence[str],
        texts: Sequence[str],
    ):
        super().__init__(name, rows_lib.input_rows(features))
        self.label_ids = features["label_ids"]
        self.output_shapes = {"logits": (len(labels),)}
        self.class_names = tuple(labels)
        self._metric_names = tuple(metric_names)
        self._texts = texts

    def measure(self, outputs: _Outputs) -> evaluation_set.Measurement:
        logits = outputs["logits"]
        predictions = logits.argmax(axis=-1)
        return evaluation_set.Measurement(
            {
                "validation_loss": float(self._losses(logits).mean()),
                **metrics_lib.compute(
                    self._metric_names, self.label_ids, predictions
                ),
            },
            metrics_lib.confusion(
                self.label_ids, predictions, self.class_names
            ),
        )

    def majority_outputs(self) -> _Outputs:
        logits = constant_logits(self.label_ids, len(self.class_names))
        return {"logits": np.tile(logits, [len(self), 1])}

    def worst_errors(
        self, outputs: _Outputs, count: int
    ) -> evaluation_set.ErrorTable:
        logits = outputs["logits"]
        predictions = logits.argmax(axis=-1)
        probabilities = special.softmax(logits, axis=-1)
        wrong = np.flatnonzero(predictions != self.label_ids)
        order = wrong[np.argsort(-self._losses(logits)[wrong], kind="stable")]
        return evaluation_set.ErrorTable(
            ("text", "label", "predicted", "its probability", "of the label"),
            [
                (
                    self._texts[row],
                    self.class_names[self.label_ids[row]],
                    self.class_names[predictions[row]],
                    f"{probabilities[row, predictions[row]]:.3f}",
                    f"{probabilities[row, self.label_ids[row]]:.3f}",
                )
                for row in order[:count]
            ],
        )

    def _losses(self, logits):
        """Returns the cross-entropy of each example, [N]."""
        return -np.take_along_axis(
            special.log_softmax(logits.astype(np.float64), axis=-1),
            self.label_ids[:, np.newaxis],
            axis=-1,
        )[:, 0]


class RegressionSet(evaluation_set.EvaluationSet):
    """Examples with a value; the model's output is `logits` [N, 1].

    The metrics are "validation_loss", the mean squared error, and those
    named.

    Args:
        name: of the set.
        features: inputs int32 [N, S], and `label_values` float32 [N].
        metric_names: of evaluation/metrics.py.
        texts: what each example says, for the table of errors.
    """

    def __init__(
        self,
        name: str,
        features: Mapping[str, np.ndarray],
        metric_names: Sequence[str],
        texts: Sequence[str],
    ):
        super().__init__(name, rows_lib.input_rows(features))
        self.output_shapes = {"logits": (1,)}
        self.label_values = features["label_values"]
        self._metric_names = tuple(metric_names)
        self._texts = texts

    def measure(self, outputs: _Outputs) -> evaluation_set.Measurement:
        values = outputs["logits"][:, 0]
        loss = np.square(values - self.label_values).mean()
        metrics = metrics_lib.compute(
            self._metric_names, self.label_values, values
        )
        return evaluation_set.Measurement(
            {"validation_loss": float(loss), **metrics}, {}
        )

    def majority_outputs(self) -> _Outputs:
        return {"logits": np.full([len(self), 1], self.label_values.mean())}

    def worst_errors(
        self, outputs: _Outputs, count: int
    ) -> evaluation_set.ErrorTable:
        values = outputs["logits"][:, 0]
        errors = values - self.label_values
        order = np.argsort(-np.abs(errors), kind="stable")
        order = order[errors[order] != 0][:count]
        return evaluation_set.ErrorTable(
            ("text", "value", "predicted", "error"),
            [
                (
                    self._texts[row],
                    f"{self.label_values[row]:.3f}",
                    f"{values[row]:.3f}",
                    f"{errors[row]:+.3f}",
                )
                for row in order
            ],
        )


class MultipleChoiceSet(ClassificationSet):
    """Examples of C choices; the model's output is `logits` [N, C].

    Args:
        name: of the set.
        features: inputs int32 [N, C, S], and `label_ids` int32 [N].
        texts: what each example says, for the table of errors.
    """

    def __init__(
        self,
        name: str,
        features: Mapping[str, np.ndarray],
        texts: Sequence[str],
    ):
        num_choices = features["input_word_ids"].shape[1]
        super().__init__(
            name,
            features,
            [str(index) for index in range(num_choices)],
            ["accuracy"],
            texts,
        )

    def majority_outputs(self) -> None:
        """Returns None: the place of a choice says nothing of it."""


def constant_logits(label_ids: np.ndarray, num_labels: int) -> np.ndarray:
    """Returns the logits of the labels' shares, float32 [C].

    Args:
        label_ids: int, of some examples.
        num_labels: C.
    """
    counts = np.bincount(label_ids, minlength=num_labels)
    # A label that is not there is unlikely, but not impossible.
    return np.log(np.maximum(counts, 1e-3)).astype(np.float32)
