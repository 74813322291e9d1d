"""Losses: small cases computed by hand, padding, gradients, extremes."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import special
from scipy import stats

from mobilebert_tf import losses

# Log-odds with plain softmax probabilities: (1/4, 3/4) and (1/2, 1/2).
_QUARTER = [0.0, math.log(3.0)]
_HALF = [0.0, 0.0]
# KL((1/4, 3/4) || (1/2, 1/2)).
_DIVERGENCE = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)


def _floats(values):
    return tf.constant(values, tf.float32)


def test_masked_lm_is_the_mean_over_predictions():
    logits = _floats([[_QUARTER, _QUARTER, _HALF]])
    labels = tf.constant([[0, 1, 1]])
    weights = _floats([[1.0, 1.0, 0.0]])
    expected = -(math.log(1 / 4) + math.log(3 / 4)) / 2
    value = losses.masked_lm(logits, labels, weights)
    assert value.shape == [] and value.dtype == tf.float32
    assert float(value) == pytest.approx(expected, rel=1e-4)
    # Over the whole batch, not the mean of each sequence's mean.
    logits = _floats([[_QUARTER, _QUARTER], [_HALF, _HALF]])
    labels = tf.constant([[0, 0], [0, 0]])
    weights = _floats([[1.0, 1.0], [1.0, 0.0]])
    expected = (2 * math.log(4) + math.log(2)) / 3
    value = losses.masked_lm(logits, labels, weights)
    assert float(value) == pytest.approx(expected, rel=1e-4)


def test_next_sentence():
    logits = _floats([_QUARTER, _HALF])
    value = losses.next_sentence(logits, tf.constant([[1], [0]]))
    expected = (math.log(4 / 3) + math.log(2)) / 2
    assert float(value) == pytest.approx(expected, rel=1e-4)


def test_pretraining_distillation():
    value = losses.pretraining_distillation(
        _floats([[_QUARTER, _HALF, _QUARTER]]),
        _floats([[_HALF, _HALF, _HALF]]),
        _floats([[1.0, 1.0, 0.0]]),
    )
    assert float(value) == pytest.approx(_DIVERGENCE / 2, rel=1e-4)


def test_temperature_divides_logits_and_scales_by_its_square():
    """At 2, logits of twice the size give the same distributions."""
    value = losses.pretraining_distillation(
        2 * _floats([[_QUARTER]]),
        _floats([[_HALF]]),
        _floats([[1.0]]),
        temperature=2.0,
    )
    assert float(value) == pytest.approx(4 * _DIVERGENCE, rel=1e-4)


def test_temperature_keeps_the_size_of_gradients():
    """For many times the logits' size: a mean squared error of logits."""
    teacher, student = _floats([[[0.3, -0.1, 0.4]]]), _floats([[[0.0] * 3]])
    gradients = []
    for temperature in (100.0, 1000.0):
        with tf.GradientTape() as tape:
            tape.watch(student)
            value = losses.pretraining_distillation(
                teacher, student, _floats([[1.0]]), temperature
            )
        gradients.append(tape.gradient(value, student).numpy())
    expected = -np.array([[[0.1, -0.3, 0.2]]]) / 3
    np.testing.assert_allclose(gradients[0], expected, atol=1e-3)
    np.testing.assert_allclose(gradients[1], expected, atol=1e-3)


def test_distillation_keeps_the_distributions_apart():
    values = losses.distillation(
        _floats([[_QUARTER, _HALF], [_HALF, _QUARTER]]),
        _floats([[_HALF, _HALF], [_HALF, _QUARTER]]),
    )
    assert values.dtype == tf.float32
    expected = [[_DIVERGENCE, 0.0], [0.0, 0.0]]
    np.testing.assert_allclose(values, expected, atol=1e-6)


@pytest.mark.parametrize("shape", [[4, 3], [2, 3, 5], [2, 3, 4, 5]])
def test_distillation_is_the_relative_entropy(shape):
    generator = np.random.default_rng(1)
    teacher, student = generator.normal(0, 3, [2, *shape])
    expected = stats.entropy(
        special.softmax(teacher / 2.5, axis=-1),
        special.softmax(student / 2.5, axis=-1),
        axis=-1,
    )
    values = losses.distillation(_floats(teacher), _floats(student), 2.5)
    np.testing.assert_allclose(values, 2.5**2 * expected, rtol=1e-4, atol=1e-6)


