"""From a model's weights to those of the deployment graph.

All that can be computed before the graph runs is computed here, exactly, on
numpy arrays or, in training, on tensors:

- 1/sqrt(head size) is part of the query layer;
- the key bias is dropped: it adds the same number to all scores of a query,
  which softmax ignores; so is, on the key's side, the bias of the shared
  key-query bottleneck, which moves into the query bias on the other side (both
  stay with the multiplicative mask, under which padding scores do not move);
- the value bias is part of the attention-output bias, since attention
  probabilities sum to 1;
- a NoNorm is folded into the dense layer before it, and where a residual joins
  in between, into a factor of the residual: gamma * (dense(x) + residual) +
  beta is folded(x) + gamma * residual;
- where the input bottleneck serves only as the attention's residual, that
  factor is folded into the bottleneck too;
- every tensor may be stored in a basis of its own: as x * basis, a number per
  channel. What writes the tensor multiplies by the basis, what reads it
  divides. Outputs stay what they are, while int8, with one scale for a whole
  tensor, can hold channels of like range better. A residual's factor becomes
  gamma * basis of the sum / basis of the residual, and a basis can be chosen
  so that none is needed.

Legend: S sequence, E embedding_size, H hidden_size, b width inside a block.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from export import weights as weights_lib
from mobilebert_tf.modeling import config as config_lib

# Names of the tensors that may have a basis, those of the graph's activations;
# below a block's name all but the first two.
WORDS = "embeddings/words"  # rows of the word table, [E]
EMBEDDINGS = "embeddings/sum"  # the first of the residual stream, [H]
BOTTLENECK = "bottleneck"
KEY_QUERY_BOTTLENECK = "key_query_bottleneck"
QUERY = "attention/query"  # the key has the inverse
VALUE = "attention/value"
ATTENTION_OUTPUT = "attention_output_sum"
INTERMEDIATE = "ffn_{}/activation"  # positive, after ReLU only
FEED_FORWARD_OUTPUT = "ffn_{}/output_sum"
OUTPUT_BOTTLENECK = "output_bottleneck_sum"


@dataclasses.dataclass(frozen=True)
class Bases:
    """In which bases tensors are stored; without one as they are.

    Attributes:
        given: float [width] by the name of a tensor, such as
            "layer_3/ffn_0/output_sum". Without zeros, and none of tensors
            that a LayerNorm gives.
        carried: names of sums with a residual, after NoNorm. Their basis is
            that of the residual over gamma, so that the residual needs no
            factor; without zeros in gamma.
    """

    given: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    carried: frozenset[str] = frozenset()


PLAIN = Bases()


@dataclasses.dataclass(frozen=True)
class Join:
    """outputs = dense(inputs) + factor * residual, then perhaps a LayerNorm.

    Attributes:
        dense: with what of a norm can be folded.
        factor: float [width] of the residual, None for 1.
        norm: LayerNorm, None for NoNorm, which is folded.
    """

    dense: weights_lib.Dense
    factor: np.ndarray | None
    norm: weights_lib.Norm | None


@dataclasses.dataclass(frozen=True)
class Block:
    """One block; a bottleneck is None where the config has none.

    Attributes:
        bottleneck: H to b, what the block computes on.
        bottleneck_norm: LayerNorm after it, None for NoNorm.
        key_query_bottleneck: H to b, what query and key read.
        key_query_bottleneck_norm: LayerNorm after it, None for NoNorm.
        query, key, value: to b; a bias is None where it is not needed.
        attention_output: joins the residual of the attention.
        feed_forward: of each network the layer before the activation and the
            join after it.
        output_bottleneck: b to H, joins the block's input.
    """

    bottleneck: weights_lib.Dense | None
    bottleneck_norm: weights_lib.Norm | None
    key_query_bottleneck: weights_lib.Dense | None
    key_query_bottleneck_norm: weights_lib.Norm | None
    query: weights_lib.Dense
    key: weights_lib.Dense
    value: weights_lib.Dense
    attention_output: Join
    feed_forward: tuple[tuple[weights_lib.Dense, Join], ...]
    output_bottleneck: Join | None


@dataclasses.dataclass(frozen=True)
class Encoder:
    """The weights of the deployment graph.

    Attributes:
        word_table: [vocab_size, E].
        projection: E, or 3E with trigrams, to H; None where widths agree.
        type_table: [type_vocab_size, H].
        positions: [S, H].
        norm: LayerNorm of the embeddings, None for NoNorm.
        blocks: in order.
        output_basis: [H], None for 1: the graph gives x * output_basis.
    """

    word_table: np.ndarray
    projection: weights_lib.Dense | None
    type_table: np.ndarray
    positions: np.ndarray
    norm: weights_lib.Norm | None
    blocks: tuple[Block, ...]
    output_basis: np.ndarray | None


def fold(
    config: config_lib.MobileBertConfig,
    weights: weights_lib.Encoder,
    length: int,
    bases: Bases = PLAIN,
) -> Encoder:
    """Returns the weights of the deployment graph.

    Args:
        config: of the model.
        weights: of its encoder.
        length: S, at most max_position_embeddings.
        bases: of the tensors.
    """
    return _Folder(config, bases).encoder(weights, length)


def trigram_kernel(projection: weights_lib.Dense) -> np.ndarray:
    """Turns the trigram projection into the kernel of a 1x3 convolution.

    Args:
        projection: kernel [3E, H], its rows for the next, the current and the
            previous token.

    Returns:
        [1, 3, E, H], from the previous token to the next.
    """
    library = weights_lib.library(projection.kernel)
    following, current, previous = library.split(projection.kernel, 3)
    return library.stack([previous, current, following])[np.newaxis]


def block_name(index: int) -> str:
    """Returns the first part of the names of a block's tensors."""
    return f"layer_{index}"


