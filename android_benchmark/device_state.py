"""The state of a device: heat, clocks, battery; and what it does to results.

One shell command reads everything, so that a look costs one round trip.
Sources: cpufreq in /sys, `dumpsys battery` (temperature in 0.1 degrees C),
`dumpsys thermalservice` and `dumpsys power`. Of the thermal service only the
block "Current temperatures from HAL" is read: the one before it is a cache
that may be hours old. What a device does not tell is None or empty.
"""

import dataclasses
import re

# android.os.PowerManager.THERMAL_STATUS_*, from 0.
_STATUS_NAMES = (
    "none",
    "light",
    "moderate",
    "severe",
    "critical",
    "emergency",
    "shutdown",
)
# android.os.Temperature.TYPE_*: these warm up slowly and say that the device
# is hot; a CPU's sensor jumps with every inference.
_SLOW_SENSORS = {2: "battery", 3: "skin"}
_LOW_BATTERY = 15
COMMAND = (
    "echo '#boot'; cat /proc/sys/kernel/random/boot_id; echo '#cpufreq'; "
    "for d in /sys/devices/system/cpu/cpu[0-9]*/cpufreq; do "
    'echo "$d $(cat $d/scaling_governor || echo -) '
    "$(cat $d/scaling_cur_freq || echo -) "
    "$(cat $d/scaling_max_freq || echo -) "
    '$(cat $d/cpuinfo_max_freq || echo -)"; done; '
    "echo '#battery'; dumpsys battery; "
    "echo '#thermal'; dumpsys thermalservice; "
    "echo '#power'; dumpsys power | grep mWakefulness="
)
_SECTION = re.compile(r"^#(?P<name>boot|cpufreq|battery|thermal|power)$", re.M)
_CLOCK = re.compile(
    r"cpu/cpu(?P<core>\d{1,4})/cpufreq (?P<governor>\S{1,40}) "
    r"(?P<now>\d{1,9}|-) (?P<limit>\d{1,9}|-) (?P<most>\d{1,9}|-)$",
    re.M,
)
_STATUS = re.compile(r"^\s*Thermal Status: (\d)\s*$", re.M)
_HAL_BLOCK = re.compile(
    r"Current temperatures from HAL:\s*\n(?P<rows>(?:\s*Temperature\{.*\n?)*)"
)
_TEMPERATURE = re.compile(
    r"mValue=(?P<value>-?\d{1,4}(?:\.\d{1,20})?), mType=(?P<type>-?\d{1,3}), "
    r"mName=(?P<name>[^,}]*)"
)


@dataclasses.dataclass(frozen=True)
class CoreClock:
    """A core's clock, in kHz.

    Attributes:
        core: its number.
        governor: which chooses the frequency.
        now_khz: current frequency.
        limit_khz: what it is held below now, e.g. because of heat.
        most_khz: what the core can do.
    """

    core: int
    governor: str
    now_khz: int | None
    limit_khz: int | None
    most_khz: int | None

    @property
    def is_limited(self) -> bool:
        """Whether it is held below what it can do."""
        known = self.limit_khz is not None and self.most_khz is not None
        return known and self.limit_khz < self.most_khz


@dataclasses.dataclass(frozen=True)
class Temperature:
    """A sensor: its name, android.os.Temperature's type, degrees C."""

    name: str
    type: int
    celsius: float


@dataclasses.dataclass(frozen=True)
class DeviceState:
    """A device at one moment.

    Attributes:
        boot_id: differs after a restart.
        clocks: of the cores, in their order.
        battery_percent, battery_celsius, is_charging: of the battery.
        thermal_status: 0 (none) to 6 (shutdown); throttling starts at 1.
        temperatures: of the HAL's sensors.
        is_awake: whether the screen is on.
        fixed_performance: whether this project has switched the mode on.
    """

    boot_id: str | None
    clocks: tuple[CoreClock, ...]
    battery_percent: int | None
    battery_celsius: float | None
    is_charging: bool | None
    thermal_status: int | None
    temperatures: tuple[Temperature, ...]
    is_awake: bool | None
    fixed_performance: bool

    def slow_temperatures(self) -> dict[str, float]:
        """Returns degrees C of what is slow to warm up, by name."""
        found = {
            f"{_SLOW_SENSORS[t.type]} {t.name}": t.celsius
            for t in self.temperatures
            if t.type in _SLOW_SENSORS
        }
        if self.battery_celsius is not None:
            found["battery"] = self.battery_celsius
        return found


