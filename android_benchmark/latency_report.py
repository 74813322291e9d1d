"""Results for people: a line, a terminal table and an HTML page."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import figure as mpl_figure

from android_benchmark import results
from mobilebert_tf import html_report
from mobilebert_tf import text_table

_US_PER_MS = 1e3
_BYTES_PER_MB = 1e6
# Of "MobileBERT: a Compact Task-Agnostic BERT" (Sun et al., 2020). They are
# of another device and runtime, so they are shown apart and named "paper".
_PAPER_ROWS = (
    ("BERT_BASE", 342),
    ("MobileBERT without operational optimizations", 192),
    ("MobileBERT", 62),
    ("MobileBERT_TINY", 40),
)
_HEADER = (
    "model",
    "threads",
    "size MB",
    "runs",
    "min ms",
    "median ms",
    "mean ms",
    "std ms",
    "p90 ms",
    "p95 ms",
    "p99 ms",
    "first ms",
    "init ms",
    "peak MB",
    "model MB",
)


def one_line(result: results.Result) -> str:
    """Returns a result in a few words, e.g. for progress."""
    head = f"{result.model}, {_threads(result.threads)}"
    if result.measurement is None:
        return f"{head}: FAILED: {result.error}"
    latency = result.measurement.latency
    if latency.median_us is None:
        shown = f"mean {_ms(latency.mean_us)}"
    else:
        shown = f"median {_ms(latency.median_us)}"
    return f"{head}: {shown} ms of {latency.count} runs"


def problem(result: results.Result) -> str:
    """Returns what an aggregate lacks, and why."""
    return (
        f"{result.status}: {result.model}, {_threads(result.threads)}, "
        f"{result.rounds_measured} rounds measured: {result.error}"
    )


def terminal_table(aggregates: Sequence[results.Result]) -> str:
    """Returns the aggregates as aligned columns; "-" is not measured."""
    lines = text_table.lines([_HEADER, *map(_row, aggregates)])
    for result in aggregates:
        if result.status != results.OK:
            lines.append(problem(result))
    return "\n".join(lines)


def write_html(
    path: str,
    rounds: Sequence[results.Result],
    aggregates: Sequence[results.Result],
    device: dict[str, Any],
) -> None:
    """Writes one self-contained page with tables and plots.

    Args:
        path: of the page.
        rounds: results per round.
        aggregates: results per model and thread count.
        device: facts about the device.

    Raises:
        OSError: if it cannot be written.
    """
    page = html_report.HtmlReport(f"Latency on {device['device']}")
    page.add_table(
        "All rounds together ('-': not reported by the measuring tool; peak: "
        "resident memory of the process; model: the same above what it had "
        "before loading; percentiles from a device are the median over its "
        "rounds, as benchmark_model reports no single latencies)",
        _HEADER,
        [_row(result) for result in aggregates],
    )
    for result in aggregates:
        if result.status != results.OK:
            page.add_text(problem(result))
    if any(r.measurement and r.measurement.latencies_us for r in rounds):
        page.add_figure(
            "Share of inferences at or below a latency, all rounds; the axis "
            "ends 10 % beyond the slowest p99.",
            _distribution_figure(rounds),
        )
    if any(r.measurement for r in rounds):
        page.add_figure(
            "Each round: bar from minimum to p95 (to the maximum where the "
            "tool reports no p95), dot at the median (else the mean).",
            _rounds_figure(rounds),
        )
    page.add_heading("Device")
    page.add_table("As it describes itself", ["fact", "value"], device.items())
    page.add_heading("For orientation")
    page.add_table(
        "paper: Pixel 4, 4 threads, float, sequence length 128",
        ["model", "paper ms"],
        _PAPER_ROWS,
    )
    page.write(path)


def _row(result):
    megabytes = f"{result.model_size_bytes / _BYTES_PER_MB:.2f}"
    head = (result.model, str(result.threads), megabytes)
    measured = result.measurement
    if measured is None:
        return (*head, *["-"] * (len(_HEADER) - len(head)))
    latency = measured.latency
    return (
        *head,
        str(latency.count),
        _ms(latency.min_us),
        _ms(latency.median_us),
        _ms(latency.mean_us),
        _ms(latency.std_us),
        _ms(latency.p90_us),
        _ms(latency.p95_us),
        _ms(latency.p99_us),
        _ms(measured.first_inference_us),
        _ms(measured.init_us),
        _mb(measured.peak_memory_bytes),
        _mb(measured.peak_memory_delta_bytes),
    )


def _distribution_figure(rounds):
    figure = mpl_figure.Figure(figsize=(8, 4))
    axes = figure.add_subplot()
    longest = 0.0
    # Points enough for a smooth line; a fast model has 100,000 samples.
    shares = np.linspace(0, 1, 401)
    for name, group in _groups(rounds).items():
        pool = [
            latency / _US_PER_MS
            for result in group
            for latency in result.measurement.latencies_us or ()
        ]
        if pool:
            axes.plot(np.quantile(pool, shares), shares, label=name)
            longest = max(longest, np.quantile(pool, 0.99))
    axes.set_xlim(0, 1.1 * longest)
    axes.set_xlabel("latency in ms")
    axes.set_ylabel("share of inferences")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def _rounds_figure(rounds):
    groups = _groups(rounds)
    bars = sum(map(len, groups.values()))
    figure = mpl_figure.Figure(figsize=(8, 1 + 0.3 * bars))
    axes = figure.add_subplot()
    labels = []
    for color, (name, group) in enumerate(groups.items()):
        for result in group:
            latency = result.measurement.latency
            high = latency.max_us if latency.p95_us is None else latency.p95_us
            middle = latency.median_us
            if middle is None:
                middle = latency.mean_us
            place = len(labels)
            axes.plot(
                [latency.min_us / _US_PER_MS, high / _US_PER_MS],
                [place, place],
                color=f"C{color % 10}",
            )
            axes.plot(middle / _US_PER_MS, place, "o", color=f"C{color % 10}")
            labels.append(f"{name}, round {result.round + 1}")
    axes.set_yticks(range(len(labels)), labels, fontsize="small")
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("latency in ms")
    axes.grid(alpha=0.3, axis="x")
    return figure


def _groups(rounds):
    """Returns the measured rounds by model and thread count."""
    groups = {}
    for result in rounds:
        if result.measurement:
            name = f"{result.model}, {_threads(result.threads)}"
            groups.setdefault(name, []).append(result)
    return groups


def _threads(count):
    return f"{count} thread{'s' if count != 1 else ''}"


def _ms(microseconds):
    if microseconds is None:
        return "-"
    return f"{microseconds / _US_PER_MS:.3f}"


def _mb(byte_count):
    return "-" if byte_count is None else f"{byte_count / _BYTES_PER_MB:.1f}"
