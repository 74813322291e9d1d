"""Classification metrics by name, as scikit-learn computes them."""

from collections.abc import Sequence

import numpy as np
from sklearn import metrics

_METRICS = {
    "accuracy": metrics.accuracy_score,
    "f1": metrics.f1_score,
    "matthews_correlation": metrics.matthews_corrcoef,
}


def compute(
    names: Sequence[str], labels: np.ndarray, predictions: np.ndarray
) -> dict[str, float]:
    """Computes metrics of predicted class ids.

    Args:
        names: among "accuracy", "f1" (of class 1) and "matthews_correlation".
        labels: int [N], true class ids.
        predictions: int [N], predicted class ids.

    Returns:
        Metric name to value, in [0, 1] ([-1, 1] for matthews_correlation).

    Raises:
        ValueError: for an unknown name, no examples, or unequal lengths.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape or labels.ndim != 1:
        raise ValueError(
            f"labels of shape {labels.shape} and predictions of shape "
            f"{predictions.shape}: expected two vectors of one length"
        )
    if not labels.size:
        raise ValueError("no examples to compute metrics of")
    unknown = [name for name in names if name not in _METRICS]
    if unknown:
        raise ValueError(
            f"unknown metric {unknown[0]!r}, expected one of "
            f"{', '.join(_METRICS)}"
        )
    return {name: float(_METRICS[name](labels, predictions)) for name in names}
