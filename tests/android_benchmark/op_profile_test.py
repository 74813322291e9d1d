"""Profiles of operators: tables and CSV of every age."""

import random
import re

import pytest

from android_benchmark import op_profile

_CSV = """Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
AllocateTensors, 0.4, 0.4, 100%, 100%, 760, 1, AllocateTensors/0

Timings (microseconds): count=1 curr=405
1 nodes observed

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
ADD, 0.2, 0.25, 20%, 20%, 0, 1, [a;b]:3
Fully Connected (NC, QS8) GEMM, 0.4, 0.5, 80%, 100%, 0, 2, D/FC (NC\t QS8):4

============================== Summary by node type \
==============================
node type, count, avg_ms, avg %, cdf %, mem KB, times called
Fully Connected (NC, QS8) GEMM, 1, 1.0, 80%, 80%, 0, 2
ADD, 1, 0.25, 20%, 100%, 0, 1

Timings (microseconds): count=5 first=1300 curr=1200 min=1200 max=1300 \
avg=1250 std=40
Memory (bytes): count=0
2 nodes observed
"""


def test_csv():
    profile = op_profile.read_csv(_CSV)
    assert profile == op_profile.OpProfile(
        operators=(
            op_profile.Operator("ADD", "[a;b]:3", 0.25, 1),
            op_profile.Operator(
                "Fully Connected (NC, QS8) GEMM", "D/FC (NC, QS8):4", 0.5, 2
            ),
        ),
        runs=5,
    )
    assert profile.operators[1].total_ms == 1.0


def test_columns_are_found_by_name():
    # TF 2.4 to 2.11 have the start of each operator in a column of its own.
    older = _CSV.replace("node type, first", "node type, start, first")
    older = re.sub(r"(, 0\.[24], 0\.(?:25|4|5),)", r", 17.5\1", older)
    assert op_profile.read_csv(older) == op_profile.read_csv(_CSV)


def test_a_table_without_title_is_that_of_the_runs():
    body = _CSV[_CSV.index("Runs:\n") + len("Runs:\n") :]
    assert op_profile.read_csv(body) == op_profile.read_csv(_CSV)


def test_a_truncated_profile_is_an_error():
    for end in range(len(_CSV)):
        with pytest.raises(ValueError, match="incomplete|profile of operators"):
            op_profile.read_csv(_CSV[:end])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("ADD, 0.2, 0.25", "ADD, 0.2, x"), "has the row"),
        (("2 nodes", "3 nodes"), "2 of 3 operators"),
        (("count=5", "count=0"), "0 runs"),
        (("times called, name\nADD", "calls, name\nADD"), "no column"),
    ],
)
def test_damage_is_an_error(change, message):
    assert change[0] in _CSV
    with pytest.raises(ValueError, match=message):
        op_profile.read_csv(_CSV.replace(*change))


@pytest.mark.parametrize("seed", range(20))
def test_no_damage_crashes_it(seed):
    generator = random.Random(seed)
    for _ in range(50):
        text = list(_CSV)
        for _ in range(generator.randint(1, 6)):
            place = generator.randrange(len(text))
            text[place : place + generator.choice((0, 1, 40))] = (
                generator.choices("\n\t, =.0159eN\u2028", k=3)
            )
        try:
            profile = op_profile.read_csv("".join(text))
        except ValueError:
            continue
        assert profile.operators and profile.runs > 0


@pytest.mark.parametrize(
    ("name", "operators", "kinds", "total_ms"),
    [
        ("2141_prof.csv", 141, 10, 30.07),
        ("litert_prof.csv", 104, 11, 23.97),
        ("litert_prof_dep.csv", 104, 11, 25.12),
    ],
)
def test_captured_csv(captured_logs, name, operators, kinds, total_ms):
    profile = op_profile.read_csv((captured_logs / name).read_text())
    assert len(profile.operators) == operators
    totals = profile.by_kind()
    assert len(totals) == kinds
    # The tool's own mean of the profiled runs.
    assert sum(totals.values()) == pytest.approx(total_ms, rel=2e-3)


def test_captured_csv_agrees_with_the_tools_summary(captured_logs):
    text = (captured_logs / "litert_prof.csv").read_text()
    totals = op_profile.read_csv(text).by_kind()
    summary = text[text.rindex("Summary by node type") :].splitlines()[2:]
    compared = 0
    for line in summary:
        cells = line.rsplit(", ", 6)
        if len(cells) != 7:
            break
        # The summary drops what is below a microsecond, per operator.
        assert totals[cells[0]] == pytest.approx(
            float(cells[2]), abs=1e-3 * int(cells[6]) + 1e-9
        )
        compared += 1
    assert compared == len(totals)
