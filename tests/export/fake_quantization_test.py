"""The simulated rounding is that of the tool which writes int8 files."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_quantizer import qtyping
from ai_edge_quantizer.algorithms.uniform_quantize import (
    uniform_quantize_tensor,
)

from export import fake_quantization

_STEPS = 256


def _rounded_by_the_quantizer(values, low, high, is_symmetric, axis=None):
    """Quantises and dequantises with ai-edge-quantizer; low, high as values."""
    zero_point, scale = uniform_quantize_tensor.tensor_zp_scale_from_min_max(
        low,
        high,
        num_bits=8,
        symmetric=is_symmetric,
        granularity=(
            qtyping.QuantGranularity.TENSORWISE
            if axis is None
            else qtyping.QuantGranularity.CHANNELWISE
        ),
    )
    params = qtyping.UniformQuantParams(
        num_bits=8,
        quantized_dimension=axis,
        scale=scale,
        zero_point=zero_point,
        symmetric=is_symmetric,
    )
    quantized = uniform_quantize_tensor.uniform_quantize(values.copy(), params)
    return uniform_quantize_tensor.uniform_dequantize(
        quantized.astype(np.int32), params
    )


def _random(*shape, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(0.0, 2.0, shape).astype(np.float32)


def _assert_same(actual, expected, step):
    """Equal but for values in the middle between two steps."""
    difference = np.abs(actual - expected)
    is_same = difference < 1e-4 * step
    assert difference.max() < 1.001 * step
    assert is_same.mean() > 0.999


@pytest.mark.parametrize(
    "low, high", [(-3.0, 5.0), (0.0, 4.0), (-7.0, 0.0), (1.0, 2.0)]
)
def test_activation(low, high):
    values = _random(400, 30)
    bounds = np.full([2, 1, 1], [[[low]], [[high]]], np.float32)
    expected = _rounded_by_the_quantizer(values, *bounds, is_symmetric=False)
    actual = fake_quantization.activation(values, low, high).numpy()
    _assert_same(actual, expected, (max(high, 0) - min(low, 0)) / 255)
    assert len(np.unique(actual)) <= _STEPS


def test_symmetric_range_has_zero_point_0():
    low, high = fake_quantization.symmetric(-1.5, 4.0)
    zero_point, _ = uniform_quantize_tensor.tensor_zp_scale_from_min_max(
        np.float32(low),
        np.float32(high),
        8,
        False,
        qtyping.QuantGranularity.TENSORWISE,
    )
    assert zero_point == 0
    assert high == 4.0


@pytest.mark.parametrize("shape", [(40, 24), (1, 3, 20, 24)])
def test_kernel(shape):
    kernel = _random(*shape) * np.geomspace(0.01, 10.0, shape[-1])
    kernel = kernel.astype(np.float32)
    axes = tuple(range(len(shape) - 1))
    low, high = (
        bound(kernel, axis=axes, keepdims=True) for bound in (np.min, np.max)
    )
    expected = _rounded_by_the_quantizer(
        kernel, low, high, is_symmetric=True, axis=len(shape) - 1
    )
    actual = fake_quantization.kernel(tf.constant(kernel)).numpy()
    steps = np.abs(kernel).max(axes) / 127
    _assert_same(actual / steps, expected / steps, 1.0)


def test_constant_has_the_range_of_its_values():
    values = np.linspace(0.3, 0.9, 64, dtype=np.float32)
    expected = _rounded_by_the_quantizer(
        values, values.min()[None], values.max()[None], is_symmetric=False
    )
    _assert_same(
        fake_quantization.constant(values).numpy(), expected, 0.9 / 255
    )


def test_rows_have_the_range_of_the_whole_table():
    table = _random(50, 8)
    table[49, 0] = 100.0
    rows = fake_quantization.table_rows(table, tf.constant([[3, 7]])).numpy()
    assert rows.shape == (1, 2, 8)
    expected = fake_quantization.activation(table, table.min(), 100.0).numpy()
    np.testing.assert_array_equal(rows[0], expected[[3, 7]])


def test_zeros_stay_zeros():
    zeros = tf.zeros([4, 4])
    for rounded in (
        fake_quantization.activation(zeros, 0.0, 0.0),
        fake_quantization.kernel(zeros),
        fake_quantization.constant(zeros),
    ):
        np.testing.assert_array_equal(rounded, zeros)


def test_gradients_stop_where_values_are_clipped():
    values = tf.constant([-9.0, -0.3, 0.4, 9.0])
    low, high = tf.constant(-1.0), tf.constant(1.0)
    with tf.GradientTape() as tape:
        tape.watch([values, low, high])
        weighted = tf.constant([1.0, 2.0, 3.0, 4.0]) * (
            fake_quantization.activation(values, low, high)
        )
    gradients = tape.gradient(weighted, [values, low, high])
    assert [g.numpy().tolist() for g in gradients] == [[0, 2, 3, 0], 1, 4]


def test_kernels_have_the_gradient_of_what_they_round():
    kernel = tf.constant(_random(6, 5))
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        total = tf.reduce_sum(fake_quantization.kernel(kernel) * 3.0)
    np.testing.assert_array_equal(tape.gradient(total, kernel), 3 + 0 * kernel)
