"""What to measure, where and how long: one frozen, checked dataclass.

Values come from flags, then from a YAML file, then from the defaults here. A
YAML file may hold any field of `BenchmarkConfig` and nothing else.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from android_benchmark import comparison
from android_benchmark import delegates as delegates_lib
from mobilebert_tf import files

HOST = "host"
AUTO = "auto"
ANY_ADB = "adb"
ALL_ADB = "all"
STANDARD = "standard"
SINGLE_STREAM = "single_stream"
# MLPerf Inference's rules for the single-stream scenario.
_SINGLE_STREAM_RUNS = 1024
_SINGLE_STREAM_SECS = 60.0
_SINGLE_STREAM_MAX_SECS = 600.0


@dataclasses.dataclass(frozen=True)
class Setting:
    """How a model is run.

    Attributes:
        threads: of the CPU.
        core_mask: bit i for core i; None does not pin.
        delegate: what runs the model.
    """

    threads: int
    core_mask: int | None
    delegate: delegates_lib.Delegate

    @property
    def mask_text(self) -> str | None:
        """The core mask in hexadecimal."""
        return None if self.core_mask is None else f"{self.core_mask:x}"

    def describe(self) -> str:
        """Returns the setting in a few words."""
        words = [f"{self.threads} thread{'s' if self.threads != 1 else ''}"]
        if self.core_mask is not None:
            words.append(f"cores {self.mask_text}")
        if self.delegate.key != delegates_lib.XNNPACK:
            words.append(self.delegate.key)
        return ", ".join(words)


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """One benchmark run: models x threads x core masks x delegates x rounds.

    Attributes:
        models: .tflite files.
        device: "host", an adb serial, several with commas between them,
            "all" (every usable adb device), "adb" (the one attached device)
            or "auto" (the attached adb device if exactly one and there is a
            `benchmark_model`, else the host).
        threads: thread counts to measure.
        delegates: what runs the models; see `delegates.Delegate.key`.
        scenario: "standard", or "single_stream" for MLPerf's: at least 1024
            runs and 60 s per round, judged by the 90th percentile.
        warmup_runs: fewest inferences before the measurement; the host makes
            at least one, to report the first inference apart.
        warmup_min_secs: shortest warm-up, in seconds.
        num_runs: fewest measured inferences per round.
        min_secs: shortest measurement of a round, in seconds.
        max_secs: longest warm-up and longest measurement of a round, in
            seconds. Reaching it with fewer than `num_runs` is an error.
        rounds: how often each model is measured; rounds are interleaved over
            the models so that a slow drift of the device meets all of them.
        benchmark_model: LiteRT's benchmark_model binary for the device.
        benchmark_model_url: where to download it, if it is not given.
        benchmark_model_sha256: digest the download must have.
        adb: the adb executable; default: $ADB, then adb on PATH.
        core_mask: cores to run on, as a hexadecimal mask or as a name in
            `core_masks`, or a list of these, one after the other. Thread
            counts larger than a mask are left out with it. Default: on a
            device no pinning, on the host as many cores as threads.
        core_masks: names for hexadecimal masks of the device.
        fixed_performance: whether a device's fixed-performance mode is used,
            where it has one; it is switched off again in every case.
        cool_down_secs: pause before each measurement, in seconds.
        max_celsius: a device whose skin or battery is warmer, or that
            throttles, is waited for ...
        max_wait_secs: ... but no longer than this; then it is measured, and
            the result marked.
        reconnect_secs: how long a device that went away is waited for.
        min_cpu_share: on the host, the share of the measured time for which
            the measuring thread must have had a core; with less, because
            other programs had it, the result is marked.
        profile_ops: whether each model is run once more for the time per
            operator, after the rounds and apart from them (devices only).
        resume: whether the rounds that are in `output` already are kept.
        compare: results.jsonl of an earlier run, to compare this one with.
        max_regression: how much slower than that is allowed, e.g. "3%".
        export_report: report.json of the export that made the models; the
            report then shows accuracy over latency.
        clean: whether the pushed files are removed from the device at the
            end; else they stay for the next run.
        seed: of the random input values.
        output: folder of the results; None or "" writes nothing.
    """

    models: tuple[str, ...]
    device: str = AUTO
    threads: tuple[int, ...] = (1,)
    delegates: tuple[str, ...] = (delegates_lib.XNNPACK,)
    scenario: str = STANDARD
    warmup_runs: int = 5
    warmup_min_secs: float = 0.5
    num_runs: int = 50
    min_secs: float = 1.0
    max_secs: float = 150.0
    rounds: int = 3
    benchmark_model: str | None = None
    benchmark_model_url: str | None = None
    benchmark_model_sha256: str | None = None
    adb: str | None = None
    core_mask: str | tuple[str, ...] | None = None
    core_masks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fixed_performance: bool = True
    cool_down_secs: float = 0.0
    max_celsius: float = 42.0
    max_wait_secs: float = 900.0
    reconnect_secs: float = 60.0
    min_cpu_share: float = 0.9
    profile_ops: bool = False
    resume: bool = False
    compare: str | None = None
    max_regression: str | float = "3%"
    export_report: str | None = None
    clean: bool = False
    seed: int = 0
    output: str | None = "out/benchmark"

    def __post_init__(self):
        for name in ("models", "threads", "delegates"):
            value = getattr(self, name)
            if not isinstance(value, list | tuple) or not value:
                raise ValueError(
                    f"{name}: expected a non-empty list, got {value!r}"
                )
            object.__setattr__(self, name, tuple(value))
        for name, value in (("models", self.models), ("device", [self.device])):
            for item in value:
                _check(name, item, isinstance(item, str) and item, "a name")
        for threads in self.threads:
            _check("threads", threads, _is_int(threads, 1), "integers >= 1")
        for key in self.delegates:
            _check("delegates", key, isinstance(key, str), "names")
            delegates_lib.parse(key)
        for name in ("models", "threads", "delegates"):
            value = list(getattr(self, name))
            if len(set(value)) != len(value):
                raise ValueError(f"{name}: each may be given once: {value!r}")
        for name, least in (
            ("warmup_runs", 0),
            ("num_runs", 1),
            ("rounds", 1),
            ("seed", 0),
        ):
            value = getattr(self, name)
            _check(name, value, _is_int(value, least), f"an integer >= {least}")
        for name in (
            "warmup_min_secs",
            "min_secs",
            "max_secs",
            "cool_down_secs",
            "max_wait_secs",
            "reconnect_secs",
        ):
            value = getattr(self, name)
            valid = isinstance(value, int | float) and not isinstance(
                value, bool
            )
            _check(name, value, valid and 0 <= value < 1e6, "seconds >= 0")
        limit = self.max_celsius
        valid = isinstance(limit, int | float) and not isinstance(limit, bool)
        _check(
            "max_celsius", limit, valid and 0 < limit < 200, "degrees Celsius"
        )
        share = self.min_cpu_share
        valid = isinstance(share, int | float) and not isinstance(share, bool)
        _check(
            "min_cpu_share", share, valid and 0 <= share <= 1, "a share of 1"
        )
        for name in ("fixed_performance", "profile_ops", "resume", "clean"):
            value = getattr(self, name)
            _check(name, value, isinstance(value, bool), "true or false")
        comparison.parse_share(str(self.max_regression))
        self._apply_scenario()
        if self.max_secs < max(self.min_secs, self.warmup_min_secs, 0.001):
            raise ValueError(
                f"max_secs: expected at least min_secs={self.min_secs} and "
                f"warmup_min_secs={self.warmup_min_secs}, got {self.max_secs}"
            )
        for name in (
            "benchmark_model",
            "benchmark_model_url",
            "benchmark_model_sha256",
            "adb",
            "compare",
            "export_report",
            "output",
        ):
            value = getattr(self, name)
            _check(name, value, value is None or isinstance(value, str), "text")
        self._check_masks()

    def settings(self) -> tuple[Setting, ...]:
        """Returns every setting, those that lack cores for threads left out.

        A delegate that does not run on the CPU is run once per core mask,
        with the fewest threads: they only feed it.
        """
        found = []
        for threads in self.threads:
            for mask in self._mask_bits():
                if mask is not None and threads > mask.bit_count():
                    continue
                for delegate in map(delegates_lib.parse, self.delegates):
                    if delegate.on_cpu or threads == min(self.threads):
                        found.append(Setting(threads, mask, delegate))
        return tuple(found)

    def _mask_bits(self):
        return [
            int(self.core_masks.get(mask, mask), 16) for mask in self._masks()
        ] or [None]

    def _masks(self):
        if self.core_mask in (None, "", (), []):
            return []
        several = isinstance(self.core_mask, list | tuple)
        return list(self.core_mask) if several else [self.core_mask]

    def _apply_scenario(self):
        _check(
            "scenario",
            self.scenario,
            self.scenario in (STANDARD, SINGLE_STREAM),
            f"{STANDARD} or {SINGLE_STREAM}",
        )
        if self.scenario == SINGLE_STREAM:
            least = {
                "num_runs": _SINGLE_STREAM_RUNS,
                "min_secs": _SINGLE_STREAM_SECS,
                "max_secs": _SINGLE_STREAM_MAX_SECS,
            }
            for name, value in least.items():
                object.__setattr__(self, name, max(getattr(self, name), value))

    def _check_masks(self):
        if not isinstance(self.core_masks, Mapping):
            raise ValueError(
                "core_masks: expected names with hexadecimal masks, got "
                f"{self.core_masks!r}"
            )
        for name, mask in self.core_masks.items():
            _check_mask(f"core_masks.{name}", mask)
            if re.fullmatch(r"[0-9a-fA-F]+", str(name)):
                raise ValueError(
                    f"core_masks: the name {name!r} reads as a mask; choose "
                    "one that is not hexadecimal"
                )
        masks = self._masks()
        for mask in masks:
            if not isinstance(mask, str) or mask not in self.core_masks:
                known = ", ".join(map(str, self.core_masks))
                _check_mask("core_mask", mask, known)
        if len(set(self._mask_bits())) != max(len(masks), 1):
            raise ValueError(f"core_mask: each may be given once: {masks!r}")
        most = max(
            (mask.bit_count() for mask in self._mask_bits() if mask),
            default=None,
        )
        if most is not None and max(self.threads) > most:
            # Threads that take turns on a core are no figure of the device.
            raise ValueError(
                f"threads={max(self.threads)}: more than the cores of "
                f"core_mask={','.join(masks)}, which has {most}; lower "
                "--threads or widen --core_mask"
            )


def load(
    config_file: str | None, overrides: Mapping[str, Any]
) -> BenchmarkConfig:
    """Returns the configuration of a YAML file with overrides on top.

    Args:
        config_file: a YAML file with fields of `BenchmarkConfig`, or None.
        overrides: fields by name; None means "not given".

    Raises:
        ValueError: if the file is missing, is not YAML, holds an unknown key
            or a value that does not fit.
    """
    accepted = [field.name for field in dataclasses.fields(BenchmarkConfig)]
    values = {}
    if config_file:
        values = files.read_yaml(config_file)
        for key in values:
            if key not in accepted:
                raise ValueError(
                    f"{config_file}: unknown key {key!r}; accepted: "
                    f"{', '.join(accepted)}"
                )
    values |= {k: v for k, v in overrides.items() if v is not None}
    if not values.get("models"):
        raise ValueError("--models is required: got nothing, expected .tflite")
    try:
        return BenchmarkConfig(**values)
    except ValueError as error:
        if config_file:
            raise ValueError(f"{config_file} and flags: {error}") from error
        raise


def _is_int(value, least):
    return (
        isinstance(value, int)
        and not isinstance(value, bool)
        and value >= least
    )


def _check(name, value, valid, expected):
    if not valid:
        raise ValueError(f"{name}: expected {expected}, got {value!r}")


def _check_mask(name, mask, names=""):
    # YAML reads 80 as a number and 0f as text, so numbers must be quoted.
    valid = (
        isinstance(mask, str)
        and re.fullmatch(r"[0-9a-fA-F]{1,16}", mask)
        and int(mask, 16)
    )
    if not valid:
        known = f" or one of {names}" if names else ""
        raise ValueError(
            f'{name}: expected a quoted hexadecimal mask such as "f0"{known}, '
            f"got {mask!r}"
        )
