"""Runs of the pre-training loop on a tiny pair."""

import dataclasses
import glob
import json
import os
import re

import numpy as np
import pytest
import tensorflow as tf
import yaml
from absl import flags

from mobilebert_tf import model_directory
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models
from mobilebert_tf.tasks import pretraining as tasks
from mobilebert_tf.training import pretraining
from mobilebert_tf.training import pretraining_flags
from mobilebert_tf.training import training_log
from mobilebert_tf.training import training_loop
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
    assert training_loop.saved_step(teacher_dir) == 6
    with open(os.path.join(teacher_dir, "params.yaml")) as stream:
        assert yaml.safe_load(stream)["trainer"]["train_steps"] == 6
    rows = training_log.read_metrics(teacher_dir)
    train = [row for row in rows if row["kind"] == "train"]
    assert [row["step"] for row in train] == [2, 4, 6]
    assert all(row["examples_per_second"] > 0 for row in train)
    (validation,) = [row for row in rows if row["kind"] == "validation"]
    assert 0 <= validation["masked_lm_accuracy"] <= 1
    assert validation["masked_lm_loss"] > 0


@pytest.mark.parametrize("kind", ["train", "validation"])
def test_tensorboard_has_all_that_is_logged(student_dir, kind):
    shown = {}
    for path in glob.glob(os.path.join(student_dir, kind, "events*")):
        for event in tf.compat.v1.train.summary_iterator(path):
            for value in event.summary.value:
                array = tf.make_ndarray(value.tensor)
                if array.dtype.kind == "f":
                    shown[event.step, value.tag] = float(array)
    rows = [
        row
        for row in training_log.read_metrics(student_dir)
        if row["kind"] == kind
    ]
    assert rows
    for row in rows:
        for name, value in row.items():
            if isinstance(value, float):
                assert shown[row["step"], name] == pytest.approx(value), name
    if kind == "train":
        assert rows[-1]["learning_rate"] > 0
        assert {
            "feature_map_loss/block_0",
            "attention_loss/block_0",
            "learning_rate/block_0",
        } <= set(rows[0])


def test_each_evaluation_is_drawn(student_dir):
    rows = training_log.read_metrics(student_dir)
    steps = [row["step"] for row in rows if row["kind"] == "validation"]
    assert steps
    for step in steps:
        path = os.path.join(student_dir, "pictures", f"divergence-{step}")
        assert os.path.getsize(f"{path}.png") > 10_000
        with open(f"{path}.json") as stream:
            blocks = json.load(stream)["blocks"]
        assert [block["teacher_block"] for block in blocks] == [0, 1]
        assert all(block["attention_kl"] > 0 for block in blocks)


def test_stages_follow_each_other(student_dir):
    rows = training_log.read_metrics(student_dir)
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


