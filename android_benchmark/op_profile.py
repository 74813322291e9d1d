"""Time per operator: benchmark_model's profile, as a table or as CSV.

Both are the same sections: "Run Order" (a row per operator), "Top by
Computation Time", "Summary by node type", then "N nodes observed". A profile
of the initialization comes first and is left out. Columns changed between
releases (TF 2.4 to 2.11 have a [start]), so they are read by their names.

CSV does not quote: a type may hold ", ", the separator, as in
"Fully Connected (NC, QS8, QC8W) GEMM"; the columns after it cannot, so that
rows are split from the right. In names the tool writes a tab for each comma.
"""

import dataclasses
import re
from collections.abc import Sequence

_REGULAR = "Operator-wise Profiling Info for Regular Benchmark Runs:"
_INITIALIZATION = "Profiling Info for Benchmark Initialization:"
_SECTION = re.compile(r"=+ (?P<title>[A-Z][A-Za-z ]+) =+$")
_RUN_ORDER = "Run Order"
_OBSERVED = re.compile(r"(?P<nodes>\d{1,9}) nodes observed$")
_TIMINGS = re.compile(r"Timings \(microseconds\): count=(?P<runs>\d{1,9})")
_CSV_SEPARATOR = ", "
_FLOAT = re.compile(r"\d{1,18}(?:\.\d{1,18})?(?:e[+-]?\d{1,2})?")
_INTEGER = re.compile(r"\d{1,18}")


@dataclasses.dataclass(frozen=True)
class Operator:
    """One operator of the graph.

    Attributes:
        kind: its type, e.g. "BATCH_MATMUL" or XNNPACK's own words.
        name: of its output tensors, or of the delegate's kernel.
        mean_ms: of one call, in milliseconds.
        calls: per inference.
    """

    kind: str
    name: str
    mean_ms: float
    calls: int

    @property
    def total_ms(self) -> float:
        """Per inference."""
        return self.mean_ms * self.calls


@dataclasses.dataclass(frozen=True)
class OpProfile:
    """Where the time of an inference goes.

    Attributes:
        operators: in the order of execution.
        runs: inferences it is the mean of.
    """

    operators: tuple[Operator, ...]
    runs: int

    def by_kind(self) -> dict[str, float]:
        """Returns milliseconds per inference by type, longest first."""
        totals = {}
        for operator in self.operators:
            total = totals.get(operator.kind, 0.0) + operator.total_ms
            totals[operator.kind] = total
        return dict(sorted(totals.items(), key=lambda item: -item[1]))


def read_csv(text: str) -> OpProfile:
    """Returns the profile of a file of --op_profiling_output_mode=csv.

    Raises:
        ValueError: if it is incomplete or not of this form.
    """
    return read(text.replace("\r\n", "\n").split("\n")[:-1])


def read(lines: Sequence[str]) -> OpProfile:
    """Returns the profile of the measured inferences.

    Args:
        lines: of the output or of the CSV file, without prefixes.

    Raises:
        ValueError: if it is incomplete or not of this form.
    """
    lines = list(lines)
    if _REGULAR in lines:
        lines = lines[lines.index(_REGULAR) + 1 :]
    elif _INITIALIZATION in lines:
        raise ValueError(
            "the profile of operators is incomplete: it ends with that of the "
            "initialization"
        )
    rows, header, title = [], None, None
    runs = None
    for line in lines:
        section = _SECTION.match(line)
        timings = _TIMINGS.match(line)
        observed = _OBSERVED.match(line)
        if section:
            title, header = section["title"], None
        elif timings:
            runs = int(timings["runs"])
        elif observed:
            return _checked(rows, int(observed["nodes"]), runs)
        elif title == _RUN_ORDER and line.strip():
            if header is None:
                header = _header(line)
            else:
                rows.append(_operator(header, line))
    raise ValueError(
        "the profile of operators is incomplete: expected a last line "
        f"`N nodes observed`, got none after {len(rows)} operators"
    )


def _checked(rows, nodes, runs):
    if len(rows) != nodes or not runs:
        raise ValueError(
            f"the profile of operators is incomplete: {len(rows)} of "
            f"{nodes} operators, {runs or 0} runs"
        )
    return OpProfile(tuple(rows), runs)


def _header(line):
    """Returns the separator and the names of the columns, in lower case."""
    separator = "\t" if "\t" in line else _CSV_SEPARATOR
    names = [name.strip(" []").lower() for name in line.split(separator)]
    if separator == "\t":
        # The line begins with a tab.
        names = names[1:]
    names = [name.replace("avg_ms", "avg ms") for name in names]
    for needed in ("node type", "avg ms", "times called", "name"):
        if needed not in names:
            raise ValueError(
                f"the profile of operators has no column {needed!r}: got "
                f"{names}"
            )
    return separator, names


def _operator(header, line):
    separator, names = header
    if separator == "\t":
        cells = line.split(separator)[1:]
    else:
        cells = line.rsplit(separator, len(names) - 1)
    row = dict(zip(names, map(str.strip, cells), strict=False))
    mean, calls = row.get("avg ms", ""), row.get("times called", "")
    if (
        len(cells) != len(names)
        or not _FLOAT.fullmatch(mean)
        or not _INTEGER.fullmatch(calls)
    ):
        raise ValueError(f"the profile of operators has the row {line!r}")
    return Operator(
        kind=row["node type"],
        name=row["name"].replace("\t", ","),
        mean_ms=float(mean),
        calls=int(calls),
    )
