"""Heads of the deployment graph: what an app reads of a fine-tuned model.

A head takes the encoder's outputs, the mask and the numerics of the graph, and
returns the file's outputs by name. Its attributes say

    reading(basis)    returns the head that reads x * basis (float [H]) in
                      place of x, None for 1
    first_token_only  whether it reads the first token alone
    output_names      names of the outputs
    num_layers        how many dense layers give outputs, poolers apart

Those that are trained also have

    logits(outputs, numerics, dropout)
                      returns what the loss compares by the names of Keras,
                      [B, C] or, of tokens, [B * S, C]; without dropout for a
                      head that has none

Legend: B batch, S sequence, H hidden_size, C labels.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from export import graph_ops
from export import numerics as numerics_lib
from export import weights as weights_lib
from mobilebert_tf.modeling import heads
from mobilebert_tf.modeling import models

PROBABILITIES = "probabilities"
VALUE = "value"
LOGITS = "logits"
START_LOGITS = "start_logits"
END_LOGITS = "end_logits"
SENTENCE_EMBEDDING = "sentence_embedding"
SEQUENCE_OUTPUT = "sequence_output"
POOLED_OUTPUT = "pooled_output"

# Ops whose name holds it are the head's own. Recipes keep in float those that
# average and normalise.
POOLING_SCOPE = "pooling"

# What training does to the inputs of the last layer.
Dropout = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class FirstTokenHead:
    """Pooler and one dense layer on the first token.

    Attributes:
        pooler: H to H, or None.
        dense: from H.
        output: name of the output, float32 [1, C].
        softmax: whether the output is probabilities rather than logits.
    """

    pooler: weights_lib.Dense | None
    dense: weights_lib.Dense
    output: str
    softmax: bool = False

    first_token_only = True
    num_layers = 1

    @property
    def output_names(self) -> tuple[str, ...]:
        return (self.output,)

    def reading(self, basis: np.ndarray | None) -> "FirstTokenHead":
        if self.pooler is None:
            return dataclasses.replace(self, dense=self.dense.reading(basis))
        return dataclasses.replace(self, pooler=self.pooler.reading(basis))

    def __call__(self, outputs, mask, numerics) -> dict:
        del mask
        logits = self.logits(outputs, numerics)[LOGITS]
        if self.softmax:
            logits = tf.nn.softmax(logits, name="probabilities")
        return {self.output: logits}

    def logits(
        self,
        outputs: list[tf.Tensor],
        numerics: numerics_lib.Float,
        dropout: Dropout = tf.identity,
    ) -> dict[str, tf.Tensor]:
        pooled = dropout(_pool(outputs[-1], self.pooler, numerics))  # [B, H]
        return {LOGITS: _last(pooled, self.dense, "logits", numerics)}


@dataclasses.dataclass(frozen=True)
class TokenHead:
    """One dense layer on every token: float32 `logits` [1, S, C].

    Attributes:
        dense: H to C.
    """

    dense: weights_lib.Dense

    first_token_only = False
    output_names = (LOGITS,)
    num_layers = 1

    def reading(self, basis: np.ndarray | None) -> "TokenHead":
        return TokenHead(self.dense.reading(basis))

    def __call__(self, outputs, mask, numerics) -> dict:
        del mask
        logits = self.logits(outputs, numerics)[LOGITS]
        return {LOGITS: tf.expand_dims(logits, 0)}

    def logits(
        self,
        outputs: list[tf.Tensor],
        numerics: numerics_lib.Float,
        dropout: Dropout = tf.identity,
    ) -> dict[str, tf.Tensor]:
        tokens = dropout(outputs[-1])  # [B * S, H]
        return {LOGITS: _last(tokens, self.dense, "logits", numerics)}


@dataclasses.dataclass(frozen=True)
class SpanHead:
    """float32 `start_logits` and `end_logits` [1, S].

    Attributes:
        start, end: H to 1. Two layers, so that each has its own int8 scale.
    """

    start: weights_lib.Dense
    end: weights_lib.Dense

    first_token_only = False
    output_names = (START_LOGITS, END_LOGITS)
    num_layers = 2

    def reading(self, basis: np.ndarray | None) -> "SpanHead":
        return SpanHead(self.start.reading(basis), self.end.reading(basis))

    def __call__(self, outputs, mask, numerics) -> dict:
        del mask
        return {
            name: tf.reshape(logits, [1, -1])
            for name, logits in self.logits(outputs, numerics).items()
        }

    def logits(
        self, outputs: list[tf.Tensor], numerics: numerics_lib.Float
    ) -> dict[str, tf.Tensor]:
        return {
            name: _last(outputs[-1], dense, name, numerics)
            for name, dense in (
                (START_LOGITS, self.start),
                (END_LOGITS, self.end),
            )
        }


@dataclasses.dataclass(frozen=True)
class SentenceEmbeddingHead:
    """float32 `sentence_embedding` [1, H], without weights.

    Attributes:
        pooling: one of modeling.heads.POOLINGS.
        normalize: whether to divide by the L2 norm.
        basis: of what it reads, None for 1.
    """

    pooling: str
    normalize: bool
    basis: np.ndarray | None = None

    output_names = (SENTENCE_EMBEDDING,)
    num_layers = 0

    def reading(self, basis: np.ndarray | None) -> "SentenceEmbeddingHead":
        return dataclasses.replace(self, basis=basis)

    @property
    def first_token_only(self) -> bool:
        return self.pooling == heads.FIRST_TOKEN_POOLING

    def __call__(self, outputs, mask, numerics) -> dict:
        vector = outputs[-1]  # [1, H], or [S, H] as yet
        with tf.name_scope(POOLING_SCOPE):
            vector = _undo(vector, self.basis, numerics)
            if self.pooling == heads.MEAN_POOLING:
                real = tf.cast(tf.reshape(mask, [-1, 1]), tf.float32)  # [S, 1]
                count = tf.maximum(tf.reduce_sum(real), 1.0)
                vector = tf.reduce_sum(vector * real, 0, keepdims=True) / count
            if self.normalize:
                vector = tf.math.l2_normalize(vector, axis=-1)
        return {SENTENCE_EMBEDDING: vector}


@dataclasses.dataclass(frozen=True)
class EncoderHead:
    """The encoder alone: `sequence_output` [1, S, H], `pooled_output` [1, H].

    Attributes:
        pooler: H to H, or None.
        basis: of what it reads, None for 1.
    """

    pooler: weights_lib.Dense | None
    basis: np.ndarray | None = None

    first_token_only = False
    output_names = (SEQUENCE_OUTPUT, POOLED_OUTPUT)
    num_layers = 0

    def reading(self, basis: np.ndarray | None) -> "EncoderHead":
        pooler = self.pooler and self.pooler.reading(basis)
        return EncoderHead(pooler, basis)

    def __call__(self, outputs, mask, numerics) -> dict:
        del mask
        with tf.name_scope(POOLING_SCOPE):
            sequence = _undo(outputs[-1], self.basis, numerics)  # [S, H]
        first_token = (outputs[-1] if self.pooler else sequence)[:1]
        return {
            SEQUENCE_OUTPUT: tf.expand_dims(sequence, 0),
            POOLED_OUTPUT: _pool(first_token, self.pooler, numerics),
        }


class HiddenStatesHead:
    """All hidden states, float32 `hidden_state_{i}` [1, S, H], i = 0..L.

    For verification: the embeddings, then the output of each block, each in
    the basis that it is stored in.
    """

    first_token_only = False

    def reading(self, basis: np.ndarray | None) -> "HiddenStatesHead":
        del basis
        return self

    def __call__(self, outputs, mask, numerics) -> dict:
        del mask
        return {
            f"hidden_state_{i}": tf.expand_dims(output, 0)
            for i, output in enumerate(outputs)
        }


def from_model(model, read: weights_lib.Read = weights_lib.as_float64):
    """Returns the head of a Keras model, with its weights.

    | model | outputs |
    |---|---|
    | sequence classification | `probabilities` [1, C] |
    | the same with one label | `value` [1, 1] |
    | multiple choice | `logits` [1, 1], of the one choice given |
    | token classification | `logits` [1, S, C] |
    | question answering | `start_logits`, `end_logits` [1, S] |
    | sentence embedding | `sentence_embedding` [1, H] |
    | encoder | `sequence_output` [1, S, H], `pooled_output` [1, H] |

    Args:
        model: a built model of modeling.models.
        read: its variables.

    Raises:
        ValueError: for a model with the heads of pre-training.
    """
    if isinstance(model, models.MobileBertForSequenceClassification):
        dense = weights_lib.from_dense(model.classifier.dense, read)
        is_regression = model.num_labels == 1
        output = VALUE if is_regression else PROBABILITIES
        return FirstTokenHead(
            _pooler(model, read), dense, output, softmax=not is_regression
        )
    if isinstance(model, models.MobileBertForMultipleChoice):
        dense = weights_lib.from_dense(model.classifier.dense, read)
        return FirstTokenHead(_pooler(model, read), dense, LOGITS)
    if isinstance(model, models.MobileBertForTokenClassification):
        return TokenHead(weights_lib.from_dense(model.classifier.dense, read))
    if isinstance(model, models.MobileBertForQuestionAnswering):
        dense = weights_lib.from_dense(model.span.dense, read)
        return SpanHead(start=dense.column(0), end=dense.column(1))
    if isinstance(model, models.MobileBertForSentenceEmbedding):
        return SentenceEmbeddingHead(model.pooling, model.normalize)
    if isinstance(model, models.MobileBertModel):
        return EncoderHead(_pooler(model, read))
    raise ValueError(
        f"expected a fine-tuned model or an encoder, got {type(model).__name__}"
    )


def _pooler(model, read):
    if not model.encoder.has_pooler_weights:
        return None
    return weights_lib.from_dense(model.encoder.pooler, read)


def _undo(values, basis, numerics):
    """[R, H] as they are stored to what they are."""
    if basis is None:
        return values
    return values * numerics.exact(1.0 / basis)


def _pool(first_token, pooler, numerics):
    """[B, H] to [B, H]."""
    if pooler is None:
        return first_token
    pooled = numerics.activation(
        graph_ops.dense(numerics, first_token, pooler, "pooler"),
        "pooler",
        is_whole=False,
    )
    return numerics.tanh(pooled, "pooled")


def _last(inputs, dense, name, numerics):
    """Returns what the last layer gives, which is never rounded."""
    return graph_ops.dense(numerics, inputs, dense, name, is_exact=True)
