"""LiteRT's benchmark_model: its command line and its output.

The tool often ends with status 0 after it measured something else than what
was asked: unknown flags and refused delegates are only warnings, and inputs
filled with random integers make BERT's lookups fail while a latency is still
printed. The parser therefore returns a measurement only if nothing in the
output speaks against it.
"""

import math
import re
import shlex
from collections.abc import Sequence

from android_benchmark import benchmark_config
from android_benchmark import latency_statistics
from android_benchmark import model_file
from android_benchmark import results

_BYTES_PER_MIB = 1 << 20
# Numbers print with 6 significant digits.
_PRINT_TOLERANCE = 1e-5

_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
# "I/tflite  ( 1234): " and "01-01 12:00:00.000  1 1 I tflite  : " are
# logcat's; the level in words is the tool's own.
_PREFIX = re.compile(
    r"^(?:[-\d:. ]{0,60}(?P<logcat>[VDIWEF])[ /]tflite\s*(?:\(\s*\d+\))?\s*: )?"
    r"(?:(?P<level>VERBOSE|INFO|WARN|WARNING|ERROR|FATAL): )?"
)
_ERROR_LEVELS = ("ERROR", "FATAL", "E", "F")
_FIELD = re.compile(rf"(\w+)=({_NUMBER})(?=[ (]|$)")
_COUNT = re.compile(r"count=(\d+)(?: |$)")
_THREADS = re.compile(r"Num threads: \[(-?\d+)\]$")
_FINAL = re.compile(
    rf"Inference timings in us: Init: ({_NUMBER}), "
    rf"First inference: ({_NUMBER}), Warmup \(avg\): ({_NUMBER}), "
    rf"Inference \(avg\): ({_NUMBER})$"
)
_MEMORY_DELTA = re.compile(
    r"Memory footprint delta from the start of the tool \(MB\): "
    rf"init=({_NUMBER}) overall=({_NUMBER})$"
)
_MEMORY_PEAK = re.compile(
    # The second form is TF 2.3 and 2.4's.
    r"(?:Overall peak memory footprint \(MB\) via periodic monitoring: |"
    rf"Peak memory footprint \(MB\): init={_NUMBER} overall=)({_NUMBER})$"
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
)


class BenchmarkOutputError(ValueError):
    """The tool's output is no complete measurement of what was asked."""


def command(
    binary: str,
    graph: str,
    inputs: Sequence[model_file.ModelInput],
    threads: int,
    config: benchmark_config.BenchmarkConfig,
) -> str:
    """Returns the command line for the device's shell, quoted.

    Args:
        binary: path of benchmark_model on the device.
        graph: path of the model on the device.
        inputs: of the model, in its order.
        threads: CPU threads.
        config: durations, counts and the core mask.
    """
    # Tensor names may hold the separators "," and ":" of these flags. The
    # tool matches inputs by position and only warns about other names.
    names = [f"input{i}" for i in range(len(inputs))]
    ranges = [
        f"{name},{spec.low},{spec.high}"
        for name, spec in zip(names, inputs, strict=True)
        if spec.low is not None
    ]
    arguments = [
        binary,
        f"--graph={graph}",
        f"--num_threads={threads}",
        f"--warmup_runs={config.warmup_runs}",
        f"--warmup_min_secs={config.warmup_min_secs}",
        f"--num_runs={config.num_runs}",
        f"--min_secs={config.min_secs}",
        f"--max_secs={config.max_secs}",
        # Builds differ in whether XNNPACK is the default; asked for by name,
        # it also says when it takes nothing.
        "--use_xnnpack=true",
        f"--input_layer={','.join(names)}",
        "--input_layer_shape="
        + ":".join(",".join(map(str, spec.shape)) for spec in inputs),
    ]
    if ranges:
        arguments.append(f"--input_layer_value_range={':'.join(ranges)}")
    if config.core_mask_bits is not None:
        arguments = ["taskset", f"{config.core_mask_bits:x}", *arguments]
    return shlex.join(arguments)


