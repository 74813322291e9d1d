"""Every head from its model's folder to verified files and a report."""

import csv
import json
import os

import pytest
import small_models
import task_folders
import tensorflow as tf
from scipy import stats

from export import exporter
from export import report
from mobilebert_tf import model_directory
from mobilebert_tf.data import glue

# Random models are no experts: their int8 files may lose what they guessed.
WITH_SAVED_MODEL = ("question_answering", "multiple_choice")
OPTIONS = dict(
    calibration_examples=20, max_metric_drop=30, max_relative_drop=1.0
)


class Exported:
    """One export of each head, made when it is first asked for."""

    def __init__(self, folder):
        self._folder = folder
        self._results = {}

    def __call__(self, head):
        if head not in self._results:
            model_dir = task_folders.write(self._folder / head, head)
            output = str(self._folder / head / "out")
            variants = ("float32", "int8")
            if head in WITH_SAVED_MODEL:
                variants += ("saved_model", "any_length")
            result = exporter.export(
                exporter.Options(model_dir, output, variants, **OPTIONS)
            )
            report.write(result, output)
            self._results[head] = model_dir, output, result
        return self._results[head]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return Exported(tmp_path_factory.mktemp("heads"))


@pytest.mark.parametrize("head", task_folders.HEADS)
def test_float_forms_have_the_metrics_of_keras(exported, head):
    _, _, result = exported(head)
    float32, _, *saved = result.variants
    for variant in (float32, *saved):
        assert variant.failures == ()
        for drop in variant.verdict.drops.values():
            assert drop == pytest.approx(0.0, abs=1e-4)
        assert variant.verdict.metrics == pytest.approx(
            result.judge.metrics, rel=1e-4
        )


@pytest.mark.parametrize("head", task_folders.HEADS)
def test_int8_passes(exported, head):
    _, _, result = exported(head)
    _, int8, *_ = result.variants
    assert int8.failures == ()
    for compared in int8.verdict.comparisons.values():
        assert compared.max_difference > 0  # is quantised
        assert compared.sqnr_db > 15


@pytest.mark.parametrize(
    "head, metrics",
    [
        ("regression", {"pearson_and_spearman", "pearson", "spearman"}),
        ("question_answering", {"f1", "exact_match"}),
        (
            "token_classification",
            {
                "f1",
                "precision",
                "recall",
                "strict_f1",
                "strict_precision",
                "strict_recall",
                "accuracy",
            },
        ),
        ("multiple_choice", {"accuracy"}),
    ],
)
def test_judged_by_the_scores_of_the_task(exported, head, metrics):
    """Not by losses and errors, which have other units."""
    points = exported(head)[2].judge.points
    assert points.keys() == metrics
    in_percent = head == "question_answering"
    assert set(points.values()) == {1.0 if in_percent else 100.0}


@pytest.mark.parametrize("head", task_folders.HEADS)
def test_report(exported, head):
    _, output, result = exported(head)
    with open(os.path.join(output, "report.json")) as stream:
        told = json.load(stream)
    assert told["head"] == result.info.head
    assert all(variant["passed"] for variant in told["variants"])
    assert told["variants"][1]["metrics"] == result.variants[1].verdict.metrics
    with open(os.path.join(output, "report.html")) as stream:
        # Values of every file, errors along the layers, costs.
        assert stream.read().count("<svg") > len(result.variants)
    text = report.text(result)
    assert ("saved_model" in text) == (head in WITH_SAVED_MODEL)
    assert "FAIL" not in text


@pytest.mark.parametrize(
    "head, has_labels",
    [
        ("regression", True),
        ("token_classification", True),
        ("question_answering", False),
        ("multiple_choice", False),
    ],
)
def test_labels_and_vocabulary(exported, head, has_labels):
    _, output, result = exported(head)
    assert os.path.isfile(os.path.join(output, "vocab.txt"))
    path = os.path.join(output, "labels.txt")
    assert os.path.exists(path) == has_labels
    if has_labels:
        with open(path) as stream:
            assert tuple(stream.read().split()) == result.info.labels


def test_correlation_is_that_of_the_files_values(exported):
    model_dir, output, result = exported("regression")
    with open(task_folders.dev_file(model_dir, "dev.csv")) as stream:
        rows = list(csv.DictReader(stream))
    tokenizer = model_directory.load(model_dir).tokenizer
    examples = [glue.Example("", row["left"], row["right"]) for row in rows]
    inputs = glue.features(
        examples, tokenizer, small_models.SEQUENCE_LENGTH, labels=()
    )
    with open(os.path.join(output, "model_int8.tflite"), "rb") as stream:
        content = stream.read()
    values = small_models.run(
        content, {name: inputs[name] for name in small_models.INPUT_NAMES}
    )["value"][:, 0]
    expected = stats.pearsonr(values, [float(row["value"]) for row in rows])
    metrics = result.variants[1].verdict.metrics
    assert metrics["pearson"] == pytest.approx(expected.statistic, abs=1e-6)
    assert 0.9 < metrics["pearson"] < 1.0
    assert result.judge.metrics["pearson"] == pytest.approx(1.0)


def test_choices_are_scored_one_by_one(exported):
    _, _, result = exported("multiple_choice")
    probabilities = result.variants[1].verdict.values["probabilities"]
    assert probabilities.shape == (task_folders.COUNT, task_folders.CHOICES)
    assert probabilities.sum(axis=-1) == pytest.approx(1.0)


def test_long_contexts_are_answered_by_windows(exported):
    _, output, result = exported("question_answering")
    assert result.judge.num_rows["dev"] > task_folders.COUNT // 2
    loaded = tf.saved_model.load(os.path.join(output, "saved_model"))
    signature = loaded.signatures["serving_default"]
    assert set(signature.structured_outputs) == {"start_logits", "end_logits"}


def test_files_by_flag(exported, tmp_path):
    """Other files than those recorded; columns are still the record's."""
    model_dir, _, _ = exported("regression")
    train = task_folders.dev_file(model_dir, "train.csv")
    result = exporter.export(
        exporter.Options(
            model_dir,
            str(tmp_path / "out"),
            ("float32",),
            data={"dev_file": train, "task_name": None},
        )
    )
    assert result.judge.metrics["pearson"] == pytest.approx(1.0)
    assert result.data == {"dev_file": train}
    assert result.variants[0].failures == ()


def test_another_dev_file_leaves_calibration_as_it_was(exported, tmp_path):
    model_dir, _, _ = exported("regression")
    result = exporter.export(
        exporter.Options(
            model_dir,
            str(tmp_path / "out"),
            ("int8",),
            data={"dev_file": task_folders.dev_file(model_dir, "dev.csv")},
        )
    )
    assert not result.variants[0].error


def test_missing_questions(exported, tmp_path):
    model_dir, _, _ = exported("question_answering")
    with pytest.raises(ValueError, match="predict_file=/absent"):
        exporter.export(
            exporter.Options(
                model_dir,
                str(tmp_path / "out"),
                data={"predict_file": "/absent"},
            )
        )
