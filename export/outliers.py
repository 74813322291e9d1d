"""Values of a float32 model so far out that an integer format loses the rest.

MobileBERT's residual stream can hold them: in the public checkpoint one
channel of [CLS] reaches 2.5e7 in the last hidden state, where others are of
order 1. With one scale per tensor all others are then rounded to 0.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from export import activations

# Where the largest value is so many times this percentile of the absolute
# values, 99 % of them share 8 of the 256 values of an int8 tensor.
PERCENTILE = 99.0
MIN_RATIO = 32.0
# Beyond, float16 overflows, in which GPUs of phones compute.
FLOAT16_MAX = 65504.0


@dataclasses.dataclass(frozen=True)
class Outlier:
    """The most outlying value of a tensor.

    Attributes:
        name: of the tensor.
        value: the value that is largest in magnitude.
        percentile: PERCENTILE of the magnitudes above 0 in the same example.
        example: its index.
        position: of the token, None where there is no row per position.
        channel: index in the last axis.
    """

    name: str
    value: float
    percentile: float
    example: int
    position: int | None
    channel: int

    @property
    def largest(self) -> float:
        """The magnitude of the value."""
        return abs(self.value)

    @property
    def ratio(self) -> float:
        """How far the value is out."""
        return self.largest / self.percentile

    @property
    def overflows_float16(self) -> bool:
        """Whether float16 cannot hold the value."""
        return self.largest > FLOAT16_MAX

    def describe(self) -> str:
        """Returns a line for people."""
        where = f"channel {self.channel} of example {self.example}"
        if self.position is not None:
            where = f"token {self.position}, {where}"
        note = ", more than float16 holds" if self.overflows_float16 else ""
        return (
            f"{self.name}: {self.value:.3g} ({where}) is {self.ratio:.0f} "
            f"times what {PERCENTILE:g} % of the values stay below{note}"
        )


def find(
    float_model: bytes,
    examples: Iterable[dict[str, np.ndarray]],
    num_threads: int = 1,
    min_ratio: float = MIN_RATIO,
) -> list[Outlier]:
    """Returns the tensors with outliers, the farthest out first.

    Attention scores and probabilities do not count: they are sharp by nature.

    Args:
        float_model: a float32 .tflite with one signature.
        examples: inputs int32 [1, S] by signature name; padding does not
            count.
        num_threads: of the interpreter.
        min_ratio: of the largest magnitude to the PERCENTILE.
    """
    recorded = activations.Activations(float_model, num_threads)
    indices = {
        name: index
        for name, index in recorded.indices.items()
        if recorded.formats[index]["dtype"] == np.float32
        and index not in recorded.scores
    }
    found = {}
    for number, example in enumerate(examples):
        recorded.run(example)
        for name, index in indices.items():
            values = recorded.raw(index)
            is_per_token = activations.has_rows(values, recorded.is_real.size)
            values = recorded.real(index, values)
            magnitudes = np.abs(values)
            place = np.unravel_index(np.argmax(magnitudes), values.shape)
            value = float(values[place])
            if not value or name in found and abs(value) <= found[name].largest:
                continue
            # Of those that a ReLU lets pass.
            percentile = np.percentile(magnitudes[magnitudes > 0], PERCENTILE)
            positions = np.flatnonzero(recorded.is_real)
            found[name] = Outlier(
                name=name,
                value=value,
                percentile=float(percentile),
                example=number,
                position=int(positions[place[-2]]) if is_per_token else None,
                channel=int(place[-1]),
            )
    return sorted(
        (
            outlier
            for outlier in found.values()
            if outlier.ratio >= min_ratio or outlier.overflows_float16
        ),
        key=lambda outlier: -outlier.ratio,
    )
