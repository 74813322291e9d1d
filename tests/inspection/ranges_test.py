"""Running ranges against NumPy on all values at once."""

import numpy as np
import pytest

from mobilebert_tf.inspection import ranges


def _run(*batches):
    running = ranges.RunningRange()
    first = 0
    for values in batches:
        rows = np.arange(first, first + len(values))[:, np.newaxis]
        running.update(np.asarray(values, np.float32), rows)
        first += len(values)
    return running.result()


def test_against_numpy():
    generator = np.random.default_rng(1)
    # Widths of a network: from 1e-6 to 1e7.
    values = generator.normal(0, 1, [900, 40]) * np.exp(
        generator.uniform(-14, 16, [900, 1])
    )
    values = values.astype(np.float32)
    values[::3] = np.maximum(values[::3], 0)
    result = _run(*np.array_split(values, 7))
    magnitudes = np.abs(values)
    assert result.minimum == values.min()
    assert result.maximum == values.max()
    assert result.largest == magnitudes.max()
    row, channel = np.unravel_index(magnitudes.argmax(), magnitudes.shape)
    assert (result.row, result.channel) == ((row,), channel)
    nonzero = magnitudes[magnitudes > 0]
    assert result.median == pytest.approx(np.median(nonzero), rel=0.006)
    assert result.quantile_999 == pytest.approx(
        np.quantile(nonzero, 0.999, method="higher"), rel=0.006
    )
    assert result.num_values == values.size
    assert result.num_not_finite == 0
    assert result.outlier_factor == pytest.approx(
        magnitudes.max() / np.median(nonzero), rel=0.006
    )


@pytest.mark.parametrize("magnitude", [1e-45, 1e-30, 1.0, 3e38])
def test_whole_range_of_float32(magnitude):
    result = _run(np.full([3, 2], -magnitude))
    assert result.median == pytest.approx(
        float(np.float32(magnitude)), rel=0.006
    )
    assert result.largest == -result.minimum == -result.maximum


def test_not_finite_values_are_counted_and_left_out():
    result = _run([[1.0, np.nan]], [[-np.inf, 2.0]], [[np.inf, np.nan]])
    assert (result.minimum, result.maximum) == (1.0, 2.0)
    assert (result.largest, result.row, result.channel) == (2.0, (1,), 1)
    assert (result.num_values, result.num_not_finite) == (6, 4)
    nothing = _run([[np.nan]])
    assert nothing.row == ()
    assert np.isnan(nothing.largest)
    assert not nothing.beyond_float16
    assert nothing.num_not_finite == 1


def test_zeros():
    result = _run(np.zeros([2, 2]))
    assert (result.minimum, result.maximum, result.largest) == (0, 0, 0)
    assert (result.median, result.outlier_factor) == (0, 0)
    assert not result.beyond_int8


def test_beyond_float16_is_what_overflows():
    for value in (65504.0, 65536.0, -65536.0):
        with np.errstate(over="ignore"):
            overflows = np.isinf(np.float32(value).astype(np.float16))
        assert _run([[value]]).beyond_float16 == overflows


@pytest.mark.parametrize("outlier", [400.0, 600.0, -400.0, -600.0])
def test_beyond_int8_is_what_rounds_to_zero(outlier):
    """Quantised to 256 levels and back, is the median value gone?"""
    values = np.full([50, 1], 1.0)
    values[7] = outlier
    result = _run(values)
    step = (max(values.max(), 0) - min(values.min(), 0)) / 255
    assert result.int8_step == pytest.approx(step)
    restored = np.round(values / step) * step
    assert result.beyond_int8 == (np.median(restored) == 0)
