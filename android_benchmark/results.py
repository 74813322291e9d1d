"""Results: what one session measured, and its line in results.jsonl.

Each line of results.jsonl is one JSON object:

    schema                   version of these fields: 2
    record                   "round", "aggregate" (over the rounds) or
                             "profile" (time per operator, no latency)
    status                   "ok"; "marked": measured, but `notes` say what
                             speaks against it; "failed"; or "incomplete" (an
                             aggregate of which some rounds failed)
    error                    what went wrong and what to do, or null
    notes                    what speaks against the numbers; [] if nothing
    model                    shortest unambiguous name of the file
    model_path, model_sha256, model_size_bytes
    device                   "host" or the adb serial
    device_model             e.g. "Pixel 4"; of the host, its processor
    backend                  "litert_host" or "benchmark_model"
    tool                     version of LiteRT or sha256 of benchmark_model
    plan                     digest of the durations, counts and seed: what
                             has the same can be compared and resumed
    threads                  threads asked for (and verified)
    core_mask                hexadecimal mask of the cores, or null
    delegate                 "xnnpack", "builtin", "gpu", "nnapi", "external:.."
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

    profile                  {"runs", "operators": [{"kind", "name", "mean_ms",
                             "calls"}]}, else null
    state_before, state_after
                             of the device; the fields of
                             `device_state.DeviceState`, of the host its load

Lines are appended whole, so that what was cut off (a full disk, a crash) can
only be the last one; `result_file.read` leaves it out. Of aggregates of the
same combination the last one counts: a resumed run appends new ones.

In aggregates first_inference_us and init_us are medians over the rounds, the
memory figures are maxima and latencies_us is null (the rounds hold them).
"""

import dataclasses
import json
import statistics
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from android_benchmark import latency_statistics
from android_benchmark import op_profile

SCHEMA = 2
ROUND = "round"
AGGREGATE = "aggregate"
PROFILE = "profile"
OK = "ok"
MARKED = "marked"
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
    first_inference_us: float | None
    init_us: float
    peak_memory_bytes: int | None
    peak_memory_delta_bytes: int | None


@dataclasses.dataclass(frozen=True)
class Observation:
    """What a target saw in one session.

    Attributes:
        measurement: the numbers.
        notes: what speaks against them.
        profile: time per operator, if asked for.
        state_before, state_after: of the device, as JSON has them.
    """

    measurement: Measurement
    notes: tuple[str, ...] = ()
    profile: op_profile.OpProfile | None = None
    state_before: dict[str, Any] | None = None
    state_after: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """One line of results.jsonl; attributes as documented in the module."""

    record: str
    status: str
    error: str | None
    notes: tuple[str, ...]
    model: str
    model_path: str
    model_sha256: str
    model_size_bytes: int
    device: str
    device_model: str
    backend: str
    tool: str
    plan: str
    threads: int
    core_mask: str | None
    delegate: str
    round: int | None
    rounds_measured: int
    started_at: str
    measurement: Measurement | None
    profile: op_profile.OpProfile | None = None
    state_before: dict[str, Any] | None = None
    state_after: dict[str, Any] | None = None

    @property
    def combination(self) -> tuple:
        """What is measured: all rounds of it make one aggregate."""
        return (
            self.device,
            self.model,
            self.model_sha256,
            self.threads,
            self.core_mask,
            self.delegate,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the documented fields, the measurement's flattened."""
        line = {"schema": SCHEMA} | {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("measurement", "profile")
        }
        line["profile"] = (
            dataclasses.asdict(self.profile) if self.profile else None
        )
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


def from_dict(line: Mapping[str, Any]) -> Result:
    """Returns the result of a line of results.jsonl.

    Raises:
        ValueError: if it is of another schema or lacks a field.
    """
    if line.get("schema") != SCHEMA:
        raise ValueError(
            f"expected schema {SCHEMA}, got {line.get('schema')!r}: measure "
            "it again with this version"
        )
    try:
        fields = {
            field.name: line[field.name]
            for field in dataclasses.fields(Result)
            if field.name not in ("measurement", "profile")
        }
        fields["notes"] = tuple(fields["notes"])
        return Result(
            **fields,
            measurement=_measurement_from(line),
            profile=_profile_from(line["profile"]),
        )
    except KeyError as error:
        raise ValueError(f"no field {error}") from error
    except TypeError as error:
        raise ValueError(f"damaged field: {error}") from error


def _measurement_from(line):
    if line["latency_count"] is None:
        return None
    fields = {
        field.name: line[field.name]
        for field in dataclasses.fields(Measurement)
        if field.name not in ("latency", "percentiles")
    }
    if fields["latencies_us"] is not None:
        fields["latencies_us"] = tuple(fields["latencies_us"])
    return Measurement(
        latency=latency_statistics.LatencySummary(
            **{
                field.name: line[f"latency_{field.name}"]
                for field in dataclasses.fields(
                    latency_statistics.LatencySummary
                )
            }
        ),
        percentiles=line["latency_percentiles"],
        **fields,
    )


def _profile_from(value):
    if value is None:
        return None
    return op_profile.OpProfile(
        operators=tuple(op_profile.Operator(**o) for o in value["operators"]),
        runs=value["runs"],
    )


def aggregate(rounds: Sequence[Result]) -> Result:
    """Returns the aggregate of the rounds of one model and thread count.

    Raises:
        ValueError: if there are no rounds.
    """
    if not rounds:
        raise ValueError("no rounds to aggregate: got 0, expected >= 1")
    measured = [r.measurement for r in rounds if r.measurement]
    errors = [r.error for r in rounds if r.error]
    notes = tuple(dict.fromkeys(n for r in rounds for n in r.notes))
    if errors:
        status = INCOMPLETE if measured else FAILED
    else:
        status = MARKED if notes else OK
    return dataclasses.replace(
        rounds[0],
        record=AGGREGATE,
        status=status,
        error=errors[0] if errors else None,
        notes=notes,
        round=None,
        rounds_measured=len(measured),
        measurement=_combine(measured) if measured else None,
        state_before=rounds[0].state_before,
        state_after=rounds[-1].state_after,
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
        first_inference_us=_median(m.first_inference_us for m in measured),
        init_us=statistics.median(m.init_us for m in measured),
        peak_memory_bytes=_maximum(m.peak_memory_bytes for m in measured),
        peak_memory_delta_bytes=_maximum(
            m.peak_memory_delta_bytes for m in measured
        ),
    )


def _median(values):
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _maximum(values):
    return max((v for v in values if v is not None), default=None)
