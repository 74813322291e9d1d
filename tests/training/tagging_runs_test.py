"""Fine-tuning, evaluation and prediction of a tagger on a toy task."""

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
from mobilebert_tf.data import tagging as data
from mobilebert_tf.evaluation import prediction
from mobilebert_tf.evaluation import tagging_metrics
from mobilebert_tf.evaluation import tagging_set
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import tagging_config
from mobilebert_tf.fine_tuning import search
from mobilebert_tf.fine_tuning import tagging
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.tasks import tagging as tasks
from mobilebert_tf.training import training_log
from tests.training import processes

_ROOT = str(pathlib.Path(__file__).parents[2])
_LENGTH = 16
_RATE = (
    "trainer.optimizer_config.learning_rate.polynomial.initial_learning_rate"
)


@pytest.fixture(scope="module", name="data_dir")
def _data_dir(workspace):
    """A word's tag follows from the word; sentences of up to two windows."""
    folder = workspace.folder / "tagging"
    folder.mkdir()
    rng = random.Random(5)
    third = len(workspace.words) // 3
    words = {
        tag: workspace.words[i * third : (i + 1) * third]
        for i, tag in enumerate(("O", "B-PER", "I-PER"))
    }
    for split, count in (("train", 200), ("dev", 40), ("test", 10)):
        lines = ["-DOCSTART- -X- O", ""]
        for _ in range(count):
            for _ in range(rng.randint(1, 8)):
                tags = rng.choice([["O"], ["O"], ["B-PER"], ["B-PER", "I-PER"]])
                lines += [f"{rng.choice(words[tag])} x {tag}" for tag in tags]
            lines.append("")
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module", name="tagger")
def _tagger(workspace, data_dir):
    """Folder of a tagger that the binary trained, and its output."""
    model_dir = str(workspace.folder / "tagger")
    result = subprocess.run(
        [
            *(sys.executable, "-m", "mobilebert_tf.run_tagger"),
            f"--bert_config_file={workspace.student}",
            f"--vocab_file={workspace.vocab_file}",
            f"--data_dir={data_dir}",
            f"--model_dir={model_dir}",
            f"--max_seq_length={_LENGTH}",
            "--scheme=bio",
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
    return model_dir, result.stderr


def _params(workspace, data_dir, **overrides):
    return experiment_builder.build(
        tagging_config.tagging(),
        [],
        "",
        {
            "task.model.bert_config_file": workspace.student,
            "task.model.vocab_file": workspace.vocab_file,
            "task.data_dir": str(data_dir),
            "task.max_seq_length": _LENGTH,
            "task.train_data.global_batch_size": 16,
            _RATE: 0.01,
            **overrides,
        },
    )


def _validation(model_dir):
    """The last evaluation of a run."""
    rows = training_log.read_metrics(model_dir)
    return [row for row in rows if row["kind"] == "validation"][-1]


def _gold(data_dir, split):
    path = str(data_dir / f"{split}.txt")
    return [s.tags for s in data.read_sentences(path, data.Layout())]


def _last_column(path):
    sentences = data.read_sentences(path, data.Layout(check_transitions=False))
    return [sentence.tags for sentence in sentences]


def test_the_binary_learns(tagger):
    model_dir, log = tagger
    metrics = _validation(model_dir)
    assert metrics["f1"] > 0.9
    assert metrics["f1/PER"] == metrics["f1"]
    assert metrics["accuracy"] > 0.9
    assert re.search(r"PER +0\.9\d+|PER +1\.0", log)


def test_labels_are_stored_with_the_model(tagger):
    info = model_directory.read_info(tagger[0])
    assert info.head == model_directory.TOKEN_CLASSIFICATION
    assert info.labels == ("O", "B-PER", "I-PER")


def test_predictions_add_a_column_and_change_nothing_else(tagger, data_dir):
    model_dir, _ = tagger
    written = pathlib.Path(model_dir, "predictions_test.txt").read_text()
    lines = written.split("\n")
    given = (data_dir / "test.txt").read_text().split("\n")
    for line, before in zip(lines, given, strict=True):
        assert line == before or line.rpartition(" ")[0] == before
    predicted = _last_column(f"{model_dir}/predictions_test.txt")
    scores = tagging_metrics.entity_scores(
        _gold(data_dir, "test"), predicted, "bio"
    )
    assert scores.overall.f1 > 0.8


def test_evaluation_alone_agrees_with_training_and_predictions(
    tagger, data_dir
):
    """The data folder comes from the model."""
    model_dir, _ = tagger
    expected = _validation(model_dir)
    metrics = tagging.run(
        tagging_config.tagging(), model_dir, False, True, "dev"
    )
    for name, value in metrics.items():
        assert value == pytest.approx(expected[name], abs=1e-5)
    assert tagging_metrics.compute(
        _gold(data_dir, "dev"),
        _last_column(f"{model_dir}/predictions_dev.txt"),
        "bio",
    ) == pytest.approx(
        {k: v for k, v in metrics.items() if k != "validation_loss"}
    )


def test_a_file_of_words_alone_can_be_predicted(tagger, tmp_path):
    (tmp_path / "test.txt").write_text("ba\nzzz\n\nka\n")
    params = tagging_config.tagging()
    params.task.data_dir = str(tmp_path)
    tagging.run(params, tagger[0], False, False, "test")
    lines = pathlib.Path(tagger[0], "predictions_test.txt").read_text()
    assert re.fullmatch(r"ba \S+\nzzz \S+\n\nka \S+\n", lines)


def test_loss_is_that_of_the_words_alone(workspace, data_dir):
    """Against numpy, and whatever the batch is divided into."""
    config = tagging_config.TaggingTaskConfig(classifier_dropout=0.0)
    labels = ("O", "B-PER", "I-PER")
    tokenizer = tokenization.WordPieceTokenizer(workspace.vocab_file)
    sentences = data.read_sentences(f"{data_dir}/dev.txt", data.Layout())
    features = data.features(sentences, tokenizer, _LENGTH, labels)
    network = model_directory.without_dropout(
        config_lib.MobileBertConfig.from_json_file(workspace.student)
    )
    dev = tagging_set.TaggingSet("dev", sentences, features, labels, "bio")
    task = tasks.TaggingTask(config, network, labels, evaluation_sets=[dev])
    model = task.build_model()
    arrays = {name: value[:24] for name, value in features.arrays.items()}
    batch = {name: tf.constant(value) for name, value in arrays.items()}
    loss, terms = task.compute_loss(batch, model, training=False)
    inputs = {n: v for n, v in batch.items() if n.startswith("input")}
    logits = model(inputs)["logits"].numpy().astype(np.float64)
    exponents = np.exp(logits)
    probabilities = exponents / exponents.sum(-1, keepdims=True)
    rows, positions = np.nonzero(arrays["label_ids"] >= 0)
    chosen = arrays["label_ids"][rows, positions]
    losses = -np.log(probabilities[rows, positions, chosen])
    assert float(loss) == pytest.approx(losses.mean(), rel=1e-5)
    assert float(terms["cross_entropy"][1]) == len(losses)
    hits = logits[rows, positions].argmax(-1) == chosen
    assert float(terms["accuracy"][0]) == pytest.approx(hits.mean())
    # Evaluated in two parts that come in the other order.
    state = None
    arrays = {"row": np.arange(len(dev)), **dev.inputs(slice(None))}
    for part in (slice(10, None), slice(None, 10)):
        step = task.validation_step(
            {n: tf.constant(v[part]) for n, v in arrays.items()}, model
        )
        state = task.aggregate_logs(state, {n: (v,) for n, v in step.items()})
    metrics = task.reduce_aggregated_logs(state)
    predictions = prediction.predict(model, dev, ["logits"], batch_size=7)
    assert metrics["accuracy"] == tagging_metrics.accuracy(
        [sentence.tags for sentence in sentences],
        features.by_sentence(predictions["logits"].argmax(-1), labels),
    )


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(
    workspace, data_dir, tmp_path
):
    decay = "trainer.optimizer_config.learning_rate.polynomial.decay_steps"
    folders = [str(tmp_path / name) for name in ("whole", "parts")]
    for folder, ends in zip(folders, [[5], [3, 5]], strict=True):
        for steps in ends:
            params = _params(
                workspace,
                data_dir,
                **{
                    "trainer.train_steps": steps,
                    "task.warmup_proportion": 0.0,
                    "task.gradient_accumulation_steps": 2,
                    decay: 5,
                },
            )
            tagging.run(params, folder, do_train=True, do_eval=False)
    whole, parts = (processes.variables(folder) for folder in folders)
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        np.testing.assert_allclose(parts[name], value, atol=1e-6)


@pytest.mark.slow
def test_tags_without_entities(workspace, data_dir, tmp_path):
    """Such as parts of speech: any tags, scored by accuracy."""
    for split in ("train", "dev"):
        text = (data_dir / f"{split}.txt").read_text()
        text = text.replace("B-PER", "NN").replace("I-PER", "$,")
        (tmp_path / f"{split}.txt").write_text(text)
    params = _params(
        workspace,
        tmp_path,
        **{"task.scheme": "none", "trainer.train_steps": 2},
    )
    metrics = tagging.run(params, str(tmp_path / "run"), True, True)
    assert metrics.keys() == {"validation_loss", "accuracy"}
    info = model_directory.read_info(str(tmp_path / "run"))
    assert info.labels == ("$,", "NN", "O")


@pytest.mark.slow
def test_the_encoder_starts_from_the_checkpoint(
    teacher_dir, data_dir, workspace, tmp_path
):
    params = _params(
        workspace,
        data_dir,
        **{
            "task.model.bert_config_file": "",
            "task.init_checkpoint": teacher_dir,
            "task.warmup_proportion": 0.0,
            "trainer.train_steps": 1,
            _RATE: 1e-12,
        },
    )
    model_dir = str(tmp_path / "run")
    tagging.run(params, model_dir, do_train=True, do_eval=False)
    tuned = tagging.load_tagger(model_dir).model.encoder
    start = model_directory.load(teacher_dir).model.encoder
    for ours, theirs in zip(tuned.blocks, start.blocks, strict=True):
        for one, other in zip(
            ours.get_weights(), theirs.get_weights(), strict=True
        ):
            np.testing.assert_allclose(one, other, atol=1e-9)


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"task.scheme": "iob2"}, "scheme: got 'iob2', expected one of bio"),
        ({"task.scheme": "iobes"}, "train.txt:"),
        ({"task.data_dir": "/nope"}, "--data_dir=/nope"),
        ({"task.train_file": "nope.txt"}, "task.train_file: got 'nope.txt'"),
        ({"task.tag_column": 7}, "expected one with index 7 (tag_column)"),
        ({"task.labels": ["O", "B-LOC"]}, "got tag 'B-PER', expected one of"),
        ({"task.labels": ["O", "PER"]}, "labels: got tag 'PER'"),
        ({"task.max_seq_length": 64}, "max_position_embeddings=32"),
        ({"task.train_data.global_batch_size": 999}, "batch of 999"),
        ({"task.train_data.global_batch_size": 0}, "at least 1, got 0"),
        ({"task.model.vocab_file": ""}, "--vocab_file is required"),
    ],
)
def test_wrong_input_is_named(
    workspace, data_dir, tmp_path, overrides, message
):
    params = _params(workspace, data_dir, **overrides)
    with pytest.raises(ValueError, match=re.escape(message)):
        tagging.run(params, str(tmp_path / "run"), do_train=True, do_eval=True)
    assert tf.train.latest_checkpoint(str(tmp_path / "run")) is None


