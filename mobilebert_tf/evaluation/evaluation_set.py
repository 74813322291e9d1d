"""Labelled examples as any form of a model takes them, and their scoring.

Evaluations while training, those of a finished model (Keras, SavedModel or
.tflite), the verification of an export and the report of errors all score the
outputs of a model here, so that their numbers are comparable line by line.

Legend: N rows, S sequence, C choices.
"""

import abc
from collections.abc import Mapping
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mobilebert_tf.data import rows as rows_lib

Outputs = Mapping[str, np.ndarray]


class Measurement(NamedTuple):
    """What the outputs of a model are worth.

    Attributes:
        metrics: name to value.
        counts: values for JSON, such as a confusion matrix; may be empty.
    """

    metrics: dict[str, float]
    counts: dict[str, object]


class ErrorTable(NamedTuple):
    """Examples that a model gets wrong, the worst first.

    Attributes:
        header: names of the columns.
        rows: cells as text, one row per example.
    """

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


class EvaluationSet(rows_lib.Rows):
    """N rows of inputs with what the model should say of them.

    A row is what the model works on at once: an example, an example with all
    its choices, or a window of a longer text.

    Args:
        name: of the set, such as "dev".
        rows: the model's inputs, int32 [N, S] each, of multiple choice
            [N, C, S].

    Attributes:
        name: as above.
        output_names: the outputs of the model that are scored; arrays of N
            rows each, in the order of the inputs.
        output_shapes: of a row of each, by name: what tells a model of
            another number of labels. None are checked without.
        class_names: of the rows and columns of a confusion matrix.
        in_percent: bool. Whether scores are from 0 to 100.
    """

    output_names: tuple[str, ...] = ("logits",)
    output_shapes: Mapping[str, tuple[int, ...]] = {}
    class_names: tuple[str, ...] = ()
    in_percent = False

    def __init__(self, name: str, rows: rows_lib.Rows):
        self.name = name
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def inputs(self, rows: slice | np.ndarray) -> dict[str, np.ndarray]:
        """Returns the model's inputs of these rows; see Rows."""
        return self._rows.inputs(rows)

    @abc.abstractmethod
    def measure(self, outputs: Outputs) -> Measurement:
        """Scores the outputs of a model.

        Args:
            outputs: {name: float32 [N, ...]} for output_names.
        """

    def majority_outputs(self) -> Outputs | None:
        """Returns the outputs of a model that always says the same.

        What it says is what is most often right in this set, of values their
        mean. None where nothing is right more than once or by chance.
        """
        return None

    @abc.abstractmethod
    def worst_errors(self, outputs: Outputs, count: int) -> ErrorTable:
        """Returns up to `count` of the errors that cost most.

        Args:
            outputs: as of `measure`.
            count: int.
        """


class Evaluated(NamedTuple):
    """A set that a model was run on.

    Attributes:
        set: EvaluationSet.
        outputs: of the model.
        measurement: of the outputs.
    """

    set: EvaluationSet
    outputs: Outputs
    measurement: Measurement


def joint_metrics(evaluated: Sequence[Evaluated]) -> dict[str, float]:
    """Returns the metrics of all sets.

    Those of the first set have their own names, those of another
    "set/metric".
    """
    metrics = {}
    for index, each in enumerate(evaluated):
        prefix = f"{each.set.name}/" if index else ""
        for name, value in each.measurement.metrics.items():
            metrics[f"{prefix}{name}"] = value
    return metrics
