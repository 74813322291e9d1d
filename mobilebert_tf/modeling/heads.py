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


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class MaskedLanguageModelHead(configured.ConfiguredLayer):
    """Logits over the vocabulary at the masked positions.

    Dense(H) -> activation -> LayerNorm (a real one even in NoNorm models) ->
    product with [word_table | extra_output_weights]: the E columns are tied
    to the input table, the H - E others belong to the head.

    Inputs: sequence_output [B, S, H], word_table [V, E], positions int [B, P]
    or None for all positions.
    Output: float32 logits [B, P, V] ([B, S, V] for all positions).
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
        table = tf.cast(word_table, hidden.dtype)  # [V, E]
        if self.config.hidden_size > self.config.embedding_size:
            extra = tf.cast(self.extra_output_weights, hidden.dtype)
            table = tf.concat([table, extra], axis=1)  # [V, H]
        logits = tf.einsum("bph,vh->bpv", hidden, table)
        return tf.cast(logits, tf.float32) + tf.cast(
            self.output_bias, tf.float32
        )


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class ClassificationHead(configured.ConfiguredLayer):
    """Dropout and Dense on the pooled vector: [B, H] to [B, num_labels].

    Serves next-sentence prediction (2 labels, no dropout) and sequence
    classification (dropout 0.1, training only, as in the reference).

    Args:
        num_labels: int. Number of logits.
        dropout_rate: float in [0, 1).
    """

    def __init__(
        self, config, num_labels: int, dropout_rate: float = 0.0, **kwargs
    ):
        super().__init__(config, **kwargs)
        self.num_labels = num_labels
        self.dropout_rate = dropout_rate
        self.dropout = dropout_lib.Dropout(dropout_rate, name="dropout")
        self.dense = configured.make_dense(config, num_labels, "logits")

    def call(self, pooled_output, training=None):
        hidden = self.dropout(pooled_output, training=training)
        return tf.cast(self.dense(hidden), tf.float32)

    def get_config(self):
        return {
            **super().get_config(),
            "num_labels": self.num_labels,
            "dropout_rate": self.dropout_rate,
        }
