"""Fine-tuning, evaluation and prediction on toy tasks."""

import csv
import json
import math
import pathlib
import random
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from sklearn import metrics as sklearn_metrics

from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.evaluation import prediction
from mobilebert_tf.experiments import classification_config
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.fine_tuning import classification
from mobilebert_tf.training import training_loop


@pytest.fixture(scope="module", name="data_dir")
def _data_dir(workspace):
    """SST-2's layout; the label is which half of the words a text uses."""
    folder = workspace.folder / "toy"
    folder.mkdir()
    rng = random.Random(5)
    half = len(workspace.words) // 2

    def sentence(label):
        words = workspace.words[half:] if label else workspace.words[:half]
        return " ".join(rng.choices(words, k=rng.randint(3, 8)))

    for split, count in (("train", 320), ("dev", 61), ("test", 20)):
        labels = [i % 2 for i in range(count)]
        if split == "test":
            rows = ["index\tsentence"]
            rows += [f"{i}\t{sentence(y)}" for i, y in enumerate(labels)]
        else:
            rows = ["sentence\tlabel", *(f"{sentence(y)}\t{y}" for y in labels)]
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    return str(folder)


def _params(data_dir, **overrides):
    rate = (
        "trainer.optimizer_config.learning_rate.polynomial."
        "initial_learning_rate"
    )
    return experiment_builder.build(
        classification_config.classification(),
        [],
        "",
        {
            "task.task_name": "SST-2",
            "task.data_dir": data_dir,
            "task.max_seq_length": 16,
            "task.num_train_epochs": 8.0,
            "task.train_data.global_batch_size": 16,
            "trainer.steps_per_loop": 20,
            rate: 0.01,
            **overrides,
        },
    )


@pytest.fixture(scope="module", name="classifier")
def _classifier(workspace, teacher_dir, data_dir):
    """(model_dir, dev metrics) of a classifier started from the teacher."""
    model_dir = str(workspace.folder / "classifier")
    params = _params(data_dir, **{"task.init_checkpoint": teacher_dir})
    metrics = classification.run(
        params, model_dir, do_train=True, do_eval=True, predict_split="test"
    )
    return model_dir, metrics


def test_it_learns(classifier):
    _, metrics = classifier
    assert metrics["accuracy"] > 0.9


def test_steps_follow_from_epochs(classifier):
    model_dir, _ = classifier
    assert training_loop.saved_step(model_dir) == 320 // 16 * 8


def test_evaluation_alone_gives_the_same_metrics(classifier):
    model_dir, metrics = classifier
    params = classification_config.classification()
    again = classification.run(params, model_dir, do_train=False, do_eval=True)
    assert again == pytest.approx(metrics, abs=1e-5)


def test_predictions_are_in_glues_form(classifier):
    model_dir, _ = classifier
    with open(f"{model_dir}/predictions_test.tsv") as stream:
        rows = [line.rstrip("\n").split("\t") for line in stream]
    assert rows[0] == ["index", "prediction", "0", "1"]
    assert [row[0] for row in rows[1:]] == [str(i) for i in range(20)]
    hits = [int(row[1]) == i % 2 for i, row in enumerate(rows[1:])]
    assert np.mean(hits) > 0.9
    for row in rows[1:]:
        probabilities = [float(value) for value in row[2:]]
        assert sum(probabilities) == pytest.approx(1.0, abs=1e-5)
        assert row[1] == str(int(np.argmax(probabilities)))


def test_the_file_for_the_glue_server(classifier):
    model_dir, _ = classifier
    rows = [row[:2] for row in _rows(f"{model_dir}/predictions_test.tsv")]
    assert _rows(f"{model_dir}/SST-2.tsv") == rows


def test_the_evaluation_is_written(classifier):
    model_dir, metrics = classifier
    report = _json(f"{model_dir}/evaluation_dev.json")
    assert report["metrics"] == pytest.approx(metrics, abs=1e-5)
    assert report["labels"] == ["0", "1"]
    matrix = np.array(report["confusion_matrix"])
    assert matrix.sum(axis=1).tolist() == [31, 30]
    assert matrix.trace() / 61 == pytest.approx(metrics["accuracy"])


