"""What benchmark_model printed: every form of its output since TF 1.13.

The measurement is a `count=` line for the warm-up, one for the measured runs,
and a report after them (see tool_report.py); a profile of operators may follow.
Each line may have a level ("INFO: ") or come from logcat ("I tflite  : ").
Output that was cut short is an error.
"""

import dataclasses
import math
import re

from android_benchmark import latency_statistics
from android_benchmark import op_profile
from android_benchmark import tool_lines
from android_benchmark import tool_report

_ERROR_LEVELS = ("ERROR", "FATAL", "E", "F")
_WARNING_LEVELS = ("WARN", "WARNING", "W")
# The harness names inputs by position, and a wrapper may repeat a flag.
_HARMLESS = re.compile(r"Tensor # \d+ is named|Duplicate flags: ")
_THREADS = re.compile(r"Num threads: \[(-?\d{1,9})\]$")
_DRY_RUN = re.compile(r"Run w/o invoking kernels: \[1\]$")
_DELEGATION = re.compile(
    r"(?:Explicitly a|A)pplied (?P<name>\w+) delegate, and the model graph "
    r"will be (?P<share>completely|partially) executed"
    r"(?:.* w/ (?P<kernels>\d{1,9}) delegate kernels)?"
)
_PROFILING = re.compile(r"Enable op profiling: \[1\]$")
_PROFILE_TO_FILE = re.compile(
    r"(?:Op profiling output mode\.?: \[(?:csv|proto)\]|"
    r"(?:CSV File to export profiling data to|"
    r"Op profiling output file\.?): \[[^\]])"
)
_FATAL_SIGNS = (
    (
        re.compile(r"Unconsumed cmdline flags: (?P<detail>.*)"),
        "this build does not know these flags and ignored them",
    ),
    (
        re.compile(r"(?P<detail>.*will not be executed by the delegate.*)"),
        "the delegate took no part of the model",
    ),
    (
        re.compile(r"(?P<detail>.*error in cpuinfo.*)", re.IGNORECASE),
        "it could not identify the CPU and used slow kernels",
    ),
    (
        re.compile(r"(?P<detail>.*(?:failed to initialize cpuinfo).*)", re.I),
        "it could not identify the CPU and used slow kernels",
    ),
)


@dataclasses.dataclass(frozen=True)
class Delegation:
    """What the tool says a delegate has taken.

    Attributes:
        name: the tool's, e.g. "XNNPACK", "GPU", "NNAPI", "EXTERNAL".
        complete: whether it runs the whole graph.
        kernels: parts of the graph it runs; None where the tool is silent.
    """

    name: str
    complete: bool
    kernels: int | None


@dataclasses.dataclass(frozen=True)
class ToolOutput:
    """A complete output; None is what its form does not have.

    Attributes:
        measured: latencies of the measured runs, in microseconds.
        warmup: the same of the warm-up; None without one.
        init_us: loading and preparing the model.
        first_inference_us: the first inference of the process.
        memory_delta_bytes: resident memory above that of the tool's start.
        memory_peak_bytes: the largest seen, of the process.
        threads: what it echoes as its number of threads, None if it does not.
        delegations: in its order.
        warnings: lines of that level, without those that every run has.
        profile: time per operator, None if it was not asked for.
    """

    measured: latency_statistics.LatencySummary
    warmup: latency_statistics.LatencySummary | None
    init_us: float
    first_inference_us: float | None
    memory_delta_bytes: int | None
    memory_peak_bytes: int | None
    threads: int | None
    delegations: tuple[Delegation, ...]
    warnings: tuple[str, ...]
    profile: op_profile.OpProfile | None


