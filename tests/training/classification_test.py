"""Fine-tuning, evaluation and prediction on a separable toy task."""

import random
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf import classification
from mobilebert_tf import experiment_builder
from mobilebert_tf import experiments
from mobilebert_tf import model_directory
from mobilebert_tf import training
from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.evaluation import prediction


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
        experiments.classification(),
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
    assert training.saved_step(model_dir) == 320 // 16 * 8


def test_evaluation_alone_gives_the_same_metrics(classifier):
    model_dir, metrics = classifier
    params = experiments.classification()
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
    features = {
        "input_word_ids": ids,
        "input_mask": np.ones_like(ids),
        "input_type_ids": np.zeros_like(ids),
    }
    whole = prediction.predict_probabilities(model, features, 7)
    parts = prediction.predict_probabilities(model, features, 2)
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
    with pytest.raises(ValueError, match="expected a fine-tuned classifier"):
        classification.run(
            experiments.classification(),
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
            experiments.classification(), str(tmp_path), False, False
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
        experiments.classification(),
        [],
        "",
        {"task.task_name": "SST-2", "task.data_dir": info.data_dir},
    )
    scored = classification.run(params, back, do_train=False, do_eval=True)
    assert scored == pytest.approx(metrics, abs=1e-5)
