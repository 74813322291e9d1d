"""The page on a set: its numbers are those of scikit-learn."""

import re

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.evaluation import error_report
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.evaluation import metrics

TEXT = "a <b>bold</b> & 'quoted' text"


class LabelledSet(evaluation_set.EvaluationSet):
    """Rows with random labels; every row is its own worst error."""

    def __init__(self, names, num_rows=300, text=TEXT):
        ids = np.ones([num_rows, 4], np.int32)
        super().__init__(
            "dev", rows_lib.ArrayRows(dict.fromkeys(rows_lib.INPUT_NAMES, ids))
        )
        self.class_names = tuple(names)
        self._text = text
        generator = np.random.default_rng(5)
        self.labels = generator.integers(0, len(names), num_rows)

    def measure(self, outputs):
        predictions = outputs["logits"].argmax(axis=-1)
        return evaluation_set.Measurement(
            metrics.compute(["accuracy"], self.labels, predictions),
            metrics.confusion(self.labels, predictions, self.class_names),
        )

    def worst_errors(self, outputs, count):
        wrong = outputs["logits"].argmax(axis=-1) != self.labels
        rows = [(str(row), self._text) for row in np.flatnonzero(wrong)]
        return evaluation_set.ErrorTable(("row", "text"), rows[:count])

    def random_outputs(self, seed=0, noise=1.5):
        """Returns logits that are often right."""
        generator = np.random.default_rng(seed)
        logits = np.eye(len(self.class_names))[self.labels]
        logits = logits + generator.normal(0, noise / 3, logits.shape)
        return {"logits": logits.astype(np.float32)}


def _evaluated(rows, **outputs):
    return {
        name: evaluation_set.Evaluated(rows, values, rows.measure(values))
        for name, values in outputs.items()
    }


def _page(tmp_path, rows, models=None):
    path = tmp_path / "evaluation_dev.html"
    models = models or _evaluated(rows, keras=rows.random_outputs())
    error_report.write(str(path), "A & B", models)
    return path.read_text()


def _table(page, caption):
    """Returns the cells of the table's body, by row."""
    table = page.split(f"<caption>{caption}</caption>")[1].split("</table>")[0]
    body = table.split("<tbody>")[1]
    return [
        re.findall(r"<td>(.*?)</td>", row, re.DOTALL)
        for row in body.split("<tr>")[1:]
    ]


def test_scores_are_those_of_scikit_learn(tmp_path):
    names = ["zero", "one", "two"]
    rows = LabelledSet(names)
    outputs = rows.random_outputs()
    expected = sklearn_metrics.classification_report(
        rows.labels,
        outputs["logits"].argmax(axis=1),
        target_names=names,
        output_dict=True,
    )
    page = _page(tmp_path, rows)
    assert _table(page, "Scores") == [
        [
            name,
            f"{expected[name]['precision']:.4f}",
            f"{expected[name]['recall']:.4f}",
            f"{expected[name]['f1-score']:.4f}",
            f"{expected[name]['support']:.0f}",
        ]
        for name in names
    ]
    assert _table(page, "Metrics") == [
        ["accuracy", f"{expected['accuracy']:.4f}"]
    ]


def test_cells_of_the_confusion_matrix(tmp_path):
    """The figure's texts are comments of the SVG, row after row."""
    rows = LabelledSet(["zero", "one", "two"])
    outputs = rows.random_outputs()
    matrix = sklearn_metrics.confusion_matrix(
        rows.labels, outputs["logits"].argmax(axis=1)
    )
    svg = _page(tmp_path, rows).split("<figure>")[1]
    texts = re.findall(r"<!-- (.*?) -->", svg)
    assert matrix.min() > 0
    assert [t for t in texts if t.isdigit()] == [
        str(count) for count in matrix.flat
    ]
    assert {"zero", "one", "two", "true class"} <= set(texts)


def test_names_and_texts_are_no_markup(tmp_path):
    names = ["<i>zero</i>", "$\\frac{1$"]
    page = _page(tmp_path, LabelledSet(names))
    assert "<b>" not in page
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; &#39;quoted&#39;" in page
    assert "<h1>A &amp; B</h1>" in page
    assert "<i>zero" not in re.sub("<!--.*?-->", "", page)
    assert "<td>$\\frac{1$</td>" in page


def test_a_long_text_is_cut_with_a_mark(tmp_path):
    text = "begin" + "x" * 100_000 + "end"
    rows = LabelledSet(["a", "b"], text=text)
    models = _evaluated(rows, keras=rows.random_outputs(noise=5.0))
    page = _page(tmp_path, rows, models)
    cell = _table(page, "The 50 worst errors")[0][1]
    assert cell.startswith("beginx") and cell.endswith("xend")
    assert "[... 99408 characters ...]" in cell
    assert len(cell) < 700