@pytest.mark.slow
def test_transfer_lowers_the_block_losses(workspace, teacher_dir):
    folder = str(workspace.folder / "transfer_only")
    params = conftest.pretraining_params(
        workspace,
        workspace.student,
        train_steps=0,
        **{
            "task.teacher_dir": teacher_dir,
            "task.knowledge_transfer.num_steps": 120,
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
            for row in training_log.read_metrics(folder)
            if row["kind"] == "train" and row["stage"] == stage
        ]
        assert losses[-1] < remaining * losses[0], (stage, losses)


def _optimizer_state(folder, step):
    """Returns {name: value} of what optimizers have saved."""
    checkpoint = os.path.join(folder, f"ckpt-{step}")
    return {
        re.sub("/.ATTRIBUTES.*", "", name): tf.train.load_variable(
            checkpoint, name
        )
        for name, _ in tf.train.list_variables(checkpoint)
        if "OPTIMIZER_SLOT" in name or name.startswith("optimizer")
    }


@pytest.mark.slow
def test_joint_transfer_then_two_lengths(workspace, teacher_dir):
    """Three stages; the last two share their optimizer."""
    folder = str(workspace.folder / "joint")
    params = conftest.pretraining_params(
        workspace,
        workspace.student,
        train_steps=2,
        **{
            "task.teacher_dir": teacher_dir,
            "task.knowledge_transfer.strategy": "joint",
            "task.knowledge_transfer.num_steps": 2,
            "task.first_train_steps": 2,
            "task.first_train_data.input_path": workspace.short_records,
            "task.first_train_data.max_seq_length": conftest.SHORT_LENGTH,
            "task.first_train_data.max_predictions_per_seq": 4,
            "task.first_train_data.global_batch_size": 4,
            "task.validation_data.input_path": "",
            "trainer.max_to_keep": 20,
        },
    )
    pretraining.run(params, folder, train=True)
    rows = training_log.read_metrics(folder)
    assert [(row["stage"], row["step"]) for row in rows] == [
        ("transfer", 2),
        ("first", 4),
        ("pretraining", 6),
    ]
    assert rows[0].keys() >= {
        "attention_loss/block_0",
        "attention_loss/block_1",
    }
    assert rows[0].keys().isdisjoint(rows[1].keys() - rows[2].keys())
    for step, name, updates in (
        (2, "transfer", 2),
        (4, "pretraining", 2),
        (6, "pretraining", 4),
    ):
        state = _optimizer_state(folder, step)
        assert state[f"optimizer_{name}/iter"] == updates


@pytest.mark.slow
def test_moments_at_a_stage_boundary(workspace, teacher_dir):
    """Both runs see the same gradients; one still has 0.9 of the moments."""
    moments = {}
    for reset in (True, False):
        folder = str(workspace.folder / f"moments_{reset}")
        params = conftest.pretraining_params(
            workspace,
            workspace.student,
            train_steps=0,
            **{
                "task.teacher_dir": teacher_dir,
                "task.knowledge_transfer.num_steps": 2,
                "task.knowledge_transfer.lower_blocks_rate": 0.3,
                "task.knowledge_transfer.reset_moments": reset,
                "task.validation_data.input_path": "",
                "trainer.steps_per_loop": 1,
                "trainer.checkpoint_interval": 1,
            },
        )
        pretraining.run(params, folder, train=True)
        for step in (1, 2):
            (moments[reset, step],) = (
                value
                for name, value in _optimizer_state(folder, step).items()
                if "blocks/0/attention/query/kernel" in name
                and name.endswith("/m")
            )
    np.testing.assert_allclose(moments[True, 1], moments[False, 1], rtol=1e-4)
    assert np.abs(moments[True, 2]).max() > 0
    np.testing.assert_allclose(
        moments[False, 2],
        moments[True, 2] + 0.9 * moments[True, 1],
        rtol=1e-3,
        atol=1e-6,
    )


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


def _evaluate_alone(folder, workspace):
    values = flags.FlagValues()
    pretraining_flags.define(values)
    data = f"--eval_input_file={workspace.records}"
    values(["test", f"--model_dir={folder}", data, "--do_eval"])
    params = pretraining_flags.build(values)
    return pretraining.run(params, folder, train=False)


def test_evaluation_alone_needs_only_the_folder(teacher_dir, workspace):
    metrics = _evaluate_alone(teacher_dir, workspace)
    rows = training_log.read_metrics(teacher_dir)
    trained = [row for row in rows if row["kind"] == "validation"][-1]
    assert metrics["masked_lm_loss"] == pytest.approx(
        trained["masked_lm_loss"], rel=1e-4
    )


def test_evaluation_alone_is_that_of_the_checkpoints_stage(
    student_dir, workspace, monkeypatch
):
    monkeypatch.setattr(
        training_loop,
        "evaluate_model",
        lambda params, task, stage, folder: {stage.name: task.stage},
    )
    for step, name in (
        (3, "transfer_0"),
        (5, "transfer_1"),
        (9, "pretraining"),
    ):
        monkeypatch.setattr(
            training_loop, "saved_step", lambda folder, s=step: s
        )
        assert list(_evaluate_alone(student_dir, workspace)) == [name]


def test_nan_inside_a_loop_stops_before_it_is_saved(workspace, monkeypatch):
    """At step 7, of loops of 4 steps."""
    compute_loss = tasks.PretrainingTask.compute_loss
    create_optimizer = tasks.PretrainingTask.create_optimizer
    optimizers = []

    def keep_optimizer(*args):
        optimizers.append(create_optimizer(*args))
        return optimizers[-1]

    def poison(self, inputs, model, training):
        loss, terms = compute_loss(self, inputs, model, training)
        mean, weight = terms["next_sentence_loss"]
        mean *= tf.where(optimizers[-1].iterations == 6, np.nan, 1.0)
        return loss, {**terms, "next_sentence_loss": (mean, weight)}

    monkeypatch.setattr(tasks.PretrainingTask, "compute_loss", poison)
    monkeypatch.setattr(
        tasks.PretrainingTask, "create_optimizer", keep_optimizer
    )
    folder = str(workspace.folder / "poisoned")
    params = conftest.pretraining_params(
        workspace,
        workspace.student,
        train_steps=12,
        **{
            "task.gradient_accumulation_steps": 2,
            "trainer.steps_per_loop": 4,
            "trainer.checkpoint_interval": 4,
        },
    )
    with pytest.raises(ValueError) as raised:
        pretraining.run(params, folder, train=True)
    message = str(raised.value)
    assert message.startswith(
        "step 7: loss term next_sentence_loss is nan (stage pretraining)"
    )
    assert message.endswith(f"last good checkpoint: {folder}/ckpt-4")
    assert "\n" not in message
    assert training_loop.saved_step(folder) == 4
    assert not glob.glob(f"{folder}/ckpt-8*")
    assert [row["step"] for row in training_log.read_metrics(folder)] == [4]


@pytest.mark.slow
def test_weights_that_are_not_finite_are_not_saved(workspace):
    """An update may be too large though all that led to it is finite."""
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
            key: 3e38,
            "trainer.steps_per_loop": 1,
            "trainer.checkpoint_interval": 1,
            "trainer.optimizer_config.warmup.linear.warmup_steps": 0,
        },
    )
    with pytest.raises(ValueError, match=r"step \d+: .*finite \(stage pre"):
        pretraining.run(params, folder, train=True)
    if training_loop.saved_step(folder):
        saved = _variables(tf.train.latest_checkpoint(folder))
        assert all(np.all(np.isfinite(value)) for value in saved.values())


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
        ({"task.gradient_accumulation_steps": 0}, "at least 1, got 0"),
        ({"task.gradient_accumulation_steps": 3}, "multiple of 3 grad"),
        ({"trainer.checkpoint_interval": 0}, "trainer.checkpoint_interval"),
        ({"trainer.validation_interval": 0}, "trainer.validation_interval"),
        (
            {"trainer.optimizer_config.warmup.linear.warmup_steps": 10},
            "never ends",
        ),
        ({"task.teacher_dir": "/nope"}, "--teacher_dir=/nope"),
        ({"task.knowledge_transfer.strategy": "progressive"}, "a teacher"),
        (
            {
                "task.first_train_steps": 2,
                "task.first_train_data.max_seq_length": 24,
            },
            "--first_input_file is required",
        ),
        (
            {
                "task.first_train_steps": 2,
                "task.first_train_data.input_path": "x",
            },
            "task.first_train_data.max_seq_length: expected 1 to max_position",
        ),
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


