"""Did it get slower? A verdict on two results files that holds in CI.

The unit is the round: latencies within a round share the phone's temperature
and its scheduler's mood, so that their number says little; rounds are what
repeats. Each round gives its median latency (its mean where the tool has no
median). The ratio of the means over the rounds has a bootstrap interval:
rounds of both sides are drawn again with replacement. With few rounds the
plain percentile interval is too narrow; its ends are moved outwards to where
Student's t would have them ("expanded percentile interval", Hesterberg 2015,
section 4.4), and the error of 5 % is divided among the combinations that are
compared (Bonferroni).
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from android_benchmark import latency_statistics
from android_benchmark import results

REGRESSION = "REGRESSION"
WITHIN = "within"
UNDECIDED = "undecided"
_ERROR = 0.05
_RESAMPLES = 10_000
# With three each, one chance in twenty sets them all apart.
LEAST_ROUNDS = 4


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The comparison of one combination.

    Attributes:
        name: what was measured.
        verdict: REGRESSION (surely slower by more than is allowed), WITHIN
            (surely not), or UNDECIDED.
        reason: why it is undecided, else "".
        baseline_us, current_us: mean over the rounds; None if not compared.
        ratio, low, high: current by baseline and its interval; None if not
            compared.
    """

    name: str
    verdict: str
    reason: str
    baseline_us: float | None = None
    current_us: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


def parse_share(text: str) -> float:
    """Returns 0.03 for "3%" or "0.03".

    Raises:
        ValueError: if it is no share of at least 0.
    """
    number, percent = text.strip(), text.strip().endswith("%")
    try:
        value = float(number.removesuffix("%")) / (100 if percent else 1)
    except ValueError:
        value = -1.0
    if not (0 <= value and math.isfinite(value)):
        raise ValueError(
            f'max_regression: expected a share such as "3%" or 0.03, got '
            f"{text!r}"
        )
    return value


def compare(
    baseline: Sequence[results.Result],
    current: Sequence[results.Result],
    max_regression: float,
) -> list[Verdict]:
    """Returns a verdict for each combination of `current`.

    Args:
        baseline: results of an earlier run, e.g. of a file.
        current: results of this run.
        max_regression: how much slower is allowed, as a share.
    """
    before, now = _rounds(baseline), _rounds(current)
    verdicts = []
    for key, rounds in now.items():
        reason = _obstacle(before.get(key, []), rounds)
        if reason:
            verdicts.append(Verdict(_name(key), UNDECIDED, reason))
        else:
            verdicts.append(
                _judge(
                    _name(key),
                    _figures(before[key], rounds),
                    max_regression,
                    error=_ERROR / len(now),
                )
            )
    return verdicts


def interval(
    baseline: np.ndarray, current: np.ndarray, error: float
) -> tuple[float, float]:
    """Returns the interval of mean(current) / mean(baseline).

    Args:
        baseline: [rounds] latencies.
        current: [rounds] latencies.
        error: chance that the interval misses the ratio, both ends together.
    """
    generator = np.random.default_rng(0)
    means = [
        generator.choice(x, (_RESAMPLES, len(x))).mean(axis=1)
        for x in (baseline, current)
    ]
    rounds = min(len(baseline), len(current))
    # special, not stats: a command line should start within a second.
    t = special.stdtrit(rounds - 1, error / 2)
    expanded = special.ndtr(math.sqrt(rounds / (rounds - 1)) * t)
    low, high = np.quantile(means[1] / means[0], [expanded, 1 - expanded])
    return float(low), float(high)


def _rounds(found):
    groups = {}
    for result in found:
        if result.record == results.ROUND:
            key = (
                result.model,
                result.device_model,
                result.threads,
                result.core_mask,
                result.delegate,
            )
            groups.setdefault(key, []).append(result)
    return groups


def _name(key):
    model, device_model, threads, core_mask, delegate = key
    cores = f", cores {core_mask}" if core_mask else ""
    return f"{model} on {device_model}, {threads} threads{cores}, {delegate}"


def _obstacle(before, now):
    """Returns why two groups of rounds cannot be compared, else ""."""
    if not before:
        return "the baseline has no such combination"
    for what, field in (
        ("durations and counts", "plan"),
        ("benchmark_model or LiteRT", "tool"),
    ):
        if {getattr(r, field) for r in (*before, *now)} != {
            getattr(now[0], field)
        }:
            return f"the baseline was measured with other {what}"
    for side, group in (("the baseline", before), ("this run", now)):
        usable = [r for r in group if r.status == results.OK]
        if len(usable) < LEAST_ROUNDS:
            return (
                f"{side} has {len(usable)} rounds without error or mark, "
                f"expected at least {LEAST_ROUNDS}: raise --rounds"
            )
    return ""


def _figures(before, now):
    """Returns the latencies per round of both, as one kind of figure."""
    groups = [
        [r.measurement.latency for r in group if r.status == results.OK]
        for group in (before, now)
    ]
    lacking = any(s.median_us is None for group in groups for s in group)
    field = "mean_us" if lacking else "median_us"
    return [_values(group, field) for group in groups]


def _values(
    summaries: Sequence[latency_statistics.LatencySummary], field: str
) -> np.ndarray:
    return np.array([getattr(s, field) for s in summaries])


def _judge(name, figures, max_regression, error):
    baseline, current = figures
    low, high = interval(baseline, current, error)
    allowed = 1 + max_regression
    verdict, reason = UNDECIDED, ""
    if low > allowed:
        verdict = REGRESSION
    elif high <= allowed:
        verdict = WITHIN
    else:
        reason = (
            f"between {low - 1:+.1%} and {high - 1:+.1%}: more rounds, or a "
            "quieter device, would tell"
        )
    means = float(baseline.mean()), float(current.mean())
    return Verdict(
        name=name,
        verdict=verdict,
        reason=reason,
        baseline_us=means[0],
        current_us=means[1],
        ratio=means[1] / means[0],
        low=low,
        high=high,
    )
