"""Parameters and multiply-accumulates (MACs), from the config alone.

Counted are the products of linear maps and of attention, for one sequence;
not the additions, norms, activations and look-ups, as in the published
figures: FLOPs there are 2 x MACs.

Legend: S sequence, H hidden_size, E embedding_size, b width inside a block,
V vocabulary.
"""

import dataclasses
import math
from collections.abc import Iterable
from collections.abc import Iterator

from mobilebert_tf import model_directory
from mobilebert_tf.modeling import config as config_lib

_FLOAT32_BYTES = 4
_INT8_BYTES = 1


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the network.

    Attributes:
        name: what it is.
        shapes: of its weights; matrices are [in, out], tables [rows, width].
        macs: multiply-accumulates for one sequence.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    macs: int = 0

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(map(math.prod, self.shapes))

    @property
    def int8_bytes(self) -> int:
        """Size with matrices in int8, vectors in float32, no scales."""
        return sum(
            math.prod(shape)
            * (_INT8_BYTES if len(shape) > 1 else _FLOAT32_BYTES)
            for shape in self.shapes
        )


@dataclasses.dataclass(frozen=True)
class Total:
    """Sums over parts: numbers of weights, of MACs, and sizes in bytes."""

    parameters: int
    macs: int
    float32_bytes: int
    int8_bytes: int


@dataclasses.dataclass(frozen=True)
class Cost:
    """The parts of a network, in the order of the computation.

    Attributes:
        seq_length: S, tokens of the sequence the MACs are for.
        num_blocks: how often `block` is there.
        embeddings: parts of the embeddings.
        block: parts of one block.
        pooler: the pooler, if there is one.
        heads: one part per head.
    """

    seq_length: int
    num_blocks: int
    embeddings: tuple[Part, ...]
    block: tuple[Part, ...]
    pooler: tuple[Part, ...]
    heads: tuple[Part, ...]

    @property
    def all_blocks(self) -> tuple[Part, ...]:
        """The parts of all blocks."""
        return self.block * self.num_blocks

    @property
    def backbone(self) -> tuple[Part, ...]:
        """Embeddings and blocks: what publications count."""
        return self.embeddings + self.all_blocks

    @property
    def network(self) -> tuple[Part, ...]:
        """Everything: backbone, pooler and heads."""
        return self.backbone + self.pooler + self.heads


def total(parts: Iterable[Part]) -> Total:
    """Returns the sums over `parts`."""
    parts = tuple(parts)
    parameters = sum(part.parameters for part in parts)
    return Total(
        parameters=parameters,
        macs=sum(part.macs for part in parts),
        float32_bytes=parameters * _FLOAT32_BYTES,
        int8_bytes=sum(part.int8_bytes for part in parts),
    )


def largest_tensor(parts: Iterable[Part]) -> tuple[str, tuple[int, ...]]:
    """Returns part and shape of the weight with most elements."""
    return max(
        ((part.name, shape) for part in parts for shape in part.shapes),
        key=lambda named: math.prod(named[1]),
    )


def of_config(
    config: config_lib.MobileBertConfig,
    seq_length: int,
    head: str = model_directory.PRETRAINING,
    num_labels: int = 2,
) -> Cost:
    """Returns the cost of a network on one sequence.

    Args:
        config: MobileBertConfig.
        seq_length: S, tokens of the sequence.
        head: one of model_directory.HEADS. The masked-LM head is counted at
            all positions; a multiple-choice model for one choice.
        num_labels: logits of a classifier.

    Raises:
        ValueError: if the network has no such positions, or for an unknown
            head.
    """
    config.check_sequence_length(seq_length, "seq_length")
    if head not in _HEADS:
        raise ValueError(
            f"head: expected one of {', '.join(_HEADS)}, got {head!r}"
        )
    is_pooled, make_heads = _HEADS[head]
    hidden = config.hidden_size
    pooler = _linear("pooler", 1, (hidden, hidden))
    return Cost(
        seq_length=seq_length,
        num_blocks=config.num_hidden_layers,
        embeddings=tuple(_embeddings(config, seq_length)),
        block=tuple(_block(config, seq_length)),
        pooler=(pooler,) if is_pooled and config.classifier_activation else (),
        heads=tuple(
            make(config, seq_length, num_labels) for make in make_heads
        ),
    )