@pytest.fixture(scope="module", name="deep_teacher_dir")
def _deep_teacher_dir(workspace):
    """An untrained teacher of three blocks, for a student of two."""
    config = config_lib.MobileBertConfig.from_json_file(workspace.teacher)
    config = dataclasses.replace(config, num_hidden_layers=3)
    folder = str(workspace.folder / "deep_teacher")
    model_directory.write(
        folder,
        config,
        model_directory.ModelInfo(
            head=model_directory.PRETRAINING,
            max_seq_length=conftest.SEQUENCE_LENGTH,
        ),
        workspace.vocab_file,
    )
    model = models.MobileBertForPreTraining(config)
    model.build_weights()
    tf.train.Checkpoint(model=model).save(os.path.join(folder, "ckpt"))
    return folder


def _deep_params(workspace, teacher_dir, **transfer):
    return conftest.pretraining_params(
        workspace,
        workspace.student,
        3,
        **{
            "task.teacher_dir": teacher_dir,
            "task.validation_data.input_path": "",
            **{
                f"task.knowledge_transfer.{key}": value
                for key, value in transfer.items()
            },
        },
    )


@pytest.mark.slow
def test_auxiliary_transfer_from_a_deeper_teacher(workspace, deep_teacher_dir):
    folder = str(workspace.folder / "auxiliary")
    params = _deep_params(
        workspace,
        deep_teacher_dir,
        strategy="auxiliary",
        layer_mapping="explicit",
        teacher_layers=[0, 2],
    )
    pretraining.run(params, folder, train=True)
    row = training_log.read_metrics(folder)[-1]
    assert (row["stage"], row["step"]) == ("pretraining", 3)
    assert row["training_loss"] == pytest.approx(
        0.5 * (row["masked_lm_loss"] + row["distillation_loss"])
        + row["next_sentence_loss"]
        + row["feature_map_loss"]
        + row["attention_loss"],
        rel=1e-2,
    )


