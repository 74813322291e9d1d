"""Metrics by name, as scikit-learn and SciPy compute them.

GLUE's score of a task with two metrics is their mean: "accuracy_and_f1" and
"pearson_and_spearman".

Legend: N examples, C classes.
"""

import warnings
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
from scipy import stats
from sklearn import metrics


def compute(
    names: Sequence[str], labels: np.ndarray, predictions: np.ndarray
) -> dict[str, float]:
    """Computes metrics of predicted class ids or values.

    All are finite for finite input. Where a definition divides by zero the
    metric is 0: a correlation if labels or predictions are all equal, F1 if
    the class is neither there nor predicted.

    Args:
        names: of class ids "accuracy", "f1" (of class 1, of two),
            "macro_f1" (mean over the classes that occur or are predicted),
            "matthews_correlation", "accuracy_and_f1"; of values "pearson",
            "spearman", "pearson_and_spearman", "mean_squared_error".
        labels: [N], true class ids or values.
        predictions: [N], predicted class ids or values.

    Returns:
        Metric name to value, in [0, 1], correlations in [-1, 1], errors in
        the square of the values' unit.

    Raises:
        ValueError: for an unknown name, no examples, unequal lengths, or a
            label or prediction that is not finite.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape or labels.ndim != 1:
        raise ValueError(
            f"labels of shape {labels.shape} and predictions of shape "
            f"{predictions.shape}: expected two vectors of one length"
        )
    if not labels.size:
        raise ValueError("no examples to compute metrics of")
    for what, values in (("label", labels), ("prediction", predictions)):
        if not np.all(np.isfinite(values)):
            row = int(np.argmin(np.isfinite(values)))
            raise ValueError(
                f"{what} {row}: got {values[row]}, expected a finite number"
            )
    check_names(names)
    return {name: float(_METRICS[name](labels, predictions)) for name in names}


def check_names(names: Sequence[str]) -> None:
    """Raises ValueError for a name that is none of a metric."""
    unknown = [name for name in names if name not in _METRICS]
    if unknown:
        raise ValueError(
            f"unknown metric {unknown[0]!r}, expected one of "
            f"{', '.join(_METRICS)}"
        )


def is_better(name: str, value: float, than: float) -> bool:
    """Whether `value` of a metric or loss is better `than` another."""
    return value < than if name.endswith(_ERRORS) else value > than


def confusion(
    labels: np.ndarray, predictions: np.ndarray, names: Sequence[str]
) -> dict[str, object]:
    """Counts which class was taken for which.

    Args:
        labels: int [N], true class ids.
        predictions: int [N], predicted class ids.
        names: of the C classes, by id.

    Returns:
        Values for JSON: `confusion_matrix`, C lists of C counts (true class
        by predicted class); `per_class`, {name: {precision, recall, f1,
        support}}, 0 where a definition divides by zero.
    """
    ids = range(len(names))
    scores = metrics.precision_recall_fscore_support(
        labels, predictions, labels=ids, zero_division=0.0
    )
    matrix = metrics.confusion_matrix(labels, predictions, labels=ids)
    return {
        "confusion_matrix": matrix.tolist(),
        "per_class": {
            name: _class_scores(*values)
            for name, *values in zip(names, *scores, strict=True)
        },
    }


def _class_scores(precision, recall, f1, support) -> Mapping[str, float]:
    return {
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "support": int(support),
    }


def _f1(labels, predictions):
    return metrics.f1_score(labels, predictions, zero_division=0.0)


def _macro_f1(labels, predictions):
    return metrics.f1_score(
        labels, predictions, average="macro", zero_division=0.0
    )


def _accuracy_and_f1(labels, predictions):
    accuracy = metrics.accuracy_score(labels, predictions)
    return (accuracy + _f1(labels, predictions)) / 2


def _matthews(labels, predictions):
    if _is_constant(labels) or _is_constant(predictions):
        return 0.0
    return metrics.matthews_corrcoef(labels, predictions)


def _correlation(function):
    def compute_correlation(labels, predictions):
        if _is_constant(labels) or _is_constant(predictions):
            return 0.0
        with warnings.catch_warnings():
            # Of values that differ in their last digits.
            warnings.simplefilter("ignore", stats.NearConstantInputWarning)
            value = function(
                labels.astype(np.float64), predictions.astype(np.float64)
            ).statistic
        # Of those it may be 0 / 0.
        return value if np.isfinite(value) else 0.0

    return compute_correlation


def _pearson_and_spearman(labels, predictions):
    values = compute(["pearson", "spearman"], labels, predictions).values()
    return sum(values) / 2


def _is_constant(values):
    return np.all(values == values[0])


_ERRORS = ("loss", "error")
_METRICS = {
    "accuracy": metrics.accuracy_score,
    "f1": _f1,
    "macro_f1": _macro_f1,
    "accuracy_and_f1": _accuracy_and_f1,
    "matthews_correlation": _matthews,
    "pearson": _correlation(stats.pearsonr),
    "spearman": _correlation(stats.spearmanr),
    "pearson_and_spearman": _pearson_and_spearman,
    "mean_squared_error": metrics.mean_squared_error,
}
