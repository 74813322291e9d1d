"""Transfer losses of blocks: what to compute and how to add it up.

Legend: B batch, S sequence, H hidden_size, N heads.
"""

from collections.abc import Mapping
from collections.abc import Sequence

import tensorflow as tf

from mobilebert_tf import losses
from mobilebert_tf.experiments import pretraining_config

FEATURE_MAP = "feature_map_loss"
ATTENTION = "attention_loss"
MEAN = "mean_loss"
VARIANCE = "variance_loss"


def factors(
    config: pretraining_config.KnowledgeTransferConfig, num_blocks: int
) -> dict[str, float]:
    """Returns each term's factor in the loss; terms without one are left out.

    Args:
        config: factors and loss_scale.
        num_blocks: int. Blocks of the student.
    """
    scale = 1.0 / num_blocks if config.loss_scale == "num_blocks" else 1.0
    named = {
        FEATURE_MAP: config.feature_map_factor,
        ATTENTION: config.attention_factor,
        MEAN: config.mean_factor,
        VARIANCE: config.variance_factor,
    }
    return {name: scale * factor for name, factor in named.items() if factor}


def num_teacher_blocks(
    blocks: Sequence[int],
    mapping: Sequence[int],
    num_blocks: int,
    defects: pretraining_config.OfficialDefectsConfig,
) -> int:
    """Returns how many of the teacher's blocks the losses of `blocks` need.

    Args:
        blocks: blocks of the student.
        mapping: the teacher's block for each block of the student.
        num_blocks: int. Blocks of the teacher.
        defects: one of them looks at all blocks.
    """
    if defects.all_teacher_blocks_in_moments:
        return num_blocks
    return max((mapping[block] + 1 for block in blocks), default=0)


def terms(
    config: pretraining_config.KnowledgeTransferConfig,
    defects: pretraining_config.OfficialDefectsConfig,
    mapping: Sequence[int],
    blocks: Sequence[int],
    taught: Mapping[str, Sequence[tf.Tensor]],
    outputs: Mapping[str, Sequence[tf.Tensor]],
    input_mask: tf.Tensor,
) -> list[losses.Term]:
    """Returns the terms of `blocks` that have a factor.

    Args:
        config: which terms and of what form.
        defects: of the official code.
        mapping: the teacher's block for each block of the student.
        blocks: blocks of the student.
        taught: the teacher's encoder outputs: encoder_outputs, each
            [B, S, H], and attention_scores, each [B, N, S, S].
        outputs: the student's.
        input_mask: int [B, S], 1 real and 0 padding.
    """
    mask = _mask(config, input_mask)
    positions = weight(config, input_mask)
    feature_map_transfer = (
        losses.normalized_feature_map_transfer
        if config.feature_map_loss == "normalized"
        else losses.feature_map_transfer
    )
    result = []
    for block in blocks:
        # The embeddings come before the first block.
        teacher = taught["encoder_outputs"][mapping[block] + 1]
        student = outputs["encoder_outputs"][block + 1]
        teachers = [teacher]
        if defects.all_teacher_blocks_in_moments:
            teachers = taught["encoder_outputs"]
        functions = {
            FEATURE_MAP: (feature_map_transfer, teacher, student),
            ATTENTION: (
                losses.attention_transfer,
                taught["attention_scores"][mapping[block]],
                outputs["attention_scores"][block],
            ),
            MEAN: (losses.mean_transfer, teachers, student),
            VARIANCE: (losses.variance_transfer, teachers, student),
        }
        for name in factors(config, num_blocks=len(mapping)):
            function, target, value = functions[name]
            result.append(
                losses.Term(
                    name, block, function(target, value, mask), positions
                )
            )
    return result


def block_factors(
    config: pretraining_config.KnowledgeTransferConfig,
    num_blocks: int,
    blocks: Sequence[int],
    gates: Mapping[int, tf.Tensor] | None = None,
) -> dict[str, float | tf.Tensor]:
    """Returns each block's factors in the loss, by the names of `named`.

    Args:
        config: factors and loss_scale.
        num_blocks: int. Blocks of the student.
        blocks: those with losses.
        gates: another factor for each of them; None for 1.
    """
    return {
        f"{name}/block_{block}": factor * (gates[block] if gates else 1.0)
        for block in blocks
        for name, factor in factors(config, num_blocks).items()
    }


def weight(
    config: pretraining_config.KnowledgeTransferConfig, input_mask: tf.Tensor
) -> tf.Tensor:
    """Returns the positions that count, a float32 scalar."""
    return tf.reduce_sum(tf.cast(_mask(config, input_mask), tf.float32))


def named(
    values: Sequence[losses.Term],
) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
    """Returns {name: (mean, weight)}: each block's terms, and their sums.

    "attention_loss/block_3" is that of block 3 (0-based), "attention_loss"
    the sum over the blocks.
    """
    result = {}
    for term in values:
        result[f"{term.name}/block_{term.block}"] = (term.value, term.weight)
        before, _ = result.get(term.name, (0.0, None))
        result[term.name] = (before + term.value, term.weight)
    return result


def metric_names(
    config: pretraining_config.KnowledgeTransferConfig, blocks: Sequence[int]
) -> list[str]:
    """Returns the keys of `named` for the terms of `blocks`."""
    if not blocks:
        return []
    names = list(factors(config, num_blocks=1))
    return [
        *names,
        *(f"{name}/block_{block}" for name in names for block in blocks),
    ]


def _mask(config, input_mask):
    return tf.ones_like(input_mask) if config.include_padding else input_mask
