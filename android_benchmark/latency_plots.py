"""Figures of the latency report."""

from collections.abc import Sequence

import numpy as np
from matplotlib import figure as mpl_figure

from android_benchmark import delegates
from android_benchmark import results

_US_PER_MS = 1e3
_MOST_KINDS = 12


def name(result: results.Result) -> str:
    """Returns what was measured in a few words."""
    words = [result.model, f"{result.threads} thread"]
    words[-1] += "s" if result.threads != 1 else ""
    if result.core_mask is not None and result.backend == "benchmark_model":
        words.append(f"cores {result.core_mask}")
    if result.delegate != delegates.XNNPACK:
        words.append(result.delegate)
    return ", ".join(words)


def middle_us(result: results.Result) -> float:
    """Returns the median, or the mean where the tool reports none."""
    latency = result.measurement.latency
    known = latency.median_us is not None
    return latency.median_us if known else latency.mean_us


def distributions(rounds: Sequence[results.Result]) -> mpl_figure.Figure:
    """Returns the share of inferences at or below each latency."""
    figure = mpl_figure.Figure(figsize=(8, 4))
    axes = figure.add_subplot()
    longest = 0.0
    # Points enough for a smooth line; a fast model has 100,000 samples.
    shares = np.linspace(0, 1, 401)
    for label, group in _groups(rounds).items():
        pool = [
            latency / _US_PER_MS
            for result in group
            for latency in result.measurement.latencies_us or ()
        ]
        if pool:
            axes.plot(np.quantile(pool, shares), shares, label=label)
            longest = max(longest, np.quantile(pool, 0.99))
    axes.set_xlim(0, 1.1 * longest)
    axes.set_xlabel("latency in ms")
    axes.set_ylabel("share of inferences")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def rounds_apart(rounds: Sequence[results.Result]) -> mpl_figure.Figure:
    """Returns a bar per round, from its minimum to p95 or maximum."""
    groups = _groups(rounds)
    bars = sum(map(len, groups.values()))
    figure = mpl_figure.Figure(figsize=(8, 1 + 0.3 * bars))
    axes = figure.add_subplot()
    labels = []
    for color, (label, group) in enumerate(groups.items()):
        for result in group:
            latency = result.measurement.latency
            high = latency.max_us if latency.p95_us is None else latency.p95_us
            place = len(labels)
            axes.plot(
                [latency.min_us / _US_PER_MS, high / _US_PER_MS],
                [place, place],
                color=f"C{color % 10}",
            )
            axes.plot(
                middle_us(result) / _US_PER_MS,
                place,
                "o" if result.status == results.OK else "x",
                color=f"C{color % 10}",
            )
            labels.append(f"{label}, round {result.round + 1}")
    axes.set_yticks(range(len(labels)), labels, fontsize="small")
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("latency in ms")
    axes.grid(alpha=0.3, axis="x")
    return figure


def scaling(aggregates: Sequence[results.Result]) -> mpl_figure.Figure | None:
    """Returns latency by threads and cores; None if there is one of these."""
    measured = [r for r in aggregates if r.measurement]
    places = list(dict.fromkeys((r.threads, r.core_mask) for r in measured))
    if len(places) < 2:
        return None
    lines = {}
    for result in measured:
        label = f"{result.model}, {result.delegate}"
        place = places.index((result.threads, result.core_mask))
        lines.setdefault(label, []).append(
            (place, middle_us(result) / _US_PER_MS)
        )
    figure = mpl_figure.Figure(figsize=(8, 4))
    axes = figure.add_subplot()
    for label, points in lines.items():
        axes.plot(*zip(*sorted(points), strict=True), "o-", label=label)
    axes.set_xticks(
        range(len(places)),
        [f"{t} thr.\n{m or 'unpinned'}" for t, m in places],
        fontsize="small",
    )
    axes.set_ylim(bottom=0)
    axes.set_ylabel("latency in ms")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def accuracy(
    points: Sequence[tuple[str, float, float]], metric: str
) -> mpl_figure.Figure:
    """Returns accuracy over latency.

    Args:
        points: label, latency in ms, metric.
        metric: its name.
    """
    figure = mpl_figure.Figure(figsize=(6, 4))
    axes = figure.add_subplot()
    for label, latency_ms, value in points:
        axes.plot(latency_ms, value, "o", label=label)
    axes.set_xlim(left=0)
    axes.set_xlabel("latency in ms")
    axes.set_ylabel(metric)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def operators(profile: results.Result) -> mpl_figure.Figure:
    """Returns the time per kind of operator, the longest at the top."""
    totals = list(profile.profile.by_kind().items())
    shown = totals[:_MOST_KINDS]
    rest = sum(total for _, total in totals[_MOST_KINDS:])
    if rest:
        shown.append(("others", rest))
    figure = mpl_figure.Figure(figsize=(8, 0.8 + 0.3 * len(shown)))
    axes = figure.add_subplot()
    axes.barh([kind for kind, _ in shown], [total for _, total in shown])
    axes.invert_yaxis()
    axes.set_xlabel("ms per inference")
    axes.grid(alpha=0.3, axis="x")
    return figure


def _groups(rounds):
    """Returns the measured rounds by what was measured."""
    groups = {}
    for result in rounds:
        if result.measurement:
            groups.setdefault(name(result), []).append(result)
    return groups
