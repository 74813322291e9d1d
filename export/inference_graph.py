"""The deployment graph: batch 1, static shapes, constants only.

Built from weights alone and equal to the Keras model. Quantisation-aware
training runs the same graph on batches, see `numerics`. What can be done to the
weights beforehand is done by `folding`; of the graph itself

- trigram concatenation and projection are one 1x3 convolution;
- with pad_invariant, padding looks up a row of zeros added to the word table;
- a head that reads only the first token needs only the first row of the last
  block, past keys and values.

Legend: B batch, S sequence, E embedding_size, H hidden_size, b width inside a
block, N heads, d head size, R rows computed of a sequence: S, or 1 in such a
last block.
"""

import tensorflow as tf

from export import folding
from export import graph_heads
from export import graph_ops
from export import numerics as numerics_lib
from export import weights as weights_lib
from mobilebert_tf.modeling import activations
from mobilebert_tf.modeling import attention
from mobilebert_tf.modeling import config as config_lib

SIGNATURE = "serving_default"
INPUT_NAMES = ("input_word_ids", "input_mask", "input_type_ids")
# Ops whose name holds it are on the mask's path. Recipes keep them in float:
# the penalty would take the whole range of an int8 score.
MASK_SCOPE = "mask_penalty"
# The others are operators of their own.
_FUSED_ACTIVATIONS = ("relu", "relu6")


