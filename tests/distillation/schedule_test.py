"""The stages of a run and what is left of them after a step."""

import pytest

from mobilebert_tf.distillation import schedule

Stage = schedule.Stage


def test_progressive_stages_follow_each_other():
    stages = schedule.build("progressive", 3, 10, 25)
    assert stages == [
        Stage("transfer_0", 0, 10, block=0),
        Stage("transfer_1", 10, 20, block=1),
        Stage("transfer_2", 20, 30, block=2),
        Stage("pretraining", 30, 55, block=None),
    ]
    assert [stage.num_steps for stage in stages] == [10, 10, 10, 25]


def test_published_schedule():
    """24 blocks of 10,000 steps, then 500,000: 740,000 in all."""
    stages = schedule.build("progressive", 24, 10_000, 500_000)
    assert len(stages) == 25
    assert stages[-1].start_step == 240_000
    assert stages[-1].end_step == 740_000


@pytest.mark.parametrize("strategy, steps", [("none", 10), ("progressive", 0)])
def test_without_transfer_there_is_one_stage(strategy, steps):
    stages = schedule.build(strategy, 3, steps, 7)
    assert stages == [Stage("pretraining", 0, 7)]


def test_transfer_alone():
    stages = schedule.build("progressive", 2, 5, 0)
    assert [stage.name for stage in stages] == ["transfer_0", "transfer_1"]


def test_names_are_unique():
    """They name the optimizers' states in checkpoints."""
    names = [s.name for s in schedule.build("progressive", 24, 1, 1)]
    assert len(set(names)) == 25


@pytest.mark.parametrize(
    "arguments", [("none", 3, 5, 0), ("progressive", 3, 0, 0)]
)
def test_nothing_to_train(arguments):
    with pytest.raises(ValueError, match="nothing to train: .*train_steps=0"):
        schedule.build(*arguments)


def test_unknown_strategy():
    with pytest.raises(ValueError) as info:
        schedule.build("joint", 3, 5, 5)
    assert str(info.value) == (
        "task.knowledge_transfer.strategy: expected one of progressive, none, "
        "got 'joint'"
    )


@pytest.mark.parametrize(
    "step, names",
    [
        (0, ["transfer_0", "transfer_1", "pretraining"]),
        (9, ["transfer_0", "transfer_1", "pretraining"]),
        (10, ["transfer_1", "pretraining"]),
        (19, ["transfer_1", "pretraining"]),
        (20, ["pretraining"]),
        (24, ["pretraining"]),
        (25, []),
        (99, []),
    ],
)
def test_remaining(step, names):
    """A stage whose last update is made is over."""
    stages = schedule.build("progressive", 2, 10, 5)
    left = schedule.remaining(stages, step)
    assert [stage.name for stage in left] == names
