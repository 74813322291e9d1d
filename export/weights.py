"""A trained model's weights as plain numpy arrays, apart from Keras.

Legend: E embedding_size, H hidden_size, b width inside a block.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Dense:
    """y = x @ kernel + bias; kernel float [in, out], bias float [out] or None.

    The methods but `without_bias` are of layers with a bias.
    """

    kernel: np.ndarray
    bias: np.ndarray | None

    def scaled(self, factor: np.ndarray) -> "Dense":
        """Returns the layer whose output is `factor` (float [out]) * y."""
        return Dense(self.kernel * factor, self.bias * factor)

    def reading(self, basis: np.ndarray | None) -> "Dense":
        """Returns the layer with the output y of x * `basis` (float [in])."""
        if basis is None:
            return self
        return Dense(self.kernel / basis[:, np.newaxis], self.bias)

    def without_bias(self) -> "Dense":
        """Returns x @ kernel."""
        return Dense(self.kernel, None)

    def shifted(self, offset: np.ndarray) -> "Dense":
        """Returns the layer whose output is y + `offset` (float [out])."""
        return Dense(self.kernel, self.bias + offset)

    def column(self, index: int) -> "Dense":
        """Returns the layer of one output, kernel [in, 1]."""
        return Dense(
            self.kernel[:, index : index + 1], self.bias[index : index + 1]
        )


@dataclasses.dataclass(frozen=True)
class Norm:
    """Scale and offset, float [width], of a NoNorm or a LayerNorm."""

    gamma: np.ndarray
    beta: np.ndarray

    def scaled(self, factor: np.ndarray) -> "Norm":
        """Returns the norm whose output is `factor` (float [width]) * y."""
        return Norm(self.gamma * factor, self.beta * factor)


@dataclasses.dataclass(frozen=True)
class FeedForward:
    """One network of the stack: b to intermediate_size and back."""

    intermediate: Dense
    output: Dense
    norm: Norm


@dataclasses.dataclass(frozen=True)
class Block:
    """One block; a bottleneck is None where the config has none.

    Attributes:
        bottleneck: H to b, what the block computes on.
        key_query_bottleneck: H to b, what query and key read.
        query, key, value: to b.
        attention_output: b to b.
        feed_forward: the stack.
        output_bottleneck: b to H.
        *_norm: the normalisation that follows the layer of that name.
    """

    bottleneck: Dense | None
    bottleneck_norm: Norm | None
    key_query_bottleneck: Dense | None
    key_query_bottleneck_norm: Norm | None
    query: Dense
    key: Dense
    value: Dense
    attention_output: Dense
    attention_output_norm: Norm
    feed_forward: tuple[FeedForward, ...]
    output_bottleneck: Dense | None
    output_bottleneck_norm: Norm | None


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Tables, projection and blocks.

    Attributes:
        word_table: [vocab_size, E].
        type_table: [type_vocab_size, H].
        position_table: [max_position_embeddings, H].
        projection: E, or 3E with trigrams, to H; None where widths agree.
        norm: of the sum of the embeddings.
        blocks: in order.
    """

    word_table: np.ndarray
    type_table: np.ndarray
    position_table: np.ndarray
    projection: Dense | None
    norm: Norm
    blocks: tuple[Block, ...]


def from_encoder(encoder) -> Encoder:
    """Reads the weights of a built `modeling.encoder.MobileBertEncoder`.

    Arrays are float64: foldings multiply several of them, and only the result
    is rounded to float32.
    """
    embeddings = encoder.embeddings
    return Encoder(
        word_table=_array(embeddings.word_table),
        type_table=_array(embeddings.type_table),
        position_table=_array(embeddings.position_table),
        projection=(
            from_dense(embeddings.projection)
            if embeddings.needs_projection
            else None
        ),
        norm=_norm(embeddings.normalization),
        blocks=tuple(_block(block) for block in encoder.blocks),
    )


def from_dense(layer) -> Dense:
    """Reads a built Keras Dense layer, as float64."""
    return Dense(_array(layer.kernel), _array(layer.bias))


def _block(block):
    bottleneck = getattr(block, "input_bottleneck", None)
    key_query = getattr(block, "key_query_bottleneck", None)
    output = getattr(block, "output_bottleneck", None)
    return Block(
        bottleneck=bottleneck and from_dense(bottleneck.dense),
        bottleneck_norm=bottleneck and _norm(bottleneck.normalization),
        key_query_bottleneck=key_query and from_dense(key_query.dense),
        key_query_bottleneck_norm=key_query and _norm(key_query.normalization),
        query=from_dense(block.attention.query),
        key=from_dense(block.attention.key),
        value=from_dense(block.attention.value),
        attention_output=from_dense(block.attention_output.dense),
        attention_output_norm=_norm(block.attention_output.normalization),
        feed_forward=tuple(
            FeedForward(
                intermediate=from_dense(network.intermediate),
                output=from_dense(network.output_dense),
                norm=_norm(network.normalization),
            )
            for network in block.feed_forward_networks
        ),
        output_bottleneck=output and from_dense(output.dense),
        output_bottleneck_norm=output and _norm(output.normalization),
    )


def _norm(layer):
    return Norm(_array(layer.gamma), _array(layer.beta))


def _array(variable):
    return variable.numpy().astype(np.float64)