def test_distillation_of_impossible_classes_is_finite():
    teacher = _floats([[0.0, -1e9], [1e4, -1e4]])
    values = losses.distillation(teacher, _floats([[0.0, -1e9], [0.0, 0.0]]))
    np.testing.assert_allclose(values, [0.0, math.log(2.0)], atol=1e-6)


def test_feature_map_transfer():
    teacher = _floats([[[1.0, 2.0], [0.0, 0.0], [9.0, 9.0]]])
    student = _floats([[[0.0, 0.0], [3.0, 1.0], [0.0, 0.0]]])
    value = losses.feature_map_transfer(
        teacher, student, tf.constant([[1, 1, 0]])
    )
    expected = ((1 + 4) / 2 + (9 + 1) / 2) / 2
    assert float(value) == pytest.approx(expected, rel=1e-4)


def test_normalized_feature_map_transfer():
    """(1, 3) and (0, 8) are (-1, 1) both; (5, 1) is (1, -1)."""
    teacher = _floats([[[1.0, 3.0], [0.0, 8.0], [9.0, 1.0]]])
    student = _floats([[[0.0, 8.0], [5.0, 1.0], [0.0, 9.0]]])
    value = losses.normalized_feature_map_transfer(
        teacher, student, tf.constant([[1, 1, 0]])
    )
    assert float(value) == pytest.approx((0 + 4) / 2, rel=1e-4)


def test_mean_and_variance_transfer():
    """Means 2 and 4 against 1 and 3; variances 1 and 16 against 0 and 4."""
    teacher = _floats([[[1.0, 3.0], [0.0, 8.0], [9.0, 1.0]]])
    student = _floats([[[1.0, 1.0], [1.0, 5.0], [0.0, 9.0]]])
    mask = tf.constant([[1, 1, 0]])
    value = losses.mean_transfer([teacher], student, mask)
    assert float(value) == pytest.approx((1 + 1) / 2, rel=1e-4)
    value = losses.variance_transfer([teacher], student, mask)
    assert float(value) == pytest.approx((1 + 12) / 2, rel=1e-4)


def test_moments_of_several_teachers():
    """Differences are averaged, not the targets: 4 and 0 beside 1 and 1."""
    teachers = [
        _floats([[[1.0, 3.0], [0.0, 8.0]]]),
        _floats([[[3.0, 3.0], [3.0, 3.0]]]),
    ]
    student = _floats([[[1.0, 1.0], [1.0, 5.0]]])
    mask = tf.constant([[1, 1]])
    value = losses.mean_transfer(teachers, student, mask)
    assert float(value) == pytest.approx((1 + 1 + 4 + 0) / 4, rel=1e-4)
    value = losses.variance_transfer(teachers, student, mask)
    assert float(value) == pytest.approx((1 + 12 + 0 + 4) / 4, rel=1e-4)


def test_attention_transfer():
    """Two heads; the second row is padding, its column is masked."""
    masked = [1.0, -10000.0]
    teacher = _floats([[[_QUARTER, masked], [_HALF, masked]]])
    student = _floats([[[_HALF, [5.0, 6.0]], [_HALF, [7.0, 0.0]]]])
    value = losses.attention_transfer(teacher, student, tf.constant([[1, 0]]))
    assert float(value) == pytest.approx(_DIVERGENCE / 2, rel=1e-4)


def test_attention_transfer_ignores_columns_that_both_mask():
    """Pre-softmax scores of hidden positions may differ without loss."""
    teacher = _floats([[[[1.0, 2.0, -10003.0]] * 3]])
    student = _floats([[[[1.0, 2.0, -9990.0]] * 3]])
    mask = tf.constant([[1, 1, 0]])
    assert float(losses.attention_transfer(teacher, student, mask)) == 0


# Each loss as a function of (teacher, student, weights of positions).
_TRANSFERS = {
    "distillation": (losses.pretraining_distillation, [2, 3, 5]),
    "feature_map": (losses.feature_map_transfer, [2, 3, 5]),
    "normalized": (losses.normalized_feature_map_transfer, [2, 3, 5]),
    "mean": (
        lambda teacher, *others: losses.mean_transfer([teacher], *others),
        [2, 3, 5],
    ),
    "variance": (
        lambda teacher, *others: losses.variance_transfer([teacher], *others),
        [2, 3, 5],
    ),
    "attention": (losses.attention_transfer, [2, 4, 3, 3]),
}
_WEIGHTS = np.array([[1, 1, 0], [1, 0, 0]])


