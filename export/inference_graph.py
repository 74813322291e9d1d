"""The deployment graph: batch 1, static shapes, constants only.

Built from weights alone and equal to the Keras model, with what does not
change the result already done to the weights:

- 1/sqrt(head size) is part of the query layer;
- the key bias is dropped: it adds the same number to all scores of a query,
  which softmax ignores; so is, on the key's side, the bias of the shared
  key-query bottleneck, which moves into the query bias on the other side (both
  stay with the multiplicative mask, under which padding scores do not move);
- the value bias is part of the attention-output bias, since attention
  probabilities sum to 1;
- trigram concatenation and projection are one 1x3 convolution;
- with pad_invariant, padding looks up a row of zeros added to the word table;
- a NoNorm is folded into the dense layer before it. Where a residual joins in
  between, gamma * (dense(x) + residual) + beta becomes
  folded(x) + gamma * residual: one multiplication is left on the residual;
- where the input bottleneck serves only as the attention's residual, that
  multiplication is folded into the bottleneck too;
- a head that reads only the first token needs only the first row of the last
  block, past keys and values.

Legend: S sequence, E embedding_size, H hidden_size, b width inside a block,
N heads, d head size, R rows computed: S, or 1 in such a last block.
"""

import math

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
        weights: what `weights.from_encoder` returns.
        sequence_length: int, S.

    Raises:
        ValueError: if sequence_length is not in 1..max_position_embeddings.
    """

    def __init__(
        self,
        config: config_lib.MobileBertConfig,
        weights: weights_lib.Encoder,
        sequence_length: int,
    ):
        config.check_sequence_length(sequence_length, "max_seq_length")
        self.config = config
        self.weights = weights
        self.sequence_length = sequence_length
        self._folds_norm = config.normalization_type == "no_norm"
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
        length = self.sequence_length
        table, projection, types, offset = (
            folding.fold_embeddings(self.weights, length)
            if self._folds_norm
            else folding.keep_embeddings(self.weights, length)
        )
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
        types = tf.gather(graph_ops.constant(types), type_ids, name="types")
        types = tf.reshape(types, [length, -1])  # [S, H]
        outputs = words + types + graph_ops.constant(offset)
        if self._folds_norm:
            return outputs
        return graph_ops.layer_norm(outputs, self.weights.norm)

    def _block(self, inputs, mask_scores, block, rows):
        """Returns [R, H], the first `rows` (None: all) rows of a block."""
        config = self.config
        selected = inputs if rows is None else inputs[:rows]  # [R, H]
        residual_only = (
            config.use_bottleneck and not config.use_bottleneck_attention
        )
        layer_input = inputs  # [S, b]
        attention_norm = block.attention_output_norm
        residual_scale = attention_norm.gamma
        if config.use_bottleneck:
            bottleneck, norm = block.bottleneck, block.bottleneck_norm
            if residual_only and self._folds_norm:
                norm = norm.scaled(residual_scale)
                residual_scale = None
            layer_input = self._dense_norm(
                selected if residual_only else inputs,
                bottleneck,
                norm,
                "bottleneck",
            )
        context = self._attention(inputs, layer_input, mask_scores, block, rows)
        residual = layer_input
        if rows is not None and not residual_only:
            residual = layer_input[:rows]
        # Probabilities sum to 1: the value bias passes through attention.
        bias = block.value.bias @ block.attention_output.kernel
        outputs = self._residual_norm(
            context,
            block.attention_output.shifted(bias),
            residual,
            attention_norm,
            residual_scale,
            "attention_output",
        )
        for k, network in enumerate(block.feed_forward):
            with tf.name_scope(f"ffn_{k}"):
                inner = self._activation(
                    graph_ops.dense(
                        outputs, network.intermediate, "intermediate"
                    )
                )
                outputs = self._residual_norm(
                    inner,
                    network.output,
                    outputs,
                    network.norm,
                    network.norm.gamma,
                    "output",
                )
        if config.use_bottleneck:
            norm = block.output_bottleneck_norm
            outputs = self._residual_norm(
                outputs,
                block.output_bottleneck,
                selected,
                norm,
                norm.gamma,
                "output_bottleneck",
            )
        return outputs

    def _attention(self, inputs, layer_input, mask_scores, block, rows):
        """Returns the context, [R, b]."""
        config = self.config
        query_dense, key_dense = block.query, block.key
        query = key = value = inputs
        if config.use_bottleneck_attention:
            query = key = value = layer_input
        elif config.key_query_shared_bottleneck:
            query_dense, key_dense, key = self._shared_bottleneck(inputs, block)
            query = key
        if rows is not None:
            query = query[:rows]
        with tf.name_scope("attention"):
            scale = 1.0 / math.sqrt(config.head_size)
            query = self._heads(
                graph_ops.dense(query, query_dense.scaled(scale), "query")
            )  # [N, R, d]
            key = self._heads(self._key(key, key_dense))
            value = self._heads(
                graph_ops.matmul(value, block.value.kernel, "value")
            )
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

    def _shared_bottleneck(self, inputs, block):
        """Returns the query and key layers and [S, b], what they read."""
        dense = block.key_query_bottleneck
        norm = block.key_query_bottleneck_norm
        name = "key_query_bottleneck"
        if not self._folds_norm:
            shared = self._dense_norm(inputs, dense, norm, name)
            return block.query, block.key, shared
        folded = folding.fold_norm(dense, norm)
        query, key = (
            layer.shifted(folded.bias @ layer.kernel)
            for layer in (block.query, block.key)
        )
        return query, key, graph_ops.matmul(inputs, folded.kernel, name)

    def _key(self, inputs, dense):
        if self._is_mask_additive:
            return graph_ops.matmul(inputs, dense.kernel, "key")
        return graph_ops.dense(inputs, dense, "key")

    def _heads(self, inputs):
        """[R, b] to [N, R, d]."""
        heads = tf.reshape(
            inputs,
            [-1, self.config.num_attention_heads, self.config.head_size],
        )
        return tf.transpose(heads, [1, 0, 2])

    def _dense_norm(self, inputs, dense, norm, name):
        """Norm(Dense(inputs))."""
        if self._folds_norm:
            return graph_ops.dense(inputs, folding.fold_norm(dense, norm), name)
        return graph_ops.layer_norm(graph_ops.dense(inputs, dense, name), norm)

    def _residual_norm(
        self, inputs, dense, residual, norm, residual_scale, name
    ):
        """Norm(Dense(inputs) + residual).

        `residual_scale` is NoNorm's gamma, or None if `residual` has it.
        """
        if not self._folds_norm:
            return graph_ops.layer_norm(
                graph_ops.dense(inputs, dense, name) + residual, norm
            )
        if residual_scale is not None:
            residual = residual * graph_ops.constant(residual_scale)
        return (
            graph_ops.dense(inputs, folding.fold_norm(dense, norm), name)
            + residual
        )


def make_module(
    config: config_lib.MobileBertConfig,
    weights: weights_lib.Encoder,
    sequence_length: int,
    head,
) -> tf.Module:
    """Builds the graph with `head` on top, ready for conversion.

    Args:
        config: MobileBertConfig.
        weights: of the encoder.
        sequence_length: int, S.
        head: of graph_heads.

    Returns:
        A tf.Module whose `serve` is a tf.function of int32 [1, S] tensors
        named as INPUT_NAMES. It has no variables: all weights are constants.

    Raises:
        ValueError: if sequence_length is not in 1..max_position_embeddings.
    """
    encoder = EncoderGraph(config, weights, sequence_length)

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


def module_of(model, sequence_length: int) -> tf.Module:
    """Builds the graph of a Keras model with its head.

    Args:
        model: a built model of modeling.models, see graph_heads.from_model.
        sequence_length: int, S.

    Raises:
        ValueError: if sequence_length is not in 1..max_position_embeddings, or
            for a model with the heads of pre-training.
    """
    return make_module(
        model.config,
        weights_lib.from_encoder(model.encoder),
        sequence_length,
        graph_heads.from_model(model),
    )
