"""--evaluate: forms of one model are scored alike, on the same rows."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from scipy import special
from sklearn import metrics as sklearn_metrics

from mobilebert_tf import model_directory
from mobilebert_tf import tokenization
from mobilebert_tf.data import glue
from mobilebert_tf.evaluation import model_form
from mobilebert_tf.experiments import classification_config
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import multiple_choice_config
from mobilebert_tf.fine_tuning import classification
from mobilebert_tf.fine_tuning import form_evaluation
from mobilebert_tf.fine_tuning import multiple_choice
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models

LENGTH = 16
SHORT = 6
WORDS = [f"word{i}" for i in range(30)]
TOKENS = [*tokenization.SPECIAL_TOKENS, *WORDS]
LABELS = ("no", "perhaps", "yes")
NUM_ROWS = 40


def _serving(model, shape):
    """Returns a module that serves probabilities, as exports do."""
    module = tf.Module()
    module.model = model
    module.serve = tf.function(
        lambda *inputs: {
            "probabilities": tf.nn.softmax(
                model(dict(zip(model_form.INPUTS, inputs, strict=True)))[
                    "logits"
                ]
            )
        },
        input_signature=[
            tf.TensorSpec(shape, tf.int32, name) for name in model_form.INPUTS
        ],
    )
    return module


def _write_tflite(path, module):
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.serve.get_concrete_function()], module
    )
    path.write_bytes(converter.convert())


@pytest.fixture(scope="module", name="workspace")
def _workspace(tmp_path_factory):
    """A classifier in two forms, and a dev file."""
    folder = tmp_path_factory.mktemp("forms")
    vocab_file = folder / "given.txt"
    vocab_file.write_text("\n".join(TOKENS) + "\n")
    config = config_lib.micro(
        vocab_size=len(TOKENS),
        hidden_size=16,
        embedding_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intra_bottleneck_size=8,
        intermediate_size=16,
        num_feedforward_networks=1,
        max_position_embeddings=LENGTH,
    )
    info = model_directory.ModelInfo(
        model_directory.SEQUENCE_CLASSIFICATION, LENGTH, labels=LABELS
    )
    model = models.MobileBertForSequenceClassification(config, 3, 0.0)
    model.build_weights()
    generator = np.random.default_rng(2)
    for variable in model.weights:
        variable.assign(generator.normal(0.0, 0.5, variable.shape))
    model_dir = str(folder / "run")
    model_directory.write(model_dir, config, info, str(vocab_file))
    tf.train.CheckpointManager(
        tf.train.Checkpoint(model=model), model_dir, max_to_keep=1
    ).save()
    export = folder / "export"
    export.mkdir()
    _write_tflite(export / "model.tflite", _serving(model, [1, LENGTH]))
    # Another model, quick to convert: only its length counts.
    first = _serving(
        lambda inputs: {
            "logits": tf.one_hot(inputs["input_word_ids"][:, 1] % 3, 3)
        },
        [1, SHORT],
    )
    _write_tflite(export / "short.tflite", first)
    shutil.copy(vocab_file, export / "vocab.txt")
    (export / "labels.txt").write_text("".join(f"{x}\n" for x in LABELS))
    rows = ["text,label"]
    for _ in range(NUM_ROWS):
        text = " ".join(generator.choice(WORDS, generator.integers(1, 12)))
        rows.append(f"{text},{generator.choice(LABELS)}")
    (folder / "dev.csv").write_text("\n".join(rows) + "\n")
    return folder


def _kind(workspace, **fields):
    params = experiment_builder.build(
        classification_config.classification(),
        [],
        "",
        {
            "task.table.dev_file": str(workspace / "dev.csv"),
            "task.table.text_column": "text",
            "task.table.label_column": "label",
            **fields,
        },
    )
    return classification.Classification(params)


def _keras_logits(workspace, length=LENGTH):
    """What the Keras model says, and labels, without the code above it."""
    trained = model_directory.load(str(workspace / "run"))
    rows = (workspace / "dev.csv").read_text().splitlines()[1:]
    texts, labels = zip(*(row.split(",") for row in rows), strict=True)
    features = glue.features(
        [glue.Example("", text) for text in texts],
        trained.tokenizer,
        length,
        labels=(),
    )
    inputs = {name: features[name] for name in model_form.INPUTS}
    return trained.model(inputs)["logits"].numpy(), labels


def _expected_accuracy(workspace):
    logits, labels = _keras_logits(workspace)
    return sklearn_metrics.accuracy_score(
        labels, [LABELS[index] for index in logits.argmax(axis=1)]
    )


def _expected_loss(workspace, length):
    logits, labels = _keras_logits(workspace, length)
    return sklearn_metrics.log_loss(
        labels, special.softmax(logits.astype(float), axis=1), labels=LABELS
    )


def test_forms_score_alike(workspace, tmp_path, capsys):
    paths = [
        str(workspace / "run"),
        str(workspace / "export" / "model.tflite"),
    ]
    metrics = form_evaluation.run(_kind(workspace), paths, str(tmp_path))
    assert list(metrics) == paths
    accuracy = _expected_accuracy(workspace)
    assert 0 < accuracy < 1
    for each in metrics.values():
        assert each["accuracy"] == accuracy
        assert each == pytest.approx(metrics[paths[0]], abs=1e-5)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "dev:"
    assert printed[1].split()[:4] == [
        "model",
        "validation_loss",
        "difference",
        "accuracy",
    ]
    names = [line.split()[0] for line in printed[2:]]
    assert names == [*paths, form_evaluation.MAJORITY]
    assert printed[3].split()[-1] == "0"
    written = json.loads((tmp_path / "comparison_dev.json").read_text())
    for path in paths:
        assert written[path]["metrics"] == metrics[path]
        assert np.sum(written[path]["confusion_matrix"]) == NUM_ROWS
    page = (tmp_path / "comparison_dev.html").read_text()
    assert page.count(f"{accuracy:.4f}") >= len(paths)


def test_files_beside_a_tflite_say_what_it_is(workspace):
    path = str(workspace / "export" / "model.tflite")
    folder = form_evaluation.default_folder([path])
    assert folder == str(workspace / "export")
    metrics = form_evaluation.run(_kind(workspace), [path], folder)
    assert metrics[path]["accuracy"] == _expected_accuracy(workspace)


@pytest.mark.parametrize("name", ["vocab.txt", "labels.txt"])
def test_without_files_beside(workspace, tmp_path, name):
    for each in ("model.tflite", "vocab.txt", "labels.txt"):
        shutil.copy(workspace / "export" / each, tmp_path)
    os.remove(tmp_path / name)
    with pytest.raises(ValueError) as raised:
        form_evaluation.run(
            _kind(workspace), [str(tmp_path / "model.tflite")], str(tmp_path)
        )
    assert str(raised.value).startswith(
        f"{tmp_path / name}: no such file; give --model_dir"
    )


def test_a_file_of_another_length_sets_it(workspace, tmp_path):
    """The Keras model reads the same short rows."""
    model_dir = str(workspace / "run")
    short = str(workspace / "export" / "short.tflite")
    losses = [
        form_evaluation.run(_kind(workspace), paths, str(tmp_path))[model_dir][
            "validation_loss"
        ]
        for paths in ([model_dir, short], [model_dir])
    ]
    expected = [_expected_loss(workspace, each) for each in (SHORT, LENGTH)]
    assert losses == pytest.approx(expected, abs=1e-5)
    assert abs(losses[0] - losses[1]) > 1e-3


def test_files_of_two_lengths(workspace, tmp_path):
    paths = [
        str(workspace / "export" / "short.tflite"),
        str(workspace / "export" / "model.tflite"),
    ]
    with pytest.raises(ValueError) as raised:
        form_evaluation.run(_kind(workspace), paths, str(workspace / "run"))
    assert str(raised.value) == (
        f"{paths[0]}: takes {SHORT} tokens, but dev has {LENGTH} tokens"
    )


def test_other_labels(workspace, tmp_path):
    shutil.copytree(workspace / "export", tmp_path / "export")
    (tmp_path / "export" / "labels.txt").write_text("no\nperhaps\nyes\nmore\n")
    path = str(tmp_path / "export" / "model.tflite")
    with pytest.raises(ValueError, match=r"got shape \[3\] .* expected \[4\]"):
        form_evaluation.run(_kind(workspace), [path], str(tmp_path / "export"))


def test_another_head(workspace, tmp_path):
    params = multiple_choice_config.multiple_choice()
    with pytest.raises(ValueError, match="with head multiple_choice, got"):
        form_evaluation.run(
            multiple_choice.MultipleChoice(params),
            [str(workspace / "run")],
            str(tmp_path),
        )


@pytest.mark.parametrize("model_dir", ["run", "elsewhere"])
def test_nothing_there(workspace, tmp_path, model_dir):
    folder = workspace / "run" if model_dir == "run" else tmp_path
    path = str(tmp_path / "absent.tflite")
    with pytest.raises(ValueError) as raised:
        form_evaluation.run(_kind(workspace), [path], str(folder))
    assert path in str(raised.value)
    assert not list(pathlib.Path(tmp_path).iterdir())


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("model_info.json", ("labels", ["no", "yes"]), "labels is"),
        ("model_info.json", ("lower_case", False), "lower_case is False"),
        ("vocab.txt", None, "differs from"),
    ],
)
def test_a_model_of_other_labels_or_tokens(
    workspace, tmp_path, name, change, message
):
    """Its numbers would be of rows that it cannot read."""
    other = tmp_path / "other"
    shutil.copytree(workspace / "run", other)
    path = other / name
    if change is None:
        path.write_text(path.read_text() + "more\n")
    else:
        path.write_text(
            json.dumps(json.loads(path.read_text()) | dict([change]))
        )
    with pytest.raises(ValueError, match=f"--evaluate={other}: .*{message}"):
        form_evaluation.run(
            _kind(workspace),
            [str(workspace / "run"), str(other)],
            str(tmp_path),
        )
