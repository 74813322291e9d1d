"""What is kept of a run's evaluations."""

import json

import pytest
import tensorflow as tf
import tf_keras

from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.fine_tuning import model_selection

_COUNTS = {"confusion_matrix": [[1, 0], [0, 1]]}


class _Set(evaluation_set.EvaluationSet):
    """Only its name is read."""

    def measure(self, outputs):
        raise AssertionError

    def worst_errors(self, outputs, count):
        raise AssertionError


def _evaluated(name, metrics, counts, set_type=_Set):
    measurement = evaluation_set.Measurement(metrics, counts)
    return evaluation_set.Evaluated(set_type(name, None), {}, measurement)


class _Run:
    """Evaluations of a model of one weight, which is the step."""

    def __init__(
        self, folder, metric="accuracy", keep_best=True, set_type=_Set
    ):
        self.folder = folder
        self._set_type = set_type
        self.model = tf_keras.Sequential([tf_keras.layers.Dense(1)])
        self.model.build([None, 1])
        self._record = model_selection.EvaluationRecord(
            str(folder),
            ("no", "yes"),
            metric,
            self._write_model if keep_best else None,
        )

    def _write_model(self, folder):
        (self.folder / "best").mkdir(exist_ok=True)
        (self.folder / "best" / "bert_config.json").write_text(folder)

    def evaluate(self, step, **metrics):
        self.model.weights[0].assign([[float(step)]])
        evaluated = [_evaluated("dev", metrics, _COUNTS, self._set_type)]
        self._record(self.model, step, metrics, evaluated)

    def end(self):
        self._record.write_pages()

    def best_step(self):
        """Returns the weight in the best checkpoint."""
        path = tf.train.latest_checkpoint(str(self.folder / "best"))
        reader = tf.train.load_checkpoint(path)
        (name,) = [
            name
            for name in reader.get_variable_to_shape_map()
            if "kernel" in name
        ]
        step = reader.get_tensor("global_step/.ATTRIBUTES/VARIABLE_VALUE")
        assert float(reader.get_tensor(name)[0, 0]) == float(step)
        return int(step)


def test_the_best_is_kept_not_the_last(tmp_path):
    run = _Run(tmp_path)
    for step, accuracy in ((1, 0.5), (2, 0.8), (3, 0.6)):
        run.evaluate(step, accuracy=accuracy)
    assert run.best_step() == 2
    assert len(list((tmp_path / "best").glob("ckpt-*.index"))) == 1


def test_of_equals_the_first_is_kept(tmp_path):
    run = _Run(tmp_path)
    run.evaluate(1, accuracy=0.5)
    run.evaluate(2, accuracy=0.5)
    assert run.best_step() == 1


def test_a_loss_is_to_be_low(tmp_path):
    run = _Run(tmp_path, metric="validation_loss")
    for step, loss in ((1, 0.5), (2, 0.2), (3, 0.6)):
        run.evaluate(step, validation_loss=loss)
    assert run.best_step() == 2


def test_a_run_that_goes_on_remembers_the_best(tmp_path):
    _Run(tmp_path).evaluate(1, accuracy=0.8)
    again = _Run(tmp_path)
    again.evaluate(2, accuracy=0.7)
    assert again.best_step() == 1
    again.evaluate(3, accuracy=0.9)
    assert again.best_step() == 3
    assert len(list((tmp_path / "best").glob("ckpt-*.index"))) == 1


def test_a_best_model_that_a_kill_left_half_written_is_written_again(tmp_path):
    _Run(tmp_path).evaluate(1, accuracy=0.8)
    (tmp_path / "best" / "evaluation_dev.json").unlink()
    again = _Run(tmp_path)
    again.evaluate(1, accuracy=0.8)
    assert again.best_step() == 1
    assert (tmp_path / "best" / "evaluation_dev.json").exists()


def test_a_damaged_record_of_the_best_is_named(tmp_path):
    run = _Run(tmp_path)
    run.evaluate(1, accuracy=0.8)
    path = tmp_path / "best" / "evaluation_dev.json"
    path.write_text(path.read_text()[:20])
    with pytest.raises(ValueError, match="best/evaluation_dev.json: expected"):
        run.evaluate(2, accuracy=0.9)


def test_without_keeping_the_best_evaluations_are_still_written(tmp_path):
    _Run(tmp_path, keep_best=False).evaluate(1, accuracy=0.8)
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation_dev.json"]


def test_each_set_has_its_own_file(tmp_path):
    record = model_selection.EvaluationRecord(
        str(tmp_path), ("no", "yes"), "accuracy"
    )
    evaluated = [
        _evaluated("dev", {"accuracy": 0.5}, _COUNTS),
        _evaluated("dev_mismatched", {"accuracy": 0.25}, {}),
    ]
    record(None, 7, evaluation_set.joint_metrics(evaluated), evaluated)
    labels = ["no", "yes"]
    assert json.loads((tmp_path / "evaluation_dev.json").read_text()) == {
        "step": 7,
        "metrics": {"accuracy": 0.5},
        "labels": labels,
        **_COUNTS,
    }
    path = tmp_path / "evaluation_dev_mismatched.json"
    assert json.loads(path.read_text()) == {
        "step": 7,
        "metrics": {"accuracy": 0.25},
        "labels": labels,
    }


def test_the_folder_of_the_best_or_the_runs_own(tmp_path):
    assert model_selection.best_or_newest(str(tmp_path)) == str(tmp_path)
    _Run(tmp_path).evaluate(1, accuracy=0.8)
    best = str(tmp_path / "best")
    assert model_selection.best_or_newest(str(tmp_path)) == best


def _rows(values, metric="accuracy"):
    rows = [{"kind": "validation", metric: value} for value in values]
    return [{"kind": "train", "step": 1}, *rows]


@pytest.mark.parametrize(
    "values, stalled",
    [
        ([], False),
        ([0.5], False),
        ([0.5, 0.4], False),
        ([0.5, 0.4, 0.5], True),
        ([0.5, 0.4, 0.6], False),
        ([0.1, 0.2, 0.3, 0.4], False),
        ([0.5, 0.6, 0.6, 0.6], True),
    ],
)
def test_two_evaluations_that_are_not_better(values, stalled):
    rows = _rows(values)
    assert model_selection.has_stalled(rows, "accuracy", 2) == stalled


def test_a_loss_that_rises_has_stalled():
    rows = _rows([0.5, 0.6], "validation_loss")
    assert model_selection.has_stalled(rows, "validation_loss", 1)
    rows = _rows([0.5, 0.4], "validation_loss")
    assert not model_selection.has_stalled(rows, "validation_loss", 1)


class _ShownSet(_Set):
    class_names = ("no", "yes")

    def worst_errors(self, outputs, count):
        return evaluation_set.ErrorTable(("text",), [(self.name,)])


def test_pages_are_of_the_newest_and_of_the_best(tmp_path):
    """They are written when the run ends."""
    run = _Run(tmp_path, set_type=_ShownSet)
    for step, accuracy in ((1, 0.5), (2, 0.8), (3, 0.6)):
        run.evaluate(step, accuracy=accuracy)
    pages = (
        tmp_path / "evaluation_dev.html",
        tmp_path / "best" / "evaluation_dev.html",
    )
    assert not any(page.exists() for page in pages)
    run.end()
    for page, title, accuracy in zip(
        pages, ("dev at step 3", "dev at step 2"), ("0.6", "0.8"), strict=True
    ):
        text = page.read_text()
        assert f"<h1>{title}</h1>" in text
        assert f"<td>{accuracy}000</td>" in text
