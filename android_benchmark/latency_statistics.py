"""Summaries of latencies: exact ones of samples, honest ones of summaries."""

import dataclasses
from collections.abc import Sequence

import numpy as np

PERCENTILES = {
    "p5_us": 5,
    "median_us": 50,
    "p90_us": 90,
    "p95_us": 95,
    "p99_us": 99,
}


@dataclasses.dataclass(frozen=True)
class LatencySummary:
    """The distribution of the latencies of single inferences.

    Attributes:
        count: number of inferences.
        min_us, max_us, mean_us: in microseconds.
        std_us: population standard deviation (as benchmark_model's).
        p5_us, median_us, p90_us, p95_us, p99_us: percentiles, linearly
            interpolated between samples; None where the measuring tool does
            not report them.
    """

    count: int
    min_us: float
    max_us: float
    mean_us: float
    std_us: float
    p5_us: float | None = None
    median_us: float | None = None
    p90_us: float | None = None
    p95_us: float | None = None
    p99_us: float | None = None


def summarize(latencies_us: Sequence[float]) -> LatencySummary:
    """Returns the summary of single latencies in microseconds.

    Raises:
        ValueError: if there are none.
    """
    samples = np.asarray(latencies_us, dtype=np.float64)
    if not samples.size:
        raise ValueError("no latencies to summarize: got 0, expected >= 1")
    percentiles = np.percentile(samples, list(PERCENTILES.values()))
    return LatencySummary(
        count=int(samples.size),
        min_us=float(samples.min()),
        max_us=float(samples.max()),
        mean_us=float(samples.mean()),
        std_us=float(samples.std()),
        **{
            name: float(value)
            for name, value in zip(PERCENTILES, percentiles, strict=True)
        },
    )


def combine(summaries: Sequence[LatencySummary]) -> LatencySummary:
    """Returns one summary of several rounds whose samples are not known.

    Count, minimum, maximum, mean and standard deviation are those of the
    pooled samples. A percentile of the pool cannot be known from summaries:
    it is replaced by the median over the rounds, or None if a round lacks it.

    Raises:
        ValueError: if there are none.
    """
    if not summaries:
        raise ValueError("no summaries to combine: got 0, expected >= 1")
    counts = np.array([s.count for s in summaries], dtype=np.float64)
    means = np.array([s.mean_us for s in summaries])
    variances = np.array([s.std_us for s in summaries]) ** 2
    mean = np.average(means, weights=counts)
    # Variance of the pool: within the rounds plus between the rounds.
    variance = np.average(variances + (means - mean) ** 2, weights=counts)
    percentiles = {}
    for name in PERCENTILES:
        values = [getattr(s, name) for s in summaries]
        known = None not in values
        percentiles[name] = float(np.median(values)) if known else None
    return LatencySummary(
        count=int(counts.sum()),
        min_us=min(s.min_us for s in summaries),
        max_us=max(s.max_us for s in summaries),
        mean_us=float(mean),
        std_us=float(np.sqrt(variance)),
        **percentiles,
    )
