"""Multi-head self-attention that also returns its scores.

Legend: B batch, F from-length, T to-length (both the sequence), N heads,
d head size, b = N * d width inside the block.
"""

import math

import tensorflow as tf
import tf_keras

from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import configured
from mobilebert_tf.modeling import dropout as dropout_lib
from mobilebert_tf.modeling import normalization

# Added to the scores of masked positions by the additive mask.
MASK_PENALTY = -10000.0
# What the multiplicative mask puts in place of the scores of masked positions.
MASKED_SCORE = -6.0


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class MultiHeadSelfAttention(configured.ConfiguredLayer):
    """Scaled dot-product attention over separate query, key, value inputs.

    Inputs: query, key, value [B, S, *] (widths may differ: MobileBERT's value
    reads the H-wide block input) and attention_mask [B, 1, 1, T], 1 real and 0
    padding.
    Outputs: context [B, F, b]; scores [B, N, F, T], after scaling and mask
    and before softmax: what attention transfer compares.
    """

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        self.query = configured.make_dense(config, config.block_size, "query")
        self.key = configured.make_dense(config, config.block_size, "key")
        self.value = configured.make_dense(config, config.block_size, "value")
        self.dropout = dropout_lib.CheckpointedDropout(
            config.attention_probs_dropout_prob, name="dropout"
        )

    def call(self, query, key, value, attention_mask, training=None):
        query = self._split_heads(self.query(query))  # [B, N, F, d]
        key = self._split_heads(self.key(key))  # [B, N, T, d]
        value = self._split_heads(self.value(value))  # [B, N, T, d]
        scores = tf.matmul(query, key, transpose_b=True)  # [B, N, F, T]
        scores *= 1.0 / math.sqrt(self.config.head_size)
        scores = mask_scores(
            scores, attention_mask, self.config.attention_mask_type
        )
        probabilities = self.dropout(tf.nn.softmax(scores), training=training)
        context = tf.matmul(probabilities, value)  # [B, N, F, d]
        context = tf.transpose(context, [0, 2, 1, 3])  # [B, F, N, d]
        shape = tf.shape(context)
        context = tf.reshape(
            context, [shape[0], shape[1], self.config.block_size]
        )  # [B, F, b]
        return context, scores

    def _split_heads(self, inputs):
        shape = tf.shape(inputs)
        heads = tf.reshape(
            inputs,
            [
                shape[0],
                shape[1],
                self.config.num_attention_heads,
                self.config.head_size,
            ],
        )  # [B, S, N, d]
        return tf.transpose(heads, [0, 2, 1, 3])  # [B, N, S, d]


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class AttentionOutput(configured.ConfiguredLayer):
    """Norm(Dense(context) + residual); the residual is the bottlenecked input.

    Inputs and output [B, S, b]. Dropout before the residual only without
    bottleneck, as in the reference.
    """

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        self.dense = configured.make_dense(config, config.block_size, "dense")
        self.dropout = dropout_lib.CheckpointedDropout(
            0.0 if config.use_bottleneck else config.hidden_dropout_prob,
            name="dropout",
        )
        self.normalization = normalization.make_normalization(
            config.normalization_type
        )

    def call(self, context, residual, training=None):
        outputs = self.dropout(self.dense(context), training=training)
        return self.normalization(outputs + residual)


def make_attention_mask(input_mask: tf.Tensor) -> tf.Tensor:
    """Turns a 1/0 mask int [B, T] into float32 [B, 1, 1, T] for the scores."""
    return tf.cast(input_mask[:, tf.newaxis, tf.newaxis, :], tf.float32)


def mask_scores(
    scores: tf.Tensor, attention_mask: tf.Tensor, mask_type: str
) -> tf.Tensor:
    """Masks attention scores before softmax.

    "additive" takes the published code of the released weights; with
    "multiplicative" (the official code of 2021, in float too) each padding
    position keeps the weight exp(-6).

    Args:
        scores: float [B, N, F, T], or of any shape that the mask broadcasts
            to.
        attention_mask: float, 1 real and 0 padding.
        mask_type: one of config.MASK_TYPES.

    Returns:
        The scores' shape and dtype.
    """
    mask = tf.cast(attention_mask, scores.dtype)
    if mask_type == config_lib.MULTIPLICATIVE_MASK:
        return scores * mask + (1.0 - mask) * MASKED_SCORE
    return scores + (1.0 - mask) * MASK_PENALTY
