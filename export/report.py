"""The export's report: JSON for programs, HTML and a table for people."""

import dataclasses
import json
import math
import os

from export import exporter
from export import file_cost
from export import file_maker
from export import model_file
from export import precision_report
from export import quantization
from export import report_plots
from mobilebert_tf import files
from mobilebert_tf import html_report
from mobilebert_tf import text_table

JSON_FILE = "report.json"
HTML_FILE = "report.html"

_MEGABYTE = 1e6
_NUM_WORST = 10
_NUM_WORST_IN_TEXT = 3
_NUM_OUTLIERS = 10


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
        "outliers": [
            {**dataclasses.asdict(outlier), "ratio": outlier.ratio}
            for outlier in result.outliers
        ],
        "bases": result.bases and precision_report.bases_to_dict(result.bases),
        "variants": [_variant_to_dict(v, result) for v in result.variants],
    }


def table(result: exporter.Result) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows: Keras, then a row per variant."""
    points = result.judge.points
    header = ["model", *points]
    header += [f"{name} drop, points" for name in points]
    header += ["max |d|", "SQNR dB", "same choice", "verdict"]
    keras = ["Keras", *_metric_cells(result.judge.metrics, points)]
    rows = [keras + [""] * (len(header) - len(keras))]
    for variant in result.variants:
        row = [variant.name]
        if variant.error:
            row += [""] * (2 * len(points) + 3)
        else:
            verdict = variant.verdict
            row += _metric_cells(verdict.metrics, points)
            row += [f"{verdict.drops[name]:+.2f}" for name in points]
            row += _comparison_cells(verdict.comparisons.values())
        rows.append(row + ["FAIL" if variant.failures else "pass"])
    return header, rows


def cost_table(result: exporter.Result) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows: size, latency, memory and XNNPACK's part."""
    header = ["file", "size MB", "of float32", "median ms", "min ms"]
    header += ["of float32", "peak MB", "XNNPACK parts", "ops left out"]
    rows = []
    for variant in result.variants:
        if variant.error:
            continue
        cells = [f"{variant.size / _MEGABYTE:.2f}"]
        cells.append(_ratio_cell(size_ratio(variant, result)))
        cost = variant.cost
        if isinstance(cost, file_cost.FileCost):
            cells += [f"{cost.median_ms:.2f}", f"{cost.min_ms:.2f}"]
            cells.append(_ratio_cell(latency_ratio(variant, result)))
            cells.append(f"{cost.peak_memory_bytes / _MEGABYTE:.1f}")
        else:
            cells += [""] * 4
        delegation = variant.verdict.delegation
        if delegation is None:
            cells += ["", ""]
        else:
            left = delegation.num_left_out
            cells += [str(delegation.partitions), str(left)]
        rows.append([variant.name, *cells])
    return header, rows


def text(result: exporter.Result) -> str:
    """Returns the tables in columns, what they leave out, and failures."""
    header, rows = table(result)
    printed = text_table.lines([header, *rows])
    header, rows = cost_table(result)
    if rows:
        printed += ["", *text_table.lines([header, *rows]), ""]
    for variant in result.variants:
        if variant.steps:
            header, rows = precision_report.step_rows(
                variant.steps, result.judge.points
            )
            printed += [f"{variant.name}:", *text_table.lines([header, *rows])]
    for outlier in result.outliers[:_NUM_WORST_IN_TEXT]:
        printed.append(f"outlier: {outlier.describe()}")
    for variant in result.variants:
        lines = [*_remarks(variant), *variant.failures]
        printed += [f"{variant.name}: {line}" for line in lines]
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
    page.add_table(
        "Size; latency and peak of added memory, each file in a process of "
        "its own; operators that XNNPACK runs, in so many parts, and leaves "
        "out",
        *cost_table(result),
    )
    if (figure := report_plots.costs(result)) is not None:
        page.add_figure("Score, latency and size; the line is Keras.", figure)
    if result.outliers:
        page.add_table(*_outlier_table(result.outliers))
    if result.bases is not None:
        page.add_table(*precision_report.bases_table(result.bases))
    for variant in result.variants:
        _add_variant(page, variant, result)
    page.write(os.path.join(output, HTML_FILE))


def size_ratio(
    variant: exporter.Variant, result: exporter.Result
) -> float | None:
    """Returns the size relative to the float32 file, None without either."""
    sizes = {v.name: v.size for v in result.variants}
    float_size = sizes.get(quantization.FLOAT32)
    return variant.size / float_size if float_size and variant.size else None


def latency_ratio(
    variant: exporter.Variant, result: exporter.Result
) -> float | None:
    """Returns the latency relative to the float32 file, None without either.

    Of the fastest inferences, which other programs disturb least.
    """
    costs = {v.name: v.cost for v in result.variants}
    pair = variant.cost, costs.get(quantization.FLOAT32)
    if not all(isinstance(cost, file_cost.FileCost) for cost in pair):
        return None
    return pair[0].min_ms / pair[1].min_ms