def stream_names(config: config_lib.MobileBertConfig) -> list[str]:
    """Names the tensors of the residual stream, embeddings first."""
    last = (
        OUTPUT_BOTTLENECK
        if config.use_bottleneck
        else FEED_FORWARD_OUTPUT.format(config.num_feedforward_networks - 1)
    )
    return [
        EMBEDDINGS,
        *(f"{block_name(i)}/{last}" for i in range(config.num_hidden_layers)),
    ]


class _Folder:
    def __init__(self, config, bases):
        self._config = config
        self._bases = bases.given
        self._carried = bases.carried
        self._folds_norm = config.normalization_type == "no_norm"

    def encoder(self, weights, length):
        words = self._bases.get(WORDS)
        basis = self._bases.get(EMBEDDINGS)
        table, projection = weights.word_table, weights.projection
        types, positions = weights.type_table, weights.position_table[:length]
        norm = weights.norm
        if self._folds_norm:
            # Linear in the sum of words, types and positions: gamma scales all
            # three, beta joins the positions.
            gamma = _times(norm.gamma, basis)
            types, positions = types * gamma, positions * gamma
            positions = positions + _times(norm.beta, basis)
            if projection is None:
                table = table * gamma
            else:
                projection = projection.scaled(gamma)
            norm = None
        if projection is not None and words is not None:
            table = table * words
            repeats = len(projection.kernel) // len(words)
            projection = projection.reading(np.tile(words, repeats))
        blocks = []
        for i, block in enumerate(weights.blocks):
            folded, basis = self._block(block, f"{block_name(i)}/", basis)
            blocks.append(folded)
        return Encoder(
            table, projection, types, positions, norm, tuple(blocks), basis
        )

    def _block(self, block, scope, stream):
        """Returns a folded block and the basis of its output.

        Args:
            stream: basis of the block's input.
        """
        config = self._config
        is_residual_only = (
            config.use_bottleneck and not config.use_bottleneck_attention
        )

        def basis(name):
            return self._bases.get(scope + name)

        inner, inner_basis = None, stream
        inner_norm = block.bottleneck_norm
        if config.use_bottleneck:
            inner, inner_basis = block.bottleneck, basis(BOTTLENECK)
            if is_residual_only and self._folds_norm:
                # The residual alone reads it, and then needs no factor.
                inner_basis = _times(
                    block.attention_output_norm.gamma, basis(ATTENTION_OUTPUT)
                )
            inner, inner_norm = self._dense_norm(
                inner.reading(stream), inner_norm, inner_basis
            )
        attention = self._attention(block, basis, stream, inner_basis)
        attention_output, joined = self._join(
            scope + ATTENTION_OUTPUT,
            # Probabilities sum to 1: the value bias passes through attention.
            block.attention_output.reading(basis(VALUE)).shifted(
                block.attention_output.product(block.value.bias)
            ),
            block.attention_output_norm,
            inner_basis,
            has_factor=is_residual_only,
        )
        feed_forward = []
        for k, network in enumerate(block.feed_forward):
            hidden = basis(INTERMEDIATE.format(k))
            intermediate = network.intermediate.reading(joined)
            join, joined = self._join(
                scope + FEED_FORWARD_OUTPUT.format(k),
                network.output.reading(hidden),
                network.norm,
                joined,
            )
            feed_forward.append((intermediate.scaled(_one(hidden)), join))
        output_bottleneck = None
        if config.use_bottleneck:
            output_bottleneck, joined = self._join(
                scope + OUTPUT_BOTTLENECK,
                block.output_bottleneck.reading(joined),
                block.output_bottleneck_norm,
                stream,
            )
        folded = Block(
            bottleneck=inner,
            bottleneck_norm=inner_norm,
            attention_output=attention_output,
            feed_forward=tuple(feed_forward),
            output_bottleneck=output_bottleneck,
            **attention,
        )
        return folded, joined

    def _attention(self, block, basis, stream, inner_basis):
        """Returns query, key, value and what query and key read."""
        config = self._config
        is_mask_additive = (
            config.attention_mask_type == config_lib.ADDITIVE_MASK
        )
        shared, shared_norm = None, None
        query, key, value = block.query, block.key, block.value
        read = value_read = stream
        if config.use_bottleneck_attention:
            read = value_read = inner_basis
        elif config.key_query_shared_bottleneck:
            read = basis(KEY_QUERY_BOTTLENECK)
            shared, shared_norm = self._dense_norm(
                block.key_query_bottleneck.reading(stream),
                block.key_query_bottleneck_norm,
                read,
            )
        query, key = query.reading(read), key.reading(read)
        if shared is not None and self._folds_norm:
            query, key = (
                layer.shifted(layer.product(shared.bias))
                for layer in (query, key)
            )
            shared = shared.without_bias()
        scale = _one(basis(QUERY))
        query = query.scaled(scale / math.sqrt(config.head_size))
        key = key.scaled(1.0 / scale)
        if is_mask_additive:
            key = key.without_bias()
        value = value.reading(value_read).scaled(_one(basis(VALUE)))
        return dict(
            key_query_bottleneck=shared,
            key_query_bottleneck_norm=shared_norm,
            query=query,
            key=key,
            value=value.without_bias(),
        )

    def _dense_norm(self, dense, norm, basis):
        """Returns Norm(Dense) as a layer and what is left of the norm."""
        if not self._folds_norm:
            return dense, norm
        return fold_norm(dense, norm).scaled(_one(basis)), None

    def _join(self, name, dense, norm, residual, has_factor=False):
        """Returns Norm(Dense + residual) and the basis of its output.

        Args:
            residual: its basis.
            has_factor: whether that holds the factor already.
        """
        if not self._folds_norm:
            return Join(dense, None, norm), None
        factor, basis = None, self._bases.get(name)
        if name in self._carried:
            basis = _one(residual) / norm.gamma
        elif not has_factor:
            factor = norm.gamma * _one(basis) / _one(residual)
        dense = fold_norm(dense, norm).scaled(_one(basis))
        return Join(dense, factor, None), basis


def fold_norm(
    dense: weights_lib.Dense, norm: weights_lib.Norm
) -> weights_lib.Dense:
    """Returns the layer that is `dense` followed by the NoNorm `norm`."""
    return dense.scaled(norm.gamma).shifted(norm.beta)


def _one(basis):
    return 1.0 if basis is None else basis


def _times(array, basis):
    return array if basis is None else array * basis
