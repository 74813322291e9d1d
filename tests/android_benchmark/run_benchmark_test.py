"""The binary, as a user starts it."""

import pathlib
import subprocess
import sys

import pytest

BINARY = (
    pathlib.Path(__file__).parents[2] / "android_benchmark/run_benchmark.py"
)


def _run(*flags, cwd=None):
    return subprocess.run(
        [sys.executable, str(BINARY), *flags],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        check=False,
    )


def test_host_run_prints_a_table_and_writes_the_results(models, tmp_path):
    config = tmp_path / "quick.yaml"
    config.write_text("rounds: 1\nnum_runs: 10\nwarmup_min_secs: 0\n")
    done = _run(
        f"--models={','.join(models)}",
        "--device=host",
        "--min_secs=0.02",
        f"--config_file={config}",
        f"--output={tmp_path / 'out'}",
    )
    assert done.returncode == 0, done.stderr
    assert "[2/2] round 1 of 1, large.tflite, 1 thread: median" in done.stdout
    table = done.stdout[done.stdout.index("model  ") :].splitlines()
    assert table[1].startswith("small.tflite")
    assert table[2].startswith("large.tflite")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "report.html",
        "results.jsonl",
        "setup.json",
    ]


def test_a_failed_model_is_a_failed_run_with_the_others_measured(
    models, tmp_path
):
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(b"nothing")
    done = _run(
        f"--models={bad},{models[0]}",
        "--device=host",
        "--rounds=1",
        "--min_secs=0.02",
        "--warmup_min_secs=0",
        "--output=",
    )
    assert done.returncode == 1
    assert "small.tflite, 1 thread: median" in done.stdout
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: 1 of 2 measurements lack rounds")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--models=nope.tflite"], "--models=nope.tflite: expected a file"),
        ([], "--models is required"),
        (["--models={0}", "--threads=two"], "--threads=two: expected integers"),
        (["--models={0}", "--threads=4096"], "threads=4096: this machine"),
        (
            ["--models={0}", "--threads=2", "--core_mask=1"],
            "threads=2: more than the cores of core_mask=1, which has 1",
        ),
        (["--models={0}", "--config_file=no.yaml"], "no such file"),
        (["--models={0}", "stray"], "unexpected argument 'stray'"),
    ],
)
def test_mistakes_are_one_line(models, tmp_path, flags, message):
    flags = [flag.format(models[0]) for flag in flags]
    done = _run("--device=host", *flags, cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ") and message in line
    assert not list(tmp_path.iterdir())


def test_starts_without_tensorflow():
    code = (
        "import sys; from android_benchmark import run_benchmark, host_worker;"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
