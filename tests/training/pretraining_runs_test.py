"""Runs of the pre-training loop on a tiny pair."""

import glob
import os
import re

import numpy as np
import pytest
import tensorflow as tf
import yaml

from mobilebert_tf import experiment_builder
from mobilebert_tf import experiments
from mobilebert_tf import model_directory
from mobilebert_tf import pretraining
from mobilebert_tf import training
from tests.training import conftest


@pytest.fixture(scope="module", name="student_dir")
def _student_dir(workspace, teacher_dir):
    folder = str(workspace.folder / "student")
    params = conftest.pretraining_params(
        workspace,
        workspace.student,
        train_steps=4,
        **{"task.teacher_dir": teacher_dir, "trainer.max_to_keep": 20},
    )
    pretraining.run(params, folder, train=True)
    return folder


def _variables(checkpoint):
    return {
        re.sub("/.ATTRIBUTES.*", "", name): tf.train.load_variable(
            checkpoint, name
        )
        for name, _ in tf.train.list_variables(checkpoint)
        if name.startswith("model/")
        and "generator" not in name
        and "OPTIMIZER_SLOT" not in name
    }


def _changed(before, after):
    return {
        name for name in before if not np.array_equal(before[name], after[name])
    }


def test_teacher_leaves_a_whole_model_folder(teacher_dir):
    trained = model_directory.load(teacher_dir)
    assert trained.info.head == model_directory.PRETRAINING
    assert training.saved_step(teacher_dir) == 6
    with open(os.path.join(teacher_dir, "params.yaml")) as stream:
        assert yaml.safe_load(stream)["trainer"]["train_steps"] == 6
    rows = training.read_metrics(teacher_dir)
    train = [row for row in rows if row["kind"] == "train"]
    assert [row["step"] for row in train] == [2, 4, 6]
    assert all(row["examples_per_second"] > 0 for row in train)
    (validation,) = [row for row in rows if row["kind"] == "validation"]
    assert 0 <= validation["masked_lm_accuracy"] <= 1
    assert validation["masked_lm_loss"] > 0


def test_tensorboard_has_the_logged_losses(teacher_dir):
    (events,) = glob.glob(os.path.join(teacher_dir, "train", "events*"))
    losses = {}
    for event in tf.compat.v1.train.summary_iterator(events):
        for value in event.summary.value:
            if value.tag == "training_loss":
                losses[event.step] = float(tf.make_ndarray(value.tensor))
    logged = {
        row["step"]: row["training_loss"]
        for row in training.read_metrics(teacher_dir)
        if row["kind"] == "train"
    }
    assert losses == pytest.approx(logged)


def test_stages_follow_each_other(student_dir):
    rows = training.read_metrics(student_dir)
    stages = [(r["stage"], r["step"]) for r in rows if r["kind"] == "train"]
    assert stages == [
        ("transfer_0", 2),
        ("transfer_0", 4),
        ("transfer_1", 6),
        ("transfer_1", 8),
        ("pretraining", 10),
        ("pretraining", 12),
    ]
    assert {"feature_map_loss", "attention_loss"} <= set(rows[0])
    assert "distillation_loss" in rows[-1]


def test_transfer_trains_only_its_block(student_dir):
    at = {
        step: _variables(os.path.join(student_dir, f"ckpt-{step}"))
        for step in (2, 4, 8, 12)
    }
    for before, after, block in ((2, 4, 0), (4, 8, 1)):
        changed = _changed(at[before], at[after])
        assert changed
        for name in changed:
            assert name.startswith(f"model/encoder/blocks/{block}/"), name
    assert any("word_embeddings" in name for name in _changed(at[8], at[12]))


def test_transfer_starts_from_the_teachers_parts(student_dir, teacher_dir):
    student = _variables(os.path.join(student_dir, "ckpt-8"))
    teacher = _variables(tf.train.latest_checkpoint(teacher_dir))
    shared = [
        name
        for name in student
        if name.startswith(("model/masked_lm/", "model/next_sentence/"))
        or name.endswith("_embeddings")
        or "embeddings/projection" in name
    ]
    assert len(shared) == 3 + 2 + 6 + 2
    for name in shared:
        np.testing.assert_array_equal(student[name], teacher[name], name)


def test_transfer_lowers_the_block_losses(workspace, teacher_dir):
    folder = str(workspace.folder / "transfer_only")
    params = conftest.pretraining_params(
        workspace,
        workspace.student,
        train_steps=0,
        **{
            "task.teacher_dir": teacher_dir,
            "task.knowledge_transfer.steps_per_block": 60,
            "task.knowledge_transfer.optimizer_config.learning_rate."
            "polynomial.initial_learning_rate": 0.02,
            "trainer.steps_per_loop": 10,
        },
    )
    pretraining.run(params, folder, train=True)
    # The second block starts from a first one that is not perfect.
    for stage, remaining in (("transfer_0", 0.8), ("transfer_1", 0.97)):
        losses = [
            row["training_loss"]
            for row in training.read_metrics(folder)
            if row["kind"] == "train" and row["stage"] == stage
        ]
        assert losses[-1] < remaining * losses[0], (stage, losses)