def parse(text: str, fixed_performance: bool) -> DeviceState:
    """Returns the state from what `COMMAND` printed."""
    sections = _sections(text)
    battery = dict(
        re.findall(
            r"^\s*([A-Za-z ]+): (\S+)\s*$", sections.get("battery", ""), re.M
        )
    )
    thermal = sections.get("thermal", "")
    status = _STATUS.search(thermal)
    block = _HAL_BLOCK.search(thermal)
    awake = re.search(r"mWakefulness=(\w+)", sections.get("power", ""))
    tenths = _number(battery.get("temperature"))
    powered = [v for k, v in battery.items() if k.endswith("powered")]
    return DeviceState(
        boot_id=sections.get("boot", "").strip() or None,
        clocks=tuple(
            sorted(
                (
                    CoreClock(
                        core=int(m["core"]),
                        governor=m["governor"],
                        now_khz=_number(m["now"]),
                        limit_khz=_number(m["limit"]),
                        most_khz=_number(m["most"]),
                    )
                    for m in _CLOCK.finditer(sections.get("cpufreq", ""))
                ),
                key=lambda clock: clock.core,
            )
        ),
        battery_percent=_number(battery.get("level")),
        battery_celsius=None if tenths is None else tenths / 10,
        is_charging="true" in powered if powered else None,
        thermal_status=int(status[1]) if status else None,
        temperatures=tuple(
            Temperature(m["name"], int(m["type"]), float(m["value"]))
            for m in _TEMPERATURE.finditer(block["rows"] if block else "")
        ),
        is_awake=awake[1] == "Awake" if awake else None,
        fixed_performance=fixed_performance,
    )


def heat(state: DeviceState, max_celsius: float) -> list[str]:
    """Returns why the device is too hot to measure; empty if it is not."""
    reasons = []
    if state.thermal_status:
        reasons.append(f"thermal status {_status_name(state.thermal_status)}")
    reasons.extend(
        f"{name} at {celsius:.1f} C, limit {max_celsius:.1f} C"
        for name, celsius in state.slow_temperatures().items()
        if celsius > max_celsius
    )
    return reasons


def suspicions(before: DeviceState, after: DeviceState) -> list[str]:
    """Returns what speaks against a measurement between two states."""
    notes = []
    status = max(before.thermal_status or 0, after.thermal_status or 0)
    if status:
        notes.append(
            f"measured under throttling: thermal status {_status_name(status)}"
        )
    # Fixed-performance mode limits the clocks on purpose, for all runs alike.
    if not after.fixed_performance:
        limited = [c for c in after.clocks if c.is_limited]
        if limited:
            notes.append(
                "measured under throttling: "
                + ", ".join(
                    f"cpu{c.core} held at {c.limit_khz / 1e6:.2f} of "
                    f"{c.most_khz / 1e6:.2f} GHz"
                    for c in limited
                )
            )
    governors = [tuple(c.governor for c in s.clocks) for s in (before, after)]
    if governors[0] != governors[1]:
        notes.append("the governor changed during the measurement")
    if (
        after.battery_percent is not None
        and after.battery_percent <= _LOW_BATTERY
        and not after.is_charging
    ):
        notes.append(
            f"battery at {after.battery_percent} %: power saving may be on"
        )
    return notes


def one_line(state: DeviceState) -> str:
    """Returns the state in a few words, for the terminal."""
    parts = []
    if state.thermal_status is not None:
        parts.append(f"thermal {_status_name(state.thermal_status)}")
    parts.extend(f"{k} {v:.1f} C" for k, v in state.slow_temperatures().items())
    if state.battery_percent is not None:
        charging = ", charging" if state.is_charging else ""
        parts.append(f"battery {state.battery_percent} %{charging}")
    if state.fixed_performance:
        parts.append("fixed-performance mode")
    return ", ".join(parts) or "state unknown"


def _sections(text):
    parts = _SECTION.split(text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _number(text):
    valid = text is not None and re.fullmatch(r"-?\d{1,9}", text)
    return int(text) if valid else None


def _status_name(status):
    name = _STATUS_NAMES[status] if status < len(_STATUS_NAMES) else "unknown"
    return f"{status} ({name})"
