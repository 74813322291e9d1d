"""What to measure, where and how long: one frozen, checked dataclass.

Values come from flags, then from a YAML file, then from the defaults here. A
YAML file may hold any field of `BenchmarkConfig` and nothing else.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from mobilebert_tf import files

HOST = "host"
AUTO = "auto"
ANY_ADB = "adb"


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """One benchmark run: every model x threads x round.

    Attributes:
        models: .tflite files.
        device: "host", an adb serial, "adb" (the one attached device) or
            "auto" (the attached adb device if exactly one and there is a
            `benchmark_model`, else the host).
        threads: thread counts to measure.
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
        adb: the adb executable; default: $ADB, then adb on PATH.
        core_mask: cores to run on, as a hexadecimal mask or as a name in
            `core_masks`, with a core for each of the most threads; default:
            on a device no pinning, on the host as many cores as threads.
        core_masks: names for hexadecimal masks of the device.
        seed: of the random input values.
        output: folder of the results; None or "" writes nothing.
    """

    models: tuple[str, ...]
    device: str = AUTO
    threads: tuple[int, ...] = (1,)
    warmup_runs: int = 5
    warmup_min_secs: float = 0.5
    num_runs: int = 50
    min_secs: float = 1.0
    max_secs: float = 150.0
    rounds: int = 3
    benchmark_model: str | None = None
    adb: str | None = None
    core_mask: str | None = None
    core_masks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    seed: int = 0
    output: str | None = "out/benchmark"

    def __post_init__(self):
        for name in ("models", "threads"):
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
        for name in ("models", "threads"):
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
        for name in ("warmup_min_secs", "min_secs", "max_secs"):
            value = getattr(self, name)
            valid = isinstance(value, int | float) and not isinstance(
                value, bool
            )
            _check(name, value, valid and 0 <= value < 1e6, "seconds >= 0")
        if self.max_secs < max(self.min_secs, self.warmup_min_secs, 0.001):
            raise ValueError(
                f"max_secs: expected at least min_secs={self.min_secs} and "
                f"warmup_min_secs={self.warmup_min_secs}, got {self.max_secs}"
            )
        for name in ("benchmark_model", "adb", "output"):
            value = getattr(self, name)
            _check(name, value, value is None or isinstance(value, str), "text")
        self._check_masks()

    @property
    def core_mask_bits(self) -> int | None:
        """The core mask as a number, bit i for core i; None if not set."""
        if self.core_mask in (None, ""):
            return None
        return int(self.core_masks.get(self.core_mask, self.core_mask), 16)

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
        mask = self.core_mask
        if mask in (None, ""):
            return
        if not isinstance(mask, str) or mask not in self.core_masks:
            _check_mask("core_mask", mask, ", ".join(map(str, self.core_masks)))
        cores = self.core_mask_bits.bit_count()
        if max(self.threads) > cores:
            # Threads that take turns on a core are no figure of the device.
            raise ValueError(
                f"threads={max(self.threads)}: more than the cores of "
                f"core_mask={mask}, which has {cores}; lower --threads or "
                "widen --core_mask"
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
