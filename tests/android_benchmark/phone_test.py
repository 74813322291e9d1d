"""Device mode from the configuration to the report: real adb, fake device."""

import dataclasses
import json
import pathlib
import time

import pytest

from android_benchmark import benchmark
from android_benchmark import benchmark_config
from android_benchmark import phone


@pytest.fixture
def real_config(models, device_binary, adb_server):
    """Of a tool that measures."""
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


@pytest.fixture
def config(real_config, quick_tool):
    """Of a tool that answers at once: one model, one round."""
    return dataclasses.replace(
        real_config,
        models=real_config.models[:1],
        rounds=1,
        benchmark_model=quick_tool,
        reconnect_secs=0.0,
    )


def _ours(device):
    return device.folder / "mobilebert_benchmark"


def _run(config, lines=None):
    progress = lines.append if lines is not None else lambda line: None
    (aggregate,) = benchmark.run(config, progress).aggregates
    return aggregate


def test_measures_on_the_device_and_reports(connect, real_config, tmp_path):
    device = connect()
    output = tmp_path / "out"
    lines = []

    finished = benchmark.run(
        dataclasses.replace(
            real_config, output=str(output), core_mask=("f0", "80")
        ),
        progress=lines.append,
    )

    assert not finished.failures
    assert len(finished.rounds) == 8 and len(finished.aggregates) == 4
    assert finished.device["model"] == "Pixel 4"
    assert finished.device["soc"] == "msmnile"
    small, large = finished.aggregates[:2]
    assert small.device == device.serial
    assert small.core_mask == "f0"
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
    assert written[0]["state_before"]["temperatures"][1]["celsius"] == 31.5
    assert "<svg" in (output / "report.html").read_text()
    assert [line.split()[0] for line in lines if "pushing" in line] == (
        ["pushing"] * 3
    )
    assert "[8/8]" in lines[-1]


def test_only_whole_pushed_files_stay_and_are_pushed_once(connect, config):
    device = connect()
    _run(config)
    before = {p.name: p.stat().st_mtime_ns for p in _ours(device).iterdir()}
    assert sorted(name[64:] for name in before) == [
        ".tflite",
        "_benchmark_model",
    ]
    damaged = next(p for p in _ours(device).iterdir() if p.suffix == ".tflite")
    damaged.write_bytes(b"cut short")
    before.pop(damaged.name)

    assert _run(config).status == "ok"

    after = {p.name: p.stat().st_mtime_ns for p in _ours(device).iterdir()}
    assert damaged.read_bytes() != b"cut short"
    after.pop(damaged.name)
    assert after == before


def test_clean_leaves_nothing(connect, config):
    device = connect()
    elsewhere = device.folder / "someone_else"
    elsewhere.write_text("stays")
    assert _run(dataclasses.replace(config, clean=True)).status == "ok"
    assert [p.name for p in device.folder.iterdir()] == ["someone_else"]


def test_old_shell_protocol_still_gives_exit_codes(connect, config):
    device = connect(shell_v2=False)
    assert _run(config).status == "ok"
    device.environment["FAULT"] = "exit"
    assert "status 1: Failed to load model" in _run(config).error


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("exit", "status 1: Failed to load model"),
        ("not_executable", "status 126 (is --benchmark_model built for"),
        ("killed", "killed, as by Android for lack of memory"),
        ("unknown_flag", "ignored them: --use_xnnpack=true"),
        ("fallback", "will not be executed by the delegate"),
        ("silent", "the CPU may have run the model instead"),
        ("threads", "did not confirm --num_threads=1: got `Num threads: [2]`"),
        ("truncated", "incomplete"),
        ("no_final_line", "incomplete"),
        ("few_runs", "19 of num_runs=20 inferences were made: raise"),
        ("cpuinfo", "could not identify the CPU and used slow kernels"),
    ],
)
def test_a_fault_is_an_error_and_no_number(connect, config, fault, message):
    device = connect()
    device.environment["FAULT"] = fault
    aggregate = _run(config)
    assert aggregate.status == "failed" and aggregate.measurement is None
    assert message in aggregate.error


def test_a_warning_marks_the_result(connect, config):
    device = connect()
    device.environment["FAULT"] = "warning"
    aggregate = _run(config)
    assert aggregate.status == "marked"
    assert aggregate.notes == ("warning: Slow storage",)


def test_a_core_mask_that_does_not_exist_costs_only_its_runs(connect, config):
    connect()
    config = dataclasses.replace(config, core_mask=("100", "f0"))
    absent, present = benchmark.run(config).aggregates
    assert absent.status == "failed" and present.status == "ok"
    assert "core_mask=100: the device has the cores ff" in absent.error


def test_delegates_are_proved_or_refused(connect, config, tmp_path):
    connect()
    library = tmp_path / "my delegate.so"
    library.write_bytes(b"\x7fELF")
    xnnpack, nnapi, gpu, external = benchmark.run(
        dataclasses.replace(
            config,
            delegates=("xnnpack", "nnapi", "gpu", f"external:{library}"),
        )
    ).aggregates
    assert xnnpack.status == "ok" and xnnpack.notes == ()
    assert nnapi.status == "marked" and "deprecated" in nnapi.notes[0]
    assert gpu.status == "failed" and "has no --use_gpu" in gpu.error
    assert external.delegate == "external:my delegate.so"
    assert external.status == "ok"


