"""Files for the GLUE server: names, form and values."""

import pytest

from mobilebert_tf.data import glue
from mobilebert_tf.data import glue_tasks
from mobilebert_tf.evaluation import glue_submission


def _write(tmp_path, task, predictions, split=glue.TEST):
    path = glue_submission.write(
        glue.get_task(task), split, predictions, str(tmp_path)
    )
    with open(path, encoding="utf-8") as stream:
        return path, stream.read()


@pytest.mark.parametrize(
    "task, split, name",
    [
        ("CoLA", glue.TEST, "CoLA.tsv"),
        ("SST-2", glue.TEST, "SST-2.tsv"),
        ("MRPC", glue.TEST, "MRPC.tsv"),
        ("QQP", glue.TEST, "QQP.tsv"),
        ("MNLI", glue.TEST, "MNLI-m.tsv"),
        ("MNLI", glue_tasks.TEST_MISMATCHED, "MNLI-mm.tsv"),
        ("QNLI", glue.TEST, "QNLI.tsv"),
        ("RTE", glue.TEST, "RTE.tsv"),
        ("WNLI", glue.TEST, "WNLI.tsv"),
        ("AX", glue.TEST, "AX.tsv"),
    ],
)
def test_name_and_form(tmp_path, task, split, name):
    labels = glue.get_task(task).labels
    predictions = [labels[-1], labels[0]]
    path, text = _write(tmp_path, task, predictions, split)
    assert path == str(tmp_path / name)
    assert text == f"index\tprediction\n0\t{labels[-1]}\n1\t{labels[0]}\n"


def test_every_test_set_has_a_file(tmp_path):
    for task in glue_tasks.TASKS.values():
        for split in task.files:
            predictions = [0.0] if task.value_range else [task.labels[0]]
            path = glue_submission.write(
                task, split, predictions, str(tmp_path)
            )
            assert (path is not None) == split.startswith("test")
    assert len(list(tmp_path.iterdir())) == 11


def test_values_keep_to_the_range_of_the_labels(tmp_path):
    path, text = _write(tmp_path, "STS-B", [3.14159, -0.2, 5.7])
    assert path.endswith("STS-B.tsv")
    assert text == "index\tprediction\n0\t3.142\n1\t0.000\n2\t5.000\n"


def test_a_prediction_that_is_no_label(tmp_path):
    with pytest.raises(
        ValueError, match="RTE.tsv: prediction 1 is '1', expected one of ent"
    ):
        _write(tmp_path, "RTE", ["entailment", "1"])
    assert not list(tmp_path.iterdir())


# Rows of the official test files.
_SIZES = {
    "CoLA": 1063,
    "SST-2": 1821,
    "MRPC": 1725,
    "STS-B": 1379,
    "QNLI": 5463,
    "RTE": 3000,
    "WNLI": 146,
}


@pytest.mark.parametrize("task", _SIZES)
def test_a_file_of_another_size_is_warned_of(tmp_path, caplog, task):
    prediction = 0.0 if task == "STS-B" else glue.get_task(task).labels[0]
    _write(tmp_path, task, [prediction] * _SIZES[task])
    assert "will refuse" not in caplog.text
    _write(tmp_path, task, [prediction] * (_SIZES[task] - 1))
    assert f"official test set has {_SIZES[task]} rows" in caplog.text
