"""Activations, where they differ from their relatives."""

import math

import pytest
import tensorflow as tf

from mobilebert_tf.modeling import activations


@pytest.mark.parametrize(
    "name, expected",
    [("relu", [0.0, 0.5, 6.0, 7.5]), ("relu6", [0.0, 0.5, 6.0, 6.0])],
)
def test_rectifiers(name, expected):
    inputs = tf.constant([-2.0, 0.5, 6.0, 7.5])
    assert activations.get(name)(inputs).numpy().tolist() == expected


def test_gelu_is_the_tanh_approximation():
    """At 2.2 the exact (erf) form is 4.7e-4 larger."""
    x = 2.2
    approximate = (
        0.5
        * x
        * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    )
    exact = 0.5 * x * (1 + math.erf(x / math.sqrt(2)))
    value = float(activations.get("gelu")(tf.constant(x)))
    assert value == pytest.approx(approximate, rel=1e-6)
    assert abs(value - exact) > 1e-4


def test_unknown_name():
    with pytest.raises(ValueError, match="hidden_act: .*relu6.* got 'swish'"):
        activations.get("swish")