class EncoderGraph:
    """The encoder as TensorFlow ops.

    Tensors of positions are rows, [B * S, width]: the products of TensorFlow
    and of LiteRT are fastest on matrices.

    Args:
        config: MobileBertConfig.
        weights: what `folding.fold` returns.
        numerics: what the graph computes in.
        sequence_length: S, at most the number of positions; None for one that
            the inputs have when the graph runs.
        is_batched: whether there are several examples. One alone has no axis
            of its own in the attention.
    """

    def __init__(
        self,
        config: config_lib.MobileBertConfig,
        weights: folding.Encoder,
        numerics: numerics_lib.Float,
        sequence_length: int | None,
        is_batched: bool = False,
    ):
        self.config = config
        self.weights = weights
        self.numerics = numerics
        self._length = -1 if sequence_length is None else sequence_length
        self._is_batched = is_batched
        self._is_mask_additive = (
            config.attention_mask_type == config_lib.ADDITIVE_MASK
        )
        self._activation = activations.get(config.hidden_act)

    def __call__(
        self, word_ids, mask, type_ids, first_token_only: bool
    ) -> list[tf.Tensor]:
        """Returns the embeddings and each block's output, [B * S, H].

        Args:
            word_ids, mask, type_ids: int32 [B, S].
            first_token_only: the last output is [B, H], the first tokens'.
        """
        with tf.name_scope(MASK_SCOPE):
            mask_scores = self._score_mask(mask)
        with self.numerics.scope("embeddings"):
            outputs = [self._embed(word_ids, mask, type_ids)]
        last = len(self.weights.blocks) - 1
        for i, block in enumerate(self.weights.blocks):
            is_whole = not (first_token_only and i == last)
            with self.numerics.scope(folding.block_name(i)):
                outputs.append(
                    self._block(outputs[-1], mask_scores, block, is_whole)
                )
        return outputs

    def _score_mask(self, mask):
        """Returns the function that masks scores [N, R, S] or [B, N, R, S]."""
        shape = [1, 1, -1]
        if self._is_batched:
            shape = [-1, 1, 1, self._length]
        real = tf.cast(tf.reshape(mask, shape), tf.float32)
        if self._is_mask_additive:
            penalty = (1.0 - real) * attention.MASK_PENALTY
            return lambda scores: scores + penalty
        fill = (1.0 - real) * attention.MASKED_SCORE
        return lambda scores: scores * real + fill

    def _embed(self, word_ids, mask, type_ids):
        weights, numerics = self.weights, self.numerics
        table, projection = weights.word_table, weights.projection
        if self.config.pad_invariant and self.config.trigram_input:
            word_ids = word_ids * mask + table.shape[0] * (1 - mask)
            table = weights_lib.library(table).pad(table, [[0, 1], [0, 0]])
        words = numerics.look_up(table, word_ids, "words")  # [B, S, E]
        if self.config.trigram_input:
            shape = [1, 1, self._length, table.shape[1]]
            if self._is_batched:
                shape[0] = -1
            words = tf.nn.conv2d(
                tf.reshape(words, shape),
                numerics.kernel(folding.trigram_kernel(projection)),
                strides=1,
                padding="SAME",
                name="trigram",
            )
            words = numerics.activation(
                self._rows(
                    tf.add(
                        words, numerics.exact(projection.bias), name="trigrams"
                    )
                ),
                "trigrams",
            )
        else:
            words = self._rows(words)
            if projection is not None:
                words = self._dense(words, projection, "projection")
        types = self._rows(
            numerics.look_up(weights.type_table, type_ids, "types")
        )  # [B * S, H]
        words = numerics.activation(
            tf.add(words, types, name="words_and_types"), "words_and_types"
        )
        outputs = self._with_positions(words)
        outputs = numerics.activation(outputs, "sum")
        return self._norm(outputs, weights.norm)

    def _with_positions(self, rows):
        """Adds the positions to rows [B * S, H]."""
        positions = self.numerics.operand(self.weights.positions)  # [S, H]
        if not self._is_batched:
            if self._length < 0:
                positions = positions[: tf.shape(rows)[0]]
            return tf.add(rows, positions, name="sum")
        width = rows.shape[-1]
        whole = tf.reshape(rows, [-1, self._length, width]) + positions
        return tf.reshape(whole, [-1, width])

    def _block(self, inputs, mask_scores, block, is_whole):
        """Returns the block's output, [B * R, H]; R is S if `is_whole`."""
        config = self.config
        selected = self._first(inputs, is_whole)  # [B * R, H]
        layer_input = inputs  # [B * S, b]
        if config.use_bottleneck:
            # Without bottleneck attention it is but the attention's residual.
            reads_all = is_whole or config.use_bottleneck_attention
            layer_input = self._dense(
                inputs if config.use_bottleneck_attention else selected,
                block.bottleneck,
                "bottleneck",
                norm=block.bottleneck_norm,
                is_whole=reads_all,
            )
            residual = self._first(layer_input, is_whole or not reads_all)
        else:
            residual = selected
        context = self._attention(
            inputs, layer_input, mask_scores, block, is_whole
        )
        outputs = self._join(
            context,
            block.attention_output,
            residual,
            "attention_output",
            is_whole,
        )
        for k, (intermediate, join) in enumerate(block.feed_forward):
            with self.numerics.scope(f"ffn_{k}"):
                inner = self._intermediate(outputs, intermediate, is_whole)
                outputs = self._join(inner, join, outputs, "output", is_whole)
        if config.use_bottleneck:
            outputs = self._join(
                outputs,
                block.output_bottleneck,
                selected,
                "output_bottleneck",
                is_whole,
            )
        return outputs

    def _intermediate(self, inputs, weights, is_whole):
        numerics, name = self.numerics, "intermediate"
        outputs = graph_ops.dense(numerics, inputs, weights, name)
        if self.config.hidden_act not in _FUSED_ACTIVATIONS:
            outputs = numerics.activation(outputs, name, is_whole=is_whole)
        with tf.name_scope("activation"):
            outputs = self._activation(outputs)
        return numerics.activation(outputs, "activation", is_whole=is_whole)

    def _attention(self, inputs, layer_input, mask_scores, block, is_whole):
        """Returns the context, [B * R, b]."""
        config, numerics = self.config, self.numerics
        query = value = inputs
        if config.use_bottleneck_attention:
            query = value = layer_input
        elif config.key_query_shared_bottleneck:
            query = self._dense(
                inputs,
                block.key_query_bottleneck,
                "key_query_bottleneck",
                norm=block.key_query_bottleneck_norm,
            )
        key = query
        query = self._first(query, is_whole)
        with numerics.scope("attention"):
            query = self._dense(query, block.query, "query", is_whole=is_whole)
            key = self._dense(key, block.key, "key", is_symmetric=True)
            value = self._dense(value, block.value, "value", is_symmetric=True)
            query = self._heads(query, is_whole)  # [N, R, d]
            key = self._heads(key)
            value = self._heads(value)
            # Rank 3: a rank-2 product of two activations would become a
            # FULLY_CONNECTED, which XNNPACK refuses without constant weights.
            scores = tf.matmul(
                query, key, transpose_b=True, name="scores"
            )  # [N, R, S]
            scores = numerics.activation(
                scores, "scores", is_scores=True, is_whole=is_whole
            )
            with tf.name_scope(MASK_SCOPE):
                scores = mask_scores(scores)
            probabilities = numerics.activation(
                tf.nn.softmax(scores, name="probabilities"),
                "probabilities",
                is_scores=True,
                is_whole=is_whole,
            )
            context = tf.matmul(probabilities, value, name="context")
            order = [0, 2, 1, 3] if self._is_batched else [1, 0, 2]
            context = tf.transpose(context, order)  # [R, N, d]
            context = tf.reshape(context, [-1, config.block_size])
            return numerics.activation(context, "context", is_whole=is_whole)

    def _heads(self, inputs, is_whole=True):
        """[B * R, b] to [N, R, d] or [B, N, R, d]."""
        shape = [-1, self.config.num_attention_heads, self.config.head_size]
        if not self._is_batched:
            return tf.transpose(tf.reshape(inputs, shape), [1, 0, 2])
        shape.insert(1, self._length if is_whole else 1)
        return tf.transpose(tf.reshape(inputs, shape), [0, 2, 1, 3])

    def _rows(self, inputs):
        """[B, ..., S, width] to [B * S, width]."""
        return tf.reshape(inputs, [-1, inputs.shape[-1]])

    def _first(self, inputs, is_whole):
        """Returns all rows, or those of the first tokens, [B, width]."""
        if is_whole:
            return inputs
        if not self._is_batched:
            return inputs[:1]
        return tf.reshape(inputs, [-1, self._length, inputs.shape[-1]])[:, 0]

    def _dense(
        self,
        inputs,
        weights,
        name,
        norm=None,
        is_whole=True,
        is_symmetric=False,
    ):
        """Returns a dense layer's outputs as they are stored."""
        outputs = self.numerics.activation(
            graph_ops.dense(self.numerics, inputs, weights, name),
            name,
            is_symmetric=is_symmetric,
            is_whole=is_whole,
        )
        return self._norm(outputs, norm, name, is_whole)

    def _join(self, inputs, join, residual, name, is_whole):
        """Returns what a folding.Join says."""
        numerics = self.numerics
        outputs = numerics.activation(
            graph_ops.dense(numerics, inputs, join.dense, name),
            name,
            is_whole=is_whole,
        )
        if join.factor is not None:
            scaled = f"{name}_residual"
            residual = numerics.activation(
                tf.multiply(
                    residual, numerics.operand(join.factor), name=scaled
                ),
                scaled,
                is_whole=is_whole,
            )
        total = f"{name}_sum"
        outputs = numerics.activation(
            tf.add(outputs, residual, name=total), total, is_whole=is_whole
        )
        return self._norm(outputs, join.norm, name, is_whole)

    def _norm(self, inputs, norm, name="sum", is_whole=True):
        """Returns the LayerNorm, or what is there where it was folded."""
        if norm is None:
            return inputs
        with self.numerics.scope(f"{name}_norm"):
            return graph_ops.layer_norm(self.numerics, inputs, norm, is_whole)


