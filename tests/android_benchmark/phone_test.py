"""Device mode from the flags to the report: real adb, fake device."""

import dataclasses
import json
import os
import pathlib
import time

import pytest

from android_benchmark import adb
from android_benchmark import benchmark
from android_benchmark import benchmark_config
from android_benchmark import model_file
from android_benchmark import phone


@pytest.fixture
def config(models, device_binary, adb_server):
    return benchmark_config.BenchmarkConfig(
        models=models,
        device="adb",
        rounds=2,
        num_runs=20,
        min_secs=0.05,
        warmup_min_secs=0.01,
        max_secs=20.0,
        benchmark_model=device_binary,
        adb=adb_server,
        output=None,
    )


def _ours(device):
    return device.folder / "mobilebert_benchmark"


def _one_model(config):
    return dataclasses.replace(config, models=config.models[:1], rounds=1)


def _error(config):
    (aggregate,) = benchmark.run(_one_model(config)).aggregates
    assert aggregate.status == "failed"
    assert aggregate.measurement is None
    return aggregate.error


def test_measures_on_the_device_and_reports(connect, config, tmp_path):
    device = connect()
    output = tmp_path / "out"
    lines = []

    finished = benchmark.run(
        dataclasses.replace(config, output=str(output), threads=(1, 2)),
        progress=lines.append,
    )

    assert not finished.failures
    assert len(finished.rounds) == 8 and len(finished.aggregates) == 4
    assert finished.device["model"] == "Pixel 4"
    assert finished.device["soc"] == "msmnile"
    small, large = finished.aggregates[:2]
    assert small.device == device.serial
    assert small.measurement.latency.count >= 40
    assert large.measurement.latency.min_us > small.measurement.latency.min_us
    assert small.measurement.peak_memory_delta_bytes == 2.5 * (1 << 20)
    # The tool gives no p99: it is absent, not invented.
    assert small.measurement.latency.p99_us is None
    written = [
        json.loads(line)
        for line in (output / "results.jsonl").read_text().splitlines()
    ]
    assert [line["record"] for line in written].count("aggregate") == 4
    assert "<svg" in (output / "report.html").read_text()
    assert [line.split()[0] for line in lines[:3]] == ["pushing"] * 3
    assert "[8/8]" in lines[-1]


def test_files_are_pushed_once_and_left_whole(connect, config):
    device = connect()
    benchmark.run(config)
    before = {p.name: p.stat().st_mtime_ns for p in _ours(device).iterdir()}
    assert len(before) == 3
    damaged = next(p for p in _ours(device).iterdir() if p.suffix == ".tflite")
    damaged.write_bytes(b"cut short")
    before.pop(damaged.name)

    finished = benchmark.run(config)

    assert not finished.failures
    after = {p.name: p.stat().st_mtime_ns for p in _ours(device).iterdir()}
    after.pop(damaged.name)
    assert after == before


def test_pins_to_the_core_mask(connect, config):
    connect()
    core = min(os.sched_getaffinity(0))
    pinned = dataclasses.replace(
        _one_model(config),
        core_mask="first",
        core_masks={"first": f"{1 << core:x}"},
    )
    (result,) = benchmark.run(pinned).aggregates
    assert result.status == "ok" and result.core_mask == f"{1 << core:x}"

    absent = dataclasses.replace(_one_model(config), core_mask="8" + "0" * 15)
    try:
        error = _error(absent)
    except ValueError as refused:  # This machine's cpufreq lists its cores.
        error = str(refused)
    assert "core_mask" in error or "affinity" in error


def test_old_shell_protocol_still_gives_exit_codes(connect, config):
    device = connect(shell_v2=False)
    assert not benchmark.run(_one_model(config)).failures
    device.environment["FAULT"] = "exit"
    assert "status 1: Failed to load model" in _error(config)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("exit", "status 1: Failed to load model"),
        ("unknown_flag", "ignored them: --use_xnnpack=true"),
        ("truncated", "incomplete"),
        ("threads", r"did not confirm --num_threads=1: got `Num threads:` [2]"),
        ("delegate", "will not be executed by the delegate"),
    ],
)
def test_a_fault_is_an_error_and_no_number(connect, config, fault, message):
    device = connect()
    device.environment["FAULT"] = fault
    assert message in _error(config)


def test_a_failing_model_does_not_lose_the_others(connect, config, tmp_path):
    connect()
    bad = tmp_path / "bad model; $(touch hacked).tflite"
    bad.write_bytes(b"\x1c\0\0\0TFL3")
    finished = benchmark.run(
        dataclasses.replace(config, models=(str(bad), *config.models))
    )
    statuses = [result.status for result in finished.aggregates]
    assert statuses == ["failed", "ok", "ok"]


def test_model_names_are_never_shell_syntax(connect, config, tmp_path):
    device = connect()
    name = "it's $(touch hacked) `touch hacked`; touch hacked \n ü.tflite"
    path = tmp_path / name
    path.write_bytes(pathlib.Path(config.models[0]).read_bytes())
    finished = benchmark.run(
        dataclasses.replace(_one_model(config), models=(str(path),))
    )
    assert not finished.failures
    assert not list(device.root.rglob("hacked"))


def test_disconnect_is_an_error_and_leaves_nothing_running(
    connect, reconnect, config
):
    device = connect(drop_marker=b"STARTING!")
    device.environment["FAULT"] = "hang"

    error = _error(config)

    assert "went away" in error and "incomplete" in error
    pid = int((_ours(device) / "run.pid").read_text())
    assert pathlib.Path(f"/proc/{pid}").exists()

    device.drop_marker = None
    del device.environment["FAULT"]
    reconnect(device)
    assert not benchmark.run(_one_model(config)).failures
    _wait_for_end(pid)
    assert not (_ours(device) / "run.pid").exists()


def test_a_hanging_tool_is_ended(connect, config, monkeypatch):
    device = connect()
    device.environment["FAULT"] = "hang"
    monkeypatch.setattr(phone, "_GRACE_SECS", 1)
    short = dataclasses.replace(config, max_secs=0.1)
    assert "did not end within 1 s" in _error(short)
    assert not (_ours(device) / "run.pid").exists()


def test_a_file_that_cannot_be_written_is_named(connect, config):
    device = connect()
    # A folder in the file's place: like a full disk, it fails on writing.
    name = f"{model_file.sha256_of(config.benchmark_model)}_benchmark_model"
    (_ours(device) / f"{name}.partial" / "occupied").mkdir(parents=True)
    with pytest.raises(adb.AdbError, match="could not push|arrived damaged"):
        benchmark.run(config)


def test_benchmark_model_is_required(connect, config):
    connect()
    with pytest.raises(ValueError, match="--benchmark_model is required.*Baz"):
        benchmark.run(dataclasses.replace(config, benchmark_model=None))


def test_auto_takes_the_only_device_else_the_host(connect, config):
    auto = dataclasses.replace(_one_model(config), device="auto")
    lines = []
    assert benchmark.run(auto, lines.append).rounds[0].device == "host"
    assert "device auto: host (0 usable" in lines[0]
    device = connect()
    lines.clear()
    finished = benchmark.run(auto, lines.append)
    assert finished.rounds[0].device == device.serial
    assert device.serial in lines[0]
    lines.clear()
    without = dataclasses.replace(auto, benchmark_model=None)
    assert benchmark.run(without, lines.append).rounds[0].device == "host"
    assert "device auto: host (--benchmark_model, which" in lines[0]


def _wait_for_end(pid):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as stream:
                if stream.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return
        except FileNotFoundError:
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} still runs")
