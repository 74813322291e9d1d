"""Whether an exported file still does what the Keras model does."""

import dataclasses
import os
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from export import comparison
from export import graph_heads
from export import model_file
from export import quantization
from mobilebert_tf import files
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.evaluation import model_outputs

# Outputs of float32 forms differ from Keras by rounding only: of probabilities
# by so much, of greater values by so much of the largest.
MAX_FLOAT32_DIFFERENCE = 1e-4
# What an int8 file must compute in int8. Softmax, the mask's addition,
# LayerNorm and the head's last layers stay float by recipe.
INTEGER_OPS = ("FULLY_CONNECTED", "BATCH_MATMUL", "CONV_2D", "GATHER")


@dataclasses.dataclass(frozen=True)
class Verification:
    """The verdict on one file.

    Attributes:
        values: what an app reads on the first set; see comparison.
        metrics: {name: value} of all sets.
        drops: {name: points} lost against Keras (negative: gained), of the
            metrics that it is judged by.
        comparisons: {output: Comparison}, of `values`.
        census: operators by name and number format; empty of a SavedModel.
        failures: reasons, empty if the file passes.
    """

    values: dict[str, np.ndarray]
    metrics: dict[str, float]
    drops: dict[str, float]
    comparisons: dict[str, comparison.Comparison]
    census: dict[str, dict[str, int]]
    failures: tuple[str, ...]


class Judge:
    """Compares files with the Keras model on labelled examples.

    Args:
        model: the Keras model; it is run here.
        head: one of model_directory.HEADS.
        sets: EvaluationSets.
        points_of: returns how many points are in a unit of a metric, None of
            one that is not judged by.
        max_metric_drop: points that a metric may lose.
        num_threads: of LiteRT.

    Attributes:
        num_rows: of each set, by name.
        values: what an app would read of the Keras model on the first set.
        metrics: {name: value} of the Keras model on all sets.
        points: points in a unit, by the metrics judged by.
    """

    def __init__(
        self,
        model,
        head: str,
        sets: Sequence[evaluation_set.EvaluationSet],
        points_of: Callable[[str], float | None],
        max_metric_drop: float,
        num_threads: int = 1,
    ):
        self._head = head
        self._num_float_layers = graph_heads.from_model(model).num_layers
        self._max_metric_drop = max_metric_drop
        self._num_threads = num_threads
        self._sets = sets
        self.num_rows = {each.name: len(each) for each in sets}
        evaluated = evaluate(sets, model)
        self.values = self._app_values(evaluated)
        self.metrics = evaluation_set.joint_metrics(evaluated)
        points = {name: points_of(name) for name in self.metrics}
        self.points = {name: each for name, each in points.items() if each}

    def verify(self, variant: str, path: str) -> Verification:
        """Loads a file afresh, runs it, and judges it.

        Args:
            variant: quantization.INT8 must compute in int8, any other one
                may differ by rounding only.
            path: of the file or folder.

        Raises:
            ValueError: if it cannot be loaded or run, or its outputs cannot
                be compared.
        """
        evaluated = evaluate(self._sets, path, self._num_threads)
        values = self._app_values(evaluated)
        comparisons = {
            name: comparison.compare(reference, values[name])
            for name, reference in self.values.items()
        }
        metrics = evaluation_set.joint_metrics(evaluated)
        drops = {
            name: scale * (self.metrics[name] - metrics[name])
            for name, scale in self.points.items()
        }
        census = {}
        if os.path.isfile(path):
            census = model_file.ModelFile(files.read_bytes(path)).census()
        failures = [
            f"{name} drops by {drop:.2f} points, allowed "
            f"{self._max_metric_drop:g}"
            for name, drop in drops.items()
            if not drop <= self._max_metric_drop
        ]
        if variant == quantization.INT8:
            failures += integer_failures(census, self._num_float_layers)
        else:
            failures += rounding_failures(comparisons)
        return Verification(
            values, metrics, drops, comparisons, census, tuple(failures)
        )

    def _app_values(self, evaluated):
        first = evaluated[0]
        return comparison.app_values(self._head, first.set, first.outputs)


def evaluate(
    sets: Sequence[evaluation_set.EvaluationSet], model, num_threads: int = 1
) -> list[evaluation_set.Evaluated]:
    """Runs a model of any form on sets, and scores it.

    Args:
        sets: EvaluationSets.
        model: the Keras model, or the path of a .tflite or SavedModel, which
            is loaded afresh.
        num_threads: of LiteRT.

    Raises:
        ValueError: if it cannot be loaded or run.
    """
    evaluated = []
    for each in sets:
        outputs = model_outputs.predict(each, model, num_threads=num_threads)
        evaluated.append(
            evaluation_set.Evaluated(each, outputs, each.measure(outputs))
        )
    return evaluated


def integer_failures(
    census: Mapping[str, Mapping[str, int]], num_float_layers: int
) -> list[str]:
    """Names the INTEGER_OPS of an int8 file that compute in another format.

    Args:
        census: of the file, see model_file.ModelFile.
        num_float_layers: how many FULLY_CONNECTED may be float: the head's.
    """
    allowed = {("FULLY_CONNECTED", "FLOAT32"): num_float_layers}
    return [
        f"{count} {name} in {number_format}, expected INT8"
        for name in INTEGER_OPS
        for number_format, count in census.get(name, {}).items()
        if number_format != "INT8"
        and count > allowed.get((name, number_format), 0)
    ]


def rounding_failures(
    comparisons: Mapping[str, comparison.Comparison],
) -> list[str]:
    """Names the outputs that differ by more than float32 rounding."""
    failures = []
    for name, each in comparisons.items():
        allowed = MAX_FLOAT32_DIFFERENCE * max(1.0, each.largest)
        if each.max_difference > allowed:
            failures.append(
                f"{name}: differs by {each.max_difference:.2g}, allowed "
                f"{allowed:.2g}"
            )
    return failures
