"""NoNorm, LayerNorm and the choice between them."""

import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf.modeling import normalization


def test_no_norm_is_gamma_x_plus_beta():
    layer = normalization.NoNorm()
    inputs = np.random.default_rng(0).normal(size=[2, 5, 3]).astype(np.float32)
    np.testing.assert_array_equal(layer(inputs), inputs)  # when fresh
    layer.gamma.assign([2.0, -1.0, 0.5])
    layer.beta.assign([0.0, 10.0, -1.0])
    outputs = layer(inputs).numpy()
    np.testing.assert_allclose(outputs[..., 0], 2 * inputs[..., 0])
    np.testing.assert_allclose(outputs[..., 1], 10 - inputs[..., 1])
    np.testing.assert_allclose(outputs[..., 2], 0.5 * inputs[..., 2] - 1)


def test_no_norm_keeps_magnitude_layer_norm_removes_it():
    inputs = tf.constant([[1.0, 2.0, 4.0]])
    for kind, scaled in (("no_norm", 1000.0), ("layer_norm", 1.0)):
        layer = normalization.make_normalization(kind)
        np.testing.assert_allclose(
            layer(1000.0 * inputs), scaled * layer(inputs), rtol=1e-5
        )


def test_layer_norm_epsilon_is_1e_12():
    """Visible on inputs whose variance, 1e-12, is as small."""
    inputs = np.array([[1e-6, -1e-6]], np.float32)
    outputs = normalization.make_layer_norm()(inputs)
    expected = 1e-6 / np.sqrt(1e-12 + 1e-12)
    np.testing.assert_allclose(outputs, [[expected, -expected]], rtol=1e-3)


@pytest.mark.parametrize(
    "kind, name", [("no_norm", "FakeLayerNorm"), ("layer_norm", "LayerNorm")]
)
def test_names_are_those_of_the_published_checkpoints(kind, name):
    """Optimizers exclude "LayerNorm" from weight decay by these names."""
    layer = normalization.make_normalization(kind)
    layer(tf.zeros([1, 2]))
    assert [weight.name for weight in layer.weights] == [
        f"{name}/gamma:0",
        f"{name}/beta:0",
    ]


def test_unknown_type():
    with pytest.raises(ValueError, match="'no_norm' or .* got 'batch_norm'"):
        normalization.make_normalization("batch_norm")
