"""Whatever ends a run: nothing stays running or switched on on the device."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from android_benchmark import adb
from android_benchmark import benchmark
from android_benchmark import benchmark_config
from android_benchmark import device_guard

_BINARY = (
    pathlib.Path(__file__).parents[2] / "android_benchmark/run_benchmark.py"
)
_PUSHED = ["_benchmark_model", ".tflite"]


@pytest.fixture
def config(models, quick_tool, adb_server):
    return benchmark_config.BenchmarkConfig(
        models=models[:1],
        device="adb",
        rounds=2,
        max_secs=20.0,
        benchmark_model=quick_tool,
        adb=adb_server,
        reconnect_secs=20.0,
        output=None,
    )


def _run(config, progress=lambda line: None):
    (aggregate,) = benchmark.run(config, progress).aggregates
    return aggregate


def _folder(device):
    return device.folder / "mobilebert_benchmark"


def _leftovers(device):
    """Returns what lies in our folder beside the pushed files."""
    return [
        path.name
        for path in _folder(device).iterdir()
        if path.name[64:] not in _PUSHED
    ]


def _wait_until(condition, secs=120):
    deadline = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def _tools(device):
    """Returns the processes of this device that still run a tool."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(device.folder).encode() in line and b"--graph" in line:
                found.append(int(entry.name))
    return found


def test_the_mode_is_on_while_measuring_and_off_afterwards(connect, config):
    device = connect()
    seen = []
    aggregate = _run(config, lambda line: seen.append(device.fixed_performance))
    assert seen[-1] == "true"
    assert aggregate.state_after["fixed_performance"] is True
    assert device.fixed_performance == "false"
    assert _leftovers(device) == []


def test_the_mode_can_be_left_alone(connect, config):
    device = connect()
    _run(dataclasses.replace(config, fixed_performance=False))
    assert device.fixed_performance is None


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)],
)
def test_an_interrupted_run_undoes_everything(connect, config, number):
    device = connect()
    device.environment["FAULT"] = "hang"
    process = _start(device, config)
    _wait_until(lambda: _tools(device))
    assert device.fixed_performance == "true"

    process.send_signal(number)
    _, errors = process.communicate(timeout=120)

    assert process.returncode == 128 + number
    assert "Traceback" not in errors
    assert device.fixed_performance == "false"
    assert _leftovers(device) == []
    _wait_until(lambda: not _tools(device))


def test_a_killed_run_is_undone_by_the_device(connect, config):
    device = connect()
    device.environment["FAULT"] = "hang"
    process = _start(device, config)
    _wait_until(lambda: _tools(device))
    process.kill()
    process.communicate(timeout=120)
    assert device.fixed_performance == "true"

    # As if the time in the lease had come.
    (_folder(device) / "lease").write_text("0\n")

    _wait_until(lambda: device.fixed_performance == "false")
    _wait_until(lambda: not _tools(device))
    _wait_until(lambda: _leftovers(device) == [])


def test_the_next_run_ends_what_a_lost_one_left(connect, reconnect, config):
    device = connect(drop_marker=b"STARTING!")
    device.environment["FAULT"] = "hang"
    lost = _run(dataclasses.replace(config, reconnect_secs=0.0))
    assert lost.status == "failed" and "went away" in lost.error
    (old,) = {_pid(device)}
    assert pathlib.Path(f"/proc/{old}").exists()

    device.drop_marker = None
    del device.environment["FAULT"]
    reconnect(device)
    assert _run(config).status == "ok"
    _wait_until(lambda: not _tools(device))
    assert _leftovers(device) == []


def test_a_sweep_goes_on_when_the_device_comes_back(connect, config):
    device = connect(drop_marker=b"STARTING!")
    lines = []

    def progress(line):
        lines.append(line)
        device.drop_marker = None

    # The first line after the loss: from now on the connection holds.
    finished = benchmark.run(config, lambda line: _after_loss(line, progress))

    first, second = finished.rounds
    assert first.status == "failed" and "went away" in first.error
    assert second.status == "ok"
    assert finished.aggregates[0].status == "incomplete"
    assert any("waiting for it to come back" in line for line in lines)
    assert _leftovers(device) == []


def test_a_restarted_device_is_prepared_again(connect, config):
    device = connect()
    lines = []

    def progress(line):
        lines.append(line)
        if line.startswith("[1/2]"):
            device.restart("second-boot")

    aggregate = _run(config, progress)

    assert aggregate.status == "ok"
    assert any("it was restarted" in line for line in lines)
    assert aggregate.state_after["fixed_performance"] is True
    assert device.fixed_performance == "false"


def test_a_device_in_use_is_left_alone(connect, config):
    device = connect()
    _run(config)
    folder = _folder(device)
    (folder / "owner").write_text("other-computer:1\n")
    (folder / "lease").write_text(f"{int(time.time()) + 100}\n")
    with pytest.raises(adb.AdbError, match="another run has it.*other-comp"):
        _run(config)
    assert (folder / "lease").exists()
    (folder / "lease").write_text("1\n")
    assert _run(config).status == "ok"


def test_another_process_of_this_computer_counts_while_it_lives(
    connect, config
):
    device = connect()
    _run(config)
    owner, lease = _folder(device) / "owner", _folder(device) / "lease"
    host = device_guard._host_name()
    owner.write_text(f"{host}:{os.getppid()}\n")
    lease.write_text(f"{int(time.time()) + 100}\n")
    with pytest.raises(adb.AdbError, match="another run has it"):
        _run(config)
    # Larger than any process number: one that has ended.
    owner.write_text(f"{host}:999999999\n")
    assert _run(config).status == "ok"


def test_waits_while_hot_and_says_so(connect, config, monkeypatch):
    device = connect()
    device.set_state(status=2, skin=48.0)
    monkeypatch.setattr("android_benchmark.phone._HEAT_POLL_SECS", 0.01)
    lines = []

    def progress(line):
        lines.append(line)
        if "too hot" in line:
            device.set_state()

    assert _run(config, progress).status == "ok"
    (waiting,) = [line for line in lines if "too hot" in line]
    assert "thermal status 2 (moderate)" in waiting
    assert "skin skin at 48.0 C, limit 42.0 C" in waiting


def test_a_device_that_stays_hot_is_measured_and_marked(connect, config):
    device = connect()
    device.set_state(status=1, battery=44.0)
    aggregate = _run(dataclasses.replace(config, max_wait_secs=0))
    assert aggregate.status == "marked"
    notes = " ".join(aggregate.notes)
    assert "measured hot: thermal status 1 (light), battery at 44.0" in notes
    assert "measured under throttling" in notes


def _start(device, config):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    return subprocess.Popen(
        [
            sys.executable,
            str(_BINARY),
            f"--models={config.models[0]}",
            f"--device={device.serial}",
            f"--benchmark_model={config.benchmark_model}",
            f"--adb={config.adb}",
            "--output=",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # Jobs in the background ignore it, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def _pid(device):
    return int((_folder(device) / "run.pid").read_text())


def _after_loss(line, progress):
    if "[1/2]" in line or "waiting" in line:
        progress(line)
