"""The report at the end of benchmark_model's output, in its three forms.

    "Average inference timings in us: Warmup: , Init: , no stats: "
        to TF 2.1; the memory, if any, stands before it.
    "Inference timings in us: Init: , First inference: , ..."
        from TF 2.2 to LiteRT's HEAD; memory follows it, as
        "Peak memory footprint (MB)" to TF 2.4, "Memory footprint delta from
        the start of the tool (MB)" after. Android and Linux always have it.
    "BENCHMARK RESULTS" ... "====="
        LiteRT's second tool (benchmark_litert_model), in milliseconds. Its
        Python command line prints the same without the `count=` lines.

Its last line must be there: output that was cut short is an error.
"""

import dataclasses
import re
from collections.abc import Sequence

from android_benchmark import latency_statistics
from android_benchmark import tool_lines

_BYTES_PER_MIB = 1 << 20
_US_PER_MS = 1e3
# The second tool's have two digits after the point.
_MS_ROUNDING_US = 5.001

_NUMBER = tool_lines.NUMBER
_REPORT = re.compile(
    rf"Inference timings in us: Init: ({_NUMBER}), "
    rf"First inference: ({_NUMBER}), Warmup \(avg\): ({_NUMBER}), "
    rf"Inference \(avg\): ({_NUMBER})$"
)
_OLD_REPORT = re.compile(
    rf"Average inference timings in us: Warmup: ({_NUMBER}), "
    rf"Init: ({_NUMBER}), (?:no stats|Inference): ({_NUMBER})$"
)
_V2_BEGIN = re.compile(r"=*\s*BENCHMARK RESULTS(?:\s*=+)?$")
_V2_END = re.compile(r"={30,}$")
_V2_VALUE = re.compile(
    r"(?P<key>Model initialization|(?:Warmup|Inference) \(\w+\)|Peak memory|"
    rf"Overall footprint): +(?P<value>{_NUMBER})(?: ms| MB)?"
    r"(?: \((?P<runs>\d{1,18}) runs\))?$"
)
_MEMORY_DELTA = re.compile(
    r"Memory footprint delta from the start of the tool \(MB\): "
    rf"init={_NUMBER} overall=({_NUMBER})$"
)
_OLD_MEMORY_PEAK = re.compile(
    rf"Peak memory footprint \(MB\): init={_NUMBER} overall=({_NUMBER})$"
)
_MEMORY_PEAK = re.compile(
    r"Overall peak memory footprint \(MB\) via periodic monitoring: "
    rf"({_NUMBER})$"
)


@dataclasses.dataclass(frozen=True)
class Report:
    """The tool's own summary, which must agree with its count lines.

    Attributes:
        measured: the mean in microseconds, or (second tool) the latencies.
        rounding_us: how far the mean may be off.
        init_us, first_inference_us, memory_delta_bytes, memory_peak_bytes:
            as in `tool_output.ToolOutput`.
    """

    measured: latency_statistics.LatencySummary | float
    rounding_us: float
    init_us: float
    first_inference_us: float | None
    memory_delta_bytes: int | None = None
    memory_peak_bytes: int | None = None


def read(texts: Sequence[str], count_lines: int) -> Report:
    """Returns the one report of an output.

    Args:
        texts: its lines, without prefixes.
        count_lines: how many `count=` lines it has.

    Raises:
        tool_lines.BenchmarkOutputError: if it is incomplete.
    """
    places = {
        _read_new_report: [i for i, t in enumerate(texts) if _REPORT.match(t)],
        _read_old_report: [
            i for i, t in enumerate(texts) if _OLD_REPORT.match(t)
        ],
        _read_v2_report: [i for i, t in enumerate(texts) if _V2_BEGIN.match(t)],
    }
    found = [(reader, i) for reader, where in places.items() for i in where]
    v2_alone = not count_lines and found and found[0][0] is _read_v2_report
    if len(found) != 1 or (count_lines != 2 and not v2_alone):
        raise tool_lines.BenchmarkOutputError(
            "the output of benchmark_model is incomplete or of an unknown "
            "version: expected two `count=` lines (warm-up, measurement) and "
            f"one final report, got {count_lines} and {len(found)}"
        )
    reader, place = found[0]
    return reader(texts, place)


def _read_new_report(texts, place):
    init, first, _, mean = map(float, _REPORT.match(texts[place]).groups())
    after = texts[place + 1 :]
    delta = _memory(_MEMORY_DELTA, after)
    peak = _memory(_OLD_MEMORY_PEAK, after)
    if delta is None and peak is None:
        raise tool_lines.BenchmarkOutputError(
            "the output of benchmark_model is incomplete: no line of memory "
            "after `Inference timings in us:`"
        )
    return Report(
        measured=mean,
        rounding_us=tool_lines.PRINT_TOLERANCE * mean,
        init_us=init,
        first_inference_us=first,
        memory_delta_bytes=delta,
        memory_peak_bytes=_memory(_MEMORY_PEAK, after) or peak,
    )


def _read_old_report(texts, place):
    _, init, mean = map(float, _OLD_REPORT.match(texts[place]).groups())
    return Report(
        measured=mean,
        rounding_us=tool_lines.PRINT_TOLERANCE * mean,
        init_us=init,
        first_inference_us=None,
    )


def _read_v2_report(texts, place):
    after = texts[place + 1 :]
    # The Python command line has a rule of its own below the heading.
    if after and _V2_END.match(after[0]):
        after = after[1:]
    end = next((i for i, t in enumerate(after) if _V2_END.match(t)), None)
    values, runs = {}, {}
    for match in filter(None, map(_V2_VALUE.match, after[:end])):
        values[match["key"]] = float(match["value"])
        if match["runs"]:
            runs[match["key"]] = int(match["runs"])
    needed = ["Model initialization", "Inference (avg)"]
    needed += [f"Inference ({name})" for name in ("min", "max", "std")]
    missing = [key for key in needed if key not in values]
    if end is None or missing or not runs.get("Inference (avg)"):
        raise tool_lines.BenchmarkOutputError(
            "the output of benchmark_model is incomplete: its BENCHMARK "
            f"RESULTS lack {', '.join(missing) or 'the end or the runs'}"
        )

    def microseconds(key):
        return values[key] * _US_PER_MS if key in values else None

    return Report(
        measured=tool_lines.ordered(
            latency_statistics.LatencySummary(
                count=runs["Inference (avg)"],
                min_us=microseconds("Inference (min)"),
                max_us=microseconds("Inference (max)"),
                mean_us=microseconds("Inference (avg)"),
                std_us=microseconds("Inference (std)"),
                p5_us=microseconds("Inference (p5)"),
                median_us=microseconds("Inference (median)"),
                p95_us=microseconds("Inference (p95)"),
            )
        ),
        rounding_us=_MS_ROUNDING_US,
        init_us=microseconds("Model initialization"),
        first_inference_us=microseconds("Warmup (first)"),
        memory_delta_bytes=_bytes(values.get("Overall footprint")),
        memory_peak_bytes=_bytes(values.get("Peak memory")),
    )


def _memory(pattern: re.Pattern, texts: Sequence[str]):
    matches = [m for m in map(pattern.match, texts) if m]
    return _bytes(float(matches[-1][1])) if matches else None


def _bytes(mebibytes):
    return None if mebibytes is None else round(mebibytes * _BYTES_PER_MIB)
