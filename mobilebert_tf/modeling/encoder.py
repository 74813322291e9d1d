"""The MobileBERT encoder.

Legend: B batch, S sequence, Q positions read, H hidden_size, N heads,
L blocks.
"""

import tensorflow as tf
import tf_keras

from mobilebert_tf.modeling import attention
from mobilebert_tf.modeling import block
from mobilebert_tf.modeling import configured
from mobilebert_tf.modeling import embeddings

_OTHER_NAMES = ("input_ids", "attention_mask", "token_type_ids", "segment_ids")


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class MobileBertEncoder(configured.ConfiguredModel):
    """Embeddings, L blocks and the pooler.

    It returns all that knowledge transfer compares, so that no subclass or
    hook is needed to distil, inspect or calibrate.

    Args:
        config: MobileBertConfig (or its dict form).
        use_pooler: bool. False for models that read single tokens only: no
            pooled_output, and no pooler weights.

    Call arguments:
        inputs: dict of int tensors [B, S]: input_word_ids, and optionally
            input_mask (1 real, 0 padding; default all ones) and
            input_type_ids (default zeros).
        num_blocks: int or None. Run only the first `num_blocks` blocks.
        num_frozen_blocks: int or None. No gradient flows into the embeddings
            and the first `num_frozen_blocks` blocks.

        read_positions: int [B, Q] or None. Compute the last block's output
            at these positions and the first token only: what the heads of
            pre-training read. sequence_output is then [B, Q, H], and the
            last of encoder_outputs and of attention_scores have 1 + Q rows,
            the first token's first.

    Returns a dict:
        sequence_output: [B, S, H], the last block's output.
        pooled_output: [B, H], the first token (through tanh(Dense) with
            classifier_activation). Only with use_pooler.
        encoder_outputs: list of L + 1 tensors [B, S, H]: the embeddings, then
            each block.
        attention_scores: list of L tensors [B, N, S, S], before softmax and
            after the mask.

    Raises:
        ValueError: for inputs of other names or shapes, a sequence longer
            than max_position_embeddings, more blocks than there are, or
            read_positions without the last block.

    Example:

        >>> from mobilebert_tf.modeling import config as config_lib
        >>> encoder = MobileBertEncoder(config_lib.micro(vocab_size=100))
        >>> outputs = encoder({"input_word_ids": tf.constant([[2, 17, 3]])})
        >>> outputs["sequence_output"].shape
        TensorShape([1, 3, 128])
        >>> len(outputs["attention_scores"])
        4
    """

    def __init__(self, config, use_pooler: bool = True, **kwargs):
        super().__init__(config, **kwargs)
        config = self.config
        self.use_pooler = use_pooler
        self.embeddings = embeddings.MobileBertEmbeddings(
            config, name="embeddings"
        )
        self.blocks = [
            block.MobileBertBlock(config, name=f"layer_{i}")
            for i in range(config.num_hidden_layers)
        ]
        self.has_pooler_weights = use_pooler and config.classifier_activation
        if self.has_pooler_weights:
            self.pooler = configured.make_dense(
                config, config.hidden_size, "pooler", activation="tanh"
            )

    def call(
        self,
        inputs,
        training=None,
        num_blocks=None,
        num_frozen_blocks=None,
        read_positions=None,
    ):
        _check_names(inputs)
        word_ids = tf.convert_to_tensor(inputs["input_word_ids"])
        if word_ids.shape.rank != 2:
            raise ValueError(
                "input_word_ids: expected shape [batch, sequence], got "
                f"{word_ids.shape}"
            )
        mask = inputs.get("input_mask")
        if mask is None:
            mask = tf.ones_like(word_ids)
        type_ids = inputs.get("input_type_ids")
        if type_ids is None:
            type_ids = tf.zeros_like(word_ids)
        attention_mask = attention.make_attention_mask(mask)  # [B, 1, 1, S]
        if num_blocks is not None and not 0 <= num_blocks <= len(self.blocks):
            raise ValueError(
                f"num_blocks: expected 0 to {len(self.blocks)}, "
                f"got {num_blocks}"
            )
        if read_positions is not None:
            if num_blocks is not None:
                raise ValueError(
                    "read_positions: expected all blocks to run, got "
                    f"num_blocks={num_blocks}"
                )
            rows = tf.pad(read_positions, [[0, 0], [1, 0]])  # [B, 1 + Q]

        hidden = self.embeddings(
            word_ids, type_ids, input_mask=mask, training=training
        )
        encoder_outputs = [hidden]
        attention_scores = []
        for i, layer in enumerate(self.blocks[:num_blocks]):
            if i == num_frozen_blocks:
                hidden = tf.stop_gradient(hidden)
            is_read = read_positions is not None and layer is self.blocks[-1]
            hidden, scores = layer(
                hidden,
                attention_mask=attention_mask,
                training=training,
                read_positions=rows if is_read else None,
            )
            encoder_outputs.append(hidden)
            attention_scores.append(scores)
        outputs = {
            "sequence_output": (
                hidden if read_positions is None else hidden[:, 1:]
            ),
            "encoder_outputs": encoder_outputs,
            "attention_scores": attention_scores,
        }
        if self.use_pooler:
            outputs["pooled_output"] = self._pool(hidden)
        return outputs

    def copy_weights(self, source: "MobileBertEncoder") -> None:
        """Copies the weights of `source`, an encoder of the same network.

        A pooler that `source` lacks stays as it is.
        """
        self.embeddings.set_weights(source.embeddings.get_weights())
        for ours, theirs in zip(self.blocks, source.blocks, strict=True):
            ours.set_weights(theirs.get_weights())
        if self.has_pooler_weights and source.has_pooler_weights:
            self.pooler.set_weights(source.pooler.get_weights())

    def get_config(self):
        return {**super().get_config(), "use_pooler": self.use_pooler}

    def _pool(self, hidden):
        pooled = hidden[:, 0]  # [B, H]
        if self.has_pooler_weights:
            pooled = self.pooler(pooled)
        return pooled


def _check_names(inputs):
    """Raises ValueError for names that other libraries have for the inputs.

    Passed over, a mask of another name would leave padding visible.
    """
    wrong = [name for name in _OTHER_NAMES if name in inputs]
    if wrong or "input_word_ids" not in inputs:
        raise ValueError(
            "inputs: expected input_word_ids, input_mask and input_type_ids, "
            f"got {', '.join(wrong or inputs) or 'none'}"
        )
