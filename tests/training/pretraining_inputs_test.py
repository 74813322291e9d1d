"""Data of every format through one function, and a run from raw text."""

import itertools
import os
import random
import shutil

import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf import tokenization
from mobilebert_tf.experiments import model_config
from mobilebert_tf.experiments import pretraining_config
from mobilebert_tf.tasks import pretraining_inputs
from mobilebert_tf.training import pretraining
from mobilebert_tf.training import training_log
from mobilebert_tf.training import training_loop
from tests.data import token_examples
from tests.training import conftest

_LENGTH = conftest.SEQUENCE_LENGTH


@pytest.fixture(scope="module", name="inputs")
def _inputs(workspace, tmp_path_factory):
    """The three formats: {data_format: path}."""
    folder = tmp_path_factory.mktemp("inputs")
    rng = random.Random(6)
    documents = [
        [
            " ".join(rng.choices(workspace.words, k=rng.randint(4, 9))) + "."
            for _ in range(12)
        ]
        for _ in range(20)
    ]
    text_file = folder / "text.txt"
    text_file.write_text("\n\n".join("\n".join(d) for d in documents))
    tokenizer = tokenization.WordPieceTokenizer(workspace.vocab_file)
    tokens = str(folder / "tokens")
    token_examples.write(tokens, str(text_file), tokenizer, _LENGTH)
    return {
        "examples": workspace.records,
        "tokens": tokens,
        "text": str(text_file),
    }


def _make(
    workspace, inputs, path_of, start_batch=0, input_context=None, **fields
):
    data = pretraining_config.PretrainingDataConfig(
        data_format=path_of,
        input_path=inputs[path_of],
        global_batch_size=8,
        max_seq_length=_LENGTH,
        max_predictions_per_seq=4,
    )
    data.override(fields)
    model = model_config.ModelConfig(vocab_file=workspace.vocab_file)
    with open(workspace.vocab_file) as stream:
        vocab_size = len(stream.readlines())
    return pretraining_inputs.make_dataset(
        data, model, vocab_size, start_batch, input_context
    )


@pytest.mark.parametrize("is_training", [True, False])
def test_all_formats_look_alike(workspace, inputs, is_training):
    specs = []
    for data_format in pretraining_inputs.FORMATS:
        dataset = _make(workspace, inputs, data_format, is_training=is_training)
        specs.append(dataset.element_spec)
        assert (dataset.cardinality() == tf.data.INFINITE_CARDINALITY) == (
            is_training
        )
        batch = next(iter(dataset))
        share = tf.reduce_sum(batch["masked_lm_weights"]) / tf.cast(
            tf.reduce_sum(batch["input_mask"]), tf.float32
        )
        assert 0.1 < share < 0.2
    assert specs[0] == specs[1] == specs[2]


@pytest.mark.parametrize("data_format", ["tokens", "text"])
def test_strategy_and_resume(workspace, inputs, data_format):
    whole = {}
    for strategy in ("token", "span"):
        fields = {"masking": {"strategy": strategy}}
        dataset = _make(workspace, inputs, data_format, **fields)
        whole[strategy] = list(itertools.islice(dataset, 6))
        resumed = _make(workspace, inputs, data_format, 4, **fields)
        for got, expected in zip(resumed, whole[strategy][4:], strict=False):
            for name, value in expected.items():
                np.testing.assert_array_equal(got[name], value, name)
    positions = [
        np.concatenate([batch["masked_lm_positions"] for batch in batches])
        for batches in whole.values()
    ]
    assert (positions[0] != positions[1]).any()


@pytest.mark.parametrize("data_format", ["tokens", "text"])
def test_workers_share_a_batch(workspace, inputs, data_format):
    whole = next(iter(_make(workspace, inputs, data_format)))
    parts = [
        next(
            iter(
                _make(
                    workspace,
                    inputs,
                    data_format,
                    input_context=tf.distribute.InputContext(2, worker, 2),
                )
            )
        )
        for worker in range(2)
    ]
    for name, value in whole.items():
        together = np.concatenate([part[name] for part in parts])
        np.testing.assert_array_equal(together, value, name)


def test_later_damage_is_named(workspace, inputs, tmp_path):
    path = str(tmp_path / "tokens")
    records = [
        record.numpy() for record in tf.data.TFRecordDataset(inputs["tokens"])
    ]
    example = tf.train.Example.FromString(records[20])
    example.features.feature["input_ids"].int64_list.value.append(1)
    records[20] = example.SerializeToString()
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record)
    data = pretraining_config.PretrainingDataConfig(
        data_format="tokens", input_path=path, max_seq_length=_LENGTH
    )
    message = f"{path}: record 20: input_ids: got length 25, expected 24"
    with (
        pytest.raises(ValueError, match=message),
        pretraining_inputs.named_damage(data, 1000),
    ):
        list(_make(workspace, {"tokens": path}, "tokens", is_training=False))


