"""Fine-tuning, evaluation and prediction on a toy choice between texts."""

import csv
import os
import pathlib
import random
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf import model_directory
from mobilebert_tf import tokenization
from mobilebert_tf.data import multiple_choice as data
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import multiple_choice_config
from mobilebert_tf.fine_tuning import multiple_choice
from mobilebert_tf.fine_tuning import search
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.tasks import multiple_choice as tasks
from mobilebert_tf.training import training_log

_ROOT = str(pathlib.Path(__file__).parents[2])
_CHOICES = 3
_LENGTH = 12


@pytest.fixture(scope="module", name="data_dir")
def _data_dir(workspace):
    """The right choice is the one with words of the second half."""
    folder = workspace.folder / "choices"
    folder.mkdir()
    rng = random.Random(5)
    half = len(workspace.words) // 2

    def text(is_right):
        words = workspace.words[half:] if is_right else workspace.words[:half]
        return " ".join(rng.choices(words, k=rng.randint(2, 4)))

    endings = [f"ending{i}" for i in range(_CHOICES)]
    for split, count in (("train", 320), ("val", 50), ("test", 20)):
        names = ["", "sent1", "sent2", *endings]
        names += [] if split == "test" else ["label"]
        with open(folder / f"{split}.csv", "w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(names)
            for row in range(count):
                label = row % _CHOICES
                choices = [text(i == label) for i in range(_CHOICES)]
                fields = [row, rng.choice(workspace.words), "", *choices]
                writer.writerow(fields + [label] * ("label" in names))
    return folder


@pytest.fixture(scope="module", name="model_dir")
def _model_dir(workspace, teacher_dir, data_dir):
    """Folder of a model that the binary trained, starting from the teacher."""
    model_dir = str(workspace.folder / "chooser")
    result = subprocess.run(
        [
            *(sys.executable, "-m", "mobilebert_tf.run_multiple_choice"),
            f"--init_checkpoint={teacher_dir}",
            f"--data_dir={data_dir}",
            f"--model_dir={model_dir}",
            f"--max_seq_length={_LENGTH}",
            "--train_batch_size=16",
            "--num_train_epochs=8",
            "--learning_rate=0.01",
            "--do_train",
            "--do_eval",
            "--do_predict",
        ],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": _ROOT},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return model_dir


def _validation(model_dir):
    """The last evaluation of a run."""
    rows = training_log.read_metrics(model_dir)
    return [row for row in rows if row["kind"] == "validation"][-1]


def _predictions(path):
    """(header, index, choice, probabilities) of a file."""
    with open(path) as stream:
        header, *rows = [line.rstrip("\n").split("\t") for line in stream]
    return (
        header,
        [int(row[0]) for row in rows],
        [int(row[1]) for row in rows],
        np.array([row[2:] for row in rows], float),
    )


def test_the_binary_learns(model_dir):
    assert _validation(model_dir)["accuracy"] > 0.8


def test_the_model_says_what_it_is(model_dir):
    info = model_directory.read_info(model_dir)
    assert info.head == model_directory.MULTIPLE_CHOICE
    assert info.labels == ()


def test_predictions(model_dir):
    header, indices, choices, probabilities = _predictions(
        f"{model_dir}/predictions_test.tsv"
    )
    assert header == ["index", "choice", "0", "1", "2"]
    assert indices == list(range(20))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert choices == probabilities.argmax(axis=1).tolist()
    assert np.mean(np.array(choices) == np.arange(20) % _CHOICES) > 0.7


@pytest.mark.slow
def test_evaluation_alone_agrees_with_training_and_predictions(model_dir):
    """The data folder comes from the model."""
    expected = _validation(model_dir)
    metrics = multiple_choice.run(
        multiple_choice_config.multiple_choice(), model_dir, False, True, "dev"
    )
    for name, value in metrics.items():
        assert value == pytest.approx(expected[name], abs=1e-5)
    _, _, choices, probabilities = _predictions(
        f"{model_dir}/predictions_dev.tsv"
    )
    labels = np.arange(50) % _CHOICES
    assert metrics["accuracy"] == np.mean(np.array(choices) == labels)
    losses = -np.log(probabilities[np.arange(50), labels])
    assert metrics["validation_loss"] == pytest.approx(losses.mean(), abs=1e-3)


def test_loss_is_that_of_the_right_choice(workspace, data_dir):
    """Against numpy; each choice is scored as if it stood alone."""
    config = multiple_choice_config.MultipleChoiceTaskConfig()
    tokenizer = tokenization.WordPieceTokenizer(workspace.vocab_file)
    examples = data.read_examples(f"{data_dir}/val.csv", True)[:7]
    features = data.features(examples, tokenizer, _LENGTH)
    network = model_directory.without_dropout(
        config_lib.MobileBertConfig.from_json_file(workspace.student)
    )
    task = tasks.MultipleChoiceTask(config, network)
    model = task.build_model()
    batch = {name: tf.constant(value) for name, value in features.items()}
    loss, terms = task.compute_loss(batch, model, training=False)
    scores = np.stack(
        [
            model(
                {
                    name: value[:, choice : choice + 1]
                    for name, value in batch.items()
                    if name != "label_ids"
                }
            )["logits"][:, 0]
            for choice in range(_CHOICES)
        ],
        axis=1,
    ).astype(np.float64)
    exponents = np.exp(scores)
    labels = features["label_ids"]
    right = exponents[np.arange(7), labels] / exponents.sum(axis=1)
    assert float(loss) == pytest.approx(-np.log(right).mean(), rel=1e-5)
    hits = scores.argmax(axis=1) == labels
    assert float(terms["accuracy"][0]) == pytest.approx(hits.mean())
    assert float(terms["cross_entropy"][1]) == 7.0


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"task.data_dir": "/nope"}, "--data_dir=/nope"),
        ({"task.train_file": "nope.csv"}, "task.train_file: got 'nope.csv'"),
        ({"task.train_file": "test.csv"}, "expected a column 'label'"),
        ({"task.max_seq_length": 64}, "max_position_embeddings=32"),
        ({"task.max_seq_length": 4}, "max_seq_length: got 4, expected at"),
        ({"task.train_data.global_batch_size": 999}, "batch of 999"),
    ],
)
def test_wrong_input_is_named(
    workspace, data_dir, tmp_path, overrides, message
):
    params = experiment_builder.build(
        multiple_choice_config.multiple_choice(),
        [],
        "",
        {
            "task.model.bert_config_file": workspace.student,
            "task.model.vocab_file": workspace.vocab_file,
            "task.data_dir": str(data_dir),
            "task.max_seq_length": _LENGTH,
            **overrides,
        },
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        multiple_choice.run(params, str(tmp_path / "run"), True, True)
    assert tf.train.latest_checkpoint(str(tmp_path / "run")) is None


def test_another_kind_of_model_is_refused(teacher_dir):
    with pytest.raises(ValueError, match="head multiple_choice, got pretrain"):
        multiple_choice.run(
            multiple_choice_config.multiple_choice(), teacher_dir, False, True
        )


@pytest.mark.slow
def test_a_search_keeps_the_best(workspace, data_dir, tmp_path):
    params = experiment_builder.build(
        multiple_choice_config.multiple_choice(),
        [],
        "",
        {
            "task.model.bert_config_file": workspace.student,
            "task.model.vocab_file": workspace.vocab_file,
            "task.data_dir": str(data_dir),
            "task.max_seq_length": _LENGTH,
            "task.train_data.global_batch_size": 16,
            "trainer.train_steps": 4,
            "search.seeds": [1, 2],
        },
    )
    folder = str(tmp_path / "search")
    found = search.run_kind(multiple_choice.MultipleChoice, params, folder)
    again = multiple_choice.run(params, folder, False, True)
    assert found == {"accuracy": again["accuracy"]}