def _variant_to_dict(variant, result):
    fields = {
        "name": variant.name,
        "file": os.path.basename(variant.path),
        "passed": not variant.failures,
        "failures": list(variant.failures),
        "bytes": variant.size,
        "size_ratio": size_ratio(variant, result),
        "seconds": variant.seconds,
        "steps": [precision_report.step_to_dict(s) for s in variant.steps],
    }
    if variant.error:
        return fields
    verdict, cost = variant.verdict, variant.cost
    fields.update(
        metrics=verdict.metrics,
        drops_in_points=verdict.drops,
        outputs={
            name: _without_infinity(dataclasses.asdict(each))
            for name, each in verdict.comparisons.items()
        },
        cost=(
            dataclasses.asdict(cost)
            if isinstance(cost, file_cost.FileCost)
            else {"not_measured": cost}
        ),
        latency_ratio=latency_ratio(variant, result),
        runtimes=[dataclasses.asdict(r) for r in _runtimes(variant)],
        census=verdict.census,
        weights=verdict.weights,
        integer_shares=model_file.integer_shares(verdict.census),
        float_operators=model_file.float_operators(verdict.census),
    )
    if verdict.delegation is not None:
        fields["xnnpack"] = dataclasses.asdict(verdict.delegation)
    if verdict.layer_errors is not None:
        fields["layer_errors"] = {
            "num_examples": verdict.layer_errors.num_examples,
            "tensors": [
                _without_infinity(dataclasses.asdict(tensor))
                for tensor in verdict.layer_errors.tensors
            ],
        }
    return fields


def _without_infinity(fields):
    """JSON has no infinity, the SQNR of equal values."""
    return {
        name: None if value == math.inf else value
        for name, value in fields.items()
    }


def _add_variant(page, variant, result):
    page.add_heading(variant.name)
    for why in variant.failures:
        page.add_text(f"FAIL: {why}")
    if variant.error:
        return
    verdict = variant.verdict
    for remark in _remarks(variant):
        page.add_text(f"{remark}.")
    if variant.steps:
        page.add_table(
            "Parts kept in float32 until the file was accurate",
            *precision_report.step_rows(variant.steps, result.judge.points),
        )
    if verdict.census:
        page.add_table(*_census_table(verdict.census))
    if variant.lint:
        page.add_table(*_loading_table(variant.lint))
    if verdict.layer_errors is not None:
        page.add_figure(
            "Error along the layers, at real positions of "
            f"{verdict.layer_errors.num_examples} examples: of all operators "
            "so far, and of each alone when it is given what the float32 file "
            "computes.",
            report_plots.errors_along_layers(verdict.layer_errors),
        )
        page.add_table(*_worst_table(verdict.layer_errors))
    page.add_figure(
        "What an app reads, one dot per value; of probabilities that of the "
        "last label.",
        report_plots.outputs(result.judge, variant),
    )


def _remarks(variant):
    """Returns what the tables leave out of a file, a line each."""
    if variant.error or variant.name == file_maker.SAVED_MODEL:
        return []
    remarks = []
    verdict = variant.verdict
    if verdict.delegation and verdict.delegation.left_out:
        left = _counts(verdict.delegation.left_out)
        remarks.append(f"XNNPACK leaves out {left}")
    if variant.name == quantization.INT8:
        counts = model_file.float_operators(verdict.census)
        remarks.append(f"operators in float32: {_counts(counts) or 'none'}")
    if verdict.layer_errors is not None:
        worst = ", ".join(
            f"{tensor.short_name} {tensor.local_sqnr_db:.1f} dB"
            for tensor in verdict.layer_errors.worst(_NUM_WORST_IN_TEXT)
        )
        remarks.append(f"largest errors of single operators: {worst or 'none'}")
    if not isinstance(variant.cost, file_cost.FileCost):
        remarks.append(f"latency: {variant.cost}")
    elif variant.cost.is_disturbed:
        remarks.append("latency: too high, other programs had the cores")
    return remarks


def _counts(counts):
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _runtimes(variant):
    return variant.lint.runtimes if variant.lint else ()


def _loading_table(lint):
    rows = [
        [each.name, "yes" if each.loads else "no", each.text]
        for each in lint.runtimes
    ]
    rows += [["", each.level, each.text] for each in lint.findings]
    return "Who loads the file", ["runtime", "loads", "what with, or why"], rows


def _ratio_cell(ratio):
    return "" if ratio is None else f"{ratio:.3f}"


def _worst_table(errors):
    rows = [
        [
            tensor.short_name,
            tensor.operator,
            tensor.number_format,
            f"{tensor.lowest:.3g} .. {tensor.highest:.3g}",
            f"{tensor.local_sqnr_db:.1f}",
            f"{tensor.sqnr_db:.1f}",
        ]
        for tensor in errors.worst(_NUM_WORST)
    ]
    header = ["tensor", "operator", "format", "range"]
    header += ["operator alone, dB", "all so far, dB"]
    return "Operators that err most", header, rows


def _outlier_table(found):
    rows = [
        [
            outlier.name,
            f"{outlier.value:.3g}",
            f"{outlier.ratio:.0f}",
            "" if outlier.position is None else outlier.position,
            outlier.channel,
            "overflows" if outlier.overflows_float16 else "",
        ]
        for outlier in found[:_NUM_OUTLIERS]
    ]
    header = ["tensor", "value", "times the others", "token", "channel"]
    return (
        "Outliers of the float32 graph: int8 with one scale per tensor rounds "
        "the other values away",
        [*header, "float16"],
        rows,
    )


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