@pytest.mark.parametrize("data_format", ["tokens", "text"])
def test_evaluation_is_the_same_each_time(workspace, inputs, data_format):
    dataset = _make(workspace, inputs, data_format, is_training=False)
    first, second = list(dataset), list(dataset)
    assert len(first) == len(second) > 1
    for one, other in zip(first, second, strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(other[name], value, name)


@pytest.mark.parametrize(
    "path_of, fields, message",
    [
        ("text", {"data_format": "csv"}, "data_format: got 'csv', expected"),
        (
            "tokens",
            {"max_predictions_per_seq": 22},
            "max_predictions_per_seq: got 22, expected 1 to 21",
        ),
        (
            "text",
            {"masking": {"strategy": "word"}},
            "masking.strategy: got 'word'",
        ),
        ("examples", {"data_format": "tokens"}, "got masked records"),
        ("tokens", {"data_format": "examples"}, "expected masked_lm_posi"),
        ("tokens", {"data_format": "text"}, "expected UTF-8 text"),
        ("text", {"data_format": "tokens"}, "record 0 is damaged"),
        ("text", {"text": {"short_seq_prob": 3.0}}, "short_seq_prob: got 3"),
    ],
)
def test_wrong_input_is_named(workspace, inputs, path_of, fields, message):
    with pytest.raises(ValueError, match=message):
        _make(workspace, inputs, path_of, **fields)


def test_a_run_from_raw_text(workspace, inputs, tmp_path):
    folder = str(tmp_path / "model")
    pretraining.run(_params(workspace, inputs, 2), folder, train=True)
    losses = _losses(folder)
    assert sorted(losses) == [1, 2]
    assert all(0 < loss < 20 for loss in losses.values())


@pytest.mark.slow
def test_a_run_from_raw_text_resumes(workspace, inputs, tmp_path):
    """After its first step a run goes on to the same loss."""
    params = _params(workspace, inputs, 3)
    whole, killed = str(tmp_path / "whole"), str(tmp_path / "killed")
    pretraining.run(params, whole, train=True)
    shutil.copytree(whole, killed)
    _forget_steps_after(killed, 1)
    pretraining.run(params, killed, train=True)
    expected = _losses(whole)
    assert sorted(expected) == [1, 2, 3]
    del expected[1]
    assert _losses(killed) == expected


@pytest.mark.slow
def test_evaluation_on_raw_text_needs_the_folder_alone(
    workspace, inputs, tmp_path
):
    params = conftest.pretraining_params(
        workspace,
        workspace.student,
        train_steps=3,
        **{
            "task.train_data.input_path": inputs["tokens"],
            "task.train_data.data_format": "tokens",
            "task.validation_data.input_path": inputs["text"],
            "task.validation_data.data_format": "text",
        },
    )
    folder = str(tmp_path / "model")
    trained = pretraining.run(params, folder, train=True)
    params.task.model.vocab_file = ""
    evaluated = pretraining.run(params, folder, train=False)
    assert evaluated["masked_lm_loss"] == pytest.approx(
        trained["masked_lm_loss"], rel=1e-5
    )


def _params(workspace, inputs, train_steps):
    """A run from raw text that logs and saves every step."""
    return conftest.pretraining_params(
        workspace,
        workspace.student,
        train_steps=train_steps,
        **{
            "task.train_data.input_path": inputs["text"],
            "task.train_data.data_format": "text",
            "task.train_data.masking.strategy": "whole_word",
            "task.validation_data.input_path": "",
            "trainer.steps_per_loop": 1,
            "trainer.checkpoint_interval": 1,
            "trainer.max_to_keep": 5,
            "trainer.optimizer_config.warmup.linear.warmup_steps": 1,
        },
    )


def _forget_steps_after(folder, step):
    """Leaves what a run that was killed after a step has left."""
    for name in os.listdir(folder):
        number = name.partition("ckpt-")[2].partition(".")[0]
        if number and int(number) > step:
            os.remove(os.path.join(folder, name))
    os.remove(os.path.join(folder, training_log.METRICS_FILE))
    tf.compat.v1.train.update_checkpoint_state(
        folder, os.path.join(folder, f"ckpt-{step}")
    )
    assert training_loop.saved_step(folder) == step


def _losses(folder):
    """Returns the training loss of each step that was logged."""
    return {
        row["step"]: row["training_loss"]
        for row in training_log.read_metrics(folder)
        if row["kind"] == "train"
    }


def test_a_run_goes_on_with_its_own_files_alone(tmp_path, workspace):
    files = [tmp_path / name for name in ("a-0", "a-1")]
    for file in files:
        shutil.copy(workspace.records, file)

    def check(pattern, **fields):
        data = pretraining_config.PretrainingDataConfig(
            input_path=pattern, **fields
        )
        folder = str(tmp_path / "run")
        pretraining_inputs.check_continues({"input_file": data}, folder, folder)

    check(f"{tmp_path}/a-*")
    check(f"{files[0]},{files[1]}")
    with pytest.raises(ValueError, match="the run .*got no more"):
        check(str(files[0]))
    shutil.copy(files[0], tmp_path / "a-2")
    with pytest.raises(ValueError, match="got a-2 of size .*expected no more"):
        check(f"{tmp_path}/a-*")
    check(str(files[0]), is_training=False)
