"""What a device is: model, SoC, ABI, Android version and clusters of cores."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from android_benchmark import adb

_TIMEOUT_SECS = 30
_UNKNOWN = "unknown"
_PROPERTY = re.compile(r"^\[(?P<key>[^\]]+)\]: \[(?P<value>.*)\]$", re.M)
_FREQUENCY = re.compile(r"cpu(?P<core>\d+) (?P<khz>\d+)")
_READ_FREQUENCIES = (
    "for d in /sys/devices/system/cpu/cpu[0-9]*; do "
    'echo "${d##*/} $(cat $d/cpufreq/cpuinfo_max_freq 2>/dev/null)"; done'
)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Cores with the same highest frequency.

    Attributes:
        max_frequency_khz: in kHz, as cpufreq has it.
        cores: their numbers.
    """

    max_frequency_khz: int
    cores: tuple[int, ...]

    @property
    def mask(self) -> int:
        """Bit i set for each core i."""
        return sum(1 << core for core in self.cores)


@dataclasses.dataclass(frozen=True)
class DeviceProperties:
    """What a device says about itself; "unknown" or empty where it does not.

    Attributes:
        serial: of adb.
        model: e.g. "Pixel 4".
        soc: e.g. "SM8150", or the platform's name where that is missing.
        abi: e.g. "arm64-v8a".
        android_version: e.g. "13".
        sdk: API level, e.g. "33".
        fingerprint: of the build.
        clusters: slowest first; empty where cpufreq cannot be read.
    """

    serial: str
    model: str
    soc: str
    abi: str
    android_version: str
    sdk: str
    fingerprint: str
    clusters: tuple[Cluster, ...]

    def describe(self) -> dict[str, Any]:
        """Returns the properties for the report."""
        facts = dataclasses.asdict(self)
        facts["device"] = facts.pop("serial")
        facts["clusters"] = [
            {**dataclasses.asdict(c), "mask": f"{c.mask:x}"}
            for c in self.clusters
        ]
        return facts


def read_properties(client: adb.Adb) -> DeviceProperties:
    """Asks the device; what it does not tell stays unknown.

    Raises:
        adb.AdbError: if the device goes away.
    """
    text = client.shell("getprop", _TIMEOUT_SECS).stdout
    known = {m["key"]: m["value"] for m in _PROPERTY.finditer(text)}

    def first(*keys):
        return next((known[k] for k in keys if known.get(k)), _UNKNOWN)

    frequencies = client.shell(_READ_FREQUENCIES, _TIMEOUT_SECS).stdout
    return DeviceProperties(
        serial=client.serial,
        model=first("ro.product.model"),
        # ro.soc.model exists from Android 12.
        soc=first("ro.soc.model", "ro.board.platform", "ro.hardware"),
        abi=first("ro.product.cpu.abi"),
        android_version=first("ro.build.version.release"),
        sdk=first("ro.build.version.sdk"),
        fingerprint=first("ro.build.fingerprint"),
        clusters=parse_clusters(frequencies),
    )


def parse_clusters(text: str) -> tuple[Cluster, ...]:
    """Returns the clusters from lines such as `cpu0 1785600`, slowest first."""
    cores_by_khz = {}
    for match in _FREQUENCY.finditer(text):
        cores = cores_by_khz.setdefault(int(match["khz"]), [])
        cores.append(int(match["core"]))
    return tuple(
        Cluster(khz, tuple(sorted(cores)))
        for khz, cores in sorted(cores_by_khz.items())
    )


def check_core_mask(mask: int | None, clusters: Sequence[Cluster]) -> None:
    """Checks that the cores of a mask exist, as far as the clusters are known.

    Raises:
        ValueError: if one does not.
    """
    if mask is None or not clusters:
        return
    every = sum(cluster.mask for cluster in clusters)
    if mask & ~every:
        listing = ", ".join(
            f"{c.mask:x} ({c.max_frequency_khz / 1e6:.2f} GHz)"
            for c in clusters
        )
        raise ValueError(
            f"core_mask={mask:x}: the device has the cores {every:x}; its "
            f"clusters are {listing}"
        )
