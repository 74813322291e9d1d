"""The export's report: JSON for programs, HTML and a table for people."""

import dataclasses
import json
import math
import os

from matplotlib import figure as figure_lib

from export import exporter
from export import model_file
from export import quantization
from mobilebert_tf import files
from mobilebert_tf import html_report
from mobilebert_tf import text_table

JSON_FILE = "report.json"
HTML_FILE = "report.html"

_MEGABYTE = 1e6


def to_dict(result: exporter.Result) -> dict:
    """Returns the result without arrays, as written to report.json."""
    return {
        "checkpoint": result.checkpoint,
        "task_name": result.task_name,
        "data_dir": result.data_dir,
        "max_seq_length": result.max_seq_length,
        "labels": list(result.labels),
        "num_examples": len(result.label_ids),
        "keras": {"metrics": result.reference_metrics},
        "variants": [_variant_to_dict(v, result) for v in result.variants],
    }


def table(result: exporter.Result) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows: Keras, then a row per variant."""
    names = list(result.reference_metrics)
    header = ["model", "size MB", "of float32"]
    header += names
    header += [f"{name} drop, points" for name in names]
    header += ["max |dp|", "SQNR dB", "same label", "verdict"]
    keras = ["Keras", "", ""]
    keras += [f"{result.reference_metrics[name]:.4f}" for name in names]
    keras += [""] * (len(names) + 4)
    rows = [keras]
    for variant in result.variants:
        ratio = size_ratio(variant, result)
        row = [
            variant.name,
            f"{variant.size / _MEGABYTE:.2f}" if variant.size else "",
            "" if ratio is None else f"{ratio:.3f}",
        ]
        if variant.error:
            row += [""] * (2 * len(names) + 3)
        else:
            verdict = variant.verdict
            row += [f"{verdict.metrics[name]:.4f}" for name in names]
            row += [f"{verdict.drops[name]:+.2f}" for name in names]
            row += [
                f"{verdict.comparison.max_difference:.2g}",
                f"{verdict.comparison.sqnr_db:.1f}",
                f"{verdict.comparison.label_agreement:.4f}",
            ]
        rows.append(row + ["FAIL" if variant.failures else "pass"])
    return header, rows


def text(result: exporter.Result) -> str:
    """Returns the table in columns, float operators left, and failures."""
    header, rows = table(result)
    printed = text_table.lines([header, *rows])
    for variant in result.variants:
        if variant.verdict and variant.name != quantization.FLOAT32:
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
    page = html_report.HtmlReport(f"Export of {result.task_name}")
    page.add_text(
        f"{result.checkpoint}, sequence length {result.max_seq_length}, "
        f"verified on {len(result.label_ids)} examples of {result.data_dir}."
    )
    page.add_table("Files against the Keras model", *table(result))
    for variant in result.variants:
        page.add_heading(variant.name)
        for why in variant.failures:
            page.add_text(f"FAIL: {why}")
        if variant.error:
            continue
        page.add_table(*_census_table(variant.verdict.census))
        page.add_figure(
            f"Probability of label {result.labels[-1]!r}, one dot per example.",
            _scatter(result, variant),
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
        "probabilities": {
            # JSON has no infinity, the SQNR of equal outputs.
            name: value if math.isfinite(value) else None
            for name, value in dataclasses.asdict(verdict.comparison).items()
        },
        "census": verdict.census,
        "integer_shares": model_file.integer_shares(verdict.census),
        "float_operators": model_file.float_operators(verdict.census),
    }


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


def _scatter(result, variant):
    figure = figure_lib.Figure(figsize=(4.5, 4.5))
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#b0b0b8", linewidth=1)
    axes.scatter(
        result.reference[:, -1], variant.outputs[:, -1], s=8, alpha=0.5
    )
    axes.set_xlabel("Keras")
    axes.set_ylabel(variant.name)
    axes.set_aspect("equal")
    return figure
