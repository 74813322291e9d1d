"""What is read of a device's state, and what it says about a result."""

import dataclasses
import random

import pytest

from android_benchmark import device_state

_TEXT = """#boot
1b2c-3d
#cpufreq
/sys/devices/system/cpu/cpu0/cpufreq schedutil 300000 1785600 1785600
/sys/devices/system/cpu/cpu7/cpufreq schedutil 825600 2841600 2841600
/sys/devices/system/cpu/cpu10/cpufreq performance - - -
#battery
Current Battery Service state:
  AC powered: false
  USB powered: true
  level: 85
  temperature: 287
#thermal
IsStatusOverride: false
Thermal Status: 0
Cached temperatures:
\tTemperature{mValue=88.0, mType=3, mName=skin, mStatus=4}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{mValue=55.2, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=33.25, mType=3, mName=quiet-therm, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=0, mType=2, mName=cpu}
#power
  mWakefulness=Asleep
"""


def _state(text=_TEXT, fixed=False):
    return device_state.parse(text, fixed)


def test_everything_is_read():
    state = _state()
    assert state.boot_id == "1b2c-3d"
    assert [c.core for c in state.clocks] == [0, 7, 10]
    assert state.clocks[1].now_khz == 825600
    assert state.clocks[2] == device_state.CoreClock(
        10, "performance", None, None, None
    )
    assert (state.battery_percent, state.battery_celsius) == (85, 28.7)
    assert state.is_charging is True and state.is_awake is False
    # The cached 88 degrees are not among them.
    assert [t.celsius for t in state.temperatures] == [55.2, 33.25]
    assert state.slow_temperatures() == {
        "skin quiet-therm": 33.25,
        "battery": 28.7,
    }


def test_one_line():
    assert device_state.one_line(_state(fixed=True)) == (
        "thermal 0 (none), skin quiet-therm 33.2 C, battery 28.7 C, battery "
        "85 %, charging, fixed-performance mode"
    )
    assert device_state.one_line(_state("")) == "state unknown"


def test_a_device_that_tells_nothing_has_no_state():
    state = _state("")
    assert state.clocks == () and state.thermal_status is None
    assert state.battery_celsius is None and state.is_awake is None
    assert device_state.heat(state, 40) == []
    assert device_state.suspicions(state, state) == []


@pytest.mark.parametrize(
    ("change", "limit", "expected"),
    [
        (("Status: 0", "Status: 3"), 40, ["thermal status 3 (severe)"]),
        (("", ""), 30, ["skin quiet-therm at 33.2 C, limit 30.0 C"]),
        (("", ""), 40, []),
        # A CPU's sensor jumps with each inference: it is not waited for.
        (("mValue=55.2", "mValue=95.2"), 40, []),
    ],
)
def test_heat(change, limit, expected):
    assert device_state.heat(_state(_TEXT.replace(*change)), limit) == expected


def test_throttling_marks_a_result():
    before = _state()
    after = _state(_TEXT.replace("825600 2841600", "825600 1708800"))
    (note,) = device_state.suspicions(before, after)
    assert note == ("measured under throttling: cpu7 held at 1.71 of 2.84 GHz")
    # The fixed-performance mode holds clocks down on purpose.
    fixed = dataclasses.replace(after, fixed_performance=True)
    assert device_state.suspicions(before, fixed) == []


def test_an_empty_battery_and_another_governor_mark_a_result():
    low = _TEXT.replace("level: 85", "level: 9").replace("true", "false")
    (note,) = device_state.suspicions(_state(), _state(low))
    assert "battery at 9 %" in note
    other = _TEXT.replace("schedutil", "powersave")
    (note,) = device_state.suspicions(_state(), _state(other))
    assert "governor changed" in note


def test_no_text_crashes_it():
    generator = random.Random(0)
    for _ in range(1500):
        text = list(_TEXT)
        for _ in range(generator.randint(1, 10)):
            place = generator.randrange(len(text))
            text[place : place + generator.choice((0, 1, 60))] = (
                generator.choices("\n#:={} 0179e-ü", k=3)
            )
        state = _state("".join(text))
        device_state.heat(state, 40)
        device_state.suspicions(_state(), state)
        device_state.one_line(state)
