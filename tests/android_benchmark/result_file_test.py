"""results.jsonl: what is appended comes back, what is cut off does no harm."""

import json

import pytest
import recorded_rounds

from android_benchmark import op_profile
from android_benchmark import result_file
from android_benchmark import results


def _results():
    profile = op_profile.OpProfile(
        (op_profile.Operator("ADD", "x", 0.5, 2),), runs=5
    )
    failed = recorded_rounds.make(
        [1.0], status=results.FAILED, error="no", measurement=None
    )
    return [
        recorded_rounds.make([1.0, 2.5, 3.0], notes=("hot",)),
        failed,
        recorded_rounds.make([1.0], profile=profile, round=None),
    ]


def _write(path, found, append=False):
    with result_file.ResultFile(str(path), append) as stream:
        for result in found:
            stream.write(result)


def test_results_come_back_equal(tmp_path):
    path = tmp_path / "new folder" / "results.jsonl"
    _write(path, _results())
    assert result_file.read(path) == _results()


def test_append_keeps_what_is_there_and_write_does_not(tmp_path):
    path = tmp_path / "results.jsonl"
    first, second, third = _results()
    _write(path, [first])
    _write(path, [second], append=True)
    assert result_file.read(path) == [first, second]
    _write(path, [third])
    assert result_file.read(path) == [third]


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path):
    path = tmp_path / "results.jsonl"
    found = _results()
    _write(path, found[:2])
    whole = path.read_bytes()
    second_begins = whole.index(b"\n") + 1
    for end in range(second_begins, len(whole) - 1, 7):
        path.write_bytes(whole[:end])
        assert result_file.read(path) == found[:1]
        _write(path, found[2:], append=True)
        assert result_file.read(path) == [found[0], found[2]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 1}, "expected schema 2, got 1"),
        ({"threads": ...}, "no field 'threads'"),
        ({"latency_min_us": ...}, "no field 'latency_min_us'"),
        ({"notes": None}, "damaged field"),
    ],
)
def test_a_whole_line_that_is_no_result_is_an_error(tmp_path, change, message):
    path = tmp_path / "results.jsonl"
    line = json.loads(_results()[0].to_json()) | change
    line = {k: v for k, v in line.items() if v is not ...}
    path.write_text(f"{_results()[0].to_json()}\n{json.dumps(line)}\n")
    with pytest.raises(ValueError, match=f"results.jsonl:2: {message}"):
        result_file.read(path)
