"""Whether an exported file still does what the Keras model does."""

import collections
import dataclasses
import os
import types
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from export import calibration
from export import comparison
from export import delegation as delegation_lib
from export import graph_heads
from export import layer_errors as layer_errors_lib
from export import model_file
from export import quantization
from export import text_input
from export import text_model
from mobilebert_tf import files
from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.evaluation import model_outputs

# What a file of integer activations must compute in integers. Softmax, the
# mask's addition, LayerNorm and the head's last layers stay float by recipe.
INTEGER_OPS = ("FULLY_CONNECTED", "BATCH_MATMUL", "CONV_2D", "GATHER")
# Share of a score that a file may lose; MLPerf's closed division allows 7 % of
# mobile BERT.
MAX_RELATIVE_DROP = 0.01


@dataclasses.dataclass(frozen=True)
class Expectation:
    """What a variant must be like, its score apart.

    Attributes:
        activations: number format in which INTEGER_OPS must compute, None for
            any.
        weights: formats in which weights may be stored, None for any.
        max_difference: of the outputs from Keras, by rounding: of
            probabilities by so much, of greater values by so much of the
            largest; None for any.
    """

    activations: str | None = None
    weights: tuple[str, ...] | None = None
    max_difference: float | None = None


# By variant; of one that is not here, as SavedModel, see _OTHERS.
_EXPECTATIONS = {
    quantization.FLOAT32: Expectation("FLOAT32", ("FLOAT32",), 1e-4),
    quantization.FLOAT16: Expectation("FLOAT32", ("FLOAT16",), 1e-2),
    quantization.DYNAMIC: Expectation(weights=("INT8",)),
    quantization.DYNAMIC_PER_TENSOR: Expectation(weights=("INT8",)),
    quantization.INT8_WEIGHTS: Expectation(weights=("INT8",)),
    quantization.INT8: Expectation("INT8", ("INT8",)),
    # Of a table the weights are activations.
    quantization.INT16X8: Expectation("INT16", ("INT8", "INT16")),
    "any_length": Expectation("FLOAT32", ("FLOAT32",), 1e-4),
    "text": Expectation("FLOAT32", ("FLOAT32",), 1e-4),
    "text_int8": Expectation("INT8", ("INT8",)),
}
# In which ids and positions are computed.
_ID_FORMATS = ("INT32", "INT64")
_OTHERS = Expectation(max_difference=1e-4)
_NUM_LAYER_ERROR_EXAMPLES = 8
# Of the difference of two metrics, in points.
_METRIC_ROUNDING = 1e-9


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
        weights: operators with weights by their format; likewise.
        delegation: what of the file XNNPACK runs; None of a SavedModel.
        layer_errors: of each operator, None unless it was asked for.
        failures: reasons, empty if the file passes.
        is_accurate: whether no metric drops by more than it may.
    """

    values: dict[str, np.ndarray]
    metrics: dict[str, float]
    drops: dict[str, float]
    comparisons: dict[str, comparison.Comparison]
    census: dict[str, dict[str, int]]
    weights: dict[str, dict[str, int]]
    delegation: delegation_lib.Delegation | None
    layer_errors: layer_errors_lib.LayerErrors | None
    failures: tuple[str, ...]
    is_accurate: bool


class Judge:
    """Compares files with the Keras model on labelled examples.

    Args:
        model: the Keras model; it is run here.
        head: one of model_directory.HEADS.
        sets: EvaluationSets.
        points_of: returns how many points are in a unit of a metric, None of
            one that is not judged by.
        max_metric_drop: points that a metric may lose, ...
        num_threads: of LiteRT.
        max_relative_drop: ... and the share of it.

    Attributes:
        num_rows: of each set, by name.
        values: what an app would read of the Keras model on the first set.
        metrics: {name: value} of the Keras model on all sets.
        metrics_of_sets: the same by set.
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
        max_relative_drop: float = MAX_RELATIVE_DROP,
    ):
        self._head = head
        self._num_float_layers = graph_heads.from_model(model).num_layers
        self._max_metric_drop = max_metric_drop
        self._max_relative_drop = max_relative_drop
        self._num_threads = num_threads
        self._sets = sets
        self.num_rows = {each.name: len(each) for each in sets}
        evaluated = evaluate(sets, model)
        self.values = self._app_values(evaluated)
        self.metrics = evaluation_set.joint_metrics(evaluated)
        self.metrics_of_sets = {
            each.set.name: each.measurement.metrics for each in evaluated
        }
        points = {name: points_of(name) for name in self.metrics}
        self.points = {name: each for name, each in points.items() if each}

    def examples(self, count: int) -> list[dict[str, np.ndarray]]:
        """Returns inputs int32 [1, S] of the first set, spread over it."""
        first = self._sets[0]
        step = -(-len(first) // count)
        inputs = first.inputs(slice(None, None, step))
        inputs = {name: inputs[name] for name in rows_lib.INPUT_NAMES}
        return list(calibration.single_rows(inputs))[:count]

    def verify(
        self,
        variant: str,
        path: str,
        float_model: bytes | None = None,
        num_kept: Mapping[str, int] = types.MappingProxyType({}),
        text: text_input.TextInput | None = None,
    ) -> Verification:
        """Loads a file afresh, runs it, and judges it.

        Args:
            variant: says what the file must be like.
            path: of the file or folder.
            float_model: the float32 .tflite that it was made of, to look for
                the errors of its operators.
            num_kept: how many of an operator, by name, were kept in a higher
                precision on purpose, the head's layers apart.
            text: of a text-in file, what makes its features.

        Raises:
            ValueError: if it cannot be loaded or run, or its outputs cannot
                be compared.
        """
        expected = expectation(variant)
        model = path
        census, weights, delegation, layer_errors = {}, {}, None, None
        failures = []
        if os.path.isfile(path):
            content = files.read_bytes(path)
            if text is None:
                delegation = delegation_lib.delegation(path, self._num_threads)
            else:
                model = text_model.TextModel(path, text, self._num_threads)
                delegation = delegation_lib.of_interpreter(model.interpreter)
            graph = model_file.ModelFile(content)
            census, weights = graph.census(), graph.weight_census()
            allowed = collections.Counter(num_kept)
            allowed["FULLY_CONNECTED"] += self._num_float_layers
            failures += format_failures(expected, census, weights, allowed)
            if float_model is not None:
                layer_errors = layer_errors_lib.measure(
                    float_model,
                    content,
                    self.examples(_NUM_LAYER_ERROR_EXAMPLES),
                    self._num_threads,
                )
        evaluated = evaluate(self._sets, model, self._num_threads)
        values = self._app_values(evaluated)
        comparisons = {
            name: comparison.compare(reference, values[name])
            for name, reference in self.values.items()
        }
        metrics = evaluation_set.joint_metrics(evaluated)
        drop_failures = self._drop_failures(metrics)
        failures = [
            *drop_failures,
            *rounding_failures(expected, comparisons),
            *failures,
        ]
        return Verification(
            values=values,
            metrics=metrics,
            drops={
                name: scale * (self.metrics[name] - metrics[name])
                for name, scale in self.points.items()
            },
            comparisons=comparisons,
            census=census,
            weights=weights,
            delegation=delegation,
            layer_errors=layer_errors,
            failures=tuple(failures),
            is_accurate=not drop_failures,
        )

    def _drop_failures(self, metrics):
        failures = []
        for name, scale in self.points.items():
            reference = self.metrics[name]
            drop = scale * (reference - metrics[name])
            share = self._max_relative_drop
            allowed = min(self._max_metric_drop, scale * share * abs(reference))
            if not drop <= allowed + _METRIC_ROUNDING:
                failures.append(
                    f"{name} drops by {drop:.2f} points, allowed {allowed:.3g}"
                )
        return failures

    def _app_values(self, evaluated):
        first = evaluated[0]
        return comparison.app_values(self._head, first.set, first.outputs)


def expectation(variant: str) -> Expectation:
    """Returns what a variant must be like."""
    return _EXPECTATIONS.get(variant, _OTHERS)


def evaluate(
    sets: Sequence[evaluation_set.EvaluationSet], model, num_threads: int = 1
) -> list[evaluation_set.Evaluated]:
    """Runs a model of any form on sets, and scores it.

    Args:
        sets: EvaluationSets.
        model: the Keras model, the path of a .tflite or SavedModel, which is
            loaded afresh, or a ModelForm.
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


def format_failures(
    expected: Expectation,
    census: Mapping[str, Mapping[str, int]],
    weights: Mapping[str, Mapping[str, int]],
    allowed: Mapping[str, int],
) -> list[str]:
    """Names the INTEGER_OPS that are in another format than they must be.

    Args:
        expected: of the variant.
        census: of the file, see model_file.ModelFile.
        weights: likewise.
        allowed: how many of an operator may be float, by name.
    """
    failures = []
    if expected.activations is not None:
        failures += _unexpected(census, (expected.activations,), allowed, "")
    if expected.weights is not None:
        failures += _unexpected(
            weights, expected.weights, allowed, " with weights"
        )
    return failures


def integer_failures(
    census: Mapping[str, Mapping[str, int]], num_float_layers: int
) -> list[str]:
    """Names the INTEGER_OPS of an int8 file that compute in another format.

    Args:
        census: of the file, see model_file.ModelFile.
        num_float_layers: how many FULLY_CONNECTED may be float: the head's.
    """
    expected = _EXPECTATIONS[quantization.INT8]
    allowed = {"FULLY_CONNECTED": num_float_layers}
    return format_failures(expected, census, {}, allowed)


def _unexpected(counts, expected, allowed, what):
    return [
        f"{count} {name}{what} in {number_format}, expected "
        f"{' or '.join(expected)}"
        for name in INTEGER_OPS
        for number_format, count in counts.get(name, {}).items()
        if number_format not in (*expected, *_ID_FORMATS)
        and not (number_format == "FLOAT32" and count <= allowed.get(name, 0))
    ]


def rounding_failures(
    expected: Expectation,
    comparisons: Mapping[str, comparison.Comparison],
) -> list[str]:
    """Names the outputs that differ by more than the variant's rounding."""
    if expected.max_difference is None:
        return []
    failures = []
    for name, each in comparisons.items():
        allowed = expected.max_difference * max(1.0, each.largest)
        if not each.max_difference <= allowed:
            failures.append(
                f"{name}: differs by {each.max_difference:.2g}, allowed "
                f"{allowed:.2g}"
            )
    return failures