def test_a_type_that_training_lacks_is_named_with_its_line(
    workspace, data_dir, tmp_path
):
    (tmp_path / "train.txt").write_bytes((data_dir / "train.txt").read_bytes())
    (tmp_path / "dev.txt").write_text("ba x O\nbo x B-LOC\n")
    with pytest.raises(
        ValueError, match="dev.txt:2: got tag 'B-LOC', expected"
    ):
        tagging.run(
            _params(workspace, tmp_path), str(tmp_path / "run"), True, True
        )


def test_another_kind_of_model_is_no_tagger(teacher_dir):
    with pytest.raises(ValueError, match="head token_classification, got pre"):
        tagging.run(tagging_config.tagging(), teacher_dir, False, True)


def test_evaluation_with_another_scheme(tagger):
    """The labels are tags of both; the data's order of them is not."""
    params = tagging_config.tagging()
    params.task.scheme = "bilou"
    with pytest.raises(ValueError, match="dev.txt:.*scheme bilou"):
        tagging.run(params, tagger[0], False, True)


def test_a_missing_test_file_shows_before_training(
    workspace, data_dir, tmp_path
):
    params = _params(workspace, data_dir, **{"task.test_file": "nope.txt"})
    with pytest.raises(ValueError, match="task.test_file: got 'nope.txt'"):
        tagging.run(params, str(tmp_path / "run"), True, True, "test")
    assert not (tmp_path / "run").exists()


def test_nothing_to_do_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="nothing to do"):
        tagging.run(tagging_config.tagging(), str(tmp_path), False, False)


@pytest.mark.slow
def test_a_search_keeps_the_best(workspace, data_dir, tmp_path):
    params = _params(
        workspace,
        data_dir,
        **{
            "task.model.bert_config_file": workspace.student,
            "trainer.train_steps": 4,
            "search.learning_rates": [1e-5, 0.01],
        },
    )
    folder = str(tmp_path / "search")
    found = search.run_kind(tagging.Tagging, params, folder)
    assert list(found) == ["f1"]
    again = tagging.run(params, folder, False, True)
    assert again["f1"] == found["f1"]
