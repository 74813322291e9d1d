"""The official script's commands, at the size of a tiny pair."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import yaml
from absl import flags

from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.training import pretraining
from mobilebert_tf.training import pretraining_flags
from mobilebert_tf.training import training_log
from tests.training import conftest
from tests.training import official_command

# Said again after the whole official command, where the last one counts.
_TINY = [
    "--use_tpu=false",
    f"--max_seq_length={conftest.SEQUENCE_LENGTH}",
    "--max_predictions_per_seq=4",
    "--train_batch_size=8",
    "--num_distill_steps=4",
    "--num_train_steps=2",
    "--num_warmup_steps=1",
    "--iterations_per_loop=1",
    "--save_checkpoints_steps=2",
]


@pytest.fixture(scope="module", name="checkpoint")
def _checkpoint(teacher_dir, tmp_path_factory):
    """The teacher as the official code leaves it: weights and vocabulary."""
    folder = tmp_path_factory.mktemp("official") / "teacher"
    conversion.convert(teacher_dir, str(folder), "auto", "tf1")
    os.remove(folder / "bert_config.json")
    return str(folder / "mobilebert_variables.ckpt")


def _command(workspace, checkpoint, model_dir):
    return official_command.distillation(
        teacher_config=workspace.teacher,
        student_config=workspace.student,
        output_dir=str(model_dir),
        teacher_checkpoint=checkpoint,
        input_file=workspace.records,
    )[1:]


def _start(command):
    return subprocess.run(
        [sys.executable, "-m", "mobilebert_tf.run_pretraining", *command],
        capture_output=True,
        text=True,
        timeout=600,
    )


def _run(arguments):
    """Runs a command line in this process; returns the evaluation."""
    values = flags.FlagValues()
    pretraining_flags.define(values)
    values(["run_pretraining", *arguments])
    params = pretraining_flags.build(values)
    train, evaluate = pretraining_flags.modes(params, values)
    return pretraining.run(params, values.output_dir, train, evaluate)


def _stages(model_dir):
    return [
        (row["stage"], row["step"])
        for row in training_log.read_metrics(str(model_dir))
        if row["kind"] == "train"
    ]


def _load(model_dir, step, name):
    return tf.train.load_variable(
        os.path.join(model_dir, f"ckpt-{step}"),
        f"model/{name}/.ATTRIBUTES/VARIABLE_VALUE",
    )


def test_the_published_command_runs(workspace, checkpoint, tmp_path):
    """Progressive transfer, then distillation; in a process of its own."""
    command = [*_command(workspace, checkpoint, tmp_path), *_TINY]
    result = _start(command)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "--gcp_project has no effect" in result.stderr
    assert _stages(tmp_path) == [
        ("transfer_0", 1),
        ("transfer_0", 2),
        ("transfer_1", 3),
        ("transfer_1", 4),
        ("pretraining", 5),
        ("pretraining", 6),
    ]
    rows = training_log.read_metrics(str(tmp_path))
    for name in ("feature_map", "attention", "mean", "variance"):
        assert rows[0][f"{name}_loss"] > 0
    assert rows[-1]["distillation_loss"] > 0
    merged = yaml.safe_load((tmp_path / "params.yaml").read_text())
    transfer = merged["task"]["knowledge_transfer"]
    official = pretraining_flags.OFFICIAL_TRANSFER
    assert {name: transfer[name] for name in official} == official

    # Embeddings are the teacher's until distillation; the block that has
    # learned goes on at 0.3 times the rate while the next one learns.
    table = "encoder/embeddings/word_embeddings"
    teacher = tf.train.load_variable(
        checkpoint, "bert/embeddings/word_embeddings"
    )
    np.testing.assert_array_equal(_load(tmp_path, 4, table), teacher)
    assert np.any(_load(tmp_path, 6, table) != teacher)
    kernel = _block_variable(tmp_path, 4, 0)
    assert np.any(_load(tmp_path, 4, kernel) != _load(tmp_path, 2, kernel))
    kernel = _block_variable(tmp_path, 4, 1)
    assert np.any(_load(tmp_path, 4, kernel) != _load(tmp_path, 2, kernel))


def _block_variable(model_dir, step, block):
    names = [
        re.sub("^model/|/.ATTRIBUTES.*$", "", name)
        for name, _ in tf.train.list_variables(
            os.path.join(model_dir, f"ckpt-{step}")
        )
        if name.startswith(f"model/encoder/blocks/{block}/")
        and "OPTIMIZER_SLOT" not in name
    ]
    return next(name for name in names if name.endswith("kernel"))


@pytest.mark.slow
def test_without_a_tpu_the_command_says_so(workspace, checkpoint, tmp_path):
    command = _command(workspace, checkpoint, tmp_path / "run")
    result = _start([*command, "--tpu_name=local"])
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert "TPU" in lines[-1]
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_distillation_alone(workspace, checkpoint, tmp_path):
    """Without --layer_wise_warmup; the official script cannot do that."""
    command = [*_command(workspace, checkpoint, tmp_path), *_TINY]
    command += ["--layer_wise_warmup=false", "--do_eval", "--max_eval_steps=2"]
    metrics = _run(command)
    assert _stages(tmp_path) == [("pretraining", 1), ("pretraining", 2)]
    # The teacher was loaded, and the student began with its embeddings.
    assert metrics["distillation_loss"] > 0
    again = _run([*command, "--do_train=false"])
    for name in ("masked_lm_loss", "distillation_loss", "masked_lm_accuracy"):
        assert again[name] == pytest.approx(metrics[name], rel=1e-5)


@pytest.mark.slow
def test_a_teacher_in_two_lengths(workspace, tmp_path):
    """The official first_* flags; its script takes no vocabulary."""
    _run(
        [
            f"--bert_config_file={workspace.teacher}",
            f"--vocab_file={workspace.vocab_file}",
            f"--first_input_file={workspace.records}",
            f"--first_max_seq_length={conftest.SEQUENCE_LENGTH}",
            "--first_train_batch_size=16",
            "--first_num_train_steps=2",
            f"--input_file={workspace.records}",
            "--optimizer=lamb",
            "--do_train",
            f"--output_dir={tmp_path}",
            *_TINY,
            "--num_train_steps=4",
        ]
    )
    assert _stages(tmp_path) == [
        ("first", 1),
        ("first", 2),
        ("pretraining", 3),
        ("pretraining", 4),
    ]
