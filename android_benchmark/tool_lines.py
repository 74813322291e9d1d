"""Lines of benchmark_model's output: prefixes, numbers, `count=` lines."""

import re

from android_benchmark import latency_statistics

# Averages print with 6 significant digits.
PRINT_TOLERANCE = 1e-5

# Longer numbers are damage, and would not fit a float.
NUMBER = r"\d{1,18}(?:\.\d{1,18})?(?:e[+-]?\d{1,2})?"
# "I/tflite  ( 1234): " and "01-01 12:00:00.000  1 1 I tflite  : " are
# logcat's; the level in words is the tool's own, "[file.h:85] " the second
# tool's.
_PREFIX = re.compile(
    r"^(?:[-\d:. ]{0,60}(?P<logcat>[VDIWEF])[ /](?:tflite|litert)\s*"
    r"(?:\(\s*\d+\))?\s*: )?"
    r"(?:(?P<level>VERBOSE|DEBUG|INFO|WARN|WARNING|ERROR|FATAL): )?"
    r"(?:\[[\w./-]{1,80}:\d{1,6}\] ?)?"
)
FIELD = re.compile(rf"(\w+)=({NUMBER})(?=[ (]|$)")
COUNT = re.compile(r"count=(\d{1,18})(?: |$)")


class BenchmarkOutputError(ValueError):
    """The tool's output is no complete measurement of what was asked."""


def split(output: str) -> list[tuple[str | None, str]]:
    """Returns (level, text) of the complete lines, prefixes removed."""
    # What follows the last newline was cut off in the middle.
    complete = output.replace("\r\n", "\n").split("\n")[:-1]
    found = []
    for line in complete:
        prefix = _PREFIX.match(line)
        level = prefix["level"] or prefix["logcat"]
        found.append((level, line[prefix.end() :].rstrip("\r ")))
    return found


def parse_count(text: str) -> latency_statistics.LatencySummary | None:
    """Returns the summary of a count line; None if it counts nothing.

    Raises:
        BenchmarkOutputError: if it lacks a value or contradicts itself.
    """
    count = int(COUNT.match(text)[1])
    if count == 0:
        return None
    fields = {key: float(value) for key, value in FIELD.findall(text)}
    if count == 1 or "(all same)" in text:
        same = fields.get("curr")
        fields |= {"min": same, "max": same, "avg": same, "std": 0.0}
    missing = [k for k in ("min", "max", "avg", "std") if fields.get(k) is None]
    if missing:
        raise BenchmarkOutputError(
            f"benchmark_model: no {', '.join(missing)} in the line {text!r}"
        )
    return ordered(
        latency_statistics.LatencySummary(
            count=count,
            min_us=fields["min"],
            max_us=fields["max"],
            mean_us=fields["avg"],
            std_us=fields["std"],
            p5_us=fields.get("p5"),
            median_us=fields.get("median"),
            p95_us=fields.get("p95"),
        )
    )


def ordered(
    summary: latency_statistics.LatencySummary,
) -> latency_statistics.LatencySummary:
    """Returns the summary if its values can be those of one distribution.

    Raises:
        BenchmarkOutputError: if they cannot.
    """
    values = (
        summary.min_us,
        summary.p5_us,
        summary.median_us,
        summary.p95_us,
        summary.max_us,
    )
    known = [value for value in values if value is not None]
    slack = 1 + PRINT_TOLERANCE
    between = (
        summary.min_us <= summary.mean_us * slack
        and summary.mean_us <= summary.max_us * slack
    )
    if known != sorted(known) or not between:
        raise BenchmarkOutputError(
            "benchmark_model contradicts itself: minimum, percentiles and "
            f"maximum are {known} us, the mean is {summary.mean_us} us"
        )
    return summary