def read(stdout: str, stderr: str = "", returncode: int = 0) -> ToolOutput:
    """Returns what the tool measured.

    Args:
        stdout: what it printed there, or its lines of logcat; LF or CR LF.
        stderr: what it printed there.
        returncode: its exit status.

    Raises:
        tool_lines.BenchmarkOutputError: if it failed, says that it measured
            something else, contradicts itself, or was cut short.
    """
    lines = tool_lines.split(stdout)
    _check_signs(lines + tool_lines.split(stderr), returncode, stdout, stderr)
    texts = [text for _, text in lines]
    if any(map(_DRY_RUN.match, texts)):
        raise tool_lines.BenchmarkOutputError(
            "benchmark_model made a dry run: no latency"
        )
    counts = [
        tool_lines.parse_count(t) for t in texts if tool_lines.COUNT.match(t)
    ]
    report = tool_report.read(texts, len(counts))
    warmup, measured = counts if counts else (None, report.measured)
    if measured is None:
        raise tool_lines.BenchmarkOutputError(
            "benchmark_model measured 0 inferences"
        )
    _check_agreement(measured, report.measured, report.rounding_us)
    first = report.first_inference_us
    if first is None:
        first = _first_of_warmup(texts)
    threads = [int(m[1]) for m in map(_THREADS.match, texts) if m]
    if len(set(threads)) > 1:
        raise tool_lines.BenchmarkOutputError(
            f"benchmark_model names several numbers of threads: {threads}"
        )
    return ToolOutput(
        measured=measured,
        warmup=warmup,
        init_us=report.init_us,
        first_inference_us=first,
        memory_delta_bytes=report.memory_delta_bytes,
        memory_peak_bytes=report.memory_peak_bytes,
        threads=threads[0] if threads else None,
        delegations=tuple(
            Delegation(
                m["name"],
                m["share"] == "completely",
                int(m["kernels"]) if m["kernels"] else None,
            )
            for m in map(_DELEGATION.match, texts)
            if m
        ),
        warnings=tuple(
            text
            for level, text in lines
            if level in _WARNING_LEVELS and not _HARMLESS.match(text)
        ),
        profile=_read_profile(texts),
    )


def _check_signs(lines, returncode, stdout, stderr):
    for pattern, meaning in _FATAL_SIGNS:
        for _, text in lines:
            match = pattern.match(text)
            if match:
                raise tool_lines.BenchmarkOutputError(
                    f"benchmark_model: {meaning}: {match['detail'].strip()}"
                )
    errors = [text for level, text in lines if level in _ERROR_LEVELS]
    if returncode or errors:
        printed = (stderr.strip() or stdout.strip()).splitlines()
        reason = errors[0] if errors else printed[-1] if printed else "nothing"
        raise tool_lines.BenchmarkOutputError(
            f"benchmark_model ended with status {returncode}"
            f"{_hint(returncode)}: {reason}"
        )


def _hint(returncode):
    if returncode in (126, 127):
        return " (is --benchmark_model built for this device's ABI?)"
    if returncode == 137:
        return " (killed, as by Android for lack of memory)"
    return ""


def _check_agreement(measured, reported, rounding_us):
    """Checks the count line against the report: mean, and runs if it has."""
    if reported is measured:
        return
    mean = reported
    if isinstance(reported, latency_statistics.LatencySummary):
        mean = reported.mean_us
        if reported.count != measured.count:
            raise tool_lines.BenchmarkOutputError(
                f"benchmark_model contradicts itself: {measured.count} runs "
                f"in the count line, {reported.count} in the report"
            )
    if not math.isclose(
        measured.mean_us,
        mean,
        rel_tol=tool_lines.PRINT_TOLERANCE,
        abs_tol=rounding_us,
    ):
        raise tool_lines.BenchmarkOutputError(
            f"benchmark_model contradicts itself: mean {measured.mean_us} us "
            f"in the count line, {mean} us in the report"
        )


def _first_of_warmup(texts):
    """Returns the first latency of the process; None if it is not printed."""
    line = next(filter(tool_lines.COUNT.match, texts), "")
    fields = dict(tool_lines.FIELD.findall(line))
    first = fields.get("first", fields.get("curr"))
    return None if first is None else float(first)


def _read_profile(texts):
    asked = any(map(_PROFILING.match, texts))
    if not asked or any(map(_PROFILE_TO_FILE.match, texts)):
        return None
    try:
        return op_profile.read(texts)
    except ValueError as error:
        raise tool_lines.BenchmarkOutputError(
            f"benchmark_model: {error}"
        ) from error
