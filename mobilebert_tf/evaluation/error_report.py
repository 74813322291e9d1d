"""The page evaluation_SET.html: what models get right, and what wrong.

Models on the same rows, such as a Keras model and its .tflite, stand side by
side, so that what an export costs is told metric by metric.

Legend: N rows, C classes.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib import figure as figure_lib

from mobilebert_tf import html_report
from mobilebert_tf.evaluation import evaluation_set as evaluation_sets

# Keys of Measurement.counts, as metrics.confusion names them.
_MATRIX = "confusion_matrix"
_SCORES = "per_class"
_SCORE_NAMES = ("precision", "recall", "f1")
_SUPPORT = "support"
# Ends of the names of metrics that are no share of anything.
_NO_SHARES = ("loss", "error", "thresh", "total")

# Beyond that, cells of a figure are too small to read.
_MAX_DRAWN_CLASSES = 40
_MAX_PAIRS = 40
_MAX_NAME_LENGTH = 40
_MAX_CELL_LENGTH = 600
_BINS = 10


def write(
    path: str,
    title: str,
    models: Mapping[str, evaluation_sets.Evaluated],
    max_errors: int = 50,
) -> None:
    """Writes the page, whole or not at all.

    Args:
        path: of the file.
        title: of the page.
        models: by name, run on the same set. Details and errors are those of
            the first; the others are compared to it.
        max_errors: how many of the worst errors are shown.
    """
    page = html_report.HtmlReport(title)
    header, *rows = zip(*metrics_table(models), strict=True)
    page.add_table("Metrics", header, rows)
    name, first = next(iter(models.items()))
    if len(models) > 1:
        page.add_heading(f"In detail: {name}")
    counts = first.measurement.counts
    if _MATRIX in counts:
        _add_confusion(page, counts, first.set.class_names)
    if _SCORES in counts:
        page.add_table("Scores", *_scores_table(counts[_SCORES]))
    logits = first.outputs.get("logits")
    if logits is not None and logits.ndim == 2 and logits.shape[1] > 1:
        page.add_figure(
            "How sure the model is: rows by the probability of what it "
            "predicts.",
            _confidence_figure(logits),
        )
    errors = first.set.worst_errors(first.outputs, max_errors)
    if errors.rows:
        page.add_table(
            f"The {len(errors.rows)} worst errors",
            errors.header,
            [[_shortened(cell) for cell in row] for row in errors.rows],
        )
    else:
        page.add_text("No errors.")
    page.write(path)


def metrics_table(
    models: Mapping[str, evaluation_sets.Evaluated],
) -> list[list[str]]:
    """Returns the table of metrics: the header, then a line per model.

    Of several models, those after the first have beside each metric the
    difference from it, in points (hundredths) or, of errors, losses and
    others that are no share, in the metric's unit; and the number of rows in
    which the most likely class, or that of any token, is another.

    Args:
        models: by name, run on the same set.
    """
    evaluated = list(models.values())
    table = [["model", *models]]
    names = dict.fromkeys(
        name for each in evaluated for name in each.measurement.metrics
    )
    for name in names:
        values = [each.measurement.metrics.get(name) for each in evaluated]
        table.append([name, *map(_figure, values)])
        if len(evaluated) > 1:
            is_share = not name.endswith(_NO_SHARES)
            scale = 100.0 if is_share and not evaluated[0].set.in_percent else 1
            differences = (
                _difference(values[0], value, scale, 2 if is_share else 4)
                for value in values[1:]
            )
            unit = "points" if is_share else "difference"
            table.append([unit, "", *differences])
    if len(evaluated) > 1:
        counts = (num_differing(evaluated[0], each) for each in evaluated[1:])
        cells = ["" if count is None else str(count) for count in counts]
        table.append(["rows that differ", "", *cells])
    return [list(line) for line in zip(*table, strict=True)]


def num_differing(
    first: evaluation_sets.Evaluated, second: evaluation_sets.Evaluated
) -> int | None:
    """Returns the number of rows whose most likely classes differ.

    Of a tagger it is enough if one token's does, of a model of spans if start
    or end does. None for values of a regression.

    Args:
        first, second: models on the same set.
    """
    differs = np.zeros(len(first.set), bool)
    for name in first.set.output_names:
        one, other = first.outputs[name], second.outputs[name]
        if one.shape[-1] == 1:
            return None
        changed = one.argmax(axis=-1) != other.argmax(axis=-1)
        if changed.ndim == 2:  # Of each token; padding does not count.
            inputs = first.set.inputs(slice(None))
            changed = (changed & (inputs["input_mask"] == 1)).any(axis=1)
        differs |= changed
    return int(differs.sum())


def _add_confusion(page, counts, names):
    matrix = np.array(counts[_MATRIX])
    names = [_shortened(name, _MAX_NAME_LENGTH) for name in names]
    if len(matrix) <= _MAX_DRAWN_CLASSES:
        page.add_figure(
            "Confusion matrix: counts, and as colours the shares of each true "
            "class.",
            _confusion_figure(matrix, names),
        )
        return
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MAX_PAIRS]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    page.add_table(
        f"The most confused of {len(matrix)} classes",
        ("true class", "predicted as", "rows", "share of the true class"),
        [
            (
                names[true],
                names[predicted],
                wrong[true, predicted],
                f"{wrong[true, predicted] / matrix[true].sum():.4f}",
            )
            for true, predicted in pairs
            if wrong[true, predicted]
        ],
    )


def _confusion_figure(matrix, names):
    count = len(names)
    size = 2.5 + 0.5 * count
    figure = figure_lib.Figure(figsize=(size, size), layout="constrained")
    axes = figure.add_subplot()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for true, predicted in np.ndindex(*matrix.shape):
        if matrix[true, predicted]:
            axes.text(
                predicted,
                true,
                str(matrix[true, predicted]),
                ha="center",
                va="center",
                fontsize="small",
                color="white" if shares[true, predicted] > 0.5 else "black",
            )
    # A name is no formula, whatever dollars it has.
    for set_ticks in (axes.set_xticks, axes.set_yticks):
        set_ticks(range(count), names, fontsize="small", parse_math=False)
    if count > 4 or max(map(len, names)) > 8:
        axes.tick_params(axis="x", labelrotation=90)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    return figure


def _scores_table(scores):
    rows = []
    for name, each in scores.items():
        figures = [f"{each[key]:.4f}" for key in _SCORE_NAMES]
        rows.append(
            [_shortened(name, _MAX_NAME_LENGTH), *figures, each[_SUPPORT]]
        )
    return ("class", *_SCORE_NAMES, _SUPPORT), rows


def _confidence_figure(logits):
    # Shifted, so that no exponential overflows.
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence = 1.0 / weights.sum(axis=1)
    figure = figure_lib.Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.add_subplot()
    axes.hist(confidence, bins=_BINS, range=(1.0 / logits.shape[1], 1.0))
    axes.set_xlabel("probability of the predicted class")
    axes.set_ylabel("rows")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _figure(value):
    return "" if value is None else f"{value:.4f}"


def _difference(first, value, scale, digits):
    if first is None or value is None:
        return ""
    return f"{scale * (value - first):+.{digits}f}"


def _shortened(text, length=_MAX_CELL_LENGTH):
    """Returns a text with its middle left out if it is too long."""
    if len(text) <= length:
        return text
    kept = length // 2
    left_out = len(text) - 2 * kept
    return f"{text[:kept]} [... {left_out} characters ...] {text[-kept:]}"
