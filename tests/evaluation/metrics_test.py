"""Metrics against their definitions, scikit-learn and SciPy, and bad input."""

import json
import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from mobilebert_tf.evaluation import metrics

pytestmark = pytest.mark.filterwarnings("error")

_OF_CLASSES = (
    "accuracy",
    "f1",
    "macro_f1",
    "accuracy_and_f1",
    "matthews_correlation",
)
_OF_VALUES = (
    "pearson",
    "spearman",
    "pearson_and_spearman",
    "mean_squared_error",
)


def test_definitions():
    """Three true positives, one false, two missed, four true negatives."""
    labels = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0])
    predictions = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    tp, fp, fn, tn = 3, 1, 2, 4
    f1 = 2 * tp / (2 * tp + fp + fn)
    values = metrics.compute(_OF_CLASSES, labels, predictions)
    assert values == pytest.approx(
        {
            "accuracy": (tp + tn) / 10,
            "f1": f1,
            "macro_f1": (f1 + 2 * tn / (2 * tn + fp + fn)) / 2,
            "accuracy_and_f1": ((tp + tn) / 10 + f1) / 2,
            "matthews_correlation": (tp * tn - fp * fn)
            / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)),
        }
    )
    assert all(type(value) is float for value in values.values())


def _random_classes(num_classes):
    generator = np.random.default_rng(num_classes)
    labels = generator.integers(0, num_classes, 500)
    predictions = np.where(
        generator.random(500) < 0.5,
        labels,
        generator.integers(0, num_classes, 500),
    )
    return labels, predictions


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_classes_as_scikit_learn(num_classes):
    labels, predictions = _random_classes(num_classes)
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(labels, predictions),
        "macro_f1": sklearn_metrics.f1_score(
            labels, predictions, average="macro"
        ),
        "matthews_correlation": sklearn_metrics.matthews_corrcoef(
            labels, predictions
        ),
    }
    if num_classes == 2:
        f1 = sklearn_metrics.f1_score(labels, predictions)
        expected["f1"] = f1
        expected["accuracy_and_f1"] = (expected["accuracy"] + f1) / 2
    assert metrics.compute(list(expected), labels, predictions) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_as_scipy(dtype):
    generator = np.random.default_rng(3)
    # With ties, as STS-B has.
    labels = generator.integers(0, 26, 400).astype(dtype) / 5
    predictions = (labels + generator.normal(0, 1.5, 400)).astype(dtype)
    wide = labels.astype(np.float64), predictions.astype(np.float64)
    pearson = stats.pearsonr(*wide).statistic
    spearman = stats.spearmanr(*wide).statistic
    assert metrics.compute(_OF_VALUES, labels, predictions) == pytest.approx(
        {
            "pearson": pearson,
            "spearman": spearman,
            "pearson_and_spearman": (pearson + spearman) / 2,
            "mean_squared_error": np.mean((wide[0] - wide[1]) ** 2),
        }
    )


def test_only_what_is_asked_in_that_order():
    values = metrics.compute(["f1", "accuracy"], [0, 1], [0, 1])
    assert list(values.items()) == [("f1", 1.0), ("accuracy", 1.0)]
    assert metrics.compute([], [0], [0]) == {}


@pytest.mark.parametrize(
    "labels, predictions, accuracy",
    [
        ([0, 0, 0], [0, 0, 0], 1.0),  # class 1 never occurs
        ([0, 0, 0], [1, 1, 1], 0.0),
        ([1, 0], [0, 0], 0.5),  # always the same prediction
        ([1], [1], 1.0),  # one example
    ],
)
def test_degenerate_classes_are_finite(labels, predictions, accuracy):
    """A correlation with a constant is 0; F1 without positives too."""
    values = metrics.compute(_OF_CLASSES, labels, predictions)
    assert values["accuracy"] == accuracy
    assert values["matthews_correlation"] == 0.0
    assert values["f1"] == float(labels == predictions == [1])
    json.dumps(values, allow_nan=False)


@pytest.mark.parametrize(
    "labels, predictions",
    [
        ([1.0, 2.0, 3.0], [2.5, 2.5, 2.5]),  # constant predictions
        ([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]),  # constant labels
        ([2.0], [1.0]),  # one example
    ],
)
def test_correlations_with_a_constant_are_zero(labels, predictions):
    values = metrics.compute(
        ["pearson", "spearman", "pearson_and_spearman"], labels, predictions
    )
    assert set(values.values()) == {0.0}


def test_predictions_that_hardly_differ_give_no_warning():
    predictions = 1e6 + np.array([0.0, 1e-9, 2e-9, 3e-9])
    values = metrics.compute(["pearson"], [1.0, 2.0, 3.0, 4.0], predictions)
    assert -1.0 <= values["pearson"] <= 1.0


@pytest.mark.parametrize(
    "labels, predictions, message",
    [
        ([], [], "no examples"),
        ([0, 1], [0], r"\(2,\) and predictions of shape \(1,\)"),
        ([[0, 1]], [[0, 1]], r"\(1, 2\).*two vectors"),
        ([0.0, 1.0], [0.0, math.nan], "prediction 1: got nan"),
        ([math.inf, 1.0], [0.0, 1.0], "label 0: got inf"),
    ],
)
def test_impossible_inputs(labels, predictions, message):
    with pytest.raises(ValueError, match=message):
        metrics.compute(["accuracy"], labels, predictions)


def test_unknown_name():
    with pytest.raises(ValueError, match="unknown metric 'mcc', expected .*f1"):
        metrics.compute(["accuracy", "mcc"], [0], [0])


def test_f1_of_several_classes_is_refused():
    """F1 of class 1 is defined for two classes."""
    with pytest.raises(ValueError, match="[Tt]arget is multiclass"):
        metrics.compute(["f1"], [0, 1, 2], [0, 1, 2])


def test_a_loss_is_better_when_lower():
    assert metrics.is_better("validation_loss", 0.1, than=0.2)
    assert metrics.is_better("mean_squared_error", 0.1, than=0.2)
    assert metrics.is_better("pearson", 0.2, than=0.1)


def test_an_equal_value_is_not_better():
    assert not metrics.is_better("accuracy", 0.5, than=0.5)
    assert not metrics.is_better("validation_loss", 0.5, than=0.5)


def test_counts_by_class_as_scikit_learns_report():
    labels, predictions = _random_classes(3)
    names = ("no", "perhaps", "yes")
    counts = metrics.confusion(labels, predictions, names)
    report = sklearn_metrics.classification_report(
        labels, predictions, target_names=names, output_dict=True
    )
    assert list(counts["per_class"]) == list(names)
    for name, scores in counts["per_class"].items():
        expected = dict(report[name])
        expected["f1"] = expected.pop("f1-score")
        assert scores == expected
    matrix = np.zeros([3, 3], int)
    for label, predicted in zip(labels, predictions, strict=True):
        matrix[label, predicted] += 1
    assert counts["confusion_matrix"] == matrix.tolist()


def test_counts_of_a_class_that_never_occurs():
    counts = metrics.confusion([0, 0], [0, 0], ("a", "b"))
    assert counts["confusion_matrix"] == [[2, 0], [0, 0]]
    assert counts["per_class"]["b"] == {
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "support": 0,
    }
    json.dumps(counts, allow_nan=False)
