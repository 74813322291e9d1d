"""Comparison of outputs, with and without padding, on made-up values."""

import numpy as np
import pytest

from export import comparison
from mobilebert_tf import model_directory
from mobilebert_tf.evaluation import evaluation_set

REFERENCE = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])


def test_compare():
    values = REFERENCE.copy()
    values[2] = [0.4, 0.6]
    compared = comparison.compare(REFERENCE, values)
    assert compared.max_difference == pytest.approx(0.2)
    assert compared.mean_difference == pytest.approx(0.4 / 8)
    assert compared.largest == 0.9
    assert compared.agreement == 0.75
    power = np.sum(REFERENCE**2)
    assert compared.sqnr_db == pytest.approx(10 * np.log10(power / 0.08))


def test_equal_values():
    compared = comparison.compare(REFERENCE, REFERENCE)
    assert compared.max_difference == 0
    assert compared.sqnr_db == float("inf")
    assert compared.agreement == 1


def test_nothing_to_choose():
    compared = comparison.compare(REFERENCE[:, :1], REFERENCE[:, :1] + 1)
    assert compared.agreement is None
    assert compared.mean_difference == pytest.approx(1)


def test_refuses_what_it_cannot_compare():
    with pytest.raises(ValueError, match=r"shape \(4, 2\), got \(3, 2\)"):
        comparison.compare(REFERENCE, REFERENCE[:3])
    with pytest.raises(ValueError, match="expected finite values"):
        comparison.compare(REFERENCE, REFERENCE * np.nan)


class _Set(evaluation_set.EvaluationSet):
    """Two rows of three positions; the second has one of padding."""

    def __init__(self):
        super().__init__("dev", None)

    def inputs(self, rows):
        return {"input_mask": np.array([[1, 1, 1], [1, 1, 0]])[rows]}

    def measure(self, outputs):
        raise NotImplementedError

    def worst_errors(self, outputs, count):
        raise NotImplementedError


def _values(head, **outputs):
    return comparison.app_values(head, _Set(), outputs)


def test_padding_does_not_count_among_positions():
    head = model_directory.QUESTION_ANSWERING
    logits = np.array([[1.0, 3.0, 2.0], [5.0, 4.0, 0.0]])
    changed = logits.copy()
    changed[1, 2] = 99.0
    expected = _values(head, start_logits=logits, end_logits=logits)
    values = _values(head, start_logits=changed, end_logits=logits + 1)
    assert list(values) == ["start_logits", "end_logits"]
    start, end = (
        comparison.compare(expected[name], values[name]) for name in values
    )
    assert start.max_difference == 0 and start.agreement == 1
    assert start.largest == 5.0
    assert end.mean_difference == 1


def test_padding_does_not_count_among_tokens():
    head = model_directory.TOKEN_CLASSIFICATION
    logits = np.array([[[0, 9.0]] * 3, [[9.0, 0]] * 3])
    changed = logits.copy()
    changed[1, 2] = [0, 9.0]  # padding
    changed[0, 0] = [9.0, 0]
    compared = comparison.compare(
        _values(head, logits=logits)["probabilities"],
        _values(head, logits=changed)["probabilities"],
    )
    assert compared.agreement == 0.8
    assert compared.max_difference == pytest.approx(1.0, abs=1e-3)


def test_probabilities_and_values_of_sentences():
    head = model_directory.SEQUENCE_CLASSIFICATION
    logits = np.log(REFERENCE)
    values = _values(head, logits=logits + 7)
    np.testing.assert_allclose(values["probabilities"], REFERENCE)
    values = _values(head, logits=logits[:, :1])
    np.testing.assert_array_equal(values["value"], logits[:, :1])
