"""What the benchmark of SQuAD features compares, prints and demands."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from benchmarks import squad_features as benchmark
from mobilebert_tf import wordpiece

_ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(name="windows")
def _windows(tmp_path):
    """Windows of two questions, ours and the Garden's."""
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("\n".join([*wordpiece.SPECIAL_TOKENS, "ba", "be", "##s"]))
    questions = [
        {"id": number, "question": "ba", "answers": []} for number in "xy"
    ]
    paragraphs = [{"context": "bas be " * 400, "qas": questions}]
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    arguments = str(path), str(vocab)
    return (
        benchmark.make_ours(*arguments, num_workers=1),
        benchmark.make_garden(*arguments),
    )


def test_same_windows(windows):
    ours, garden = windows
    assert len(garden) > 10
    benchmark.require_same(ours, garden)


@pytest.mark.parametrize(
    "name, message",
    [
        ("unique_ids", "window 3: unique_id is not"),
        ("example_index", "window 3: example_index is not"),
        ("input_word_ids", "window 3: input_ids is not"),
        ("context_length", "window 3: input_mask is not"),
        ("context_start", "window 3: "),
        ("token_to_word", "window 3: token_to_orig_map is not"),
        ("token_is_max_context", "window 3: token_is_max_context is not"),
    ],
)
def test_a_difference_is_found(windows, name, message):
    ours, garden = windows
    row = ours[name][3:4]
    row[...] = ~row if row.dtype == bool else row - 1
    with pytest.raises(ValueError, match=message):
        benchmark.require_same(ours, garden)


def test_another_number_of_windows_is_found(windows):
    ours, garden = windows
    with pytest.raises(ValueError, match="windows, expected the Garden's"):
        benchmark.require_same(ours, garden[:-1])


def test_table():
    figures = {
        "ours": {"seconds": 2.0, "cpu_seconds": 1.0},
        "theirs": {"seconds": 8.0, "cpu_seconds": 7.5},
    }
    assert benchmark.table(figures, 3000) == [
        "          s  s of CPU  questions/s of CPU  ratio",
        "ours    2.0       1.0               3,000   7.50",
        "theirs  8.0       7.5                 400   1.00",
    ]


def test_best_of_turns():
    turns = [
        {"seconds": 3.0, "cpu_seconds": 1.0},
        {"seconds": 2.0, "cpu_seconds": 1.5},
    ]
    assert benchmark.best(turns) == {"seconds": 2.0, "cpu_seconds": 1.0}


@pytest.mark.parametrize(
    "seconds, ratio, message",
    [
        (60.1, 9.0, "seconds: got 60.1, expected at most 60"),
        (9.0, 4.99, "ratio: got 4.99, expected 5.0"),
    ],
)
def test_missed_bar(seconds, ratio, message):
    with pytest.raises(ValueError, match=message):
        benchmark.require_bars(seconds, ratio)


def test_bars_that_are_met():
    benchmark.require_bars(60.0, 5.0)


@pytest.mark.slow
def test_whole_run(tmp_path):
    """In a process of its own: its flags are those of other binaries too."""
    data = os.environ.get("MOBILEBERT_DATA", str(_ROOT / "../shared/data"))
    if not os.path.isdir(data):
        pytest.skip(f"MOBILEBERT_DATA: no folder {data}")
    report_file = tmp_path / "report.json"
    result = subprocess.run(
        [
            sys.executable,
            str(_ROOT / "benchmarks" / "squad_features.py"),
            f"--data_dir={data}",
            "--rounds=1",
            f"--report_file={report_file}",
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
    )
    assert result.returncode == 0, result.stderr
    assert "10,833 windows, the same of all" in result.stdout
    assert json.loads(report_file.read_text())["ratio"] > benchmark.MIN_RATIO
