"""Losses of pre-training and knowledge transfer, as pure functions.

Legend: B batch, S sequence, H hidden_size, N heads, P predictions per
sequence, V vocabulary, C classes. Results are float32 scalars unless stated.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

# Keeps a batch without a single weighted prediction finite, as in BERT.
_EMPTY_BATCH_GUARD = 1e-5
# Of the LayerNorm without parameters (reference section 4.1).
_NORMALIZATION_EPSILON = 1e-12


class Term(NamedTuple):
    """A part of a loss, as a mean that can be averaged on over batches.

    Attributes:
        name: str. "feature_map_loss", "attention_loss", ...
        block: int. The student's block that it belongs to (0-based).
        value: float32 scalar, a weighted mean.
        weight: float32 scalar, the sum of its weights.
    """

    name: str
    block: int
    value: tf.Tensor
    weight: tf.Tensor


def masked_lm(
    logits: tf.Tensor, label_ids: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """Cross-entropy at the masked positions, averaged over their weights.

    Args:
        logits: float [B, P, V].
        label_ids: int [B, P], the original tokens.
        weights: float [B, P], 1 for a prediction and 0 for padding.
    """
    # As TensorFlow merges equal operations, this log-softmax and the one of
    # pretraining_distillation are computed once.
    log_probabilities = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    losses = -tf.gather(log_probabilities, label_ids, batch_dims=2)
    return _weighted_mean(losses, weights)


def next_sentence(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of next-sentence prediction.

    Args:
        logits: float [B, 2].
        labels: int [B, 1]; 0 the next segment, 1 a random one.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels[:, 0], logits
    )
    return _weighted_mean(losses, tf.ones_like(losses))


def pretraining_distillation(
    teacher_logits: tf.Tensor,
    student_logits: tf.Tensor,
    weights: tf.Tensor,
    temperature: float = 1.0,
) -> tf.Tensor:
    """KL(teacher || student) over the vocabulary (paper section 3.5, L_KD).

    Args:
        teacher_logits: float [B, P, V]; no gradient flows into them.
        student_logits: float [B, P, V].
        weights: float [B, P], 1 for a prediction and 0 for padding.
        temperature: float > 0; see distillation.
    """
    divergence = distillation(
        teacher_logits, student_logits, temperature
    )  # [B, P]
    return _weighted_mean(divergence, weights)


def distillation(
    teacher_logits: tf.Tensor,
    student_logits: tf.Tensor,
    temperature: float = 1.0,
) -> tf.Tensor:
    """KL(teacher || student) of each distribution (Hinton et al., 2015).

    The temperature divides the logits of both and the loss is scaled by its
    square, so that gradients keep their size.

    Args:
        teacher_logits: float [..., C]; no gradient flows into them.
        student_logits: float [..., C].
        temperature: float > 0.

    Returns:
        float32 [...].
    """
    teacher_logits = tf.stop_gradient(teacher_logits)
    if temperature != 1.0:
        teacher_logits /= temperature
        student_logits /= temperature
    return _softmax_divergence(teacher_logits, student_logits) * temperature**2


def feature_map_transfer(
    teacher: tf.Tensor, student: tf.Tensor, input_mask: tf.Tensor
) -> tf.Tensor:
    """Mean squared difference of two feature maps (paper section 3.5, L_FMT).

    Args:
        teacher: float [B, S, H], a block's output; no gradient flows into it.
        student: float [B, S, H], the same block's.
        input_mask: int [B, S]; padding positions do not count.
    """
    teacher = tf.cast(tf.stop_gradient(teacher), tf.float32)
    difference = teacher - tf.cast(student, tf.float32)
    squares = tf.reduce_mean(tf.square(difference), axis=-1)  # [B, S]
    return _weighted_mean(squares, input_mask)


def normalized_feature_map_transfer(
    teacher: tf.Tensor, student: tf.Tensor, input_mask: tf.Tensor
) -> tf.Tensor:
    """Feature-map transfer after a LayerNorm without parameters of both.

    The official code's form (reference section 4.1). It leaves out the mean
    and the variance of each position: see mean_transfer, variance_transfer.

    Args:
        teacher: as feature_map_transfer.
        student: likewise.
        input_mask: likewise.
    """
    return feature_map_transfer(
        _normalize(teacher), _normalize(student), input_mask
    )


def mean_transfer(
    teachers: Sequence[tf.Tensor], student: tf.Tensor, input_mask: tf.Tensor
) -> tf.Tensor:
    """Mean squared difference of the channels' mean at each position.

    The official code's "beta" loss (reference section 4.1).

    Args:
        teachers: float [B, S, H] each, averaged over: the output of the
            teacher's block, or, as the official code has it, of all blocks.
            No gradient flows into them.
        student: float [B, S, H], a block's output.
        input_mask: int [B, S]; padding positions do not count.
    """
    student = _channel_moments(student)[0]
    return _mean_over(
        [
            tf.square(_channel_moments(tf.stop_gradient(teacher))[0] - student)
            for teacher in teachers
        ],
        input_mask,
    )


def variance_transfer(
    teachers: Sequence[tf.Tensor], student: tf.Tensor, input_mask: tf.Tensor
) -> tf.Tensor:
    """Mean absolute difference of the channels' variance at each position.

    The official code's "gamma" loss (reference section 4.1).

    Args:
        teachers: as mean_transfer.
        student: likewise.
        input_mask: likewise.
    """
    student = _channel_moments(student)[1]
    return _mean_over(
        [
            tf.abs(_channel_moments(tf.stop_gradient(teacher))[1] - student)
            for teacher in teachers
        ],
        input_mask,
    )


def attention_transfer(
    teacher_scores: tf.Tensor, student_scores: tf.Tensor, input_mask: tf.Tensor
) -> tf.Tensor:
    """KL(teacher || student) of attention maps (paper section 3.5, L_AT).

    Args:
        teacher_scores: float [B, N, S, S] before softmax and after the mask;
            no gradient flows into them.
        student_scores: float [B, N, S, S], the same block's.
        input_mask: int [B, S]; rows of padding positions do not count.
    """
    divergence = _softmax_divergence(
        tf.stop_gradient(teacher_scores), student_scores
    )  # [B, N, S]
    return _weighted_mean(tf.reduce_mean(divergence, axis=1), input_mask)


def _channel_moments(hidden):
    """Returns mean and variance over the channels, float32 [B, S] each."""
    return tf.nn.moments(tf.cast(hidden, tf.float32), axes=[-1])


def _normalize(hidden):
    hidden = tf.cast(hidden, tf.float32)
    mean, variance = tf.nn.moments(hidden, axes=[-1], keepdims=True)
    return (hidden - mean) * tf.math.rsqrt(variance + _NORMALIZATION_EPSILON)


def _mean_over(values, weights):
    """Averages tensors [B, S] over each other and over `weights`."""
    return _weighted_mean(tf.add_n(values) / len(values), weights)


def _softmax_divergence(teacher_logits, student_logits):
    teacher_logits = tf.cast(teacher_logits, tf.float32)
    teacher = tf.nn.log_softmax(teacher_logits)
    student = tf.nn.log_softmax(tf.cast(student_logits, tf.float32))
    probabilities = tf.nn.softmax(teacher_logits)  # Faster than exp(teacher).
    return tf.reduce_sum(probabilities * (teacher - student), axis=-1)


def _weighted_mean(values, weights):
    weights = tf.cast(weights, tf.float32)
    total = tf.reduce_sum(tf.cast(values, tf.float32) * weights)
    return total / (tf.reduce_sum(weights) + _EMPTY_BATCH_GUARD)
