"""Values and combinations of a pre-training experiment that mean nothing."""

import pytest

from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import experiment_checks
from mobilebert_tf.experiments import pretraining_config


def _task(**values):
    return experiment_builder.build(
        pretraining_config.pretraining(),
        [],
        "",
        {f"task.{key.replace('__', '.')}": v for key, v in values.items()},
    ).task


def test_defaults_are_accepted():
    experiment_checks.check_pretraining(_task())
    experiment_checks.check_pretraining(_task(teacher_dir="teacher"))


@pytest.mark.parametrize(
    "strategy, teacher_dir, expected",
    [
        ("", "", "none"),
        ("", "teacher", "progressive"),
        ("none", "teacher", "none"),
        ("joint", "teacher", "joint"),
    ],
)
def test_strategy_follows_the_teacher(strategy, teacher_dir, expected):
    task = _task(teacher_dir=teacher_dir, knowledge_transfer__strategy=strategy)
    assert experiment_checks.strategy(task) == expected


@pytest.mark.parametrize(
    "key, value, message",
    [
        (
            "strategy",
            "sideways",
            "expected one of progressive, joint, auxiliary, none, got "
            "'sideways'",
        ),
        (
            "layer_mapping",
            "middle",
            "expected one of one_to_one, every_k, explicit, got 'middle'",
        ),
        (
            "feature_map_loss",
            "cosine",
            "expected one of mse, normalized, got 'cosine'",
        ),
        ("loss_scale", "mean", "expected one of sum, num_blocks, got 'mean'"),
        (
            "phase_schedule",
            "cosine",
            "expected one of constant, official, got 'cosine'",
        ),
        ("num_steps", -1, "expected at least 0, got -1"),
        ("feature_map_factor", -1.0, "expected at least 0, got -1.0"),
        ("attention_factor", -1.0, "expected at least 0, got -1.0"),
        ("mean_factor", -1.0, "expected at least 0, got -1.0"),
        ("variance_factor", float("nan"), "expected at least 0, got nan"),
        ("active_block_rate", -0.5, "expected at least 0, got -0.5"),
        ("active_block_rate", 0.0, "expected more than 0, got 0.0"),
        ("lower_blocks_rate", -0.5, "expected at least 0, got -0.5"),
        ("embeddings_rate", -0.5, "expected at least 0, got -0.5"),
        (
            "teacher_layers",
            [0, 1],
            "expected none with layer_mapping=one_to_one, got [0, 1]",
        ),
    ],
)
def test_transfer_values_are_named(key, value, message):
    task = _task(teacher_dir="x", **{f"knowledge_transfer__{key}": value})
    with pytest.raises(ValueError) as info:
        experiment_checks.check_pretraining(task)
    assert str(info.value) == f"task.knowledge_transfer.{key}: {message}"


@pytest.mark.parametrize("strategy", ["progressive", "joint", "auxiliary"])
def test_transfer_needs_a_teacher_and_a_loss(strategy):
    task = _task(knowledge_transfer__strategy=strategy)
    with pytest.raises(ValueError, match=f"{strategy} needs a teacher"):
        experiment_checks.check_pretraining(task)
    task = _task(
        teacher_dir="x",
        knowledge_transfer__strategy=strategy,
        knowledge_transfer__feature_map_factor=0.0,
        knowledge_transfer__attention_factor=0.0,
    )
    with pytest.raises(ValueError, match=f"{strategy} has no loss"):
        experiment_checks.check_pretraining(task)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("first_train_steps", -1, "at least 0, got -1"),
        ("distillation__ground_truth_ratio", 1.5, "0 to 1, got 1.5"),
        ("distillation__temperature", 0.0, "more than 0, got 0.0"),
        ("first_train_data__global_batch_size", 0, "at least 1, got 0"),
    ],
)
def test_other_values_are_named(key, value, message):
    with pytest.raises(ValueError) as info:
        experiment_checks.check_pretraining(_task(**{key: value}))
    assert str(info.value) == (
        f"task.{key.replace('__', '.')}: expected {message}"
    )
