"""FusedLamb against the Model Garden's LAMB."""

import numpy as np
import pytest
import tensorflow as tf
from official.modeling.optimization import lamb

from mobilebert_tf.optimization import fused_lamb

_OPTIONS = dict(
    learning_rate=0.05,
    weight_decay_rate=0.1,
    exclude_from_weight_decay=["LayerNorm", "bias"],
)


def _train(optimizer, gradient_factor=1.0):
    """Returns variables and state after some steps in a tf.function."""
    generator = np.random.default_rng(0)
    variables = [
        tf.Variable(
            generator.normal(size=shape) * factor, dtype=tf.float32, name=name
        )
        for name, shape, factor in (
            ("layer_0/kernel", [6, 3], 1.0),
            ("layer_0/bias", [3], 1.0),
            ("layer_0/LayerNorm/gamma", [3], 1.0),
            ("zeros/kernel", [6, 3], 0.0),
            ("table", [5, 3], 1.0),
        )
    ]

    @tf.function
    def step(gradients, rows):
        slices = tf.IndexedSlices(rows, tf.constant([1, 3]), [5, 3])
        optimizer.apply_gradients(
            zip([*gradients, slices], variables, strict=True)
        )

    for _ in range(5):
        *gradients, rows = (
            tf.constant(
                gradient_factor * generator.normal(size=shape), tf.float32
            )
            for shape in ([6, 3], [3], [3], [6, 3], [2, 3])
        )
        step(gradients, rows)
    return [variable.numpy() for variable in variables], optimizer.get_weights()


@pytest.mark.parametrize("clip", [{}, {"global_clipnorm": 0.5}])
def test_variables_and_state_are_the_gardens(clip):
    """Decayed or not, adapted or not, zero, and with sparse gradients."""
    expected, expected_state = _train(lamb.LAMB(**_OPTIONS, **clip))
    actual, state = _train(fused_lamb.FusedLamb(**_OPTIONS, **clip))
    assert len(state) == len(expected_state)
    for one, other in zip(
        [*actual, *state], [*expected, *expected_state], strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-7)


def test_no_gradient_decays_alone():
    """Zero gradients: the trust ratio is that of the decay."""
    expected, _ = _train(lamb.LAMB(**_OPTIONS), gradient_factor=0.0)
    actual, _ = _train(fused_lamb.FusedLamb(**_OPTIONS), gradient_factor=0.0)
    for one, other in zip(actual, expected, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-7)
