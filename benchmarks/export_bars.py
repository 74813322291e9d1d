"""The bars of the export benchmark, and how its figures meet them.

Figures are {name: number}; a bar whose figures were not measured is reported
as such, never as met.
"""

import dataclasses
import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

# Files, by the names that export_networks and export_huggingface give them.
OURS_FLOAT32 = "ours_float32"
OURS_INT8 = "ours_int8"
BERT_BASE = "bert_base_float32"
ROOF_FLOAT32 = "roof_float32"
ROOF_INT8 = "roof_int8"
FLOAT32_PEERS = ("garden_float32", "huggingface_float32")
# Made by the converter, which folds nothing.
INT8_PEERS = ("garden_int8_padded", "garden_int8_unpadded")
DYNAMIC_PEERS = ("garden_dynamic", "huggingface_dynamic")

MET = "met"
MISSED = "MISSED"
SKIPPED = "skipped"


@dataclasses.dataclass(frozen=True)
class Figures:
    """What was measured.

    Attributes:
        milliseconds: of each file; of the roofs the time that the
            network's multiply-accumulates take at their rate.
        partitions: that the delegate made, by file.
        left_out: operators that it left out, by file.
        instructions: millions per inference on arm64, by file.
        sqnr_db: of the final hidden state, by file.
    """

    milliseconds: Mapping[str, float]
    partitions: Mapping[str, int]
    left_out: Mapping[str, int]
    instructions: Mapping[str, float]
    sqnr_db: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Bar:
    """A figure and its limit.

    Attributes:
        name: what is measured.
        limit: of the figure.
        value: returns the figure; raises KeyError if it was not measured.
        is_least: whether the limit is the least the figure may be.
    """

    name: str
    limit: float
    value: Callable[[Figures], float]
    is_least: bool = False


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A bar and how it was met.

    Attributes:
        name, limit, is_least: of the bar.
        value: the figure, None if it was not measured.
    """

    name: str
    limit: float
    is_least: bool
    value: float | None

    @property
    def status(self) -> str:
        """MET, MISSED or SKIPPED."""
        if self.value is None:
            return SKIPPED
        if self.is_least:
            return MET if self.value >= self.limit else MISSED
        return MET if self.value <= self.limit else MISSED

    def __str__(self) -> str:
        bound = "at least" if self.is_least else "at most"
        value = "nothing" if self.value is None else f"{self.value:.4g}"
        return f"{self.name}: expected {bound} {self.limit:g}, got {value}"


def _ratio(file, *others):
    """Latency of `file` over that of the fastest of `others`."""
    return lambda figures: (
        figures.milliseconds[file]
        / min(figures.milliseconds[other] for other in others)
    )


def _instruction_ratio(figures):
    return figures.instructions[OURS_INT8] / min(
        figures.instructions[peer] for peer in DYNAMIC_PEERS
    )


def _gain_db(figures):
    return figures.sqnr_db[OURS_INT8] - max(
        figures.sqnr_db[peer] for peer in INT8_PEERS
    )


BARS = (
    Bar("int8 / our float32", 0.34, _ratio(OURS_INT8, OURS_FLOAT32)),
    Bar(
        "int8 / best dynamic-range peer",
        0.92,
        _ratio(OURS_INT8, *DYNAMIC_PEERS),
    ),
    Bar(
        "int8 / best converter-made int8", 0.45, _ratio(OURS_INT8, *INT8_PEERS)
    ),
    Bar("int8 / int8 roof", 1.25, _ratio(OURS_INT8, ROOF_INT8)),
    Bar(
        "XNNPACK partitions of int8",
        2,
        lambda figures: figures.partitions[OURS_INT8],
    ),
    Bar(
        "operators that XNNPACK leaves out of int8",
        6,
        lambda figures: figures.left_out[OURS_INT8],
    ),
    Bar(
        "arm64 instructions, int8 / best dynamic-range peer",
        0.92,
        _instruction_ratio,
    ),
    Bar(
        "float32 / best float32 peer",
        1.03,
        _ratio(OURS_FLOAT32, *FLOAT32_PEERS),
    ),
    Bar("float32 / float32 roof", 1.08, _ratio(OURS_FLOAT32, ROOF_FLOAT32)),
    Bar(
        "BERT_BASE float32 / our int8",
        12,
        _ratio(BERT_BASE, OURS_INT8),
        is_least=True,
    ),
    Bar(
        "int8 SQNR over the best converter-made int8, dB",
        5,
        _gain_db,
        is_least=True,
    ),
)


def judge(figures: Figures, bars: Sequence[Bar] = BARS) -> list[Verdict]:
    """Returns the verdict on each bar, in order."""
    verdicts = []
    for bar in bars:
        try:
            value = float(bar.value(figures))
        except KeyError:
            value = None
        verdicts.append(Verdict(bar.name, bar.limit, bar.is_least, value))
    return verdicts


def sqnr_db(reference, values) -> float:
    """Returns the power of `reference` over that of the difference, in dB.

    Args:
        reference: float array.
        values: float array of the same shape.
    """
    reference = reference.astype(float)
    noise = ((values - reference) ** 2).sum()
    return 10.0 * math.log10((reference**2).sum() / noise)
