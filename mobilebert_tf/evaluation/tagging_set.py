"""Scoring of token classification.

Legend: N windows, S sequence, C labels, W words of all sentences.
"""

from collections.abc import Sequence

import numpy as np
from scipy import special

from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.data import tag_schemes
from mobilebert_tf.data import tagging
from mobilebert_tf.evaluation import classification_set
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.evaluation import metrics as metrics_lib
from mobilebert_tf.evaluation import tagging_metrics

_Outputs = evaluation_set.Outputs


class TaggingSet(evaluation_set.EvaluationSet):
    """Sentences with tags; the model's output is `logits` [N, S, C].

    The metrics are "validation_loss", the mean cross-entropy of a word, and
    those of tagging_metrics.compute.

    Args:
        name: of the set.
        sentences: with tags.
        features: their windows.
        labels: names of the C labels.
        scheme: one of tag_schemes.SCHEMES.
    """

    def __init__(
        self,
        name: str,
        sentences: Sequence[tagging.Sentence],
        features: tagging.Features,
        labels: Sequence[str],
        scheme: str,
    ):
        super().__init__(name, rows_lib.input_rows(features.arrays))
        length = features.arrays["input_word_ids"].shape[1]
        self.output_shapes = {"logits": (length, len(labels))}
        self._sentences = sentences
        self._features = features
        self.class_names = tuple(labels)
        self._scheme = scheme
        self._tags = [list(sentence.tags) for sentence in sentences]
        self._word_ids = features.arrays["label_ids"][
            features.windows, features.positions
        ]  # [W]

    def measure(self, outputs: _Outputs) -> evaluation_set.Measurement:
        logits = outputs["logits"]
        predictions = self._predictions(logits)
        counts = metrics_lib.confusion(
            self._word_ids,
            logits[self._features.windows, self._features.positions].argmax(-1),
            self.class_names,
        )
        if self._scheme != tag_schemes.NONE:
            scores = tagging_metrics.entity_scores(
                self._tags, predictions, self._scheme
            )
            # Of entities, whose types say more than their tags.
            counts["per_class"] = {
                name: each._asdict() for name, each in scores.by_type.items()
            }
        return evaluation_set.Measurement(
            {
                "validation_loss": float(self._losses(logits).mean()),
                **tagging_metrics.compute(
                    self._tags, predictions, self._scheme
                ),
            },
            counts,
        )

    def majority_outputs(self) -> _Outputs:
        logits = classification_set.constant_logits(
            self._word_ids, len(self.class_names)
        )
        shape = *self._features.arrays["label_ids"].shape, len(logits)
        return {"logits": np.broadcast_to(logits, shape)}

    def worst_errors(
        self, outputs: _Outputs, count: int
    ) -> evaluation_set.ErrorTable:
        """Returns the sentences with the largest loss of wrong words.

        Args:
            outputs: as of `measure`.
            count: int.
        """
        logits = outputs["logits"]
        losses = self._losses(logits)
        errors = []
        first = 0
        for sentence, predicted in zip(
            self._sentences, self._predictions(logits), strict=True
        ):
            end = first + len(sentence.words)
            wrong = [
                index
                for index, (tag, other) in enumerate(
                    zip(sentence.tags, predicted, strict=True)
                )
                if tag != other
            ]
            if wrong:
                loss = losses[first:end][wrong].sum()
                errors.append((loss, sentence, predicted, wrong))
            first = end
        errors.sort(key=lambda each: -each[0])
        return evaluation_set.ErrorTable(
            ("sentence", "from", "wrong words", "their loss"),
            [
                (
                    " ".join(sentence.words),
                    sentence.source,
                    "; ".join(
                        f"{sentence.words[i]}: {sentence.tags[i]}, "
                        f"predicted {predicted[i]}"
                        for i in wrong
                    ),
                    f"{loss:.3f}",
                )
                for loss, sentence, predicted, wrong in errors[:count]
            ],
        )

    def _predictions(self, logits):
        """Returns the predicted tags of each sentence's words."""
        return self._features.by_sentence(
            logits.argmax(axis=-1), self.class_names
        )

    def _losses(self, logits):
        """Returns the cross-entropy of each word, [W]."""
        words = logits[self._features.windows, self._features.positions]
        return -np.take_along_axis(
            special.log_softmax(words.astype(np.float64), axis=-1),
            self._word_ids[:, np.newaxis],
            axis=-1,
        )[:, 0]
