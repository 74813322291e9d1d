"""Host mode: real sessions in processes of their own."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from android_benchmark import benchmark
from android_benchmark import benchmark_config
from android_benchmark import host
from android_benchmark import host_worker
from android_benchmark import result_file
from android_benchmark import results
from android_benchmark import single_stream


@pytest.fixture
def config(models):
    return benchmark_config.BenchmarkConfig(
        models=models,
        device="host",
        rounds=2,
        warmup_runs=3,
        warmup_min_secs=0.01,
        num_runs=30,
        min_secs=0.05,
        max_secs=20.0,
        # Tests share their cores with others.
        min_cpu_share=0.0,
        output=None,
    )


def test_reports_every_latency_and_what_they_add_up_to(config, tmp_path):
    output = tmp_path / "out"
    finished = benchmark.run(dataclasses.replace(config, output=str(output)))

    order = [(r.round, r.model) for r in finished.rounds]
    assert order == [
        (0, "small.tflite"),
        (0, "large.tflite"),
        (1, "small.tflite"),
        (1, "large.tflite"),
    ]
    lines = [
        json.loads(line)
        for line in (output / "results.jsonl").read_text().splitlines()
    ]
    rounds = [line for line in lines if line["record"] == "round"]
    aggregates = [line for line in lines if line["record"] == "aggregate"]
    assert len(rounds) == 4 and len(aggregates) == 2
    for line in aggregates:
        pool = np.concatenate(
            [r["latencies_us"] for r in rounds if r["model"] == line["model"]]
        )
        assert line["latency_count"] == len(pool) >= 60
        assert line["latency_min_us"] == pool.min() > 0
        np.testing.assert_allclose(line["latency_mean_us"], pool.mean())
        np.testing.assert_allclose(line["latency_std_us"], pool.std())
        for name, percent in (("median", 50), ("p90", 90), ("p99", 99)):
            np.testing.assert_allclose(
                line[f"latency_{name}_us"], np.percentile(pool, percent)
            )
        assert line["status"] == "ok" and line["rounds_measured"] == 2
        assert line["init_us"] > 0 and line["first_inference_us"] > 0
        assert line["model_size_bytes"] == os.path.getsize(line["model_path"])
    small, large = aggregates
    assert small["latency_median_us"] < large["latency_median_us"]
    # The files' sizes differ by this; a model is resident once it has run.
    extra = large["model_size_bytes"] - small["model_size_bytes"]
    assert (
        large["peak_memory_delta_bytes"] - small["peak_memory_delta_bytes"]
        > extra / 2
    )
    setup = json.loads((output / "setup.json").read_text())
    assert setup["config"]["num_runs"] == 30
    page = (output / "report.html").read_text()
    assert page.count("<svg") == 2 and "paper" in page


def test_worker_runs_on_the_cores_and_shapes_it_was_given(models):
    request = {
        "model_path": models[0],
        "threads": 1,
        "xnnpack": True,
        "cores": [min(os.sched_getaffinity(0))],
        "inputs": [
            {"name": n, "dtype": "int32", "shape": [1, 32], "low": 0, "high": 1}
            for n in ("segment_ids", "ids", "mask")
        ],
        "warmup_runs": 0,
        "warmup_min_secs": 0,
        "num_runs": 5,
        "min_secs": 0,
        "max_secs": 10,
        "seed": 0,
    }
    before = os.sched_getaffinity(0)
    try:
        answer = host_worker.measure(request)
        assert os.sched_getaffinity(0) == set(request["cores"])
        assert len(answer["latencies_us"]) == 5
        assert answer["warmup_count"] == 1
        request["inputs"][0]["shape"] = [1, 16]
        with pytest.raises(ValueError, match="segment_ids.*expected"):
            host_worker.measure(request)
    finally:
        os.sched_setaffinity(0, before)


def test_too_few_runs_in_time_is_no_result(config):
    short = dataclasses.replace(
        config,
        models=config.models[:1],
        rounds=1,
        num_runs=10**7,
        max_secs=0.2,
    )
    (result,) = benchmark.run(short).aggregates
    assert result.status == "failed" and result.measurement is None
    assert "of num_runs=10000000" in result.error


def test_a_failing_model_does_not_lose_the_others(config, tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(b"\0\0\0\0TFL3" + bytes(20))
    finished = benchmark.run(
        dataclasses.replace(config, models=(str(bad), config.models[0]))
    )
    assert [r.status for r in finished.aggregates] == ["failed", "ok"]
    assert [r.model for r in finished.failures] == ["bad.tflite"]


def test_kernels_can_be_chosen_and_other_delegates_are_refused(config):
    finished = benchmark.run(
        dataclasses.replace(
            config,
            models=config.models[1:],
            rounds=1,
            delegates=("xnnpack", "builtin", "gpu"),
        )
    )
    fast, slow, absent = finished.aggregates
    assert (fast.delegate, slow.delegate) == ("xnnpack", "builtin")
    assert fast.status == slow.status == "ok"
    assert fast.measurement.latency != slow.measurement.latency
    assert absent.status == "failed" and "Android device" in absent.error


def test_equal_files_stay_two_models(config, tmp_path):
    copies = []
    for name in ("a.tflite", "b.tflite"):
        copy = tmp_path / name
        copy.write_bytes(pathlib.Path(config.models[0]).read_bytes())
        copies.append(str(copy))
    finished = benchmark.run(
        dataclasses.replace(
            config, models=tuple(copies), num_runs=1, min_secs=0
        )
    )
    assert [(r.model, r.rounds_measured) for r in finished.aggregates] == [
        ("a.tflite", 2),
        ("b.tflite", 2),
    ]


def test_a_wrong_baseline_is_found_before_measuring(config, tmp_path):
    baseline = tmp_path / "baseline.jsonl"
    baseline.write_text('{"schema": 1}\n')
    lines = []
    with pytest.raises(ValueError, match="baseline.jsonl:1: expected schema 2"):
        benchmark.run(
            dataclasses.replace(config, compare=str(baseline)), lines.append
        )
    assert lines == []


def test_a_share_of_a_core_marks_the_result(config):
    config = dataclasses.replace(
        config,
        models=config.models[:1],
        rounds=1,
        min_secs=1.0,
        min_cpu_share=0.9,
        core_mask=f"{1 << min(os.sched_getaffinity(0)):x}",
    )
    busy = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    rivals = [
        subprocess.Popen([sys.executable, "-c", f"{busy}\nwhile True: pass"])
        for _ in range(2)
    ]
    try:
        (aggregate,) = benchmark.run(config).aggregates
    finally:
        for rival in rivals:
            rival.kill()
            rival.wait()
    assert aggregate.status == "marked"
    assert "other programs had the cores" in aggregate.notes[0]
    assert aggregate.measurement.latency.count >= 30


def test_resume_measures_what_is_missing_only(config, tmp_path):
    short = dataclasses.replace(
        config, output=str(tmp_path), num_runs=5, min_secs=0, resume=True
    )
    first = benchmark.run(dataclasses.replace(short, rounds=1))
    path = tmp_path / "results.jsonl"
    with path.open("a") as stream:
        stream.write('{"cut off": ')
    lines = []

    second = benchmark.run(short, lines.append)

    assert [r.started_at for r in second.rounds[:2]] == [
        r.started_at for r in first.rounds
    ]
    assert "2 rounds kept" in lines[-1]
    assert [line[:5] for line in lines[:-1]] == ["[3/4]", "[4/4]"]
    assert all(r.rounds_measured == 2 for r in second.aggregates)
    found = result_file.read(path)
    assert [r.record for r in found].count("round") == 4
    # Other durations are another measurement: nothing can be kept.
    lines.clear()
    benchmark.run(dataclasses.replace(short, num_runs=6), lines.append)
    assert not any("kept" in line for line in lines)


def test_single_stream_has_an_exact_p90_and_says_if_it_is_not_found_again(
    config,
):
    measured = benchmark.run(
        dataclasses.replace(config, models=config.models[:1], rounds=2)
    ).rounds
    aggregate = results.aggregate(measured)

    def judged(*p90s):
        rounds = [
            dataclasses.replace(
                result,
                measurement=dataclasses.replace(
                    result.measurement,
                    latency=dataclasses.replace(
                        result.measurement.latency, p90_us=p90
                    ),
                ),
            )
            for result, p90 in zip(measured, p90s, strict=False)
        ]
        return single_stream.judge(aggregate, rounds)

    assert judged(100.0, 104.9).status == "ok"
    assert "5.1% between the rounds" in judged(100.0, 105.1).notes[0]
    assert "one round" in judged(100.0).notes[0]
    assert "p95 is an upper bound" in judged(None, 100.0).notes[0]


def test_a_crash_of_the_worker_is_an_error(config, monkeypatch):
    monkeypatch.setattr(host.sys, "executable", "/bin/false")
    (result,) = benchmark.run(
        dataclasses.replace(config, models=config.models[:1], rounds=1)
    ).aggregates
    assert "status 1 and no result" in result.error


def test_cores():
    assert host.choose_cores(1, {3}, None) == [3]
    assert len(host.choose_cores(2, {0, 1, 2}, None)) == 2
    assert host.choose_cores(1, {0, 1, 5}, 0b100010) == [1, 5]
    with pytest.raises(ValueError, match="threads=3.*allows 2 cores"):
        host.choose_cores(3, {0, 1}, None)
    with pytest.raises(ValueError, match=r"core_mask=c: cores \[2, 3\]"):
        host.choose_cores(1, {0, 1}, 0b1100)
