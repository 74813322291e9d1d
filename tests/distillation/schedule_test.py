"""The stages of a run and what is left of them after a step."""

import pytest

from mobilebert_tf.distillation import schedule
from mobilebert_tf.experiments import pretraining_config

Stage = schedule.Stage


def _task(teacher_dir="teacher", first_train_steps=0, defects=None, **transfer):
    return pretraining_config.PretrainingTaskConfig(
        teacher_dir=teacher_dir,
        first_train_steps=first_train_steps,
        knowledge_transfer=pretraining_config.KnowledgeTransferConfig(
            **transfer
        ),
        official_defects=pretraining_config.OfficialDefectsConfig(
            **(defects or {})
        ),
    )


def _transfer(name, start_step, end_step, blocks, block_rates, **fields):
    return Stage(
        name,
        start_step,
        end_step,
        pretraining=False,
        blocks=blocks,
        block_rates=block_rates,
        **fields,
    )


def test_progressive_stages_follow_each_other():
    """By default what is below the learning block is frozen (paper 3.6)."""
    stages = schedule.build(_task(num_steps=31), 3, 25)
    assert stages == [
        _transfer("transfer_0", 0, 10, (0,), (1, 0, 0)),
        _transfer("transfer_1", 10, 20, (1,), (0, 1, 0)),
        _transfer("transfer_2", 20, 30, (2,), (0, 0, 1)),
        Stage("pretraining", 30, 55),
    ]
    assert [stage.num_steps for stage in stages] == [10, 10, 10, 25]
    assert [stage.is_transfer for stage in stages] == [True] * 3 + [False]
    assert [stage.optimizer_name for stage in stages] == [
        stage.name for stage in stages
    ]


def test_published_schedule():
    """24 blocks of 10,000 steps, then 500,000: 740,000 in all."""
    stages = schedule.build(_task(), 24, 500_000)
    assert len(stages) == 25
    assert {stage.num_steps for stage in stages[:-1]} == {10_000}
    assert stages[-1].start_step == 240_000
    assert stages[-1].end_step == 740_000


def test_official_rates():
    """3 for the learning block, 0.3 below it, nothing above."""
    stages = schedule.build(
        _task(
            num_steps=30,
            active_block_rate=3.0,
            lower_blocks_rate=0.3,
            embeddings_rate=0.5,
            phase_schedule="official",
        ),
        3,
        0,
    )
    assert [stage.block_rates for stage in stages] == [
        (3.0, 0.0, 0.0),
        (0.3, 3.0, 0.0),
        (0.3, 0.3, 3.0),
    ]
    assert {stage.embeddings_rate for stage in stages} == {0.5}
    assert {stage.phase_schedule for stage in stages} == {"official"}


def test_joint_transfer_is_one_stage():
    stages = schedule.build(
        _task(strategy="joint", num_steps=31, active_block_rate=2.0), 3, 25
    )
    assert stages == [
        _transfer("transfer", 0, 31, (0, 1, 2), (2.0, 2.0, 2.0)),
        Stage("pretraining", 31, 56),
    ]


def test_auxiliary_transfer_has_no_stage_of_its_own():
    stages = schedule.build(_task(strategy="auxiliary"), 3, 25)
    assert stages == [Stage("pretraining", 0, 25, blocks=(0, 1, 2))]


@pytest.mark.parametrize(
    "teacher_dir, strategy", [("teacher", "none"), ("", ""), ("", "none")]
)
def test_without_transfer_there_is_one_stage(teacher_dir, strategy):
    task = _task(teacher_dir, strategy=strategy)
    assert schedule.build(task, 3, 7) == [Stage("pretraining", 0, 7)]


def test_transfer_alone():
    stages = schedule.build(_task(num_steps=10), 2, 0)
    assert [stage.name for stage in stages] == ["transfer_0", "transfer_1"]


def test_first_stretch_shares_the_optimizer_and_has_its_own_data():
    stages = schedule.build(_task(first_train_steps=6, num_steps=8), 2, 9)
    first, main = stages[2:]
    assert [stage.name for stage in stages] == [
        "transfer_0",
        "transfer_1",
        "first",
        "pretraining",
    ]
    assert (first.start_step, first.end_step, main.end_step) == (8, 14, 23)
    assert first.optimizer_name == main.optimizer_name == "pretraining"
    assert [stage.data for stage in stages] == ["main"] * 2 + ["first", "main"]
    # Each stream is read on from where it was left.
    assert [stage.start_step - stage.data_offset for stage in stages] == [
        0,
        4,
        0,
        8,
    ]


def test_first_stretch_of_auxiliary_transfer_has_its_losses():
    stages = schedule.build(
        _task(first_train_steps=6, strategy="auxiliary"), 2, 9
    )
    assert [stage.blocks for stage in stages] == [(0, 1), (0, 1)]


def test_moments_are_handed_on_by_option():
    """The course of the rate begins anew all the same."""
    stages = schedule.build(_task(num_steps=8, reset_moments=False), 2, 9)
    assert [stage.optimizer_name for stage in stages] == [
        "transfer",
        "transfer",
        "pretraining",
    ]
    assert [stage.optimizer_offset for stage in stages] == [0, 4, 0]


def test_names_are_unique():
    """Where nothing is shared they name the optimizers' states."""
    stages = schedule.build(_task(num_steps=24), 24, 1)
    assert len({stage.name for stage in stages}) == 25
    assert len({stage.optimizer_name for stage in stages}) == 25


def test_official_gates_are_one_step_late():
    """Reference 4.1: the loss of block l counts at (l P, (l + 1) P]."""
    task = _task(num_steps=12, defects=dict(late_transfer_loss=True))
    stages = schedule.build(task, 3, 0)
    assert [stage.first_step_blocks for stage in stages] == [(), (0,), (1,)]
    assert [stage.blocks for stage in stages] == [(0,), (1,), (2,)]


@pytest.mark.parametrize("optimizer, expected", [("adamw", 1.0), ("lamb", 0.0)])
def test_official_adamw_trains_everything(optimizer, expected):
    """Reference 4.2.3; LAMB follows the rates there too."""
    task = _task(num_steps=2, defects=dict(adamw_ignores_rates=True))
    task.knowledge_transfer.optimizer_config.optimizer.type = optimizer
    first, second = schedule.build(task, 2, 0)
    assert first.block_rates == (1.0, expected)
    assert second.block_rates == (expected, 1.0)
    assert first.embeddings_rate == second.embeddings_rate == expected


def test_negative_steps():
    with pytest.raises(ValueError, match="train_steps: expected at least 0"):
        schedule.build(_task(strategy="none"), 3, -5)


def test_nothing_to_train():
    with pytest.raises(ValueError, match="nothing to train: .*train_steps=0"):
        schedule.build(_task(strategy="none"), 3, 0)


@pytest.mark.parametrize(
    "transfer, message",
    [
        (
            dict(num_steps=2),
            "task.knowledge_transfer.num_steps: expected at least one for "
            "each of the student's 3 blocks, got 2",
        ),
        (
            dict(num_steps=0, strategy="joint"),
            "task.knowledge_transfer.num_steps: expected at least 1 with "
            "strategy=joint, got 0",
        ),
    ],
)
def test_stages_that_cannot_be(transfer, message):
    with pytest.raises(ValueError) as info:
        schedule.build(_task(**transfer), 3, 5)
    assert str(info.value) == message


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
    stages = schedule.build(_task(num_steps=20), 2, 5)
    left = schedule.remaining(stages, step)
    assert [stage.name for stage in left] == names
