"""Figures of the export's report."""

import re

import numpy as np
from matplotlib import figure as figure_lib

from export import exporter
from export import file_cost
from export import graph_heads
from export import layer_errors
from export import verification

_MAX_DOTS = 2000
_BLOCK = re.compile(r"layer_(\d+)/")
_MEGABYTE = 1e6
# Bubbles of a file as large as the largest, in points squared.
_LARGEST_BUBBLE = 900.0


def outputs(
    judge: verification.Judge, variant: exporter.Variant
) -> figure_lib.Figure:
    """Returns a dot per value that an app reads, over that of Keras."""
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


def errors_along_layers(
    errors: layer_errors.LayerErrors,
) -> figure_lib.Figure:
    """Returns the SQNR of each tensor, in order of execution."""
    figure = figure_lib.Figure(figsize=(9, 4))
    axes = figure.add_subplot()
    places = np.arange(len(errors.tensors))
    for values, label, style in (
        ([t.local_sqnr_db for t in errors.tensors], "operator alone", "."),
        ([t.sqnr_db for t in errors.tensors], "all so far", "-"),
    ):
        # Exact ones, infinite, are left out.
        is_there = np.isfinite(values)
        axes.plot(
            places[is_there],
            np.array(values)[is_there],
            style,
            markersize=4,
            label=label,
        )
    starts = _block_starts(errors.tensors)
    for block, start in starts.items():
        axes.axvline(start, color="#d8d8de", linewidth=0.8, zorder=0)
        if len(starts) <= 12 or block % 4 == 0:
            axes.annotate(
                f" block {block}",
                (start, 1.0),
                xycoords=("data", "axes fraction"),
                fontsize="x-small",
                color="#55555e",
                verticalalignment="bottom",
            )
    axes.set_xlabel("tensors in order of execution")
    axes.set_ylabel("signal to error in dB")
    axes.legend(loc="lower left", fontsize="small")
    return figure


def costs(result: exporter.Result) -> figure_lib.Figure | None:
    """Returns score over latency, a bubble per file by its size.

    None where fewer than two files have been measured.
    """
    metric = next(iter(result.judge.points), None)
    measured = [
        variant
        for variant in result.variants
        if isinstance(variant.cost, file_cost.FileCost)
    ]
    if metric is None or len(measured) < 2:
        return None
    largest = max(variant.size for variant in measured)
    figure = figure_lib.Figure(figsize=(7, 4))
    axes = figure.add_subplot()
    for variant in measured:
        place = (variant.cost.median_ms, variant.verdict.metrics[metric])
        area = _LARGEST_BUBBLE * variant.size / largest
        axes.scatter(*place, s=area, alpha=0.5)
        axes.annotate(
            f"{variant.name}\n{variant.size / _MEGABYTE:.1f} MB",
            place,
            fontsize="small",
            horizontalalignment="center",
            verticalalignment="center",
        )
    axes.axhline(
        result.judge.metrics[metric], color="#b0b0b8", linewidth=1, zorder=0
    )
    axes.margins(0.2)
    axes.set_xlim(left=0)
    threads = measured[0].cost.num_threads
    axes.set_xlabel(f"median latency in ms, threads: {threads}")
    axes.set_ylabel(metric)
    return figure


def _block_starts(tensors):
    """Returns the place of each block's first tensor."""
    starts = {}
    for place, tensor in enumerate(tensors):
        if match := _BLOCK.match(tensor.name):
            starts.setdefault(int(match[1]), place)
    return starts
