"""Host mode: the same models through LiteRT on this machine."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
from typing import Any

from android_benchmark import benchmark_config
from android_benchmark import latency_statistics
from android_benchmark import model_file
from android_benchmark import results

# Beyond warm-up and measurement: interpreter start and one slow inference.
_GRACE_SECS = 120
_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Host:
    """Measures models in fresh, pinned processes on this machine."""

    name = benchmark_config.HOST
    backend = "litert_host"

    def __init__(self, config: benchmark_config.BenchmarkConfig):
        """Checks that the cores asked for exist.

        Raises:
            ValueError: if a thread count or the core mask does not fit this
                machine, or it does not run Linux.
        """
        if not hasattr(os, "sched_setaffinity"):
            raise ValueError(
                "--device=host pins processes to cores, which needs Linux: "
                f"got {platform.system()}; use an Android device"
            )
        self._config = config
        self._inputs = {}
        self._cores = {
            threads: choose_cores(
                threads, os.sched_getaffinity(0), config.core_mask_bits
            )
            for threads in config.threads
        }

    def describe(self) -> dict[str, Any]:
        """Returns facts about this machine for the report."""
        return {
            "device": self.name,
            "cpu": _cpu_name(),
            "cores_available": sorted(os.sched_getaffinity(0)),
            "load_average_1min": os.getloadavg()[0],
            "system": f"{platform.system()} {platform.release()}",
            "abi": platform.machine(),
            "litert_version": importlib.metadata.version("ai-edge-litert"),
        }

    def core_mask(self, threads: int) -> str | None:
        """Returns the hexadecimal mask of the cores used for `threads`."""
        return f"{sum(1 << core for core in self._cores[threads]):x}"

    def prepare(self, model: model_file.ModelFile) -> None:
        """Reads the model's inputs.

        Raises:
            ValueError: if it is no model that can be given inputs.
        """
        self._inputs[model.path] = model_file.read_inputs(model.path)

    def measure(
        self, model: model_file.ModelFile, threads: int
    ) -> results.Measurement:
        """Measures one session of a prepared model in a process of its own.

        Raises:
            ValueError: if the model does not run, or not often enough.
            OSError: if the process cannot be started.
        """
        config = self._config
        inputs = self._inputs[model.path]
        answer = _ask_worker(
            {
                "model_path": model.path,
                "threads": threads,
                "cores": self._cores[threads],
                "inputs": [dataclasses.asdict(spec) for spec in inputs],
                "warmup_runs": config.warmup_runs,
                "warmup_min_secs": config.warmup_min_secs,
                "num_runs": config.num_runs,
                "min_secs": config.min_secs,
                "max_secs": config.max_secs,
                "seed": config.seed,
            },
            timeout_secs=2 * config.max_secs + _GRACE_SECS,
        )
        latencies_us = tuple(answer.pop("latencies_us"))
        return results.Measurement(
            latency=latency_statistics.summarize(latencies_us),
            percentiles="samples",
            latencies_us=latencies_us,
            **answer,
        )


def choose_cores(
    threads: int, available: set[int], mask_bits: int | None
) -> list[int]:
    """Returns the cores to run on: those of the mask, or one per thread.

    Without a mask, cores that share a physical core with an earlier one are
    taken last, so that two threads do not halve each other's speed.

    Raises:
        ValueError: if the mask names cores that are not available, or without
            a mask there are fewer cores than threads. (BenchmarkConfig has
            checked that a mask has enough.)
    """
    if mask_bits is not None:
        cores = {i for i in range(mask_bits.bit_length()) if mask_bits >> i & 1}
        if not cores <= available:
            raise ValueError(
                f"core_mask={mask_bits:x}: cores {sorted(cores - available)} "
                f"are not available here; expected some of {sorted(available)}"
            )
        return sorted(cores)
    if threads > len(available):
        raise ValueError(
            f"threads={threads}: this machine allows {len(available)} cores; "
            "lower --threads"
        )
    ranked = sorted(available, key=lambda core: (_sibling_rank(core), core))
    return sorted(ranked[:threads])


def _ask_worker(request, timeout_secs):
    command = [sys.executable, "-m", "android_benchmark.host_worker"]
    try:
        # From the package's root: no module of the user's folder can shadow
        # one that the worker imports.
        done = subprocess.run(
            command,
            input=json.dumps(request),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_secs,
            cwd=_PACKAGE_ROOT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(
            f"no result within {timeout_secs:.0f} s: the process was ended"
        ) from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise ValueError(
            f"the measuring process died of {name}: {_last_line(done.stderr)}"
        )
    try:
        answer = json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"the measuring process ended with status {done.returncode} and "
            f"no result: {_last_line(done.stderr)}"
        ) from error
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer


def _last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it printed nothing"


def _sibling_rank(core):
    """Returns the place of a core among those of its physical core."""
    path = f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"
    try:
        with open(path, encoding="ascii") as stream:
            text = stream.read()
    except OSError:
        return 0
    siblings = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        siblings.extend(range(int(first), int(last or first) + 1))
    return sorted(siblings).index(core) if core in siblings else 0


def _cpu_name():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
