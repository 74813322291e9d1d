"""Range and spread of a tensor over batches, in constant memory."""

import dataclasses
import math

import numpy as np

FLOAT16_MAX = 65504.0
# Steps between the 256 levels of int8.
_INT8_STEPS = 255

# Absolute values are counted in bins, 64 per doubling: a quantile is off by
# 0.6 % at most. float32 reaches from 2^-149 to 2^128.
_BINS_PER_DOUBLING = 64
_LOWEST_EXPONENT = -149
_HIGHEST_EXPONENT = 128
_NUM_BINS = _BINS_PER_DOUBLING * (_HIGHEST_EXPONENT - _LOWEST_EXPONENT)

_HIGH_QUANTILE = 0.999


@dataclasses.dataclass(frozen=True)
class Range:
    """What a tensor's values were.

    Statistics are of the finite values; `median` and `quantile_999` are of
    the absolute values other than zero (a ReLU makes many zeros), to 0.6 %.

    Attributes:
        minimum, maximum: smallest and largest value.
        largest: largest absolute value.
        row: of the largest: the indices that `RunningRange.update` was given;
            empty if no value is finite.
        channel: of the largest.
        median: median absolute value.
        quantile_999: absolute value that one in a thousand exceeds.
        num_values: number of values.
        num_not_finite: how many of them are NaN or infinite.
    """

    minimum: float
    maximum: float
    largest: float
    row: tuple[int, ...]
    channel: int
    median: float
    quantile_999: float
    num_values: int
    num_not_finite: int

    @property
    def outlier_factor(self) -> float:
        """Largest over median absolute value; 0 if all values are zero."""
        return self.largest / self.median if self.median else 0.0

    @property
    def int8_step(self) -> float:
        """Distance of two levels of per-tensor int8 over the whole range."""
        return (max(self.maximum, 0.0) - min(self.minimum, 0.0)) / _INT8_STEPS

    @property
    def beyond_float16(self) -> bool:
        """Whether float16, which ends at 65504, overflows."""
        return self.largest > FLOAT16_MAX

    @property
    def beyond_int8(self) -> bool:
        """Whether per-tensor int8 rounds the median value to zero."""
        return self.median < self.int8_step / 2


class RunningRange:
    """Collects the values of one tensor, batch by batch.

    Example:

        >>> running = RunningRange()
        >>> running.update(np.array([[1.0, -3.0]]), np.array([[0, 7]]))
        >>> running.result().largest, running.result().row
        (3.0, (0, 7))
    """

    def __init__(self):
        self._minimum = np.inf
        self._maximum = -np.inf
        self._largest = -1.0
        self._row = ()
        self._channel = 0
        self._bins = np.zeros(_NUM_BINS, np.int64)
        self._num_values = 0
        self._num_not_finite = 0

    def update(self, values: np.ndarray, rows: np.ndarray) -> None:
        """Adds values.

        Args:
            values: float [R, C].
            rows: int [R, K], which row each is: text and position, say.
        """
        finite = np.isfinite(values)
        self._num_values += values.size
        self._num_not_finite += values.size - int(finite.sum())
        if not finite.any():
            return
        self._minimum = min(self._minimum, values[finite].min())
        self._maximum = max(self._maximum, values[finite].max())
        magnitudes = np.where(finite, np.abs(values), 0.0)
        place = np.unravel_index(magnitudes.argmax(), magnitudes.shape)
        if magnitudes[place] > self._largest:
            self._largest = magnitudes[place]
            self._row = tuple(int(index) for index in rows[place[0]])
            self._channel = int(place[1])
        exponents = np.log2(magnitudes[magnitudes > 0]) - _LOWEST_EXPONENT
        bins = np.floor(exponents * _BINS_PER_DOUBLING).astype(np.int64)
        self._bins += np.bincount(
            np.clip(bins, 0, _NUM_BINS - 1), minlength=_NUM_BINS
        )

    def result(self) -> Range:
        """Returns the range of what was added; NaN without finite values."""
        is_known = bool(self._row)
        return Range(
            minimum=float(self._minimum) if is_known else math.nan,
            maximum=float(self._maximum) if is_known else math.nan,
            largest=float(self._largest) if is_known else math.nan,
            row=self._row,
            channel=self._channel,
            median=self._quantile(0.5),
            quantile_999=self._quantile(_HIGH_QUANTILE),
            num_values=self._num_values,
            num_not_finite=self._num_not_finite,
        )

    def _quantile(self, share):
        counts = np.cumsum(self._bins)
        if not counts[-1]:
            return 0.0
        index = int(np.searchsorted(counts, share * counts[-1]))
        middle = (index + 0.5) / _BINS_PER_DOUBLING + _LOWEST_EXPONENT
        return float(min(2.0**middle, self._largest))
