"""A benchmark run: choose the target, measure in interleaved rounds, report."""

import contextlib
import dataclasses
import datetime
import json
import os
import time
from collections.abc import Callable
from collections.abc import Iterator

from absl import logging

from android_benchmark import adb
from android_benchmark import benchmark_config
from android_benchmark import host
from android_benchmark import latency_report
from android_benchmark import model_file
from android_benchmark import phone
from android_benchmark import results
from mobilebert_tf import cli
from mobilebert_tf import files

RESULTS_FILE = "results.jsonl"
SETUP_FILE = "setup.json"
REPORT_FILE = "report.html"


@dataclasses.dataclass(frozen=True)
class BenchmarkRun:
    """Everything a run measured.

    Attributes:
        rounds: one result per model x threads x round, in order of time.
        aggregates: one per model x threads, in order of threads, then models.
        device: facts about the device.
    """

    rounds: tuple[results.Result, ...]
    aggregates: tuple[results.Result, ...]
    device: dict

    @property
    def failures(self) -> list[results.Result]:
        """The aggregates that lack a round or all of them."""
        return [r for r in self.aggregates if r.status != results.OK]


def run(
    config: benchmark_config.BenchmarkConfig,
    progress: Callable[[str], None] = logging.info,
) -> BenchmarkRun:
    """Measures every model x threads x round and writes the results.

    A model that fails does not stop the others: see `BenchmarkRun.failures`.
    An existing results.jsonl in `config.output` is replaced.

    Args:
        config: what to measure.
        progress: receives one line per event.

    Raises:
        ValueError: if a file is missing or the configuration does not fit the
            device.
        OSError: if the device cannot be used or nothing can be written.

    Example:

        config = benchmark_config.BenchmarkConfig(
            models=("model.tflite",), device="host", output=None
        )
        median = run(config).aggregates[0].measurement.latency.median_us
    """
    models = model_file.open_all(config.models)
    target = _select_target(config, progress)
    sessions = [
        (number, threads, model)
        for number in range(config.rounds)
        for threads in config.threads
        for model in models
    ]
    device = target.describe()
    unprepared = _prepare(target, models, progress)
    rounds = []
    begin = time.monotonic()
    with _result_lines(config.output) as write_line:
        for done, (number, threads, model) in enumerate(sessions, start=1):
            result = _measure(
                target, model, threads, number, unprepared.get(model.path)
            )
            rounds.append(result)
            write_line(result)
            left = (time.monotonic() - begin) / done * (len(sessions) - done)
            progress(
                f"[{done}/{len(sessions)}] round {number + 1} of "
                f"{config.rounds}, {latency_report.one_line(result)}"
                f" ({left:.0f} s left)"
            )
        aggregates = _aggregate(rounds)
        for result in aggregates:
            write_line(result)
    finished = BenchmarkRun(tuple(rounds), aggregates, device)
    if config.output:
        _write_reports(config, models, finished)
    return finished


def _select_target(config, progress):
    if config.device == benchmark_config.HOST:
        return host.Host(config)
    executable = adb.find_executable(config.adb)
    if config.device == benchmark_config.AUTO:
        usable = []
        if executable:
            attached = adb.Adb(executable).devices()
            usable = [d.serial for d in attached if d.state == "device"]
        if len(usable) != 1:
            progress(f"device auto: host ({len(usable)} usable adb devices)")
            return host.Host(config)
        if not config.benchmark_model:
            progress(
                f"device auto: host (--benchmark_model, which {usable[0]} "
                "needs, is not given)"
            )
            return host.Host(config)
        progress(f"device auto: {usable[0]}, the only usable adb device")
        serial = usable[0]
    else:
        any_device = config.device == benchmark_config.ANY_ADB
        serial = None if any_device else config.device
    return phone.Phone(adb.Adb(executable).select(serial), config, progress)


def _prepare(target, models, progress):
    """Returns the errors of the models that cannot be measured, by path."""
    errors = {}
    for model in models:
        try:
            target.prepare(model)
        except (ValueError, OSError) as error:
            errors[model.path] = error
            progress(f"{model.label}: {cli.one_line(error)}")
    return errors


def _measure(target, model, threads, number, known_error):
    started = datetime.datetime.now(datetime.timezone.utc)
    measurement, error = None, known_error
    if not error:
        try:
            measurement = target.measure(model, threads)
        except (ValueError, OSError) as failure:
            error = failure
    return results.Result(
        record=results.ROUND,
        status=results.OK if measurement else results.FAILED,
        error=cli.one_line(error) if error else None,
        model=model.label,
        model_path=model.path,
        model_sha256=model.sha256,
        model_size_bytes=model.size_bytes,
        device=target.name,
        backend=target.backend,
        threads=threads,
        core_mask=target.core_mask(threads),
        round=number,
        rounds_measured=1 if measurement else 0,
        started_at=started.isoformat(timespec="seconds"),
        measurement=measurement,
    )


def _aggregate(rounds):
    groups = {}
    for result in rounds:
        key = (result.threads, result.model_path)
        groups.setdefault(key, []).append(result)
    return tuple(results.aggregate(group) for group in groups.values())


@contextlib.contextmanager
def _result_lines(output) -> Iterator[Callable[[results.Result], None]]:
    """Yields a writer that flushes each line: Ctrl-C keeps what is done."""
    if not output:
        yield lambda result: None
        return
    os.makedirs(output, exist_ok=True)
    path = os.path.join(output, RESULTS_FILE)
    with open(path, "w", encoding="utf-8") as stream:

        def write(result):
            stream.write(result.to_json() + "\n")
            stream.flush()

        yield write


def _write_reports(config, models, finished):
    setup = {
        "config": dataclasses.asdict(config),
        "device": finished.device,
        "models": [dataclasses.asdict(model) for model in models],
    }
    files.write_text(
        os.path.join(config.output, SETUP_FILE),
        json.dumps(setup, indent=2) + "\n",
    )
    latency_report.write_html(
        os.path.join(config.output, REPORT_FILE),
        finished.rounds,
        finished.aggregates,
        finished.device,
    )