def test_a_hundred_classes(tmp_path):
    """Too many for a figure: the pairs that scikit-learn counts most."""
    names = [f"class{i}" for i in range(100)]
    rows = LabelledSet(names, num_rows=3000)
    outputs = rows.random_outputs(noise=1.2)
    matrix = sklearn_metrics.confusion_matrix(
        rows.labels, outputs["logits"].argmax(axis=1)
    )
    page = _page(tmp_path, rows, _evaluated(rows, keras=outputs))
    pairs = _table(page, "The most confused of 100 classes")
    wrong = np.where(np.eye(100), 0, matrix)
    assert [int(cells[2]) for cells in pairs] == sorted(
        wrong[wrong > 0], reverse=True
    )[:40]
    true, predicted, count, share = pairs[0]
    row, column = names.index(true), names.index(predicted)
    assert matrix[row, column] == int(count)
    assert float(share) == pytest.approx(
        matrix[row, column] / matrix[row].sum(), abs=1e-4
    )
    assert len(_table(page, "Scores")) == 100


def test_no_errors(tmp_path):
    rows = LabelledSet(["a", "b"])
    page = _page(
        tmp_path, rows, _evaluated(rows, keras=rows.random_outputs(noise=0))
    )
    assert "<p>No errors.</p>" in page


def test_one_row_of_one_class(tmp_path):
    rows = LabelledSet(["a", "b"], num_rows=1)
    page = _page(tmp_path, rows)
    assert _table(page, "Metrics") == [["accuracy", "1.0000"]]


def test_models_side_by_side(tmp_path):
    rows = LabelledSet(["a", "b", "c"])
    first, second = rows.random_outputs(1), rows.random_outputs(2)
    models = _evaluated(rows, keras=first, int8=second)
    accuracies = [
        sklearn_metrics.accuracy_score(
            rows.labels, outputs["logits"].argmax(axis=1)
        )
        for outputs in (first, second)
    ]
    differing = np.count_nonzero(
        first["logits"].argmax(axis=1) != second["logits"].argmax(axis=1)
    )
    difference = 100 * (accuracies[1] - accuracies[0])
    assert _table(_page(tmp_path, rows, models), "Metrics") == [
        ["accuracy", *(f"{accuracy:.4f}" for accuracy in accuracies)],
        ["points", "", f"{difference:+.2f}"],
        ["rows that differ", "", str(differing)],
    ]
    header, *lines = error_report.metrics_table(models)
    assert header == ["model", "accuracy", "points", "rows that differ"]
    assert [line[0] for line in lines] == ["keras", "int8"]


class _Percent(LabelledSet):
    in_percent = True


def test_units_of_differences():
    rows = _Percent(["a", "b"])
    outputs = rows.random_outputs()
    values = {
        "a": {"f1": 80.0, "best_f1_thresh": 1.5},
        "b": {"f1": 79.25, "best_f1_thresh": 1.25, "total": 7.0},
    }
    models = {
        name: evaluation_set.Evaluated(
            rows, outputs, evaluation_set.Measurement(metrics_, {})
        )
        for name, metrics_ in values.items()
    }
    _, first, second = error_report.metrics_table(models)
    assert second == [
        *("b", "79.2500", "-0.75", "1.2500", "-0.2500", "7.0000", "", "0")
    ]
    assert first == ["a", "80.0000", "", "1.5000", "", "", "", ""]


def _num_differing(rows, first, second):
    return error_report.num_differing(
        evaluation_set.Evaluated(rows, first, None),
        evaluation_set.Evaluated(rows, second, None),
    )


class _Spans(LabelledSet):
    output_names = ("start_logits", "end_logits")


def test_spans_differ_by_start_or_end():
    first = dict.fromkeys(_Spans.output_names, np.eye(4))
    second = {
        "start_logits": np.eye(4)[[1, 1, 2, 3]],
        "end_logits": np.eye(4)[[1, 1, 3, 3]],
    }
    assert _num_differing(_Spans(["a", "b"], num_rows=4), first, second) == 2


class _Tagged(LabelledSet):
    def inputs(self, rows):
        return {"input_mask": np.array([[1, 1, 1, 0]] * 3, np.int32)[rows]}


def test_tags_of_padding_do_not_differ():
    first = np.zeros([3, 4, 2])
    second = first.copy()
    second[0, 3, 1] = 1.0  # Padding.
    second[1, 2, 1] = 1.0
    rows = _Tagged(["a", "b"], num_rows=3)
    assert _num_differing(rows, {"logits": first}, {"logits": second}) == 1


def test_values_of_a_regression_do_not_differ_in_class():
    rows = LabelledSet(["value"])
    values = {"logits": np.zeros([300, 1])}
    assert _num_differing(rows, values, values) is None