def parse(
    stdout: str, stderr: str, returncode: int, threads: int, num_runs: int
) -> results.Measurement:
    """Returns what the tool measured.

    Args:
        stdout: what it printed there; LF or CR LF line ends.
        stderr: what it printed there.
        returncode: its exit status.
        threads: threads it was asked for.
        num_runs: fewest inferences it was asked for.

    Raises:
        BenchmarkOutputError: if the run failed, was cut short or was not what
            was asked for.
    """
    lines = _lines(stdout)
    _check_signs(lines + _lines(stderr), returncode, stdout, stderr)
    texts = [text for _, text in lines]
    _check_threads(texts, threads)
    finals = [m for m in map(_FINAL.match, texts) if m]
    counts = [text for text in texts if _COUNT.match(text)]
    if len(finals) != 1 or len(counts) != 2:
        raise BenchmarkOutputError(
            "the output of benchmark_model is incomplete or of an unknown "
            "version: expected two `count=` lines (warm-up, measurement) and "
            "one `Inference timings in us:` line, got "
            f"{len(counts)} and {len(finals)}"
        )
    init_us, first_us, _, mean_us = map(float, finals[0].groups())
    warmup, measured = map(_parse_count, counts)
    if measured is None or measured.count < num_runs:
        raise BenchmarkOutputError(
            f"{measured.count if measured else 0} of num_runs={num_runs} "
            "inferences were made: raise --max_secs or lower --num_runs"
        )
    if not math.isclose(measured.mean_us, mean_us, rel_tol=_PRINT_TOLERANCE):
        raise BenchmarkOutputError(
            f"benchmark_model contradicts itself: mean {measured.mean_us} us "
            f"in the count line, {mean_us} us in the final line"
        )
    return results.Measurement(
        latency=measured,
        percentiles="reported",
        latencies_us=None,
        warmup_count=warmup.count if warmup else 0,
        first_inference_us=first_us,
        init_us=init_us,
        peak_memory_bytes=_memory(_MEMORY_PEAK, texts),
        peak_memory_delta_bytes=_memory(_MEMORY_DELTA, texts),
    )


def _lines(output):
    """Returns (level, text) of the complete lines, prefixes removed."""
    # What follows the last newline was cut off in the middle.
    complete = output.replace("\r\n", "\n").split("\n")[:-1]
    found = []
    for line in complete:
        prefix = _PREFIX.match(line)
        level = prefix["level"] or prefix["logcat"]
        found.append((level, line[prefix.end() :].rstrip("\r ")))
    return found


def _check_signs(lines, returncode, stdout, stderr):
    for pattern, meaning in _FATAL_SIGNS:
        for _, text in lines:
            match = pattern.match(text)
            if match:
                raise BenchmarkOutputError(
                    f"benchmark_model: {meaning}: {match['detail'].strip()}"
                )
    errors = [text for level, text in lines if level in _ERROR_LEVELS]
    if returncode or errors:
        printed = (stderr.strip() or stdout.strip()).splitlines()
        reason = errors[0] if errors else printed[-1] if printed else "nothing"
        hint = ""
        if returncode in (126, 127):
            hint = " (is --benchmark_model built for this device's ABI?)"
        raise BenchmarkOutputError(
            f"benchmark_model ended with status {returncode}{hint}: {reason}"
        )


def _check_threads(texts, threads):
    echoed = [int(m[1]) for m in map(_THREADS.match, texts) if m]
    if echoed != [threads]:
        raise BenchmarkOutputError(
            f"benchmark_model did not confirm --num_threads={threads}: got "
            f"`Num threads:` {echoed}"
        )


def _parse_count(text):
    """Returns the summary of a count line; None if it counts nothing."""
    count = int(_COUNT.match(text)[1])
    if count == 0:
        return None
    fields = {key: float(value) for key, value in _FIELD.findall(text)}
    if count == 1 or "(all same)" in text:
        same = fields.get("curr")
        fields |= {"min": same, "max": same, "avg": same, "std": 0.0}
    missing = [k for k in ("min", "max", "avg", "std") if fields.get(k) is None]
    if missing:
        raise BenchmarkOutputError(
            f"benchmark_model: no {', '.join(missing)} in the line {text!r}"
        )
    return latency_statistics.LatencySummary(
        count=count,
        min_us=fields["min"],
        max_us=fields["max"],
        mean_us=fields["avg"],
        std_us=fields["std"],
        p5_us=fields.get("p5"),
        median_us=fields.get("median"),
        p95_us=fields.get("p95"),
    )


def _memory(pattern, texts):
    matches = [m for m in map(pattern.match, texts) if m]
    if not matches:
        return None
    return round(float(matches[-1].groups()[-1]) * _BYTES_PER_MIB)
