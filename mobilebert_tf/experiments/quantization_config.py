"""Experiment configuration of quantisation-aware fine-tuning."""

import dataclasses

from official.modeling.hyperparams import base_config

AVERAGED = "averaged"
LEARNED = "learned"
RANGES = (AVERAGED, LEARNED)


@dataclasses.dataclass
class QuantizationConfig(base_config.Config):
    """Where the ranges of int8 activations come from.

    Attributes:
        ranges: str. "averaged": the smallest and largest values of batches,
            averaged; "learned": by gradient, from those of the first batches.
        calibration_batches: int. Batches that set the ranges before the first
            step.
        decay: float in [0, 1). Of the moving average.
        following_share: float in [0, 1]. Share of the steps in which averaged
            ranges follow the batches; then they stay.
    """

    ranges: str = AVERAGED
    calibration_batches: int = 20
    decay: float = 0.99
    following_share: float = 0.5


def check(config: QuantizationConfig) -> None:
    """Raises ValueError for fields that mean nothing."""
    if config.ranges not in RANGES:
        raise ValueError(
            f"task.quantization.ranges: expected one of {', '.join(RANGES)}, "
            f"got {config.ranges!r}"
        )
    if config.calibration_batches < 1:
        raise ValueError(
            "task.quantization.calibration_batches: expected at least 1, got "
            f"{config.calibration_batches}"
        )
    if not 0 <= config.decay < 1:
        raise ValueError(
            "task.quantization.decay: expected at least 0 and less than 1, "
            f"got {config.decay}"
        )
    if not 0 <= config.following_share <= 1:
        raise ValueError(
            "task.quantization.following_share: expected 0 to 1, got "
            f"{config.following_share}"
        )
