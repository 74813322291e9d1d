"""Several devices at once, and the binary's exit status."""

import json
import signal
import subprocess
import sys
import time

import pytest
import run_benchmark_test

from android_benchmark import adb
from android_benchmark import benchmark_config
from android_benchmark import fleet
from android_benchmark import result_file


@pytest.fixture
def flags(models, quick_tool, adb_server, tmp_path):
    return [
        f"--models={models[0]}",
        f"--benchmark_model={quick_tool}",
        f"--adb={adb_server}",
        "--rounds=2",
        "--reconnect_secs=0",
        f"--output={tmp_path / 'out'}",
    ]


def _run(flags):
    return subprocess.run(
        [sys.executable, str(run_benchmark_test.BINARY), *flags],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.slow
def test_a_device_that_drops_out_stops_no_other_and_resumes(
    connect, reconnect, flags, tmp_path
):
    good, bad = connect(), connect(drop_marker=b"STARTING!")
    devices = f"--device={good.serial},{bad.serial}"

    done = _run([*flags, devices])

    assert done.returncode == 1
    (error,) = done.stderr.strip().splitlines()
    assert f"1 of 2 devices did not do all: {bad.serial}" in error
    assert f"{good.serial}: small.tflite" in done.stdout
    assert f"{bad.serial}: [1/2]" in done.stdout
    good_file = tmp_path / "out" / good.serial / "results.jsonl"
    before = [r.started_at for r in result_file.read(good_file)[:2]]

    bad.drop_marker = None
    reconnect(bad)
    done = _run([*flags, "--device=all", "--resume"])

    assert done.returncode == 0, done.stderr
    assert f"{good.serial}: 2 rounds kept" in done.stdout
    assert [r.started_at for r in result_file.read(good_file)[:2]] == before
    bad_file = tmp_path / "out" / bad.serial / "results.jsonl"
    statuses = [r.status for r in result_file.read(bad_file)]
    assert statuses == ["failed", "failed", "failed", "ok", "ok", "ok"]


def test_all_names_what_cannot_be_used(connect, adb_server):
    config = benchmark_config.BenchmarkConfig(
        models=("m",), device="all", adb=adb_server
    )
    with pytest.raises(adb.AdbError, match="no usable device"):
        fleet.serials(config, lambda line: None)
    locked, usable = connect(authorized=False), connect()
    lines = []
    assert fleet.serials(config, lines.append) == [usable.serial]
    assert lines == [f"{locked.serial}: left out, it is unauthorized"]


def test_a_device_named_twice_is_refused():
    config = benchmark_config.BenchmarkConfig(models=("m",), device="a,b,a")
    with pytest.raises(ValueError, match="named twice"):
        fleet.serials(config, lambda line: None)


@pytest.mark.slow
def test_a_regression_is_exit_status_1_and_doubt_is_3(connect, flags, tmp_path):
    device = connect()
    flags = [*flags, f"--device={device.serial}", "--rounds=4"]
    assert _run(flags).returncode == 0
    baseline = tmp_path / "baseline.jsonl"
    (tmp_path / "out/results.jsonl").rename(baseline)

    same = _run([*flags, f"--compare={baseline}"])
    assert same.returncode == 0, same.stderr
    assert "within" in same.stdout

    device.environment["MEAN_US"] = "2100"
    slower = _run([*flags, f"--compare={baseline}", "--max_regression=3%"])
    assert slower.returncode == 1
    assert "1 of 1 are more than 3% slower" in slower.stderr
    assert "Against the baseline" in (tmp_path / "out/report.html").read_text()

    few = _run([*flags, "--rounds=2", f"--compare={baseline}"])
    assert few.returncode == 3
    assert "undecided" in few.stdout and few.stderr == ""


@pytest.mark.slow
def test_the_report_joins_the_exports_accuracy(
    connect, flags, models, tmp_path
):
    device = connect()
    report = tmp_path / "report.json"
    size = len(open(models[0], "rb").read())
    variant = {
        "file": "small.tflite",
        "bytes": size,
        "metrics": {"accuracy": 0.9},
    }
    report.write_text(json.dumps({"variants": [variant]}))
    flags = [
        *flags,
        f"--device={device.serial}",
        f"--export_report={report}",
        "--profile_ops",
    ]
    done = _run(flags)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out/report.html").read_text()
    assert "accuracy of the exported file over its latency" in page
    assert "Time per kind of operator" in page

    variant["bytes"] += 1
    report.write_text(json.dumps({"variants": [variant]}))
    done = _run(flags)
    assert done.returncode == 1
    assert "none of its files has the name and size" in done.stderr


@pytest.mark.slow
def test_ctrl_c_undoes_what_was_changed_on_every_device(connect, flags):
    devices = [connect(), connect()]
    for device in devices:
        device.environment["FAULT"] = "hang"
    process = subprocess.Popen(
        [
            sys.executable,
            str(run_benchmark_test.BINARY),
            *flags,
            "--device=all",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Jobs in the background ignore it, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 100
    while not all(d.fixed_performance == "true" for d in devices):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=100)
    assert process.returncode == 130
    for device in devices:
        assert device.fixed_performance == "false"
        assert not list(device.folder.rglob("lease"))
