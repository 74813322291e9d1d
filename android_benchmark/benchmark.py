"""A benchmark run: choose the target, measure in interleaved rounds, report."""

import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import time
from collections.abc import Callable
from collections.abc import Iterator

from absl import logging

from android_benchmark import adb
from android_benchmark import benchmark_config
from android_benchmark import comparison
from android_benchmark import exported_accuracy
from android_benchmark import host
from android_benchmark import latency_report
from android_benchmark import model_file
from android_benchmark import phone
from android_benchmark import result_file
from android_benchmark import results
from android_benchmark import single_stream
from mobilebert_tf import cli
from mobilebert_tf import files

RESULTS_FILE = "results.jsonl"
SETUP_FILE = "setup.json"
REPORT_FILE = "report.html"
# What decides how a number comes about, besides model, setting and device.
_PLAN_FIELDS = (
    "warmup_runs",
    "warmup_min_secs",
    "num_runs",
    "min_secs",
    "max_secs",
    "seed",
    "scenario",
    "fixed_performance",
)


@dataclasses.dataclass(frozen=True)
class BenchmarkRun:
    """Everything a run measured.

    Attributes:
        rounds: one result per setting x model x round, in order of time.
        aggregates: one per setting x model, in this order.
        profiles: the same, if profiles were asked for.
        verdicts: one per setting x model, if there is a baseline.
        device: facts about the device.
    """

    rounds: tuple[results.Result, ...]
    aggregates: tuple[results.Result, ...]
    profiles: tuple[results.Result, ...]
    verdicts: tuple[comparison.Verdict, ...]
    device: dict

    @property
    def failures(self) -> list[results.Result]:
        """The aggregates that lack a round or all of them, and profiles."""
        lacking = (results.FAILED, results.INCOMPLETE)
        every = (*self.aggregates, *self.profiles)
        return [r for r in every if r.status in lacking]


