"""Scoring of extractive question answering.

Legend: N windows, S sequence.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mobilebert_tf.data import squad
from mobilebert_tf.data import squad_features
from mobilebert_tf.data import squad_rows
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.evaluation import span_decoding
from mobilebert_tf.evaluation import span_scoring
from mobilebert_tf.evaluation import squad_metrics

_Outputs = evaluation_set.Outputs


class Questions(NamedTuple):
    """Questions as a model reads them.

    Attributes:
        path: of the file they are from.
        examples: the questions.
        features: their windows, see squad_features.
        vocabulary: tokens by id.
    """

    path: str
    examples: Sequence[squad.Example]
    features: squad_features.Features
    vocabulary: Sequence[str]


class SpanSet(evaluation_set.EvaluationSet):
    """Questions; the model's outputs are `start_logits`, `end_logits` [N, S].

    The metrics are the official ones, in percent; see span_scoring.score.

    Args:
        name: of the set.
        questions: with windows made for evaluation.
        options: from logits to answers.
    """

    output_names = ("start_logits", "end_logits")
    in_percent = True

    def __init__(
        self,
        name: str,
        questions: Questions,
        options: span_decoding.DecodingOptions,
    ):
        super().__init__(name, squad_rows.WindowRows(questions.features))
        length = questions.features["input_word_ids"].shape[1]
        self.output_shapes = dict.fromkeys(self.output_names, (length,))
        self.questions = questions
        self._options = options

    def decode(self, outputs: _Outputs) -> list[span_decoding.Prediction]:
        """Returns the answers; see span_decoding.decode."""
        predictions = span_decoding.decode(
            self.questions.examples,
            self.questions.features,
            outputs["start_logits"],
            outputs["end_logits"],
            self.questions.vocabulary,
            self._options,
        )
        return list(predictions)

    def score(
        self, predictions: Sequence[span_decoding.Prediction]
    ) -> evaluation_set.Measurement:
        """Scores answers of `decode`."""
        scores = span_scoring.score(
            self.questions.examples,
            predictions,
            self._options.version_2_with_negative,
        )
        return evaluation_set.Measurement(scores, {})

    def measure(self, outputs: _Outputs) -> evaluation_set.Measurement:
        return self.score(self.decode(outputs))

    def majority_outputs(self) -> _Outputs | None:
        """Returns those of "no answer" in v2.0, None in v1.1."""
        if not self._options.version_2_with_negative:
            return None
        logits = np.zeros(
            self.questions.features["input_word_ids"].shape, np.float32
        )
        # More than any threshold that null odds are compared to.
        logits[:, 0] = 1e6
        return {name: logits for name in self.output_names}

    def worst_errors(
        self, outputs: _Outputs, count: int
    ) -> evaluation_set.ErrorTable:
        """Returns the answers of least F1, those the model is surest of first.

        Args:
            outputs: as of `measure`.
            count: int.
        """
        predictions = self.decode(outputs)
        errors = []
        for example, prediction in zip(
            self.questions.examples, predictions, strict=True
        ):
            f1 = squad_metrics.best_f1(example, prediction.text)
            if f1 < 1.0:
                probability = prediction.n_best[0].probability
                errors.append((f1, -probability, example, prediction))
        errors.sort(key=lambda each: each[:2])
        return evaluation_set.ErrorTable(
            ("question", "answers", "predicted", "F1", "probability"),
            [
                (
                    example.question,
                    " | ".join(sorted({a.text for a in example.answers})),
                    prediction.text,
                    f"{f1:.3f}",
                    f"{-probability:.3f}",
                )
                for f1, probability, example, prediction in errors[:count]
            ],
        )
