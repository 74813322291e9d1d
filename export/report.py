"""The export's report: JSON for programs, HTML and a table for people."""

import dataclasses
import json
import math
import os

import numpy as np
from matplotlib import figure as figure_lib

from export import exporter
from export import graph_heads
from export import model_file
from export import quantization
from mobilebert_tf import files
from mobilebert_tf import html_report
from mobilebert_tf import text_table

JSON_FILE = "report.json"
HTML_FILE = "report.html"

_MEGABYTE = 1e6
_MAX_DOTS = 2000


def to_dict(result: exporter.Result) -> dict:
    """Returns the result without arrays, as written to report.json."""
    info, judge = result.info, result.judge
    return {
        "checkpoint": result.checkpoint,
        "head": info.head,
        "task_name": info.task_name,
        "max_seq_length": result.max_seq_length,
        "labels": list(info.labels),
        "data": dict(result.data),
        "num_rows": judge.num_rows,
        "keras": {"metrics": judge.metrics},
        "variants": [_variant_to_dict(v, result) for v in result.variants],
    }


def table(result: exporter.Result) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows: Keras, then a row per variant."""
    points = result.judge.points
    header = ["model", "size MB", "of float32", *points]
    header += [f"{name} drop, points" for name in points]
    header += ["max |d|", "SQNR dB", "same choice", "verdict"]
    keras = ["Keras", "", "", *_metric_cells(result.judge.metrics, points)]
    rows = [keras + [""] * (len(header) - len(keras))]
    for variant in result.variants:
        ratio = size_ratio(variant, result)
        row = [
            variant.name,
            f"{variant.size / _MEGABYTE:.2f}" if variant.size else "",
            "" if ratio is None else f"{ratio:.3f}",
        ]
        if variant.error:
            row += [""] * (2 * len(points) + 3)
        else:
            verdict = variant.verdict
            row += _metric_cells(verdict.metrics, points)
            row += [f"{verdict.drops[name]:+.2f}" for name in points]
            row += _comparison_cells(verdict.comparisons.values())
        rows.append(row + ["FAIL" if variant.failures else "pass"])
    return header, rows


def text(result: exporter.Result) -> str:
    """Returns the table in columns, float operators left, and failures."""
    header, rows = table(result)
    printed = text_table.lines([header, *rows])
    for variant in result.variants:
        if variant.verdict and variant.name == quantization.INT8:
            left = _float_operators(variant.verdict.census)
            printed.append(f"{variant.name}: {left}")
        printed += [f"{variant.name}: {why}" for why in variant.failures]
    return "\n".join(printed)


def write(result: exporter.Result, output: str) -> None:
    """Writes report.json and report.html to the folder `output`."""
    files.write_text(
        os.path.join(output, JSON_FILE),
        json.dumps(to_dict(result), indent=2) + "\n",
    )
    info = result.info
    page = html_report.HtmlReport(f"Export of {info.task_name or info.head}")
    rows = ", ".join(
        f"{count} rows of {name}"
        for name, count in result.judge.num_rows.items()
    )
    page.add_text(
        f"{result.checkpoint}, sequence length {result.max_seq_length}, "
        f"verified on {rows}."
    )
    page.add_table("Files against the Keras model", *table(result))
    for variant in result.variants:
        page.add_heading(variant.name)
        for why in variant.failures:
            page.add_text(f"FAIL: {why}")
        if variant.error:
            continue
        if variant.verdict.census:
            page.add_table(*_census_table(variant.verdict.census))
        if variant.lint:
            page.add_table(*_loading_table(variant.lint))
        page.add_figure(
            "What an app reads, one dot per value; of probabilities that of "
            "the last label.",
            _scatter(result.judge, variant),
        )
    page.write(os.path.join(output, HTML_FILE))


def size_ratio(
    variant: exporter.Variant, result: exporter.Result
) -> float | None:
    """Returns the size relative to the float32 file, None without either."""
    sizes = {v.name: v.size for v in result.variants}
    float_size = sizes.get(quantization.FLOAT32)
    return variant.size / float_size if float_size and variant.size else None


def _variant_to_dict(variant, result):
    fields = {
        "name": variant.name,
        "file": os.path.basename(variant.path),
        "passed": not variant.failures,
        "failures": list(variant.failures),
        "bytes": variant.size,
        "size_ratio": size_ratio(variant, result),
        "seconds": variant.seconds,
    }
    if variant.error:
        return fields
    verdict = variant.verdict
    return {
        **fields,
        "metrics": verdict.metrics,
        "drops_in_points": verdict.drops,
        "outputs": {
            name: {
                # JSON has no infinity, the SQNR of equal outputs.
                field: None if value == math.inf else value
                for field, value in dataclasses.asdict(each).items()
            }
            for name, each in verdict.comparisons.items()
        },
        "runtimes": [dataclasses.asdict(r) for r in _runtimes(variant)],
        "census": verdict.census,
        "integer_shares": model_file.integer_shares(verdict.census),
        "float_operators": model_file.float_operators(verdict.census),
    }


def _runtimes(variant):
    return variant.lint.runtimes if variant.lint else ()


def _loading_table(lint):
    rows = [
        [each.name, "yes" if each.loads else "no", each.text]
        for each in lint.runtimes
    ]
    rows += [["", each.level, each.text] for each in lint.findings]
    return "Who loads the file", ["runtime", "loads", "what with, or why"], rows


def _metric_cells(metrics, points):
    """Returns cells; what is in percent needs less digits."""
    return [
        f"{metrics[name]:.{2 if points[name] == 1 else 4}f}" for name in points
    ]


def _comparison_cells(comparisons):
    """Returns the cells of the worst of a file's outputs."""
    agreements = [
        each.agreement for each in comparisons if each.agreement is not None
    ]
    return [
        f"{max(each.max_difference for each in comparisons):.2g}",
        f"{min(each.sqnr_db for each in comparisons):.1f}",
        f"{min(agreements):.4f}" if agreements else "",
    ]


def _census_table(census):
    formats = sorted({name for counts in census.values() for name in counts})
    shares = model_file.integer_shares(census)
    rows = [
        [
            name,
            *(counts.get(number_format, "") for number_format in formats),
            f"{shares[name]:.0%}" if name in shares else "",
        ]
        for name, counts in census.items()
    ]
    caption = (
        "Operators by the number format they compute in ("
        f"{', '.join(model_file.CONVERSIONS)} convert between two)"
    )
    return caption, ["operator", *formats, "in int8"], rows


def _float_operators(census):
    counts = model_file.float_operators(census)
    listed = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"operators in float32: {listed or 'none'}"


def _scatter(judge, variant):
    figure = figure_lib.Figure(figsize=(4.5, 4.5))
    axes = figure.add_subplot()
    for name, reference in judge.values.items():
        values = variant.verdict.values[name]
        if name == graph_heads.PROBABILITIES:
            reference, values = reference[..., -1], values[..., -1]
        reference = np.ma.compressed(reference)
        values = np.ma.compressed(values)
        dots = slice(None, None, 1 + len(values) // _MAX_DOTS)
        axes.scatter(reference[dots], values[dots], s=8, alpha=0.5, label=name)
    limits = axes.get_xlim()
    axes.plot(limits, limits, color="#b0b0b8", linewidth=1, zorder=0)
    axes.set_xlabel("Keras")
    axes.set_ylabel(variant.name)
    axes.set_aspect("equal")
    axes.legend()
    return figure
