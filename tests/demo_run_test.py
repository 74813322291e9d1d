"""The demo's order of stages, with stages that only leave their files."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).parents[1]

# In a process of its own, as the module defines flags; each stage runs the
# shell line that stdin has for it.
_DRIVER = """
import json, sys
from demo import run
real = run.commands("out")
lines = json.load(sys.stdin)
fake = [(name, ["sh", "-c", lines.get(name, "true")]) for name, _ in real]
run.commands = lambda folder: fake
sys.argv[1:] = ["--output_dir=out"]
run.cli.run(run.main)
"""


@pytest.fixture(name="folder")
def _folder(tmp_path):
    """An output folder with all that the summary reads but the export."""
    out = tmp_path / "out"
    for stage in ("teacher", "student", "classifier"):
        (out / stage).mkdir(parents=True)
        rows = [
            {"step": 1, "kind": "train", "stage": 0, "training_loss": 2.0},
            {
                "step": 1,
                "kind": "validation",
                "masked_lm_accuracy": 0.125,
                "accuracy": 0.75,
            },
        ]
        _write_lines(out / stage / "metrics.jsonl", rows)
    rows = []
    for variant in ("float32", "int8"):
        path = {"model_path": f"out/tflite/model_{variant}.tflite"}
        latency = {"latency_median_us": 5e3, "latency_p90_us": 6e3}
        rows += [
            {**path, "record": "round", "latencies_us": [5e3, 6e3]},
            {**path, "record": "aggregate", **latency},
        ]
    (out / "benchmark").mkdir()
    _write_lines(out / "benchmark" / "results.jsonl", rows)
    report = {
        "variants": [
            {
                "name": variant,
                "file": f"model_{variant}.tflite",
                "bytes": 10**6,
                "metrics": {"accuracy": 0.5},
            }
            for variant in ("float32", "int8")
        ]
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    (out / "tflite").mkdir()
    # Of an earlier run, and no evidence for this one.
    (out / "tflite" / "report.json").write_text(json.dumps(report))
    (out / "tflite" / "model_float32.tflite").write_text("x")
    return tmp_path


def _write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _run(folder, **lines):
    return subprocess.run(
        [sys.executable, "-c", _DRIVER],
        input=json.dumps({"benchmark": "echo measuring", **lines}),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": str(_ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=False,
    )


def test_an_unfit_export_is_benchmarked_reported_and_an_error(folder):
    made = "cp report.json out/tflite; touch out/tflite/model_int8.tflite"
    done = _run(folder, export=f"{made}; exit 1")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "error: stage export ended with status 1; its output is in "
        "out/logs/export.txt"
    )
    assert "measuring" in done.stdout
    (row,) = [
        line for line in done.stdout.splitlines() if line.startswith("int8 .")
    ]
    assert row.split() == "int8 .tflite accuracy 0.500 1.00 5.00 6.00".split()
    assert "FAIL: stage export" in (folder / "out" / "report.html").read_text()

    done = _run(folder, export=made)
    assert done.returncode == 0, done.stderr
    assert "FAIL" not in (folder / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    "made",
    ["true", "touch out/tflite/model_int8.tflite", "cp report.json out/tflite"],
)
def test_an_export_that_lacks_files_ends_the_demo(folder, made):
    done = _run(folder, export=f"{made}; exit 1")
    assert done.returncode == 1
    assert "error: stage export ended" in done.stderr
    assert "measuring" not in done.stdout
    assert not (folder / "out" / "report.html").exists()


def test_commands_work_in_any_folder(tmp_path):
    code = (
        "import json; from demo import run; "
        "print(json.dumps(run.commands('out')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
        check=True,
    )
    for _, command in json.loads(done.stdout):
        for word in command[1:]:
            path = word.removeprefix("--config_file=")
            if path.endswith((".py", ".yaml")):
                assert os.path.isabs(path) and os.path.isfile(path)