def run(
    config: benchmark_config.BenchmarkConfig,
    progress: Callable[[str], None] = logging.info,
) -> BenchmarkRun:
    """Measures every setting x model x round on one device.

    What fails does not stop the rest: see `BenchmarkRun.failures`. An
    existing results.jsonl in `config.output` is replaced, or with
    `config.resume` continued.

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
    # Read before the hours of measuring: a mistake in it should not cost
    # them, and the baseline may be the file that is replaced.
    accuracy, baseline = None, None
    if config.export_report:
        accuracy = exported_accuracy.read(config.export_report, models)
    if config.compare:
        baseline = result_file.read(
            files.require_file(config.compare, "compare")
        )
    target = _select_target(config, progress)
    try:
        finished = _run_on(target, models, config, progress)
    finally:
        # After Ctrl-C too: nothing stays switched on or running.
        target.close()
    if baseline is not None:
        allowed = comparison.parse_share(str(config.max_regression))
        verdicts = comparison.compare(baseline, finished.rounds, allowed)
        finished = dataclasses.replace(finished, verdicts=tuple(verdicts))
    if config.output:
        _write_reports(config, models, finished, accuracy)
    return finished


def _run_on(target, models, config, progress):
    sessions = [
        _Session(model, setting, target.core_mask(setting), number)
        for number in range(config.rounds)
        for setting in config.settings()
        for model in models
    ]
    device = target.describe()
    labels = _Labels(target, config)
    unprepared = _prepare(target, models, progress)
    kept = _kept_rounds(config, labels, sessions)
    rounds = []
    begin, measured = time.monotonic(), 0
    with _open_results(config) as write_line:
        for done, session in enumerate(sessions, start=1):
            result = kept.get(session.key)
            if result:
                rounds.append(result)
                continue
            result = _measure(target, labels, session, unprepared)
            rounds.append(result)
            write_line(result)
            measured += 1
            left = (
                len(sessions)
                - done
                - sum(later.key in kept for later in sessions[done:])
            )
            secs = (time.monotonic() - begin) / measured * left
            progress(
                f"[{done}/{len(sessions)}] round {session.round + 1} of "
                f"{config.rounds}, {latency_report.one_line(result)}"
                f" ({secs:.0f} s left)"
            )
        if kept:
            progress(f"{len(kept)} rounds kept of an earlier run (--resume)")
        profiles = _measure_profiles(
            target, labels, config, models, unprepared, progress
        )
        aggregates = _aggregate(rounds, config)
        for result in (*profiles, *aggregates):
            write_line(result)
    return BenchmarkRun(tuple(rounds), aggregates, profiles, (), device)


@dataclasses.dataclass(frozen=True)
class _Session:
    """One measurement that is to be made."""

    model: model_file.ModelFile
    setting: benchmark_config.Setting
    core_mask: str | None
    round: int | None

    @property
    def key(self):
        """Names it within a run."""
        return (
            self.model.label,
            self.model.sha256,
            self.setting.threads,
            self.core_mask,
            self.setting.delegate.key,
            self.round,
        )


class _Labels:
    """What every result of a run says alike."""

    def __init__(self, target, config):
        # 5 and 5.0 are the same: YAML has the one, flags have the other.
        plan = [
            value if isinstance(value, str) else float(value)
            for value in (getattr(config, name) for name in _PLAN_FIELDS)
        ]
        self.fields = {
            "device": target.name,
            "device_model": target.model_name,
            "backend": target.backend,
            "tool": target.tool,
            "plan": hashlib.sha256(repr(plan).encode()).hexdigest()[:16],
        }


def _select_target(config, progress):
    if config.device == benchmark_config.HOST:
        return host.Host(config)
    executable = adb.find_executable(config.adb)
    if config.device == benchmark_config.AUTO:
        usable = []
        if executable:
            usable = adb.Adb(executable).usable()
        if len(usable) != 1:
            progress(f"device auto: host ({len(usable)} usable adb devices)")
            return host.Host(config)
        if not (config.benchmark_model or config.benchmark_model_url):
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


def _measure(target, labels, session, known_errors, profile=False):
    started = datetime.datetime.now(datetime.timezone.utc)
    seen, error = None, known_errors.get(session.model.path)
    if not error:
        try:
            seen = target.measure(session.model, session.setting, profile)
        except (ValueError, OSError) as failure:
            error = failure
    if seen:
        status = results.MARKED if seen.notes else results.OK
    else:
        status = results.FAILED
    setting, model = session.setting, session.model
    return results.Result(
        record=results.PROFILE if profile else results.ROUND,
        status=status,
        error=cli.one_line(error) if error else None,
        notes=seen.notes if seen else (),
        model=model.label,
        model_path=model.path,
        model_sha256=model.sha256,
        model_size_bytes=model.size_bytes,
        **labels.fields,
        threads=setting.threads,
        core_mask=session.core_mask,
        delegate=setting.delegate.key,
        round=session.round,
        rounds_measured=1 if seen else 0,
        started_at=started.isoformat(timespec="seconds"),
        # A profiled run is slower: its latency is no result.
        measurement=seen.measurement if seen and not profile else None,
        profile=seen.profile if seen else None,
        state_before=seen.state_before if seen else None,
        state_after=seen.state_after if seen else None,
    )


def _measure_profiles(target, labels, config, models, known_errors, progress):
    if not config.profile_ops:
        return ()
    found = []
    for setting in config.settings():
        for model in models:
            session = _Session(model, setting, target.core_mask(setting), None)
            result = _measure(
                target, labels, session, known_errors, profile=True
            )
            found.append(result)
            progress(latency_report.profile_line(result))
    return tuple(found)


def _kept_rounds(config, labels, sessions):
    """Returns the rounds of an earlier run that need no repetition."""
    path = config.output and os.path.join(config.output, RESULTS_FILE)
    if not (config.resume and path and os.path.exists(path)):
        return {}
    wanted = {session.key for session in sessions}
    kept = {}
    for result in result_file.read(path):
        key = (
            result.model,
            result.model_sha256,
            result.threads,
            result.core_mask,
            result.delegate,
            result.round,
        )
        if (
            result.record == results.ROUND
            and result.measurement
            and key in wanted
            and all(getattr(result, k) == v for k, v in labels.fields.items())
        ):
            kept[key] = result
    return kept


def _aggregate(rounds, config):
    groups = {}
    for result in rounds:
        groups.setdefault(result.combination, []).append(result)
    aggregates = map(results.aggregate, groups.values())
    if config.scenario == benchmark_config.SINGLE_STREAM:
        aggregates = map(single_stream.judge, aggregates, groups.values())
    return tuple(aggregates)


@contextlib.contextmanager
def _open_results(config) -> Iterator[Callable[[results.Result], None]]:
    if not config.output:
        yield lambda result: None
        return
    path = os.path.join(config.output, RESULTS_FILE)
    with result_file.ResultFile(path, append=config.resume) as stream:
        yield stream.write


def _write_reports(config, models, finished, accuracy):
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
        finished.profiles,
        finished.device,
        accuracy,
        finished.verdicts,
    )
