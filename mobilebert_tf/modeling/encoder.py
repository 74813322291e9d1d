"""The MobileBERT encoder.

Legend: B batch, S sequence, H hidden_size, N heads, L blocks.
"""

import tensorflow as tf
import tf_keras

from mobilebert_tf.modeling import attention
from mobilebert_tf.modeling import block
from mobilebert_tf.modeling import configured
from mobilebert_tf.modeling import embeddings


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class MobileBertEncoder(configured.ConfiguredModel):
    """Embeddings, L blocks and the pooler.

    It returns all that knowledge transfer compares, so that no subclass or
    hook is needed to distil, inspect or calibrate.

    Args:
        config: MobileBertConfig (or its dict form).

    Call arguments:
        inputs: dict of int tensors [B, S]: input_word_ids, and optionally
            input_mask (1 real, 0 padding; default all ones) and
            input_type_ids (default zeros).
        num_blocks: int or None. Run only the first `num_blocks` blocks.

    Returns a dict:
        sequence_output: [B, S, H], the last block's output.
        pooled_output: [B, H], the first token (through tanh(Dense) with
            classifier_activation).
        encoder_outputs: list of L + 1 tensors [B, S, H]: the embeddings, then
            each block.
        attention_scores: list of L tensors [B, N, S, S], before softmax and
            after the mask.

    Raises:
        ValueError: for a sequence longer than max_position_embeddings.

    Example:

        encoder = MobileBertEncoder(config_lib.micro())
        outputs = encoder({"input_word_ids": tf.constant([[2, 17, 3]])})
        outputs["sequence_output"].shape  # (1, 3, 128)
    """

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        config = self.config
        self.embeddings = embeddings.MobileBertEmbeddings(
            config, name="embeddings"
        )
        self.blocks = [
            block.MobileBertBlock(config, name=f"layer_{i}")
            for i in range(config.num_hidden_layers)
        ]
        if config.classifier_activation:
            self.pooler = configured.make_dense(
                config, config.hidden_size, "pooler", activation="tanh"
            )

    def call(self, inputs, training=None, num_blocks=None):
        word_ids = inputs["input_word_ids"]
        mask = inputs.get("input_mask")
        if mask is None:
            mask = tf.ones_like(word_ids)
        type_ids = inputs.get("input_type_ids")
        if type_ids is None:
            type_ids = tf.zeros_like(word_ids)
        mask_penalty = attention.make_mask_penalty(mask)  # [B, 1, 1, S]

        hidden = self.embeddings(word_ids, type_ids, training=training)
        encoder_outputs = [hidden]
        attention_scores = []
        for layer in self.blocks[:num_blocks]:
            hidden, scores = layer(
                hidden, mask_penalty=mask_penalty, training=training
            )
            encoder_outputs.append(hidden)
            attention_scores.append(scores)
        pooled = hidden[:, 0]  # [B, H]
        if self.config.classifier_activation:
            pooled = self.pooler(pooled)
        return {
            "sequence_output": hidden,
            "pooled_output": pooled,
            "encoder_outputs": encoder_outputs,
            "attention_scores": attention_scores,
        }
