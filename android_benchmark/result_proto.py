"""The file of benchmark_model's --result_file_path, LiteRT 2.1 and newer.

It is a protocol buffer (BenchmarkResult) of a few numbers, read here without
the message's definition: a message is a list of (field number, value), and
the numbers below are those of files that LiteRT wrote, matched with what it
printed in the same run. It is more exact than the text: float32 where the
text has 6 digits, and it has no place that could be cut unnoticed, because
the runs stand at its end.
"""

import dataclasses
import math
import struct
from collections.abc import Iterator

from android_benchmark import latency_statistics

_US_PER_MS = 1e3
_BYTES_PER_KIB = 1024
_LATENCY, _MEMORY, _MISC = 2, 3, 4
_MEAN, _MIN, _MAX, _STD, _MEDIAN, _P5, _P95, _INIT, _FIRST, _WARMUP = range(
    1, 11
)
_OVERALL_KB = 2
_RUNS, _WARMUP_RUNS, _THROUGHPUT = 2, 3, 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclasses.dataclass(frozen=True)
class BenchmarkResult:
    """What the file holds of a measurement.

    Attributes:
        measured: latencies of the measured runs, in microseconds.
        warmup_count: runs before them.
        init_us: loading and preparing the model.
        first_inference_us: the first inference of the process.
        memory_delta_bytes: resident memory above that of the tool's start;
            None where the platform has no such figure.
    """

    measured: latency_statistics.LatencySummary
    warmup_count: int
    init_us: float
    first_inference_us: float
    memory_delta_bytes: int | None


def parse(data: bytes) -> BenchmarkResult:
    """Returns the content of a result file.

    Raises:
        ValueError: if it is cut short or is no such file.
    """
    try:
        parts = dict(_fields(data))
        latency = dict(_fields(_message(parts, _LATENCY)))
        misc = dict(_fields(_message(parts, _MISC)))
        memory = dict(_fields(_message(parts, _MEMORY, b"")))
    except (struct.error, IndexError) as error:
        raise ValueError(f"result file cut short: {error}") from error
    needed = range(_MEAN, _WARMUP + 1)
    times = [latency.get(number) for number in needed]
    # The throughput is the last field written.
    ends = _THROUGHPUT in misc
    runs = misc.get(_RUNS)
    if (
        not all(isinstance(t, float) and math.isfinite(t) for t in times)
        or not isinstance(runs, int)
        or not ends
        or not 0 < runs
    ):
        raise ValueError(
            "result file is incomplete: expected ten latencies and the number "
            f"of runs, got {sum(t is not None for t in times)} and {runs}"
        )
    microseconds = {number: latency[number] * _US_PER_MS for number in needed}
    overall = memory.get(_OVERALL_KB)
    warmups = misc.get(_WARMUP_RUNS, 0)
    return BenchmarkResult(
        measured=latency_statistics.LatencySummary(
            count=runs,
            min_us=microseconds[_MIN],
            max_us=microseconds[_MAX],
            mean_us=microseconds[_MEAN],
            std_us=microseconds[_STD],
            p5_us=microseconds[_P5],
            median_us=microseconds[_MEDIAN],
            p95_us=microseconds[_P95],
        ),
        warmup_count=warmups if isinstance(warmups, int) else 0,
        init_us=microseconds[_INIT],
        first_inference_us=microseconds[_FIRST],
        memory_delta_bytes=(
            overall * _BYTES_PER_KIB if isinstance(overall, int) else None
        ),
    )


def _message(parts, number, default=None):
    value = parts.get(number, default)
    if not isinstance(value, bytes):
        raise ValueError(
            f"no result file of benchmark_model: no message in field {number}"
        )
    return value


def _fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Yields (field number, value); floats are of 32 bits."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _varint(data, place)
        elif kind == _FIXED32:
            (value,) = struct.unpack_from("<f", data, place)
            place += 4
        elif kind == _FIXED64:
            (value,) = struct.unpack_from("<d", data, place)
            place += 8
        elif kind == _BYTES:
            length, place = _varint(data, place)
            value = data[place : place + length]
            if len(value) != length:
                raise IndexError("a message is longer than the file")
            place += length
        else:
            raise ValueError(f"no protocol buffer: wire type {kind}")
        yield number, value


def _varint(data, place):
    value = 0
    for shift in range(0, 64, 7):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("no protocol buffer: a number of more than 64 bits")