def _plan(monkeypatch, workspace, folder, **overrides):
    """Returns what a run hands to the training loop, without training."""
    plan = {}

    def run_stages(
        params, stages, make_task, make_optimizer_config, model_dir, evaluate
    ):
        plan.update(
            stages={stage.name: stage for stage in stages},
            make_task=make_task,
            make_optimizer_config=make_optimizer_config,
        )
        return {}

    monkeypatch.setattr(training_loop, "run_stages", run_stages)
    params = conftest.pretraining_params(
        workspace,
        workspace.student,
        4,
        **{"task.validation_data.input_path": "", **overrides},
    )
    pretraining.run(params, folder, train=True)
    return plan


@pytest.mark.parametrize("defective, expected", [(False, 0.3), (True, 0.01)])
def test_official_weight_decay(
    monkeypatch, workspace, deep_teacher_dir, tmp_path, defective, expected
):
    """Defect 4.2.4: what is asked for is never passed on."""
    decay = "optimizer_config.optimizer.lamb.weight_decay_rate"
    plan = _plan(
        monkeypatch,
        workspace,
        str(tmp_path / "run"),
        **{
            "task.teacher_dir": deep_teacher_dir,
            "task.knowledge_transfer.layer_mapping": "explicit",
            "task.knowledge_transfer.teacher_layers": [0, 1],
            f"task.knowledge_transfer.{decay}": 0.3,
            f"trainer.{decay}": 0.3,
            "task.official_defects.fixed_weight_decay": defective,
        },
    )
    assert len(plan["stages"]) == 3
    for stage in plan["stages"].values():
        config = plan["make_optimizer_config"](stage)
        assert config.optimizer.get().weight_decay_rate == expected


@pytest.mark.parametrize("defective", [False, True])
@pytest.mark.parametrize("strategy", ["none", "auxiliary"])
def test_official_teacher_of_distillation_alone(
    monkeypatch, workspace, deep_teacher_dir, tmp_path, strategy, defective
):
    """Defect 4.2.5: without transfer it is never loaded."""
    plan = _plan(
        monkeypatch,
        workspace,
        str(tmp_path / "run"),
        **{
            "task.teacher_dir": deep_teacher_dir,
            "task.knowledge_transfer.strategy": strategy,
            "task.knowledge_transfer.layer_mapping": "explicit",
            "task.knowledge_transfer.teacher_layers": [0, 1],
            "task.official_defects.random_teacher_without_transfer": defective,
        },
    )
    (stage,) = plan["stages"].values()
    used = plan["make_task"](stage, 0).teacher.get_weights()
    given = model_directory.load(deep_teacher_dir).model.get_weights()
    same = all(np.array_equal(a, b) for a, b in zip(used, given, strict=True))
    assert same == (not defective or strategy != "none")


def test_two_lengths_take_one_course_of_the_rate(
    monkeypatch, workspace, tmp_path
):
    plan = _plan(
        monkeypatch,
        workspace,
        str(tmp_path / "run"),
        **{
            "task.first_train_steps": 6,
            "task.first_train_data.input_path": workspace.short_records,
            "task.first_train_data.max_seq_length": conftest.SHORT_LENGTH,
            "task.first_train_data.max_predictions_per_seq": 4,
        },
    )
    assert list(plan["stages"]) == ["first", "pretraining"]
    for stage in plan["stages"].values():
        config = plan["make_optimizer_config"](stage)
        assert config.learning_rate.get().decay_steps == 10


@pytest.mark.parametrize(
    "transfer, message",
    [
        ({"num_steps": 1}, "each of the student's 2 blocks, got 1"),
        ({"layer_mapping": "every_k"}, "multiple of the student's 2, got 3"),
        ({}, "expected a teacher of 2 blocks (num_hidden_layers)"),
        (
            {"layer_mapping": "explicit", "teacher_layers": [0, 3]},
            "expected blocks from 0 to 2, got [0, 3]",
        ),
    ],
)
def test_a_teacher_that_does_not_fit(
    workspace, deep_teacher_dir, tmp_path, transfer, message
):
    params = _deep_params(workspace, deep_teacher_dir, **transfer)
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
