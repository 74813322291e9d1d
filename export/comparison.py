"""How far an exported file's outputs are from those of the Keras model.

Legend: N rows, S sequence, C labels or choices.
"""

import dataclasses

import numpy as np
from scipy import special

from export import graph_heads
from mobilebert_tf import model_directory
from mobilebert_tf.evaluation import evaluation_set


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Values of a file against those of the Keras model.

    Attributes:
        max_difference, mean_difference: absolute.
        largest: the largest absolute value of the reference.
        sqnr_db: power of the reference over power of the difference, in dB;
            infinite if they are the same.
        agreement: share of the choices (a label, the position of a start)
            that are the same; None where there is nothing to choose.
    """

    max_difference: float
    mean_difference: float
    largest: float
    sqnr_db: float
    agreement: float | None


def app_values(
    head: str,
    rows: evaluation_set.EvaluationSet,
    outputs: evaluation_set.Outputs,
) -> dict[str, np.ndarray]:
    """Returns what an app reads of a model, by the name in the files.

    Args:
        head: one of model_directory.HEADS.
        rows: the inputs.
        outputs: on them.

    Returns:
        Probabilities [N, C] of classification and multiple choice, values
        [N, 1] of regression; per token, probabilities [N, S, C] or logits
        [N, S], masked arrays in which padding is masked.
    """
    if head in (
        model_directory.QUESTION_ANSWERING,
        model_directory.TOKEN_CLASSIFICATION,
    ):
        padding = rows.inputs(slice(None))["input_mask"] == 0  # [N, S]
        if head == model_directory.QUESTION_ANSWERING:
            return {
                name: np.ma.array(outputs[name], mask=padding)
                for name in (graph_heads.START_LOGITS, graph_heads.END_LOGITS)
            }
        probabilities = special.softmax(outputs["logits"], axis=-1)
        padding = np.broadcast_to(padding[..., np.newaxis], probabilities.shape)
        return {
            graph_heads.PROBABILITIES: np.ma.array(probabilities, mask=padding)
        }
    logits = outputs["logits"]
    if logits.shape[-1] == 1:
        return {graph_heads.VALUE: logits}
    return {graph_heads.PROBABILITIES: special.softmax(logits, axis=-1)}


def compare(reference: np.ndarray, values: np.ndarray) -> Comparison:
    """Compares what app_values returns of Keras and of a file, [..., C].

    Args:
        reference: float, perhaps masked.
        values: likewise.

    Raises:
        ValueError: if the shapes differ or a value is not finite.
    """
    if reference.shape != values.shape:
        raise ValueError(
            f"outputs: expected shape {reference.shape}, got {values.shape}"
        )
    if not np.all(np.isfinite(values)):
        raise ValueError("outputs: expected finite values, got NaN or infinity")
    reference = np.ma.asarray(reference, np.float64)
    values = np.ma.asarray(values, np.float64)
    difference = (values - reference).compressed()
    power = np.sum(reference.compressed() ** 2)
    noise = np.sum(difference**2)
    return Comparison(
        max_difference=float(np.max(np.abs(difference))),
        mean_difference=float(np.mean(np.abs(difference))),
        largest=float(np.max(np.abs(reference))),
        sqnr_db=float(10.0 * np.log10(power / noise)) if noise else np.inf,
        agreement=(
            float(np.mean(_choices(reference) == _choices(values)))
            if reference.shape[-1] > 1
            else None
        ),
    )


def _choices(values):
    """Returns the index of the largest of the last axis, where there is one."""
    is_there = ~np.ma.getmaskarray(values).all(axis=-1)
    return values.filled(-np.inf).argmax(axis=-1)[is_there]