def _linear(name, positions, *maps, norm=None):
    """A part of linear maps (in, out) with bias, and a norm of one width."""
    shapes = []
    for size_in, size_out in maps:
        shapes += [(size_in, size_out), (size_out,)]
    if norm:
        shapes += [(norm,), (norm,)]
    macs = positions * sum(map(math.prod, maps))
    return Part(name, tuple(shapes), macs)


def _embeddings(config, length) -> Iterator[Part]:
    hidden, width = config.hidden_size, config.embedding_size
    yield Part("word table", ((config.vocab_size, width),))
    yield Part("type table", ((config.type_vocab_size, hidden),))
    yield Part("position table", ((config.max_position_embeddings, hidden),))
    if config.trigram_input:
        width *= 3
    if config.trigram_input or width != hidden:
        yield _linear("projection", length, (width, hidden))
    yield Part("embedding norm", ((hidden,), (hidden,)))


def _block(config, length) -> Iterator[Part]:
    hidden, b = config.hidden_size, config.block_size
    shared = (
        config.key_query_shared_bottleneck
        and not config.use_bottleneck_attention
    )
    if config.use_bottleneck:
        yield _linear("input bottleneck", length, (hidden, b), norm=b)
    if shared:
        yield _linear("key-query bottleneck", length, (hidden, b), norm=b)
    key_in = b if shared or config.use_bottleneck_attention else hidden
    value_in = b if config.use_bottleneck_attention else hidden
    yield _linear(
        "query, key, value", length, (key_in, b), (key_in, b), (value_in, b)
    )
    # Query times key, and probabilities times value: S x S x b each.
    yield Part("attention products", (), 2 * length * length * b)
    yield _linear("attention output", length, (b, b), norm=b)
    inner = config.intermediate_size
    for k in range(config.num_feedforward_networks):
        yield _linear(
            f"feed-forward {k}", length, (b, inner), (inner, b), norm=b
        )
    if config.use_bottleneck:
        yield _linear("output bottleneck", length, (b, hidden), norm=hidden)


def _masked_lm(config, length, num_labels):
    del num_labels
    hidden, vocab = config.hidden_size, config.vocab_size
    transform = _linear("", length, (hidden, hidden), norm=hidden)
    shapes = (*transform.shapes, (vocab,))
    extra = hidden - config.embedding_size
    if extra:  # the other columns are the word table's
        shapes += ((vocab, extra),)
    macs = transform.macs + length * hidden * vocab
    return Part("masked_lm", shapes, macs)


def _next_sentence(config, length, num_labels):
    del length, num_labels
    return _linear("next_sentence", 1, (config.hidden_size, 2))


def _classifier(config, length, num_labels):
    del length
    return _linear("classifier", 1, (config.hidden_size, num_labels))


def _choice(config, length, num_labels):
    del length, num_labels
    return _linear("classifier", 1, (config.hidden_size, 1))


def _token_classifier(config, length, num_labels):
    return _linear("classifier", length, (config.hidden_size, num_labels))


def _span(config, length, num_labels):
    del num_labels
    return _linear("span", length, (config.hidden_size, 2))


# By head: whether the pooled vector is read, and what is put on top. The names
# of the parts are those of the models' attributes.
_HEADS = {
    model_directory.ENCODER: (True, ()),
    model_directory.PRETRAINING: (True, (_masked_lm, _next_sentence)),
    model_directory.MASKED_LM: (False, (_masked_lm,)),
    model_directory.NEXT_SENTENCE: (True, (_next_sentence,)),
    model_directory.SEQUENCE_CLASSIFICATION: (True, (_classifier,)),
    model_directory.MULTIPLE_CHOICE: (True, (_choice,)),
    model_directory.TOKEN_CLASSIFICATION: (False, (_token_classifier,)),
    model_directory.QUESTION_ANSWERING: (False, (_span,)),
    model_directory.SENTENCE_EMBEDDING: (False, ()),
}
