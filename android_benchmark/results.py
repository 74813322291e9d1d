"""Results: what one session measured, and its line in results.jsonl.

Each line of results.jsonl is one JSON object:

    record                   "round" or "aggregate" (over the rounds)
    status                   "ok", "failed", or "incomplete" (an aggregate of
                             which some rounds failed)
    error                    what went wrong, or null
    model                    shortest unambiguous name of the file
    model_path, model_sha256, model_size_bytes
    device                   "host" or the adb serial
    backend                  "litert_host" or "benchmark_model"
    threads                  threads asked for (and verified)
    core_mask                hexadecimal mask of the cores, or null
    round                    0-based; null in aggregates
    rounds_measured          rounds behind the numbers
    started_at               UTC, ISO 8601
    latency_count            measured inferences
    latency_{min,max,mean,std,p5,median,p90,p95,p99}_us
                             in microseconds; null where not measured
    latency_percentiles      "samples": of all single latencies; "reported":
                             by the tool; "median_of_rounds": their median
    latencies_us             every measured latency in order of time; null
                             where the tool reports a summary only
    warmup_count             inferences before the measurement
    first_inference_us       the first inference of the process
    init_us                  loading the model and preparing its memory
    peak_memory_bytes        of the process, resident
    peak_memory_delta_bytes  the same above what was used before loading

In aggregates first_inference_us and init_us are medians over the rounds, the
memory figures are maxima and latencies_us is null (the rounds hold them).
"""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from typing import Any

from android_benchmark import latency_statistics

ROUND = "round"
AGGREGATE = "aggregate"
OK = "ok"
FAILED = "failed"
INCOMPLETE = "incomplete"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What a target measured in one session; units in the names.

    Attributes:
        latency: the distribution of the measured inferences.
        percentiles: where its percentiles come from (see the module).
        latencies_us: single latencies, or None if only a summary is known.
        warmup_count, first_inference_us, init_us, peak_memory_bytes,
        peak_memory_delta_bytes: see the module; None if not known.
    """

    latency: latency_statistics.LatencySummary
    percentiles: str
    latencies_us: tuple[float, ...] | None
    warmup_count: int
    first_inference_us: float
    init_us: float
    peak_memory_bytes: int | None
    peak_memory_delta_bytes: int | None


@dataclasses.dataclass(frozen=True)
class Result:
    """One line of results.jsonl; attributes as documented in the module."""

    record: str
    status: str
    error: str | None
    model: str
    model_path: str
    model_sha256: str
    model_size_bytes: int
    device: str
    backend: str
    threads: int
    core_mask: str | None
    round: int | None
    rounds_measured: int
    started_at: str
    measurement: Measurement | None

    def to_dict(self) -> dict[str, Any]:
        """Returns the documented fields, the measurement's flattened."""
        line = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "measurement"
        }
        measured = self.measurement
        for field in dataclasses.fields(latency_statistics.LatencySummary):
            line[f"latency_{field.name}"] = (
                getattr(measured.latency, field.name) if measured else None
            )
        line["latency_percentiles"] = measured.percentiles if measured else None
        for field in dataclasses.fields(Measurement):
            if field.name not in ("latency", "percentiles"):
                line[field.name] = getattr(measured, field.name, None)
        return line

    def to_json(self) -> str:
        """Returns the line of results.jsonl, without its newline."""
        return json.dumps(self.to_dict(), allow_nan=False)


def aggregate(rounds: Sequence[Result]) -> Result:
    """Returns the aggregate of the rounds of one model and thread count.

    Raises:
        ValueError: if there are no rounds.
    """
    if not rounds:
        raise ValueError("no rounds to aggregate: got 0, expected >= 1")
    measured = [r.measurement for r in rounds if r.measurement]
    errors = [r.error for r in rounds if r.error]
    if not errors:
        status = OK
    else:
        status = INCOMPLETE if measured else FAILED
    return dataclasses.replace(
        rounds[0],
        record=AGGREGATE,
        status=status,
        error=errors[0] if errors else None,
        round=None,
        rounds_measured=len(measured),
        measurement=_combine(measured) if measured else None,
    )


def _combine(measured):
    if all(m.latencies_us for m in measured):
        pool = [value for m in measured for value in m.latencies_us]
        latency = latency_statistics.summarize(pool)
        percentiles = "samples"
    else:
        latency = latency_statistics.combine([m.latency for m in measured])
        percentiles = "median_of_rounds"
    return Measurement(
        latency=latency,
        percentiles=percentiles,
        latencies_us=None,
        warmup_count=sum(m.warmup_count for m in measured),
        first_inference_us=statistics.median(
            m.first_inference_us for m in measured
        ),
        init_us=statistics.median(m.init_us for m in measured),
        peak_memory_bytes=_maximum(m.peak_memory_bytes for m in measured),
        peak_memory_delta_bytes=_maximum(
            m.peak_memory_delta_bytes for m in measured
        ),
    )


def _maximum(values):
    return max((v for v in values if v is not None), default=None)