def float_activations(config: config_lib.MobileBertConfig, head) -> list[str]:
    """Names the activations between layers that both stay in float32.

    That is the last LayerNorm's output if the head's last layer reads it.
    """
    if config.normalization_type == "no_norm" or getattr(head, "pooler", None):
        return []
    stream = folding.stream_names(config)[-1]
    return [f"{stream}_norm/{graph_ops.LAYER_NORM_SCOPE}/outputs"]


def make_module(
    config: config_lib.MobileBertConfig,
    weights: weights_lib.Encoder,
    sequence_length: int | None,
    head,
    bases: folding.Bases = folding.PLAIN,
) -> tf.Module:
    """Builds the graph with `head` on top, ready for conversion.

    Args:
        config: MobileBertConfig.
        weights: of the encoder.
        sequence_length: int, S; None for any, up to
            max_position_embeddings, that the inputs have when the graph runs.
        head: of graph_heads.
        bases: in which tensors are stored, see `folding`.

    Returns:
        A tf.Module whose `serve` is a tf.function of int32 [1, S] tensors
        named as INPUT_NAMES. It has no variables: all weights are constants.

    Raises:
        ValueError: if sequence_length is not in 1..max_position_embeddings.
    """
    length = sequence_length
    if length is None:
        length = config.max_position_embeddings
    config.check_sequence_length(length, "max_seq_length")
    folded = folding.fold(config, weights, length, bases)
    head = head.reading(folded.output_basis)

    @tf.function(
        input_signature=[
            tf.TensorSpec([1, sequence_length], tf.int32, name)
            for name in INPUT_NAMES
        ]
    )
    def serve(input_word_ids, input_mask, input_type_ids):
        numerics = numerics_lib.Float()
        encoder = EncoderGraph(config, folded, numerics, sequence_length)
        outputs = encoder(
            input_word_ids,
            input_mask,
            input_type_ids,
            first_token_only=head.first_token_only,
        )
        return head(outputs, input_mask, numerics)

    module = tf.Module(name="mobilebert")
    module.serve = serve
    return module


def module_of(
    model,
    sequence_length: int | None,
    bases: folding.Bases = folding.PLAIN,
) -> tf.Module:
    """Builds the graph of a Keras model with its head.

    Args:
        model: a built model of modeling.models, see graph_heads.from_model.
        sequence_length: int, S; None for any up to max_position_embeddings.
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
