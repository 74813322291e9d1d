"""How far a student's attention and feature maps are from its teacher's.

Legend: B batch, S sequence, H hidden_size, N heads, L student blocks.
"""

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from scipy import special

# Attention scores of all blocks of a model that are held at once (256 MB).
_MAX_SCORES = 2**26
_ENCODER_INPUTS = ("input_word_ids", "input_mask", "input_type_ids")


@dataclasses.dataclass(frozen=True)
class BlockDivergence:
    """One block of the student beside the teacher's block it learns from.

    Padding does not count.

    Attributes:
        student_block: int, 0-based.
        teacher_block: int, 0-based.
        attention_kl: float, nats. KL(teacher || student) of the attention
            distributions, averaged over queries and heads.
        attention_kl_per_head: the N heads' averages.
        feature_map_error: float. Sum of squared differences over that of the
            teacher's deviations from its mean vector: 0 for equal maps, 1 for
            a student that has learned only the mean.
        feature_map_cosine: float. Mean cosine of the tokens' vectors.
    """

    student_block: int
    teacher_block: int
    attention_kl: float
    attention_kl_per_head: tuple[float, ...]
    feature_map_error: float
    feature_map_cosine: float


@dataclasses.dataclass(frozen=True)
class Divergence:
    """All blocks on some examples, and the first example's maps.

    Attributes:
        blocks: one BlockDivergence for each of the student's L blocks.
        num_examples: int.
        num_tokens: int, without padding.
        teacher_attention: float [L, N, S, S], of the first example (S: its
            tokens), of the teacher's block for each of the student's.
        student_attention: likewise.
        cosines: float [L, S], of the first example's tokens.
    """

    blocks: tuple[BlockDivergence, ...]
    num_examples: int
    num_tokens: int
    teacher_attention: np.ndarray
    student_attention: np.ndarray
    cosines: np.ndarray

    def to_dict(self) -> dict:
        """Returns the numbers, without the maps, as JSON takes them."""
        return {
            "num_examples": self.num_examples,
            "num_tokens": self.num_tokens,
            "blocks": [dataclasses.asdict(block) for block in self.blocks],
        }


def measure(
    taught: Mapping[str, Sequence[np.ndarray]],
    outputs: Mapping[str, Sequence[np.ndarray]],
    input_mask: np.ndarray,
    teacher_blocks: Sequence[int],
) -> Divergence:
    """Compares the outputs of two encoders.

    Args:
        taught: of the teacher, on the same inputs; encoder_outputs as list of
            float [B, S, H], the embeddings first, and attention_scores as
            list of float [B, N, S, S] before softmax and after the mask.
        outputs: of the student, likewise.
        input_mask: int [B, S], 1 real and 0 padding; padding at the end.
        teacher_blocks: the teacher's block (0-based) of each student block.
    """
    is_token = np.asarray(input_mask) > 0
    length = int(is_token[0].sum())
    blocks, teacher_maps, student_maps, cosines = [], [], [], []
    for student_block, teacher_block in enumerate(teacher_blocks):
        teacher_log = _log_softmax(taught["attention_scores"][teacher_block])
        student_log = _log_softmax(outputs["attention_scores"][student_block])
        rows = np.sum(
            np.exp(teacher_log) * (teacher_log - student_log), axis=-1
        )  # [B, N, S]
        per_head = rows.transpose(0, 2, 1)[is_token].mean(axis=0)  # [N]
        teacher_map = _float(taught["encoder_outputs"][teacher_block + 1])
        student_map = _float(outputs["encoder_outputs"][student_block + 1])
        cosine = _cosine(teacher_map, student_map)  # [B, S]
        blocks.append(
            BlockDivergence(
                student_block,
                teacher_block,
                float(per_head.mean()),
                tuple(float(value) for value in per_head),
                _relative_error(teacher_map[is_token], student_map[is_token]),
                float(cosine[is_token].mean()),
            )
        )
        teacher_maps.append(np.exp(teacher_log[0, :, :length, :length]))
        student_maps.append(np.exp(student_log[0, :, :length, :length]))
        cosines.append(cosine[0, :length])
    return Divergence(
        tuple(blocks),
        len(is_token),
        int(is_token.sum()),
        np.stack(teacher_maps),
        np.stack(student_maps),
        np.stack(cosines),
    )


def observe(
    teacher, student, inputs: Mapping, teacher_blocks: Sequence[int]
) -> Divergence:
    """Runs two encoders in inference mode and compares them.

    Args:
        teacher: MobileBertEncoder.
        student: likewise.
        inputs: a batch; of a long one, as many examples as fit into memory
            with all their attention scores.
        teacher_blocks: the teacher's block (0-based) of each student block.
    """
    config = teacher.config
    length = inputs["input_word_ids"].shape[1]
    scores = config.num_hidden_layers * config.num_attention_heads * length**2
    count = max(1, _MAX_SCORES // scores)
    inputs = {name: inputs[name][:count] for name in _ENCODER_INPUTS}
    return measure(
        _to_numpy(teacher(inputs, training=False)),
        _to_numpy(student(inputs, training=False)),
        np.asarray(inputs["input_mask"]),
        teacher_blocks,
    )


def _to_numpy(outputs):
    return {
        name: [tf.cast(values, tf.float32).numpy() for values in outputs[name]]
        for name in ("encoder_outputs", "attention_scores")
    }


def _float(values):
    return np.asarray(values, np.float64)


def _log_softmax(scores):
    return special.log_softmax(_float(scores), axis=-1)


def _relative_error(teacher, student):
    deviations = teacher - teacher.mean(axis=0)
    variance = np.mean(deviations**2)
    return float(np.mean((teacher - student) ** 2) / max(variance, 1e-30))


def _cosine(teacher, student):
    norms = np.linalg.norm(teacher, axis=-1) * np.linalg.norm(student, axis=-1)
    return np.sum(teacher * student, axis=-1) / np.maximum(norms, 1e-30)
