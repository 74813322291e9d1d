"""A trained model's weights as plain arrays, apart from Keras.

For a file they are numpy arrays. They may as well be tensors: functions of the
model's variables, with gradients.

Legend: E embedding_size, H hidden_size, b width inside a block.
"""

import dataclasses
import types
from collections.abc import Callable

import numpy as np
import tensorflow as tf

# A Keras variable to an array, which has numpy's operators.
Read = Callable[[tf.Variable], np.ndarray | tf.Tensor]


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

    def product(self, vector: np.ndarray) -> np.ndarray:
        """Returns `vector` (float [in]) @ kernel, [out]."""
        return (vector[np.newaxis] @ self.kernel)[0]

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


def as_float64(variable: tf.Variable) -> np.ndarray:
    """Reads a variable for a file.

    Foldings multiply several arrays, and only the result is rounded to
    float32.
    """
    return variable.numpy().astype(np.float64)


def as_tensor(variable: tf.Variable) -> tf.Tensor:
    """Reads a variable for training, float32."""
    return tf.convert_to_tensor(variable)


def library(array: np.ndarray | tf.Tensor) -> types.ModuleType:
    """Returns numpy or tensorflow, for functions that both have alike."""
    return tf if tf.is_tensor(array) else np


def from_encoder(encoder, read: Read = as_float64) -> Encoder:
    """Reads the weights of a built `modeling.encoder.MobileBertEncoder`."""
    return _Reader(read).encoder(encoder)


def from_dense(layer, read: Read = as_float64) -> Dense:
    """Reads a built Keras Dense layer."""
    return _Reader(read).dense(layer)


class _Reader:
    def __init__(self, read):
        self._read = read

    def encoder(self, encoder):
        embeddings = encoder.embeddings
        return Encoder(
            word_table=self._read(embeddings.word_table),
            type_table=self._read(embeddings.type_table),
            position_table=self._read(embeddings.position_table),
            projection=(
                self.dense(embeddings.projection)
                if embeddings.needs_projection
                else None
            ),
            norm=self._norm(embeddings.normalization),
            blocks=tuple(self._block(block) for block in encoder.blocks),
        )

    def dense(self, layer):
        return Dense(self._read(layer.kernel), self._read(layer.bias))

    def _norm(self, layer):
        return Norm(self._read(layer.gamma), self._read(layer.beta))

    def _dense_and_norm(self, layer):
        if layer is None:
            return None, None
        return self.dense(layer.dense), self._norm(layer.normalization)

    def _block(self, block):
        bottleneck, bottleneck_norm = self._dense_and_norm(
            getattr(block, "input_bottleneck", None)
        )
        key_query, key_query_norm = self._dense_and_norm(
            getattr(block, "key_query_bottleneck", None)
        )
        output, output_norm = self._dense_and_norm(
            getattr(block, "output_bottleneck", None)
        )
        attention_output, attention_output_norm = self._dense_and_norm(
            block.attention_output
        )
        return Block(
            bottleneck=bottleneck,
            bottleneck_norm=bottleneck_norm,
            key_query_bottleneck=key_query,
            key_query_bottleneck_norm=key_query_norm,
            query=self.dense(block.attention.query),
            key=self.dense(block.attention.key),
            value=self.dense(block.attention.value),
            attention_output=attention_output,
            attention_output_norm=attention_output_norm,
            feed_forward=tuple(
                FeedForward(
                    intermediate=self.dense(network.intermediate),
                    output=self.dense(network.output_dense),
                    norm=self._norm(network.normalization),
                )
                for network in block.feed_forward_networks
            ),
            output_bottleneck=output,
            output_bottleneck_norm=output_norm,
        )
