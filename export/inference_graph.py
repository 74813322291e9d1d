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
from export import weights as weights_lib
from mobilebert_tf.modeling import activations
from mobilebert_tf.modeling import attention
from mobilebert_tf.modeling import config as config_lib

SIGNATURE = "serving_default"
INPUT_NAMES = ("input_word_ids", "input_mask", "input_type_ids")
# Ops whose name holds it are on the mask's path. Recipes keep them in float:
# the penalty would take the whole range of an int8 score.
MASK_SCOPE = "mask_penalty"
LAYER_NORM_SCOPE = "layer_norm"

_LAYER_NORM_EPSILON = 1e-12


class ClassificationHead:
    """Pooler, logits and softmax: float32 `probabilities` [1, num_labels].

    Args:
        logits: Dense from H to the number of labels.
    """

    first_token_only = True

    def __init__(self, logits: weights_lib.Dense):
        self._logits = logits

    def __call__(self, encoder: "EncoderGraph", outputs: list) -> dict:
        pooled = outputs[-1]  # [1, H]
        pooler = encoder.weights.pooler
        if pooler is not None:
            pooled = tf.tanh(_dense(pooled, pooler, "pooler"))
        logits = _dense(pooled, self._logits, "logits")
        return {"probabilities": tf.nn.softmax(logits, name="probabilities")}


class HiddenStatesHead:
    """All hidden states, float32 `hidden_state_{i}` [1, S, H], i = 0..L.

    For verification: the embeddings, then the output of each block.
    """

    first_token_only = False

    def __call__(self, encoder: "EncoderGraph", outputs: list) -> dict:
        del encoder
        return {
            f"hidden_state_{i}": tf.expand_dims(output, 0)
            for i, output in enumerate(outputs)
        }


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
        words = tf.gather(_constant(table), word_ids, name="words")  # [1,S,E]
        if self.config.trigram_input:
            words = tf.nn.conv2d(
                tf.reshape(words, [1, 1, length, -1]),
                _constant(folding.trigram_kernel(projection)),
                strides=1,
                padding="SAME",
                name="trigram",
            )
            words += _constant(projection.bias)
        words = tf.reshape(words, [length, -1])  # [S, H], or E as yet
        if projection is not None and not self.config.trigram_input:
            words = _dense(words, projection, "projection")
        types = tf.gather(_constant(types), type_ids, name="types")
        types = tf.reshape(types, [length, -1])  # [S, H]
        outputs = words + types + _constant(offset)
        if self._folds_norm:
            return outputs
        return _layer_norm(outputs, self.weights.norm)

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
                    _dense(outputs, network.intermediate, "intermediate")
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
                _dense(query, query_dense.scaled(scale), "query")
            )  # [N, R, d]
            key = self._heads(self._key(key, key_dense))
            value = self._heads(_matmul(value, block.value.kernel, "value"))
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
        return query, key, _matmul(inputs, folded.kernel, name)

    def _key(self, inputs, dense):
        if self._is_mask_additive:
            return _matmul(inputs, dense.kernel, "key")
        return _dense(inputs, dense, "key")

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
            return _dense(inputs, folding.fold_norm(dense, norm), name)
        return _layer_norm(_dense(inputs, dense, name), norm)

    def _residual_norm(
        self, inputs, dense, residual, norm, residual_scale, name
    ):
        """Norm(Dense(inputs) + residual).

        `residual_scale` is NoNorm's gamma, or None if `residual` has it.
        """
        if not self._folds_norm:
            return _layer_norm(_dense(inputs, dense, name) + residual, norm)
        if residual_scale is not None:
            residual = residual * _constant(residual_scale)
        return _dense(inputs, folding.fold_norm(dense, norm), name) + residual


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
        head: called with the EncoderGraph and its outputs; returns the
            outputs by name.

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
        return head(encoder, outputs)

    module = tf.Module(name="mobilebert")
    module.serve = serve
    return module


def classifier_module(model, sequence_length: int) -> tf.Module:
    """Builds the graph of a MobileBertForSequenceClassification.

    Raises:
        ValueError: if sequence_length is not in 1..max_position_embeddings.
    """
    head = ClassificationHead(weights_lib.from_dense(model.classifier.dense))
    return make_module(
        model.config,
        weights_lib.from_encoder(model.encoder),
        sequence_length,
        head,
    )


def _dense(inputs, dense, name):
    with tf.name_scope(name):
        return tf.nn.bias_add(
            tf.matmul(inputs, _constant(dense.kernel)), _constant(dense.bias)
        )


def _matmul(inputs, kernel, name):
    return tf.matmul(inputs, _constant(kernel), name=name)


def _layer_norm(inputs, norm):
    with tf.name_scope(LAYER_NORM_SCOPE):
        mean = tf.reduce_mean(inputs, axis=-1, keepdims=True)
        centred = inputs - mean
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        normalized = centred * tf.math.rsqrt(variance + _LAYER_NORM_EPSILON)
        return normalized * _constant(norm.gamma) + _constant(norm.beta)


def _constant(array):
    return tf.constant(array.astype(np.float32))
