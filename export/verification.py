"""Whether an exported file still does what the Keras model does.

Legend: N examples, C labels, S sequence.
"""

import dataclasses

import numpy as np
from ai_edge_litert import interpreter as litert

from export import inference_graph
from export import model_file
from export import quantization
from mobilebert_tf.evaluation import metrics as metrics_lib

# Probabilities of the float32 file differ from Keras by rounding only.
MAX_FLOAT32_DIFFERENCE = 1e-4
# What an int8 file must compute in int8. Softmax, the mask's addition and
# LayerNorm stay float by recipe.
INTEGER_OPS = ("FULLY_CONNECTED", "BATCH_MATMUL", "CONV_2D", "GATHER")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Probabilities of a file against those of the Keras model.

    Attributes:
        max_difference, mean_difference: absolute.
        sqnr_db: power of the reference over power of the difference, in dB;
            infinite if they are the same.
        label_agreement: share of examples with the same most likely label.
    """

    max_difference: float
    mean_difference: float
    sqnr_db: float
    label_agreement: float


@dataclasses.dataclass(frozen=True)
class Verification:
    """The verdict on one file.

    Attributes:
        metrics: {name: value} of the file on the examples.
        drops: {name: points} lost against Keras (negative: gained).
        comparison: Comparison.
        census: operators by name and number format.
        failures: reasons, empty if the file passes.
    """

    metrics: dict[str, float]
    drops: dict[str, float]
    comparison: Comparison
    census: dict[str, dict[str, int]]
    failures: tuple[str, ...]


def predict_tflite(
    path: str, features: dict[str, np.ndarray], num_threads: int = 1
) -> np.ndarray:
    """Loads a file afresh and returns its probabilities, float32 [N, C].

    Args:
        path: a .tflite with the exported signature.
        features: int32 [N, S] by the names of inference_graph.INPUT_NAMES.
        num_threads: of the interpreter.

    Raises:
        ValueError: if LiteRT cannot load, allocate or run it.
    """
    try:
        interpreter = litert.Interpreter(
            model_path=path, num_threads=num_threads
        )
        # XNNPACK can refuse a file here, for extreme scales, instead of
        # leaving the operator to the built-in kernels.
        interpreter.allocate_tensors()
        run = interpreter.get_signature_runner(inference_graph.SIGNATURE)
        outputs = [
            run(**example)["probabilities"][0]
            for example in examples_of(features)
        ]
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: LiteRT cannot run it: {error}") from error
    return np.stack(outputs)


def examples_of(features: dict[str, np.ndarray]):
    """Yields the inputs of one example, int32 [1, S] each, after another."""
    for i in range(len(features["input_word_ids"])):
        yield {
            name: features[name][i : i + 1]
            for name in inference_graph.INPUT_NAMES
        }


def compare(reference: np.ndarray, outputs: np.ndarray) -> Comparison:
    """Compares probabilities, float [N, C] each.

    Raises:
        ValueError: if the shapes differ or a value is not finite.
    """
    if reference.shape != outputs.shape:
        raise ValueError(
            f"outputs: expected shape {reference.shape}, got {outputs.shape}"
        )
    if not np.all(np.isfinite(outputs)):
        raise ValueError("outputs: expected finite values, got NaN or infinity")
    reference = reference.astype(np.float64)
    difference = outputs - reference
    noise = np.sum(difference**2)
    return Comparison(
        max_difference=float(np.max(np.abs(difference))),
        mean_difference=float(np.mean(np.abs(difference))),
        sqnr_db=(
            float(10.0 * np.log10(np.sum(reference**2) / noise))
            if noise
            else float("inf")
        ),
        label_agreement=float(
            np.mean(reference.argmax(axis=-1) == outputs.argmax(axis=-1))
        ),
    )


def verify(
    variant: str,
    content: bytes,
    outputs: np.ndarray,
    reference: np.ndarray,
    labels: np.ndarray,
    metric_names: tuple[str, ...],
    max_metric_drop: float,
) -> Verification:
    """Judges one file by its outputs on labelled examples.

    Args:
        variant: one of quantization.VARIANTS.
        content: the file.
        outputs: its probabilities, [N, C].
        reference: Keras' probabilities, [N, C].
        labels: int [N].
        metric_names: of evaluation.metrics.
        max_metric_drop: points (hundredths) that every metric may lose.

    Raises:
        ValueError: if outputs and reference cannot be compared.
    """
    comparison = compare(reference, outputs)
    expected = measure(metric_names, labels, reference)
    metrics = measure(metric_names, labels, outputs)
    drops = {name: 100.0 * (expected[name] - metrics[name]) for name in metrics}
    census = model_file.ModelFile(content).census()
    failures = [
        f"{name} drops by {drop:.2f} points, allowed {max_metric_drop:g}"
        for name, drop in drops.items()
        if not drop <= max_metric_drop
    ]
    if variant == quantization.FLOAT32:
        failures += _rounding_failures(comparison)
    else:
        failures += integer_failures(census)
    return Verification(
        metrics, drops, comparison, census, failures=tuple(failures)
    )


def measure(
    metric_names: tuple[str, ...], labels: np.ndarray, outputs: np.ndarray
) -> dict[str, float]:
    """Computes metrics of probabilities [N, C] against labels int [N]."""
    return metrics_lib.compute(metric_names, labels, outputs.argmax(axis=-1))


def integer_failures(census: dict[str, dict[str, int]]) -> list[str]:
    """Names the INTEGER_OPS of an int8 file that compute in another format."""
    return [
        f"{count} {name} in {number_format}, expected INT8"
        for name in INTEGER_OPS
        for number_format, count in census.get(name, {}).items()
        if number_format != "INT8"
    ]


def _rounding_failures(comparison):
    if comparison.max_difference <= MAX_FLOAT32_DIFFERENCE:
        return []
    return [
        f"probabilities differ by {comparison.max_difference:.2g}, "
        f"allowed {MAX_FLOAT32_DIFFERENCE:g}"
    ]
