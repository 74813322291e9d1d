"""Dense layers by rows, in floats and in 8-bit integers."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mobilebert_tf.modeling import dense


def _make(kernel, bias, activation=None):
    """Returns a model of one layer with these weights."""
    layer = dense.RowDense(kernel.shape[1], activation=activation)
    layer.build(kernel.shape[:1])
    layer.set_weights([kernel, bias])
    model = tf_keras.Sequential([layer])
    model.build([None, kernel.shape[0]])
    return model


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5), (2, 4, 3, 5)])
def test_rows_of_any_rank(shape):
    generator = np.random.default_rng(0)
    kernel, bias = generator.normal(size=[5, 7]), generator.normal(size=[7])
    inputs = generator.normal(size=shape).astype(np.float32)
    outputs = _make(kernel, bias, "relu")(inputs)
    expected = np.maximum(inputs @ kernel + bias, 0)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


def test_static_shape_with_an_unknown_batch():
    model = _make(np.zeros([5, 7]), np.zeros([7]))

    @tf.function(input_signature=[tf.TensorSpec([None, 3, 5])])
    def run(inputs):
        outputs = model.layers[0](inputs)
        assert outputs.shape.as_list() == [None, 3, 7]
        return outputs

    assert run(tf.zeros([2, 3, 5])).shape == (2, 3, 7)


def test_integers_are_multiplied_exactly():
    """Inputs from 0 to 255 and kernels from -127 to 127 need no rounding."""
    generator = np.random.default_rng(1)
    inputs = generator.integers(0, 256, [6, 40]).astype(np.float32)
    inputs[:, 0], inputs[:, 1] = 0, 255
    kernel = generator.integers(-127, 128, [40, 9])
    kernel[3] = 127
    bias = generator.integers(-9, 9, [9])
    model = _make(kernel, bias)
    dense.set_precision(model, dense.INT8)
    # Float32 holds integers to 2^24, more than these sums.
    np.testing.assert_allclose(model(inputs), inputs @ kernel + bias, rtol=1e-6)


def test_error_of_rounding_is_within_its_bound():
    """Half a step of each factor times the absolute sum of the other."""
    generator = np.random.default_rng(2)
    inputs = generator.normal(1.0, 3.0, [50, 64]).astype(np.float32)
    kernel = generator.normal(size=[64, 20]).astype(np.float32)
    model = _make(kernel, np.zeros([20]))
    exact = model(inputs).numpy()
    dense.set_precision(model, dense.INT8)
    rounded = model(inputs).numpy()
    low = inputs.min(axis=1, keepdims=True)
    input_steps = (inputs.max(axis=1, keepdims=True) - low) / 255
    kernel_steps = np.abs(kernel).max(axis=0) / 127
    bound = input_steps / 2 * (np.abs(kernel) + kernel_steps / 2).sum(axis=0)
    bound = bound + kernel_steps / 2 * (inputs - low).sum(axis=1, keepdims=True)
    error = np.abs(rounded - exact)
    assert (error <= bound * 1.001).all()
    assert error.max() > 0
    assert np.linalg.norm(error) < 0.02 * np.linalg.norm(exact)


def test_rows_and_columns_of_equal_values():
    """No division by their range, which is zero."""
    kernel = np.array([[0.5, 0.0], [-2.0, 0.0]])
    model = _make(kernel, np.array([0.25, 1.0]))
    dense.set_precision(model, dense.INT8)
    outputs = model(np.array([[3.0, 3.0], [0.0, 0.0]], np.float32))
    np.testing.assert_allclose(outputs, [[-4.25, 1.0], [0.25, 1.0]])


def test_activation_shape_and_dtype_stay():
    kernel = np.random.default_rng(3).normal(size=[8, 3])
    inputs = tf.ones([2, 5, 8])
    model = _make(kernel, np.zeros([3]), "relu")
    exact = model.layers[0](inputs)
    dense.set_precision(model, dense.INT8)
    outputs = model.layers[0](inputs)
    assert outputs.shape == (2, 5, 3)
    assert outputs.dtype == tf.float32
    np.testing.assert_allclose(outputs, exact, atol=0.1)
    assert (outputs.numpy() >= 0).all()


def test_floats_again_and_gradients_of_floats_only():
    kernel = np.random.default_rng(4).normal(size=[8, 3])
    model = _make(kernel, np.zeros([3]))
    inputs = tf.constant(
        np.random.default_rng(5).normal(size=[4, 8]), tf.float32
    )
    exact = model(inputs).numpy()
    for precision, has_gradient in ((dense.INT8, False), (dense.FLOAT32, True)):
        dense.set_precision(model, precision)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = model(inputs)
        assert (tape.gradient(outputs, inputs) is not None) == has_gradient
    np.testing.assert_array_equal(outputs, exact)


def test_floats_for_a_while():
    model = _make(np.random.default_rng(4).normal(size=[8, 3]), np.zeros([3]))
    inputs = tf.random.stateless_normal([4, 8], [1, 2])
    exact = model(inputs).numpy()
    dense.set_precision(model, dense.INT8)
    rounded = model(inputs).numpy()
    with dense.float_products(model):
        np.testing.assert_array_equal(model(inputs), exact)
    np.testing.assert_array_equal(model(inputs), rounded)
    assert (exact != rounded).any()


def test_bad_precision():
    with pytest.raises(ValueError, match="precision: .*int8.*got 'int4'"):
        dense.set_precision(_make(np.ones([2, 2]), np.ones([2])), "int4")


def test_a_device_without_integer_products(monkeypatch):
    def fail(*args):
        raise tf.errors.NotFoundError(None, None, "no kernel")

    monkeypatch.setattr(dense, "_multiply", fail)
    with pytest.raises(ValueError, match="int8: this TensorFlow has no"):
        dense.set_precision(_make(np.ones([2, 2]), np.ones([2])), dense.INT8)
