"""The deployment graph: batch 1, static shapes, constants only.

Built from weights alone and equal to the Keras model. What can be done to the
weights beforehand is done by `folding`; of the graph itself

- trigram concatenation and projection are one 1x3 convolution;
- with pad_invariant, padding looks up a row of zeros added to the word table;
- a head that reads only the first token needs only the first row of the last
  block, past keys and values.

Legend: S sequence, E embedding_size, H hidden_size, b width inside a block,
N heads, d head size, R rows computed: S, or 1 in such a last block.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from export import folding
from export import graph_heads
from export import graph_ops
from export import weights as weights_lib
from mobilebert_tf.modeling import activations
from mobilebert_tf.modeling import attention
from mobilebert_tf.modeling import config as config_lib

SIGNATURE = "serving_default"
INPUT_NAMES = ("input_word_ids", "input_mask", "input_type_ids")
# Ops whose name holds it are on the mask's path. Recipes keep them in float:
# the penalty would take the whole range of an int8 score.
MASK_SCOPE = "mask_penalty"


class EncoderGraph:
    """The encoder as TensorFlow ops on constants.

    Args:
        config: MobileBertConfig.
        weights: what `folding.fold` returns; S is its number of positions.
    """

    def __init__(
        self, config: config_lib.MobileBertConfig, weights: folding.Encoder
    ):
        self.config = config
        self.weights = weights
        self.sequence_length = len(weights.positions)
        self._is_mask_additive = (
            config.attention_mask_type == config_lib.ADDITIVE_MASK
        )
        self._activation = activations.get(config.hidden_act)

    def __call__(
        self, word_ids, mask, type_ids, first_token_only: bool
    ) -> list[tf.Tensor]:
        """Returns the embeddings and each block's output, [S, H].

        Args:
            word_ids, mask, type_ids: int32 [1, S].
            first_token_only: the last output is [1, H], the first token's.
        """
        with tf.name_scope(MASK_SCOPE):
            mask_scores = self._score_mask(mask)
        with tf.name_scope("embeddings"):
            outputs = [self._embed(word_ids, mask, type_ids)]
        last = len(self.weights.blocks) - 1
        for i, block in enumerate(self.weights.blocks):
            rows = 1 if first_token_only and i == last else None
            with tf.name_scope(f"layer_{i}"):
                outputs.append(
                    self._block(outputs[-1], mask_scores, block, rows)
                )
        return outputs

    def _score_mask(self, mask):
        """Returns the function that masks scores [N, R, S]."""
        real = tf.cast(tf.reshape(mask, [1, 1, -1]), tf.float32)
        if self._is_mask_additive:
            penalty = (1.0 - real) * attention.MASK_PENALTY
            return lambda scores: scores + penalty
        fill = (1.0 - real) * attention.MASKED_SCORE
        return lambda scores: scores * real + fill

    def _embed(self, word_ids, mask, type_ids):
        weights, length = self.weights, self.sequence_length
        table, projection = weights.word_table, weights.projection
        if self.config.pad_invariant and self.config.trigram_input:
            word_ids = word_ids * mask + len(table) * (1 - mask)
            table = np.pad(table, [[0, 1], [0, 0]])
        words = tf.gather(
            graph_ops.constant(table), word_ids, name="words"
        )  # [1,S,E]
        if self.config.trigram_input:
            words = tf.nn.conv2d(
                tf.reshape(words, [1, 1, length, -1]),
                graph_ops.constant(folding.trigram_kernel(projection)),
                strides=1,
                padding="SAME",
                name="trigram",
            )
            words += graph_ops.constant(projection.bias)
        words = tf.reshape(words, [length, -1])  # [S, H], or E as yet
        if projection is not None and not self.config.trigram_input:
            words = graph_ops.dense(words, projection, "projection")
        types = tf.gather(
            graph_ops.constant(weights.type_table), type_ids, name="types"
        )
        types = tf.reshape(types, [length, -1])  # [S, H]
        outputs = words + types + graph_ops.constant(weights.positions)
        return graph_ops.layer_norm(outputs, weights.norm)

    def _block(self, inputs, mask_scores, block, rows):
        """Returns [R, H], the first `rows` (None: all) rows of a block."""
        config = self.config
        selected = inputs if rows is None else inputs[:rows]  # [R, H]
        layer_input = inputs  # [S, b]
        if config.use_bottleneck:
            # Without bottleneck attention it is but the attention's residual.
            layer_input = self._dense_norm(
                inputs if config.use_bottleneck_attention else selected,
                block.bottleneck,
                block.bottleneck_norm,
                "bottleneck",
            )
        context = self._attention(inputs, layer_input, mask_scores, block, rows)
        outputs = self._join(
            context,
            block.attention_output,
            layer_input if rows is None else layer_input[:rows],
            "attention_output",
        )
        for k, (intermediate, join) in enumerate(block.feed_forward):
            with tf.name_scope(f"ffn_{k}"):
                inner = self._activation(
                    graph_ops.dense(outputs, intermediate, "intermediate")
                )
                outputs = self._join(inner, join, outputs, "output")
        if config.use_bottleneck:
            outputs = self._join(
                outputs, block.output_bottleneck, selected, "output_bottleneck"
            )
        return outputs

    def _attention(self, inputs, layer_input, mask_scores, block, rows):
        """Returns the context, [R, b]."""
        config = self.config
        query = value = inputs
        if config.use_bottleneck_attention:
            query = value = layer_input
        elif config.key_query_shared_bottleneck:
            query = self._dense_norm(
                inputs,
                block.key_query_bottleneck,
                block.key_query_bottleneck_norm,
                "key_query_bottleneck",
            )
        key = query
        if rows is not None:
            query = query[:rows]
        with tf.name_scope("attention"):
            query = self._heads(
                graph_ops.dense(query, block.query, "query")
            )  # [N, R, d]
            key = self._heads(graph_ops.dense(key, block.key, "key"))
            value = self._heads(graph_ops.dense(value, block.value, "value"))
            # Rank 3: a rank-2 product of two activations would become a
            # FULLY_CONNECTED, which XNNPACK refuses without constant weights.
            scores = tf.matmul(
                query, key, transpose_b=True, name="scores"
            )  # [N, R, S]
            with tf.name_scope(MASK_SCOPE):
                scores = mask_scores(scores)
            probabilities = tf.nn.softmax(scores, name="probabilities")
            context = tf.matmul(probabilities, value, name="context")
            context = tf.transpose(context, [1, 0, 2])  # [R, N, d]
            return tf.reshape(context, [-1, config.block_size])

    def _heads(self, inputs):
        """[R, b] to [N, R, d]."""
        heads = tf.reshape(
            inputs,
            [-1, self.config.num_attention_heads, self.config.head_size],
        )
        return tf.transpose(heads, [1, 0, 2])

    def _dense_norm(self, inputs, dense, norm, name):
        return graph_ops.layer_norm(graph_ops.dense(inputs, dense, name), norm)

    def _join(self, inputs, join, residual, name):
        """Returns what a folding.Join says."""
        if join.factor is not None:
            residual = residual * graph_ops.constant(join.factor)
        return graph_ops.layer_norm(
            graph_ops.dense(inputs, join.dense, name) + residual, join.norm
        )


def make_module(
    config: config_lib.MobileBertConfig,
    weights: weights_lib.Encoder,
    sequence_length: int,
    head,
    bases: Mapping[str, np.ndarray] | None = None,
) -> tf.Module:
    """Builds the graph with `head` on top, ready for conversion.

    Args:
        config: MobileBertConfig.
        weights: of the encoder.
        sequence_length: int, S.
        head: of graph_heads.
        bases: in which tensors are stored, see `folding`.

    Returns:
        A tf.Module whose `serve` is a tf.function of int32 [1, S] tensors
        named as INPUT_NAMES. It has no variables: all weights are constants.

    Raises:
        ValueError: if sequence_length is not in 1..max_position_embeddings.
    """
    config.check_sequence_length(sequence_length, "max_seq_length")
    folded = folding.fold(config, weights, sequence_length, bases)
    encoder = EncoderGraph(config, folded)
    head = head.reading(folded.output_basis)

    @tf.function(
        input_signature=[
            tf.TensorSpec([1, sequence_length], tf.int32, name)
            for name in INPUT_NAMES
        ]
    )
    def serve(input_word_ids, input_mask, input_type_ids):
        outputs = encoder(
            input_word_ids,
            input_mask,
            input_type_ids,
            first_token_only=head.first_token_only,
        )
        return head(outputs, input_mask)

    module = tf.Module(name="mobilebert")
    module.serve = serve
    return module


def module_of(
    model,
    sequence_length: int,
    bases: Mapping[str, np.ndarray] | None = None,
) -> tf.Module:
    """Builds the graph of a Keras model with its head.

    Args:
        model: a built model of modeling.models, see graph_heads.from_model.
        sequence_length: int, S.
        bases: in which tensors are stored, see `folding`.

    Raises:
        ValueError: if sequence_length is not in 1..max_position_embeddings, or
            for a model with the heads of pre-training.
    """
    return make_module(
        model.config,
        weights_lib.from_encoder(model.encoder),
        sequence_length,
        graph_heads.from_model(model),
        bases,
    )
