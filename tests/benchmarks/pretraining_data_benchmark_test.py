"""The comparison with the Garden's script runs and says what it measured.

A process of its own: its flags are those of other binaries too.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
def test_short_run(tmp_path):
    data = os.environ.get("MOBILEBERT_DATA", str(_ROOT / "../shared/data"))
    if not os.path.isdir(data):
        pytest.skip(f"MOBILEBERT_DATA: no folder {data}")
    report_file = tmp_path / "report.json"
    result = subprocess.run(
        [
            sys.executable,
            str(_ROOT / "benchmarks" / "create_pretraining_data.py"),
            f"--data_dir={data}",
            "--books=pg2542",
            "--rounds=1",
            f"--report_file={report_file}",
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
    )
    ratio = float(re.search(r"^ratio ([\d.]+) ", result.stdout, re.M)[1])
    report = json.loads(report_file.read_text())
    assert report["ratio"] == pytest.approx(ratio, abs=0.1)
    for name in ("mobilebert_tf", "Model Garden"):
        measured = report["throughput"][name]
        assert 2000 < measured["instances"] < 6000
        assert measured["cpu_seconds"] > measured["startup_cpu_seconds"]
        masked = report["statistics"][name]["replaced by [MASK]"]
        assert masked == pytest.approx(0.8, abs=0.01)
    # One book is too little for equal statistics; the bar holds all the same.
    assert ratio > 8
    if result.returncode:
        assert "statistics differ" in result.stderr
