"""Results for people: a line, a terminal table and an HTML page."""

from collections.abc import Sequence
from typing import Any

from android_benchmark import comparison
from android_benchmark import exported_accuracy
from android_benchmark import latency_plots
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
_LONGEST_KINDS = 3
_VERDICT_HEADER = (
    "against the baseline",
    "before ms",
    "now ms",
    "change",
    "interval",
    "verdict",
)
_HEADER = (
    "model",
    "threads",
    "cores",
    "delegate",
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
    head = latency_plots.name(result)
    if result.measurement is None:
        return f"{head}: FAILED: {result.error}"
    latency = result.measurement.latency
    if latency.median_us is None:
        shown = f"mean {_ms(latency.mean_us)}"
    else:
        shown = f"median {_ms(latency.median_us)}"
    marks = f"; MARKED: {'; '.join(result.notes)}" if result.notes else ""
    return f"{head}: {shown} ms of {latency.count} runs{marks}"


def profile_line(result: results.Result) -> str:
    """Returns a profile in a few words: what takes longest."""
    head = f"operators of {latency_plots.name(result)}"
    if result.profile is None:
        return f"{head}: FAILED: {result.error}"
    longest = list(result.profile.by_kind().items())[:_LONGEST_KINDS]
    parts = ", ".join(f"{kind} {total:.3f} ms" for kind, total in longest)
    return f"{head}: {parts}"


def problem(result: results.Result) -> str:
    """Returns what a result lacks or is marked with, and why."""
    reasons = [result.error] if result.error else []
    return (
        f"{result.status}: {latency_plots.name(result)}, "
        f"{result.rounds_measured} rounds measured: "
        f"{'; '.join([*reasons, *result.notes])}"
    )


def terminal_table(aggregates: Sequence[results.Result]) -> str:
    """Returns the aggregates as aligned columns; "-" is not measured."""
    lines = text_table.lines([_HEADER, *map(_row, aggregates)])
    for result in aggregates:
        if result.status != results.OK:
            lines.append(problem(result))
    return "\n".join(lines)


def comparison_table(verdicts: Sequence[comparison.Verdict]) -> str:
    """Returns the verdicts as aligned columns, then what is undecided."""
    lines = text_table.lines([_VERDICT_HEADER, *map(_verdict_row, verdicts)])
    for verdict in verdicts:
        if verdict.reason:
            lines.append(f"undecided: {verdict.name}: {verdict.reason}")
    return "\n".join(lines)


def write_html(
    path: str,
    rounds: Sequence[results.Result],
    aggregates: Sequence[results.Result],
    profiles: Sequence[results.Result],
    device: dict[str, Any],
    accuracy: exported_accuracy.ExportedAccuracy | None = None,
    verdicts: Sequence[comparison.Verdict] = (),
) -> None:
    """Writes one self-contained page with tables and plots.

    Args:
        path: of the page.
        rounds: results per round.
        aggregates: results per model and setting.
        profiles: time per operator, if it was asked for.
        device: facts about the device.
        accuracy: of the models, if it is known.
        verdicts: of a comparison with a baseline, if there was one.

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
    for result in (*aggregates, *profiles):
        if result.status != results.OK:
            page.add_text(problem(result))
    _add_latency_figures(page, rounds, aggregates)
    points = _accuracy_points(accuracy, aggregates) if accuracy else []
    if points:
        page.add_figure(
            f"{accuracy.metric} of the exported file over its latency here.",
            latency_plots.accuracy(points, accuracy.metric),
        )
    for profile in profiles:
        if profile.profile:
            page.add_figure(
                f"Time per kind of operator: {latency_plots.name(profile)}; a "
                "run of its own, with the profiler's cost.",
                latency_plots.operators(profile),
            )
    if verdicts:
        page.add_heading("Against the baseline")
        page.add_table(
            "Means over the rounds, and the interval of their ratio",
            _VERDICT_HEADER,
            list(map(_verdict_row, verdicts)),
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


def _add_latency_figures(page, rounds, aggregates):
    if any(r.measurement and r.measurement.latencies_us for r in rounds):
        page.add_figure(
            "Share of inferences at or below a latency, all rounds; the axis "
            "ends 10 % beyond the slowest p99.",
            latency_plots.distributions(rounds),
        )
    if any(r.measurement for r in rounds):
        page.add_figure(
            "Each round: bar from minimum to p95 (to the maximum where the "
            "tool reports no p95), dot at the median (else the mean), a cross "
            "where something speaks against it.",
            latency_plots.rounds_apart(rounds),
        )
    scaling = latency_plots.scaling(aggregates)
    if scaling:
        page.add_figure("Median (else mean) by threads and cores.", scaling)


def _accuracy_points(accuracy, aggregates):
    return [
        (
            latency_plots.name(result),
            latency_plots.middle_us(result) / _US_PER_MS,
            accuracy.values[result.model_path],
        )
        for result in aggregates
        if result.measurement and result.model_path in accuracy.values
    ]


def _verdict_row(verdict):
    interval = "-"
    if verdict.ratio is not None:
        interval = f"{verdict.low - 1:+.1%} to {verdict.high - 1:+.1%}"
    return (
        verdict.name,
        _ms(verdict.baseline_us),
        _ms(verdict.current_us),
        "-" if verdict.ratio is None else f"{verdict.ratio - 1:+.1%}",
        interval,
        verdict.verdict,
    )


def _row(result):
    megabytes = f"{result.model_size_bytes / _BYTES_PER_MB:.2f}"
    head = (
        result.model,
        str(result.threads),
        result.core_mask or "-",
        result.delegate,
        megabytes,
    )
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


def _ms(microseconds):
    if microseconds is None:
        return "-"
    return f"{microseconds / _US_PER_MS:.3f}"


def _mb(byte_count):
    return "-" if byte_count is None else f"{byte_count / _BYTES_PER_MB:.1f}"