def test_a_finished_run_only_evaluates(student_dir, workspace, teacher_dir):
    params = conftest.pretraining_params(
        workspace,
        workspace.student,
        train_steps=4,
        **{"task.teacher_dir": teacher_dir, "trainer.max_to_keep": 20},
    )
    before = _variables(tf.train.latest_checkpoint(student_dir))
    metrics = pretraining.run(params, student_dir, train=True)
    assert metrics["masked_lm_loss"] > 0
    assert not _changed(
        before, _variables(tf.train.latest_checkpoint(student_dir))
    )


def test_another_network_is_refused(teacher_dir, workspace):
    params = conftest.pretraining_params(workspace, workspace.student, 6)
    with pytest.raises(ValueError, match="holds another model"):
        pretraining.run(params, teacher_dir, train=True)


def test_another_seed_is_refused(teacher_dir, workspace):
    params = conftest.pretraining_params(
        workspace, workspace.teacher, 6, **{"task.seed": 3}
    )
    with pytest.raises(ValueError, match="task.seed is 0 in .*params.yaml"):
        pretraining.run(params, teacher_dir, train=True)


def test_a_run_can_start_from_a_pretrained_model(teacher_dir, workspace):
    folder = str(workspace.folder / "continued")
    rate = (
        "trainer.optimizer_config.learning_rate.polynomial."
        "initial_learning_rate"
    )
    params = conftest.pretraining_params(
        workspace,
        workspace.teacher,
        3,
        **{"task.init_checkpoint": teacher_dir, rate: 1e-12},
    )
    pretraining.run(params, folder, train=True)
    before = model_directory.load(teacher_dir).model.get_weights()
    after = model_directory.load(folder).model.get_weights()
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_evaluation_alone_needs_only_the_folder(teacher_dir, workspace):
    params = experiment_builder.build(
        experiments.pretraining(),
        [],
        "",
        {
            "task.validation_data.input_path": workspace.records,
            "task.train_data.max_predictions_per_seq": 4,
        },
    )
    metrics = pretraining.run(params, teacher_dir, train=False)
    rows = training.read_metrics(teacher_dir)
    trained = [row for row in rows if row["kind"] == "validation"][-1]
    assert metrics["masked_lm_loss"] == pytest.approx(
        trained["masked_lm_loss"], rel=1e-4
    )


def test_nan_loss_stops_and_keeps_the_checkpoints(workspace):
    folder = str(workspace.folder / "diverged")
    key = (
        "trainer.optimizer_config.learning_rate.polynomial."
        "initial_learning_rate"
    )
    params = conftest.pretraining_params(
        workspace,
        workspace.student,
        train_steps=40,
        **{
            key: 1e37,
            "trainer.steps_per_loop": 1,
            "trainer.checkpoint_interval": 1,
            "trainer.optimizer_config.warmup.linear.warmup_steps": 0,
        },
    )
    with pytest.raises(ValueError, match=r"loss is (nan|inf) at step \d+"):
        pretraining.run(params, folder, train=True)
    saved = _variables(tf.train.latest_checkpoint(folder))
    step = training.saved_step(folder)
    rows = [r for r in training.read_metrics(folder) if r["kind"] == "train"]
    assert rows[-1]["step"] == step
    assert np.isfinite(rows[-1]["training_loss"])
    assert saved


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"task.train_data.input_path": "/nope*"}, "/nope"),
        ({"task.train_data.max_seq_length": 64}, "max_position_embeddings=32"),
        ({"task.train_data.max_seq_length": 20}, "length 24, expected 20"),
        ({"task.train_data.global_batch_size": 9999}, "batch of 9999"),
        ({"task.train_data.global_batch_size": 0}, "at least 1, got 0"),
        ({"task.distillation.ground_truth_ratio": 7.0}, "0 to 1, got 7.0"),
        ({"task.distillation.temperature": 0.0}, "more than 0, got 0.0"),
        ({"task.init_checkpoint": "/nope"}, "--init_checkpoint=/nope"),
        ({"trainer.checkpoint_interval": 0}, "trainer.checkpoint_interval"),
        ({"trainer.validation_interval": 0}, "trainer.validation_interval"),
        (
            {"trainer.optimizer_config.warmup.linear.warmup_steps": 10},
            "never ends",
        ),
        ({"task.teacher_dir": "/nope"}, "--teacher_dir=/nope"),
        ({"task.knowledge_transfer.strategy": "progressive"}, "a teacher"),
        ({"runtime.mixed_precision_dtype": "float16"}, "float16"),
        ({"trainer.train_steps": 0}, "nothing to train"),
    ],
)
def test_wrong_input_is_named(workspace, tmp_path, overrides, message):
    values = dict(overrides)
    train_steps = values.pop("trainer.train_steps", 4)
    params = conftest.pretraining_params(
        workspace, workspace.student, train_steps, **values
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        pretraining.run(params, str(tmp_path / "run"), train=True)
    assert not glob.glob(str(tmp_path / "run" / "ckpt*"))


def test_bfloat16_trains(workspace, tmp_path):
    params = conftest.pretraining_params(
        workspace,
        workspace.teacher,
        4,
        **{"runtime.mixed_precision_dtype": "bfloat16"},
    )
    metrics = pretraining.run(params, str(tmp_path / "run"), train=True)
    assert np.isfinite(metrics["masked_lm_loss"])
