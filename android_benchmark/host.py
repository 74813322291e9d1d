"""Host mode: the same models through LiteRT on this machine."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import time
from typing import Any

from android_benchmark import benchmark_config
from android_benchmark import delegates
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
        """Checks that there is something that can be measured here.

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
        self._available = os.sched_getaffinity(0)
        errors = []
        for setting in config.settings():
            try:
                self._cores(setting)
            except ValueError as error:
                errors.append(error)
        if len(errors) == len(config.settings()):
            raise errors[0]

    @property
    def model_name(self) -> str:
        """The processor's name."""
        return _cpu_name()

    @property
    def tool(self) -> str:
        """The version of LiteRT."""
        return f"LiteRT {importlib.metadata.version('ai-edge-litert')}"

    def describe(self) -> dict[str, Any]:
        """Returns facts about this machine for the report."""
        return {
            "device": self.name,
            "cpu": _cpu_name(),
            "cores_available": sorted(self._available),
            "load_average_1min": os.getloadavg()[0],
            "system": f"{platform.system()} {platform.release()}",
            "abi": platform.machine(),
            "litert_version": importlib.metadata.version("ai-edge-litert"),
        }

    def core_mask(self, setting: benchmark_config.Setting) -> str | None:
        """Returns the hexadecimal mask of the cores used.

        None where the setting asks for more than there are: see `measure`.
        """
        try:
            return f"{sum(1 << core for core in self._cores(setting)):x}"
        except ValueError:
            return setting.mask_text

    def prepare(self, model: model_file.ModelFile) -> None:
        """Reads the model's inputs.

        Raises:
            ValueError: if it is no model that can be given inputs.
        """
        self._inputs[model.path] = model_file.read_inputs(model.path)

    def measure(
        self,
        model: model_file.ModelFile,
        setting: benchmark_config.Setting,
        profile: bool = False,
    ) -> results.Observation:
        """Measures one session of a prepared model in a process of its own.

        Args:
            model: what to run.
            setting: how.
            profile: must be false: LiteRT's Python interpreter has no
                profile of operators.

        Raises:
            ValueError: if the model does not run, or not often enough, or
                this machine does not have what the setting asks for.
            OSError: if the process cannot be started.
        """
        delegate = setting.delegate
        if not delegate.on_cpu or profile:
            raise ValueError(
                f"{'profile_ops' if profile else f'delegate {delegate.key}'}: "
                "only on an Android device; leave it out with --device=host"
            )
        config = self._config
        inputs = self._inputs[model.path]
        time.sleep(config.cool_down_secs)
        before = _state()
        answer = _ask_worker(
            {
                "model_path": model.path,
                "threads": setting.threads,
                "cores": self._cores(setting),
                "xnnpack": delegate.key == delegates.XNNPACK,
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
        share = answer.pop("cpu_share")
        notes = ()
        if share < config.min_cpu_share:
            notes = (
                "other programs had the cores: the measured one ran "
                f"{share:.0%} of the time, expected "
                f"{config.min_cpu_share:.0%}; end them, or choose other cores "
                "with --core_mask",
            )
        measurement = results.Measurement(
            latency=latency_statistics.summarize(latencies_us),
            percentiles="samples",
            latencies_us=latencies_us,
            **answer,
        )
        return results.Observation(
            measurement=measurement,
            notes=notes,
            state_before=before,
            state_after=_state(),
        )

    def close(self) -> None:
        """Does nothing: each measurement leaves nothing behind."""

    def _cores(self, setting):
        return choose_cores(setting.threads, self._available, setting.core_mask)


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


def _state():
    return {"load_average_1min": os.getloadavg()[0]}


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
