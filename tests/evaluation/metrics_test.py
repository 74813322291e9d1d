"""Metrics against their definitions and scikit-learn, and bad input."""

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from mobilebert_tf.evaluation import metrics

_ALL = ("accuracy", "f1", "matthews_correlation")


def test_definitions():
    """Three true positives, one false, two missed, four true negatives."""
    labels = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0])
    predictions = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    tp, fp, fn, tn = 3, 1, 2, 4
    values = metrics.compute(_ALL, labels, predictions)
    assert values == pytest.approx(
        {
            "accuracy": (tp + tn) / 10,
            "f1": 2 * tp / (2 * tp + fp + fn),
            "matthews_correlation": (tp * tn - fp * fn)
            / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)),
        }
    )
    assert all(type(value) is float for value in values.values())


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_scikit_learn(num_classes):
    generator = np.random.default_rng(num_classes)
    labels = generator.integers(0, num_classes, 500)
    predictions = np.where(
        generator.random(500) < 0.5,
        labels,
        generator.integers(0, num_classes, 500),
    )
    names = _ALL if num_classes == 2 else ("accuracy", "matthews_correlation")
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(labels, predictions),
        "matthews_correlation": sklearn_metrics.matthews_corrcoef(
            labels, predictions
        ),
    }
    if num_classes == 2:
        expected["f1"] = sklearn_metrics.f1_score(labels, predictions)
    assert metrics.compute(names, labels, predictions) == expected


def test_only_what_is_asked_in_that_order():
    values = metrics.compute(["f1", "accuracy"], [0, 1], [0, 1])
    assert list(values.items()) == [("f1", 1.0), ("accuracy", 1.0)]
    assert metrics.compute([], [0], [0]) == {}


@pytest.mark.filterwarnings("ignore::UserWarning")  # about just that
@pytest.mark.parametrize(
    "labels, predictions, accuracy",
    [
        ([0, 0, 0], [0, 0, 0], 1.0),  # class 1 never occurs
        ([0, 0, 0], [1, 1, 1], 0.0),
        ([1, 0], [0, 0], 0.5),  # always the same prediction
        ([1], [1], 1.0),  # one example
    ],
)
def test_degenerate_inputs_are_finite(labels, predictions, accuracy):
    """A correlation with a constant is 0; F1 without positives too."""
    values = metrics.compute(_ALL, labels, predictions)
    assert values["accuracy"] == accuracy
    assert values["matthews_correlation"] == 0.0
    assert values["f1"] == float(labels == predictions == [1])


@pytest.mark.parametrize(
    "labels, predictions, message",
    [
        ([], [], "no examples"),
        ([0, 1], [0], r"\(2,\) and predictions of shape \(1,\)"),
        ([[0, 1]], [[0, 1]], r"\(1, 2\).*two vectors"),
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
