"""The stages of a pre-training run, as data.

Progressive knowledge transfer (paper section 3.6) trains the student's blocks
one after the other, each until its feature maps and attention follow the
teacher's; then the whole student is trained by pre-training distillation.
"""

import dataclasses
from collections.abc import Sequence

STRATEGIES = ("progressive", "none")


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stretch of training with one objective and one optimizer.

    Attributes:
        name: str. Unique within a run; names the optimizer's state in
            checkpoints.
        start_step: int. Global step before the first update.
        end_step: int. Global step after the last update.
        block: int or None. The student's block that learns from the
            teacher's (0-based); None trains the whole model on pre-training
            losses.
    """

    name: str
    start_step: int
    end_step: int
    block: int | None = None

    @property
    def num_steps(self) -> int:
        """Number of updates."""
        return self.end_step - self.start_step


def build(
    strategy: str,
    num_blocks: int,
    steps_per_block: int,
    pretraining_steps: int,
) -> list[Stage]:
    """Returns the stages in order.

    Args:
        strategy: "progressive", or "none" for pre-training alone.
        num_blocks: int. Blocks of the student.
        steps_per_block: int. Updates of each transfer stage.
        pretraining_steps: int. Updates of the last stage; 0 leaves it out.

    Raises:
        ValueError: for an unknown strategy or a run without a step.
    """
    if strategy not in STRATEGIES:
        raise ValueError(
            f"task.knowledge_transfer.strategy: expected one of "
            f"{', '.join(STRATEGIES)}, got {strategy!r}"
        )
    stages = []
    step = 0
    if strategy == "progressive" and steps_per_block > 0:
        for block in range(num_blocks):
            end = step + steps_per_block
            stages.append(Stage(f"transfer_{block}", step, end, block))
            step = end
    if pretraining_steps > 0:
        stages.append(Stage("pretraining", step, step + pretraining_steps))
    if not stages:
        raise ValueError(
            "nothing to train: trainer.train_steps="
            f"{pretraining_steps}, task.knowledge_transfer.steps_per_block="
            f"{steps_per_block} with strategy {strategy!r}"
        )
    return stages


def remaining(stages: Sequence[Stage], step: int) -> list[Stage]:
    """Returns the stages that still have updates to make after `step`."""
    return [stage for stage in stages if stage.end_step > step]