def test_what_an_accelerator_leaves_to_the_cpu_is_marked(connect, config):
    device = connect()
    device.environment["FAULT"] = "partial"
    aggregate = _run(dataclasses.replace(config, delegates=("nnapi",)))
    assert any("the rest ran on the CPU" in n for n in aggregate.notes)


def test_profile_is_apart_from_the_latency(connect, config):
    connect()
    lines = []
    finished = benchmark.run(
        dataclasses.replace(config, profile_ops=True), lines.append
    )
    (result,) = finished.profiles
    assert lines[-1] == (
        "operators of small.tflite, 1 thread: FULLY_CONNECTED 1.500 ms, "
        "SOFTMAX 0.500 ms"
    )
    assert result.measurement is None
    assert result.profile.by_kind() == {"FULLY_CONNECTED": 1.5, "SOFTMAX": 0.5}
    assert finished.aggregates[0].rounds_measured == 1


def test_single_stream_says_what_the_tool_cannot_give(connect, config):
    connect()
    aggregate = _run(
        dataclasses.replace(config, scenario="single_stream", rounds=2)
    )
    assert aggregate.measurement.latency.count == 2 * 1024
    assert aggregate.status == "marked"
    assert "p95 is an upper bound" in aggregate.notes[0]


def test_a_slow_device_is_only_slow(connect, config):
    connect(delay_secs=0.03)
    assert _run(config).status == "ok"


def test_what_a_device_says_of_itself_is_data(connect, config, tmp_path):
    device = connect()
    name = "\"><script>'; $(touch hacked) `touch hacked`"
    program = device.root / "system/bin/getprop"
    program.write_text(
        f"#!/bin/sh\ncat <<'E'\n[ro.product.model]: [{name}]\nE\n"
    )
    output = tmp_path / "out"
    aggregate = _run(dataclasses.replace(config, output=str(output)))
    assert aggregate.status == "ok" and aggregate.device_model == name
    page = (output / "report.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert not list(device.root.rglob("hacked"))


def test_a_failing_model_does_not_lose_the_others(connect, config, tmp_path):
    connect()
    bad = tmp_path / "bad model; $(touch hacked).tflite"
    bad.write_bytes(b"\x1c\0\0\0TFL3")
    finished = benchmark.run(
        dataclasses.replace(config, models=(str(bad), *config.models))
    )
    assert [r.status for r in finished.aggregates] == ["failed", "ok"]


def test_model_names_are_never_shell_syntax(connect, config, tmp_path):
    device = connect()
    name = "it's $(touch hacked) `touch hacked`; touch hacked \n ü.tflite"
    path = tmp_path / name
    path.write_bytes(pathlib.Path(config.models[0]).read_bytes())
    assert _run(dataclasses.replace(config, models=(str(path),))).status == "ok"
    assert not list(device.root.rglob("hacked"))


def test_a_hanging_tool_is_ended(connect, config, monkeypatch):
    device = connect()
    device.environment["FAULT"] = "hang"
    monkeypatch.setattr(phone, "_GRACE_SECS", 1)
    short = dataclasses.replace(config, max_secs=0.1)
    assert "did not end within 1 s" in _run(short).error
    _wait_until(lambda: not _tools(device))


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("No space left on device", "free some of /data"),
        ("Permission denied", "belong to another user"),
    ],
)
def test_a_model_that_cannot_be_written_fails_alone(
    connect, config, reason, advice
):
    device = connect()
    _run(config)
    (model,) = _ours(device).glob("*.tflite")
    model.unlink()
    device.push_error = reason
    aggregate = _run(config)
    assert aggregate.status == "failed"
    assert reason in aggregate.error and advice in aggregate.error
    assert not list(_ours(device).glob("*.partial"))


def test_benchmark_model_is_required(connect, config):
    connect()
    with pytest.raises(ValueError, match="--benchmark_model is required.*Baz"):
        _run(dataclasses.replace(config, benchmark_model=None))


def test_auto_takes_the_only_device_else_the_host(connect, config):
    auto = dataclasses.replace(config, device="auto")
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


def test_a_run_costs_three_round_trips(connect, config):
    device = connect()
    commands = []
    for rounds in (1, 6):
        before = len(device.processes)
        _run(dataclasses.replace(config, rounds=rounds))
        commands.append(len(device.processes) - before)
    # The second time nothing is pushed, which took more commands.
    _run(dataclasses.replace(config, rounds=1))
    again = len(device.processes) - before - commands[1]
    # State, run, state.
    assert commands[1] - again == 5 * 3


@pytest.mark.slow
def test_the_harness_adds_less_than_a_second_per_run(connect, config):
    device = connect()
    _run(config)
    # A phone's round trip over USB is shorter than this.
    device.delay_secs = 0.002
    begin = time.monotonic()
    finished = benchmark.run(dataclasses.replace(config, rounds=11))
    many = time.monotonic() - begin
    begin = time.monotonic()
    _run(config)
    assert not finished.failures
    # The tool of this test takes next to no time itself.
    assert (many - (time.monotonic() - begin)) / 10 < 1.0


def _tools(device):
    """Returns the processes of this device's tool that still run."""
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


def _wait_until(condition, secs=120):
    deadline = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
