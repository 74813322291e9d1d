"""The stages of a pre-training run, as data.

Progressive knowledge transfer (paper section 3.6) trains the student's blocks
one after the other, each until its feature maps and attention follow the
teacher's; then the whole student is trained by pre-training distillation.
Joint transfer trains all blocks in one stage; auxiliary transfer has no stage
of its own and adds its losses to the distillation's. Pre-training may begin
with a first stretch on other data, as a rule shorter sequences.
"""

import dataclasses
from collections.abc import Sequence

from mobilebert_tf.experiments import experiment_checks
from mobilebert_tf.experiments import pretraining_config

MAIN_DATA = "main"
FIRST_DATA = "first"

_PRETRAINING = "pretraining"
# State of the optimizer that transfer stages hand on.
_TRANSFER_OPTIMIZER = "transfer"


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stretch of training with one objective and one optimizer.

    Attributes:
        name: str. Unique within a run.
        start_step: int. Global step before the first update.
        end_step: int. Global step after the last update.
        pretraining: bool. Whether the losses of pre-training count: masked LM
            and next sentence, distilled if there is a teacher.
        blocks: the student's blocks (0-based) that have transfer losses.
        first_step_blocks: likewise at the first step alone, if these differ.
        block_rates: factor on the learning rate of each of the student's
            blocks, 0 for frozen ones; heads are frozen too. None trains the
            whole model at the plain rate.
        embeddings_rate: float. Likewise, with block_rates.
        phase_schedule: str. "constant" or "official", as
            KnowledgeTransferConfig says.
        shared_optimizer: str. Name of the optimizer state that the stage
            takes over and hands on; "" starts with a new one.
        optimizer_offset: int. Updates of this state that are over when the
            course of the stage's learning rate begins.
        data: str. "main" or "first": which training data.
        data_offset: int. Steps before it that read other data.
    """

    name: str
    start_step: int
    end_step: int
    pretraining: bool = True
    blocks: tuple[int, ...] = ()
    first_step_blocks: tuple[int, ...] | None = None
    block_rates: tuple[float, ...] | None = None
    embeddings_rate: float = 0.0
    phase_schedule: str = "constant"
    shared_optimizer: str = ""
    optimizer_offset: int = 0
    data: str = MAIN_DATA
    data_offset: int = 0

    @property
    def num_steps(self) -> int:
        """Number of updates."""
        return self.end_step - self.start_step

    @property
    def optimizer_name(self) -> str:
        """Names the optimizer's state in checkpoints."""
        return self.shared_optimizer or self.name

    @property
    def is_transfer(self) -> bool:
        """Whether transfer losses are all there is to learn."""
        return not self.pretraining


def build(
    task: pretraining_config.PretrainingTaskConfig,
    num_blocks: int,
    pretraining_steps: int,
) -> list[Stage]:
    """Returns the stages in order.

    Args:
        task: strategy, lengths and rates.
        num_blocks: int. Blocks of the student.
        pretraining_steps: int. Updates of the last stage; 0 leaves it out.

    Raises:
        ValueError: for too few steps for the stages, or a run without a step.
    """
    strategy = experiment_checks.strategy(task)
    if pretraining_steps < 0:
        raise ValueError(
            f"trainer.train_steps: expected at least 0, got {pretraining_steps}"
        )
    stages = []
    if strategy == "progressive":
        stages += _progressive(task, num_blocks)
    elif strategy == "joint":
        stages += _joint(task, num_blocks)
    step = stages[-1].end_step if stages else 0
    stages += _pretraining(
        step,
        task.first_train_steps,
        pretraining_steps,
        blocks=tuple(range(num_blocks)) if strategy == "auxiliary" else (),
    )
    if not stages:
        raise ValueError(
            f"nothing to train: trainer.train_steps={pretraining_steps} with "
            f"task.knowledge_transfer.strategy={strategy}"
        )
    return stages


def remaining(stages: Sequence[Stage], step: int) -> list[Stage]:
    """Returns the stages that still have updates to make after `step`."""
    return [stage for stage in stages if stage.end_step > step]


def _progressive(task, num_blocks):
    transfer = task.knowledge_transfer
    length = transfer.num_steps // num_blocks
    if not length:
        raise ValueError(
            "task.knowledge_transfer.num_steps: expected at least one for "
            f"each of the student's {num_blocks} blocks, "
            f"got {transfer.num_steps}"
        )
    lower, active = transfer.lower_blocks_rate, transfer.active_block_rate
    return [
        _transfer_stage(
            task,
            name=f"transfer_{block}",
            start_step=block * length,
            end_step=(block + 1) * length,
            blocks=(block,),
            before=(block - 1,) if block else (),
            rates=(lower,) * block
            + (active,)
            + (0.0,) * (num_blocks - block - 1),
        )
        for block in range(num_blocks)
    ]


def _joint(task, num_blocks):
    transfer = task.knowledge_transfer
    if not transfer.num_steps:
        raise ValueError(
            "task.knowledge_transfer.num_steps: expected at least 1 with "
            "strategy=joint, got 0"
        )
    return [
        _transfer_stage(
            task,
            name="transfer",
            start_step=0,
            end_step=transfer.num_steps,
            blocks=tuple(range(num_blocks)),
            before=(),
            rates=(transfer.active_block_rate,) * num_blocks,
        )
    ]


def _transfer_stage(task, name, start_step, end_step, blocks, before, rates):
    transfer, defects = task.knowledge_transfer, task.official_defects
    embeddings_rate = transfer.embeddings_rate
    if (
        defects.adamw_ignores_rates
        and transfer.optimizer_config.optimizer.type == "adamw"
    ):
        rates, embeddings_rate = (1.0,) * len(rates), 1.0
    carried = not transfer.reset_moments
    return Stage(
        name,
        start_step,
        end_step,
        pretraining=False,
        blocks=blocks,
        first_step_blocks=before if defects.late_transfer_loss else None,
        block_rates=rates,
        embeddings_rate=embeddings_rate,
        phase_schedule=transfer.phase_schedule,
        shared_optimizer=_TRANSFER_OPTIMIZER if carried else "",
        optimizer_offset=start_step if carried else 0,
    )


def _pretraining(step, first_steps, main_steps, blocks):
    """Returns both stretches: one optimizer, one course of its rate."""
    stages = []
    if first_steps:
        stages.append(
            Stage(
                "first",
                step,
                step + first_steps,
                blocks=blocks,
                shared_optimizer=_PRETRAINING,
                data=FIRST_DATA,
                data_offset=step,
            )
        )
        step += first_steps
    if main_steps:
        stages.append(
            Stage(
                _PRETRAINING,
                step,
                step + main_steps,
                blocks=blocks,
                data_offset=first_steps,
            )
        )
    return stages
