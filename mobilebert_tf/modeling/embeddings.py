"""Input embeddings: word table, trigram, projection, types, positions.

Legend: B batch, S sequence, E embedding_size, H hidden_size, V vocabulary.
"""

import tensorflow as tf
import tf_keras

from mobilebert_tf.modeling import configured
from mobilebert_tf.modeling import dropout as dropout_lib
from mobilebert_tf.modeling import normalization


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class MobileBertEmbeddings(configured.ConfiguredLayer):
    """Embeds ids (paper section 3.1, "embedding factorization").

    The E-wide word table is looked up; with `trigram_input` the vectors of
    the next, current and previous token are concatenated (in this order,
    zeros beyond either end of the array, whatever the mask) and projected to
    H; types and positions are added, then normalisation and dropout.

    With `pad_invariant` the word vectors of padding are zero, so that the
    last real token sees the same next token whatever the padded length.

    Inputs: input_word_ids, input_type_ids, input_mask int [B, S]; the mask is
    read with `pad_invariant` only.
    Output: float [B, S, H].
    """

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        self.needs_projection = (
            config.trigram_input or config.embedding_size != config.hidden_size
        )
        if self.needs_projection:
            self.projection = configured.make_dense(
                config, config.hidden_size, "embedding_transformation"
            )
        self.normalization = normalization.make_normalization(
            config.normalization_type
        )
        self.dropout = dropout_lib.CheckpointedDropout(
            config.hidden_dropout_prob, name="dropout"
        )

    def build(self, input_shape):
        config = self.config
        self.word_table = self._add_table(
            "word_embeddings", config.vocab_size, config.embedding_size
        )
        self.type_table = self._add_table(
            "token_type_embeddings", config.type_vocab_size, config.hidden_size
        )
        self.position_table = self._add_table(
            "position_embeddings",
            config.max_position_embeddings,
            config.hidden_size,
        )
        super().build(input_shape)

    def call(
        self, input_word_ids, input_type_ids, input_mask=None, training=None
    ):
        self._check_length(input_word_ids)
        words = self._look_up(self.word_table, input_word_ids)  # [B, S, E]
        if self.config.trigram_input:
            if self.config.pad_invariant and input_mask is not None:
                words *= tf.cast(input_mask, words.dtype)[..., tf.newaxis]
            words = trigram(words)  # [B, S, 3E]
        if self.needs_projection:
            words = self.projection(words)  # [B, S, H]
        types = self._look_up(self.type_table, input_type_ids)  # [B, S, H]
        positions = tf.cast(
            self.position_table[: tf.shape(input_word_ids)[1]],
            self.compute_dtype,
        )  # [S, H]
        outputs = self.normalization(words + types + positions)
        return self.dropout(outputs, training=training)

    def _check_length(self, ids):
        length = ids.shape[1]
        limit = self.config.max_position_embeddings
        if length is None:
            tf.debugging.assert_less_equal(
                tf.shape(ids)[1],
                limit,
                f"sequence exceeds max_position_embeddings={limit}",
            )
        elif length > limit:
            raise ValueError(
                f"sequence of {length} tokens exceeds "
                f"max_position_embeddings={limit}"
            )

    def _add_table(self, name, rows, width):
        return self.add_weight(
            name,
            [rows, width],
            initializer=configured.kernel_initializer(self.config),
        )

    def _look_up(self, table, ids):
        return tf.cast(tf.nn.embedding_lookup(table, ids), self.compute_dtype)


def trigram(words: tf.Tensor) -> tf.Tensor:
    """Concatenates the next, current and previous vector of each position.

    Args:
        words: [B, S, E].

    Returns:
        [B, S, 3E]; beyond the ends of the array the vectors are zero.
    """
    following = tf.pad(words[:, 1:], [[0, 0], [0, 1], [0, 0]])
    previous = tf.pad(words[:, :-1], [[0, 0], [1, 0], [0, 0]])
    return tf.concat([following, words, previous], axis=-1)
