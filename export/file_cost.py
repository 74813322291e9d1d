"""What a file costs here: latency and memory, each in a fresh process."""

import dataclasses
import os
import statistics
from collections.abc import Sequence

from android_benchmark import benchmark_config
from android_benchmark import host
from android_benchmark import model_file
from android_benchmark import results

_WARMUP_SECS = 0.2
_MIN_RUNS = 3
_MAX_SECS = 60.0


@dataclasses.dataclass(frozen=True)
class FileCost:
    """Cost of one inference of a .tflite file through LiteRT.

    Attributes:
        num_threads: of the interpreter.
        num_runs: measured inferences, over all rounds.
        min_ms: the fastest inference, in milliseconds.
        median_ms: median of the rounds' medians.
        load_ms: median time to load the file and allocate its tensors.
        peak_memory_bytes: resident memory that loading and running the file
            added to the process, the largest of the rounds.
        is_disturbed: whether other programs had the cores meanwhile, so that
            the latency is too high.
    """

    num_threads: int
    num_runs: int
    min_ms: float
    median_ms: float
    load_ms: float
    peak_memory_bytes: int
    is_disturbed: bool


def measure(
    paths: Sequence[str],
    num_threads: int = 1,
    seconds: float = 2.0,
    rounds: int = 2,
) -> dict[str, FileCost | str]:
    """Measures files in turn, round by round, as android_benchmark does.

    Args:
        paths: of .tflite files with static shapes.
        num_threads: of the interpreter; as many as there are cores, if these
            are fewer.
        seconds: that each file is measured for, all rounds together.
        rounds: a slow drift of the machine meets all files.

    Returns:
        By path, the cost, or a line that says why there is none.
    """
    if not paths:
        return {}
    if hasattr(os, "sched_setaffinity"):
        num_threads = min(num_threads, len(os.sched_getaffinity(0)))
    config = benchmark_config.BenchmarkConfig(
        models=tuple(paths),
        device=benchmark_config.HOST,
        threads=(num_threads,),
        warmup_runs=1,
        warmup_min_secs=_WARMUP_SECS,
        num_runs=_MIN_RUNS,
        min_secs=seconds / rounds,
        max_secs=max(_MAX_SECS, seconds),
        rounds=rounds,
        output=None,
    )
    (setting,) = config.settings()
    try:
        target = host.Host(config)
    except ValueError as error:
        return dict.fromkeys(paths, str(error))
    observations = {path: [] for path in paths}
    failures = {}
    models = dict(zip(paths, model_file.open_all(paths), strict=True))
    for _ in range(rounds):
        for path, model in models.items():
            if path in failures:
                continue
            try:
                target.prepare(model)
                observations[path].append(target.measure(model, setting))
            except (ValueError, OSError) as error:
                failures[path] = str(error)
    return {
        path: failures.get(path) or _summary(observations[path], num_threads)
        for path in paths
    }


def _summary(
    observations: Sequence[results.Observation], num_threads: int
) -> FileCost:
    measured = [each.measurement for each in observations]
    latencies = [each.latency for each in measured]
    return FileCost(
        num_threads=num_threads,
        num_runs=sum(each.count for each in latencies),
        min_ms=min(each.min_us for each in latencies) / 1e3,
        median_ms=statistics.median(each.median_us for each in latencies) / 1e3,
        load_ms=statistics.median(each.init_us for each in measured) / 1e3,
        peak_memory_bytes=max(
            each.peak_memory_delta_bytes for each in measured
        ),
        # What an observation may note is just that.
        is_disturbed=any(each.notes for each in observations),
    )