def test_the_best_model_is_a_models_folder(classifier):
    model_dir, _ = classifier
    best = model_directory.load(f"{model_dir}/best")
    newest = model_directory.load(model_dir)
    assert best.info == newest.info
    for one, other in zip(
        best.model.get_weights(), newest.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_prediction_is_by_the_best_model(classifier, tmp_path):
    """Here one that has the opposite opinion of everything."""
    model_dir = str(tmp_path / "run")
    shutil.copytree(classifier[0], model_dir)
    best = f"{model_dir}/best"
    trained = model_directory.load(best)
    for variable in trained.model.classifier.trainable_variables:
        variable.assign(-variable)
    checkpoint = tf.train.Checkpoint(
        model=trained.model, global_step=tf.Variable(1, dtype=tf.int64)
    )
    manager = tf.train.CheckpointManager(
        checkpoint, best, max_to_keep=1, checkpoint_name="ckpt"
    )
    manager.save(checkpoint_number=161)
    before = [row[1] for row in _rows(f"{model_dir}/predictions_test.tsv")[1:]]
    classification.run(
        classification_config.classification(), model_dir, False, False, "test"
    )
    after = [row[1] for row in _rows(f"{model_dir}/predictions_test.tsv")[1:]]
    assert after == [{"0": "1", "1": "0"}[label] for label in before]


def _rows(path):
    with open(path, encoding="utf-8") as stream:
        return [line.rstrip("\n").split("\t") for line in stream]


def _json(path):
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


def _own_table(workspace, folder):
    """A CSV of pairs with three labels, in other columns than usual."""
    rng = random.Random(11)
    for split, count in (("train", 40), ("dev", 13), ("test", 5)):
        with open(folder / f"{split}.csv", "w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["kind", "first", "second"])
            for i in range(count):
                texts = [" ".join(rng.choices(workspace.words, k=4))] * 2
                writer.writerow(
                    ["xyz"[i % 3] if split != "test" else "", *texts]
                )
    return {
        "task.task_name": "",
        "task.data_dir": "",
        "task.table.text_column": "first",
        "task.table.text_b_column": "second",
        "task.table.label_column": "kind",
        **{
            f"task.table.{split}_file": str(folder / f"{split}.csv")
            for split in ("train", "dev", "test")
        },
    }


def test_own_table(workspace, teacher_dir, tmp_path):
    table = _own_table(workspace, tmp_path)
    params = _params(
        "",
        **{
            **table,
            "task.init_checkpoint": teacher_dir,
            "trainer.train_steps": 2,
            "task.num_frozen_blocks": 1,
            "task.loss.balance_classes": True,
            "task.loss.label_smoothing": 0.1,
        },
    )
    model_dir = str(tmp_path / "run")
    metrics = classification.run(params, model_dir, True, True, "dev")
    info = model_directory.read_info(model_dir)
    assert (info.task_name, info.data_dir) == ("", "")
    assert info.labels == ("x", "y", "z")

    labels = ["xyz"[i % 3] for i in range(13)]
    rows = _rows(f"{model_dir}/predictions_dev.tsv")
    assert rows[0] == ["index", "prediction", "x", "y", "z"]
    predictions = [row[1] for row in rows[1:]]
    assert metrics["accuracy"] == pytest.approx(
        sklearn_metrics.accuracy_score(labels, predictions)
    )
    assert metrics["macro_f1"] == pytest.approx(
        sklearn_metrics.f1_score(labels, predictions, average="macro")
    )
    report = _json(f"{model_dir}/evaluation_dev.json")
    matrix = sklearn_metrics.confusion_matrix(labels, predictions)
    assert report["confusion_matrix"] == matrix.tolist()

    # The test file's labels are empty, and not read.
    classification.run(params, model_dir, False, False, "test")
    assert len(_rows(f"{model_dir}/predictions_test.tsv")) == 6


@pytest.mark.slow
def test_a_run_that_does_not_get_better_ends_and_stays_ended(
    teacher_dir, data_dir, tmp_path
):
    """With a rate of nearly 0 no evaluation is better than the first."""
    rate = "trainer.optimizer_config.learning_rate.polynomial"
    params = _params(
        data_dir,
        **{
            "task.init_checkpoint": teacher_dir,
            "task.early_stopping_patience": 2,
            f"{rate}.initial_learning_rate": 1e-12,
            "trainer.validation_interval": 2,
            "trainer.train_steps": 20,
        },
    )
    model_dir = str(tmp_path / "run")
    classification.run(params, model_dir, True, True)
    assert training_loop.saved_step(model_dir) == 6
    assert _json(f"{model_dir}/best/evaluation_dev.json")["step"] == 2
    classification.run(params, model_dir, True, True)
    assert training_loop.saved_step(model_dir) == 6
    # What it was trained with does not stand in the way of using it.
    classification.run(params, model_dir, False, False, "test")
    with pytest.raises(ValueError, match="got 2, expected 0 without --do_ev"):
        classification.run(params, model_dir, True, False)


@pytest.mark.slow
def test_a_regression(workspace, teacher_dir, tmp_path):
    """STS-B: metrics are those of the predictions that are written."""
    rng = random.Random(12)
    for split, count in (("train", 32), ("dev", 17), ("test", 3)):
        rows = ["index\tsentence1\tsentence2\tscore"]
        for i in range(count):
            texts = [" ".join(rng.choices(workspace.words, k=4))] * 2
            rows.append("\t".join([str(i), *texts, f"{rng.random() * 5:.3f}"]))
        if split == "test":
            rows = [row.rpartition("\t")[0] for row in rows]
        (tmp_path / f"{split}.tsv").write_text("\n".join(rows))
    params = _params(
        str(tmp_path),
        **{
            "task.task_name": "STS-B",
            "task.init_checkpoint": teacher_dir,
            "trainer.train_steps": 2,
        },
    )
    model_dir = str(tmp_path / "run")
    metrics = classification.run(params, model_dir, True, True, "dev")
    labels = [float(row[3]) for row in _rows(tmp_path / "dev.tsv")[1:]]
    rows = _rows(f"{model_dir}/predictions_dev.tsv")
    assert rows[0] == ["index", "prediction"]
    values = [float(row[1]) for row in rows[1:]]
    pearson = stats.pearsonr(labels, values).statistic
    assert metrics["pearson"] == pytest.approx(pearson, abs=1e-3)
    error = sklearn_metrics.mean_squared_error(labels, values)
    assert metrics["validation_loss"] == pytest.approx(error, rel=1e-4)
    classification.run(params, model_dir, False, False, "test")
    assert len(_rows(f"{model_dir}/STS-B.tsv")) == 4


@pytest.mark.slow
def test_mnli_and_its_diagnostic_set(workspace, teacher_dir, tmp_path):
    """Both dev sets are measured, both test sets predicted, then AX."""
    labels = ("contradiction", "entailment", "neutral")
    rng = random.Random(13)
    for name, count in (
        ("train", 32),
        ("dev_matched", 9),
        ("dev_mismatched", 8),
        ("test_matched", 7),
        ("test_mismatched", 6),
        ("diagnostic", 5),
    ):
        columns = ["index", "sentence1", "sentence2", "gold_label"]
        rows = ["\t".join(columns)]
        for i in range(count):
            texts = [" ".join(rng.choices(workspace.words, k=4))] * 2
            rows.append("\t".join([str(i), *texts, rng.choice(labels)]))
        (tmp_path / f"{name}.tsv").write_text("\n".join(rows))
    params = _params(
        str(tmp_path),
        **{
            "task.task_name": "MNLI",
            "task.init_checkpoint": teacher_dir,
            "trainer.train_steps": 2,
        },
    )
    model_dir = str(tmp_path / "run")
    metrics = classification.run(params, model_dir, True, True, "dev")
    for split, prefix, name in (
        ("dev", "", "dev_matched"),
        ("dev_mismatched", "dev_mismatched/", "dev_mismatched"),
    ):
        gold = [row[3] for row in _rows(tmp_path / f"{name}.tsv")[1:]]
        predicted = [
            row[1] for row in _rows(f"{model_dir}/predictions_{split}.tsv")[1:]
        ]
        assert metrics[f"{prefix}accuracy"] == pytest.approx(
            sklearn_metrics.accuracy_score(gold, predicted)
        )
        report = _json(f"{model_dir}/evaluation_{split}.json")
        assert report["metrics"]["accuracy"] == metrics[f"{prefix}accuracy"]
    assert not list((tmp_path / "run").glob("MNLI*"))

    classification.run(params, model_dir, False, False, "test")
    assert len(_rows(f"{model_dir}/MNLI-m.tsv")) == 8
    assert len(_rows(f"{model_dir}/MNLI-mm.tsv")) == 7
    params = _params(str(tmp_path), **{"task.task_name": "AX"})
    classification.run(params, model_dir, False, False, "test")
    assert len(_rows(f"{model_dir}/AX.tsv")) == 6
    assert len(_rows(f"{model_dir}/predictions_AX_test.tsv")) == 6


def test_the_encoder_starts_from_the_checkpoint(
    workspace, teacher_dir, data_dir
):
    model_dir = str(workspace.folder / "one_step")
    rate = (
        "trainer.optimizer_config.learning_rate.polynomial."
        "initial_learning_rate"
    )
    params = _params(
        data_dir,
        **{
            "task.init_checkpoint": teacher_dir,
            "trainer.train_steps": 1,
            rate: 1e-12,
        },
    )
    classification.run(params, model_dir, do_train=True, do_eval=False)
    tuned = model_directory.load(model_dir).model.encoder.get_weights()
    start = model_directory.load(teacher_dir).model.encoder.get_weights()
    for one, other in zip(tuned, start, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_probabilities_do_not_depend_on_the_batch(classifier):
    model_dir, _ = classifier
    model = classification.load_classifier(model_dir).model
    ids = np.random.RandomState(0).randint(5, 40, (7, 16)).astype(np.int32)
    rows = rows_lib.ArrayRows(
        {
            "input_word_ids": ids,
            "input_mask": np.ones_like(ids),
            "input_type_ids": np.zeros_like(ids),
        }
    )
    whole = prediction.predict(model, rows, ["logits"], 7)["logits"]
    parts = prediction.predict(model, rows, ["logits"], 2)["logits"]
    assert whole.shape == (7, 2)
    np.testing.assert_allclose(parts, whole, rtol=1e-5)


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"task.task_name": "SST-3"}, "SST-3"),
        ({"task.data_dir": "/nope"}, "--data_dir=/nope"),
        ({"task.max_seq_length": 64}, "max_position_embeddings=32"),
        ({"task.train_data.global_batch_size": 999}, "batch of 999"),
        ({"task.init_checkpoint": "/nope"}, "--init_checkpoint=/nope"),
        ({"task.init_checkpoint": ""}, "--vocab_file is required"),
        ({"task.train_data.global_batch_size": 0}, "at least 1, got 0"),
        ({"task.task_name": "AX"}, "split of AX: got 'train'"),
        ({"task.table.dev_file": "x.csv"}, "a GLUE task or own files"),
        ({"task.selection_metric": "f1"}, "one of accuracy, validation_loss"),
        ({"task.num_frozen_blocks": 3}, "expected 0 to 2, got 3"),
        ({"task.num_train_epochs": 0.0}, "got 0.0, expected a number above"),
        ({"task.num_train_epochs": math.inf}, "got inf, expected a number"),
        ({"task.num_train_epochs": 1e-3}, "expected at least one step"),
        ({"task.warmup_proportion": -0.5}, "got -0.5, expected at least 0"),
        ({"task.early_stopping_patience": -1}, "got -1, expected 0 or more"),
        (
            {"task.task_name": "", "task.table.train_file": "/no/t.csv"},
            "--train_file=/no/t.csv",
        ),
    ],
)
def test_wrong_input_is_named(
    teacher_dir, data_dir, tmp_path, overrides, message
):
    params = _params(
        data_dir, **{"task.init_checkpoint": teacher_dir, **overrides}
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        classification.run(
            params, str(tmp_path / "run"), do_train=True, do_eval=True
        )
    assert tf.train.latest_checkpoint(str(tmp_path / "run")) is None


def test_training_does_not_overwrite_its_start(teacher_dir, data_dir):
    before = model_directory.read_info(teacher_dir)
    params = _params(data_dir, **{"task.init_checkpoint": teacher_dir})
    with pytest.raises(ValueError, match="choose another --model_dir"):
        classification.run(params, teacher_dir, do_train=True, do_eval=False)
    assert model_directory.read_info(teacher_dir) == before


def test_a_missing_test_file_shows_before_training(
    teacher_dir, data_dir, tmp_path
):
    for split in ("train", "dev"):
        shutil.copy(f"{data_dir}/{split}.tsv", tmp_path)
    params = _params(str(tmp_path), **{"task.init_checkpoint": teacher_dir})
    with pytest.raises(ValueError, match="test.tsv"):
        classification.run(
            params, str(tmp_path / "run"), True, True, predict_split="test"
        )
    assert not (tmp_path / "run").exists()


def test_a_pretrained_model_is_no_classifier(teacher_dir):
    with pytest.raises(ValueError, match="classification, got pretraining"):
        classification.run(
            classification_config.classification(),
            teacher_dir,
            do_train=False,
            do_eval=True,
        )


def test_a_truncated_checkpoint_is_named(classifier, tmp_path):
    model_dir = str(tmp_path / "copy")
    shutil.copytree(classifier[0], model_dir)
    checkpoint = tf.train.latest_checkpoint(model_dir)
    path = f"{checkpoint}.data-00000-of-00001"
    with open(path, "r+b") as stream:
        stream.truncate(1000)
    with pytest.raises(
        (ValueError, tf.errors.OpError), match=re.escape(checkpoint)
    ):
        model_directory.load(model_dir)


def test_nothing_to_do_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="nothing to do"):
        classification.run(
            classification_config.classification(), str(tmp_path), False, False
        )


def test_a_classifier_converted_there_and_back_scores_the_same(
    classifier, tmp_path
):
    """Without the random state of dropout, which no other format has."""
    model_dir, metrics = classifier
    there, back = str(tmp_path / "tf1"), str(tmp_path / "back")
    info = model_directory.read_info(model_dir)
    conversion.convert(model_dir, there, "mobilebert_tf", "tf1")
    conversion.convert(
        there,
        back,
        "tf1",
        "mobilebert_tf",
        labels=info.labels,
        max_seq_length=info.max_seq_length,
    )
    params = experiment_builder.build(
        classification_config.classification(),
        [],
        "",
        {"task.task_name": "SST-2", "task.data_dir": info.data_dir},
    )
    scored = classification.run(params, back, do_train=False, do_eval=True)
    assert scored == pytest.approx(metrics, abs=1e-5)