def _transfer_case(name):
    function, shape = _TRANSFERS[name]
    generator = np.random.default_rng(0)
    teacher, student = (_floats(generator.normal(size=shape)) for _ in "ab")
    weights = tf.constant(
        _WEIGHTS, tf.float32 if name == "distillation" else tf.int32
    )
    return function, teacher, student, weights


@pytest.mark.parametrize("name", _TRANSFERS)
def test_zero_when_equal_and_positive_otherwise(name):
    function, teacher, student, weights = _transfer_case(name)
    assert float(function(teacher, student, weights)) > 0.01
    assert abs(float(function(teacher, teacher, weights))) < 1e-6


@pytest.mark.parametrize("name", _TRANSFERS)
def test_no_gradient_into_the_teacher(name):
    function, teacher, student, weights = _transfer_case(name)
    with tf.GradientTape() as tape:
        tape.watch([teacher, student])
        value = function(teacher, student, weights)
    into_teacher, into_student = tape.gradient(value, [teacher, student])
    assert into_teacher is None
    assert np.abs(into_student).max() > 0


@pytest.mark.parametrize("name", _TRANSFERS)
def test_padding_does_not_count(name):
    """No value and no gradient; real positions all count."""
    function, teacher, student, weights = _transfer_case(name)
    position_axis = 2 if name == "attention" else 1
    real = _WEIGHTS == 1
    if position_axis == 2:
        real = real[:, np.newaxis]
    real = np.broadcast_to(real, student.shape[: position_axis + 1])
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = function(teacher, student, weights)
    gradient = np.abs(tape.gradient(value, student).numpy()).max(axis=-1)
    np.testing.assert_array_equal(gradient > 0, real)
    noise = np.where(real[..., np.newaxis], 0.0, 3.0)
    changed = function(teacher, student + _floats(noise), weights)
    assert float(changed) == float(value)


@pytest.mark.parametrize("name", _TRANSFERS)
def test_mean_does_not_depend_on_the_amount_of_padding(name):
    function, teacher, student, weights = _transfer_case(name)
    value = function(teacher, student, weights)
    repeated = [tf.concat([x, x], axis=0) for x in (teacher, student)]
    twice = function(*repeated, tf.concat([weights, weights], axis=0))
    assert float(twice) == pytest.approx(float(value), rel=1e-4)
    padding = function(*repeated, tf.concat([weights, 0 * weights], axis=0))
    assert float(padding) == pytest.approx(float(value), rel=1e-4)


@pytest.mark.parametrize("name", _TRANSFERS)
def test_empty_batch_is_zero_with_zero_gradient(name):
    function, teacher, student, weights = _transfer_case(name)
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = function(teacher, student, 0 * weights)
    assert float(value) == 0
    assert not tape.gradient(value, student).numpy().any()


def test_masked_lm_of_an_empty_batch_is_zero():
    logits, labels = _floats([[_QUARTER]]), tf.constant([[0]])
    assert float(losses.masked_lm(logits, labels, _floats([[0.0]]))) == 0


@pytest.mark.parametrize("name", ["distillation", "attention"])
def test_extreme_scores_stay_finite(name):
    """Probabilities underflow, as on masked positions: 0 * log 0 is 0."""
    function, teacher, student, weights = _transfer_case(name)
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = function(1e4 * teacher, -1e4 * student, weights)
    assert math.isfinite(value)
    assert np.isfinite(tape.gradient(value, student)).all()


@pytest.mark.parametrize("name", _TRANSFERS)
def test_float32_results_from_bfloat16(name):
    """Mixed precision hands over bfloat16; sums would lose half the digits."""
    function, teacher, student, weights = _transfer_case(name)
    value = function(
        tf.cast(teacher, tf.bfloat16), tf.cast(student, tf.bfloat16), weights
    )
    assert value.dtype == tf.float32
    rounded = function(
        tf.cast(tf.cast(teacher, tf.bfloat16), tf.float32),
        tf.cast(tf.cast(student, tf.bfloat16), tf.float32),
        weights,
    )
    assert float(value) == pytest.approx(float(rounded), rel=1e-4)
