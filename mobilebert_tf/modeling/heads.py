"""Task heads on top of the encoder.

Legend: B batch, S sequence, P predictions per sequence, E embedding_size,
H hidden_size, V vocabulary.
"""

import tensorflow as tf
import tf_keras

from mobilebert_tf.modeling import activations
from mobilebert_tf.modeling import configured
from mobilebert_tf.modeling import dropout as dropout_lib
from mobilebert_tf.modeling import normalization

MEAN_POOLING = "mean"
FIRST_TOKEN_POOLING = "cls"
POOLINGS = (MEAN_POOLING, FIRST_TOKEN_POOLING)


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class MaskedLanguageModelHead(configured.ConfiguredLayer):
    """Logits over the vocabulary at the masked positions.

    Dense(H) -> activation -> LayerNorm (a real one even in NoNorm models) ->
    product with [word_table | extra_output_weights]: the E columns are tied
    to the input table, the H - E others belong to the head.

    Inputs: sequence_output [B, S, H], word_table [V, E], positions int [B, P]
    or None for all positions.
    Output: float32 logits [B, P, V] ([B, S, V] for all positions).

    Example:

        >>> from mobilebert_tf.modeling import config as config_lib
        >>> head = MaskedLanguageModelHead(config_lib.micro(vocab_size=100))
        >>> table = tf.zeros([100, 64])
        >>> head(tf.zeros([1, 5, 128]), table, positions=[[2, 4]]).shape
        TensorShape([1, 2, 100])
    """

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        self.dense = configured.make_dense(
            config,
            config.hidden_size,
            "transform",
            activation=activations.get(config.hidden_act),
        )
        self.normalization = normalization.make_layer_norm()

    def build(self, input_shape):
        config = self.config
        extra = config.hidden_size - config.embedding_size
        if extra:
            self.extra_output_weights = self.add_weight(
                "extra_output_weights",
                [config.vocab_size, extra],
                initializer=configured.kernel_initializer(config),
            )
        self.output_bias = self.add_weight(
            "output_bias", [config.vocab_size], initializer="zeros"
        )
        super().build(input_shape)

    def call(self, sequence_output, word_table, positions=None):
        hidden = sequence_output
        if positions is not None:
            hidden = tf.gather(hidden, positions, batch_dims=1)  # [B, P, H]
        hidden = self.normalization(self.dense(hidden))
        rows = tf.reshape(hidden, [-1, self.config.hidden_size])  # [BP, H]
        # Table by table: their concatenation would be written, and
        # differentiated, at each step.
        size = self.config.embedding_size
        logits = tf.nn.bias_add(
            _scores(rows[:, :size], word_table),
            tf.cast(self.output_bias, tf.float32),
        )
        if self.config.hidden_size > size:
            logits += _scores(rows[:, size:], self.extra_output_weights)
        shape = tf.shape(hidden)
        logits = tf.reshape(
            logits, [shape[0], shape[1], self.config.vocab_size]
        )
        logits.set_shape([*hidden.shape[:2], self.config.vocab_size])
        return logits


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class ClassificationHead(configured.ConfiguredLayer):
    """Dropout and Dense: [..., H] to float32 logits [..., num_labels].

    On the pooled vector it is next-sentence prediction (2 labels, no dropout),
    sequence classification and multiple choice; on every token, token
    classification.

    Args:
        num_labels: int. Number of logits.
        dropout_rate: float in [0, 1), in training.

    Example:

        >>> from mobilebert_tf.modeling import config as config_lib
        >>> head = ClassificationHead(config_lib.micro(), num_labels=3)
        >>> head(tf.zeros([2, 128])).shape
        TensorShape([2, 3])
    """

    def __init__(
        self, config, num_labels: int, dropout_rate: float = 0.0, **kwargs
    ):
        super().__init__(config, **kwargs)
        self.num_labels = num_labels
        self.dropout_rate = dropout_rate
        self.dropout = dropout_lib.CheckpointedDropout(
            dropout_rate, name="dropout"
        )
        self.dense = configured.make_dense(config, num_labels, "logits")

    def call(self, inputs, training=None):
        hidden = self.dropout(inputs, training=training)
        return tf.cast(self.dense(hidden), tf.float32)

    def get_config(self):
        return {
            **super().get_config(),
            "num_labels": self.num_labels,
            "dropout_rate": self.dropout_rate,
        }


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class SpanHead(configured.ConfiguredLayer):
    """Logits of an answer's first and last token (SQuAD).

    Input: sequence_output [B, S, H].
    Output: float32 start logits and end logits, [B, S] each: columns 0 and 1
    of one Dense, as in the reference's run_squad.py.

    Example:

        >>> from mobilebert_tf.modeling import config as config_lib
        >>> start, end = SpanHead(config_lib.micro())(tf.zeros([2, 7, 128]))
        >>> start.shape, end.shape
        (TensorShape([2, 7]), TensorShape([2, 7]))
    """

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        self.dense = configured.make_dense(config, 2, "logits")

    def call(self, sequence_output):
        logits = tf.cast(self.dense(sequence_output), tf.float32)  # [B, S, 2]
        return logits[..., 0], logits[..., 1]


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class SentenceEmbeddingHead(tf_keras.layers.Layer):
    """One vector per text, without weights of its own.

    Inputs: sequence_output [B, S, H] and input_mask int [B, S].
    Output: float32 [B, H].

    Args:
        pooling: "mean" over the real tokens, or "cls", the first token.
        normalize: bool. Divide each vector by its L2 norm, so that dot
            products are cosine similarities.

    Raises:
        ValueError: for another pooling.

    Example:

        >>> head = SentenceEmbeddingHead("mean", normalize=False)
        >>> tokens = tf.constant([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]])
        >>> head(tokens, tf.constant([[1, 1, 0]])).numpy().tolist()
        [[2.0, 3.0]]
    """

    def __init__(
        self, pooling: str = MEAN_POOLING, normalize: bool = True, **kwargs
    ):
        super().__init__(**kwargs)
        if pooling not in POOLINGS:
            raise ValueError(
                f"pooling: expected one of {POOLINGS}, got {pooling!r}"
            )
        self.pooling = pooling
        self.normalize = normalize

    def call(self, sequence_output, input_mask):
        tokens = tf.cast(sequence_output, tf.float32)  # [B, S, H]
        if self.pooling == FIRST_TOKEN_POOLING:
            vectors = tokens[:, 0]  # [B, H]
        else:
            mask = tf.cast(input_mask, tf.float32)[..., tf.newaxis]
            vectors = tf.math.divide_no_nan(
                tf.reduce_sum(tokens * mask, axis=1),
                tf.reduce_sum(mask, axis=1),
            )
        if self.normalize:
            vectors = tf.math.l2_normalize(vectors, axis=-1)
        return vectors

    def get_config(self):
        return {
            **super().get_config(),
            "pooling": self.pooling,
            "normalize": self.normalize,
        }


def _scores(rows, table):
    """Returns the products of rows [R, D] and a table [V, D] in float32."""
    products = tf.matmul(rows, tf.cast(table, rows.dtype), transpose_b=True)
    return tf.cast(products, tf.float32)
