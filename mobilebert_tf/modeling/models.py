"""Encoder and heads put together, one model per use.

Legend: B batch, S sequence, P predictions per sequence, V vocabulary.
"""

import tf_keras

from mobilebert_tf.modeling import configured
from mobilebert_tf.modeling import encoder as encoder_lib
from mobilebert_tf.modeling import heads


class _Model(configured.ConfiguredModel):
    """A model with an encoder."""

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        self.encoder = encoder_lib.MobileBertEncoder(self.config, name="bert")


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class MobileBertForPreTraining(_Model):
    """Masked language model and next-sentence prediction.

    Call arguments: the encoder's, with optional masked_lm_positions int
    [B, P] in `inputs` (absent: logits at all positions).

    Returns the encoder's dict with masked_lm_logits float32 [B, P, V] and
    next_sentence_logits float32 [B, 2] (0: next, 1: random).
    """

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        self.masked_lm = heads.MaskedLanguageModelHead(
            self.config, name="cls_predictions"
        )
        self.next_sentence = heads.ClassificationHead(
            self.config, num_labels=2, name="cls_seq_relationship"
        )

    def call(self, inputs, training=None):
        outputs = self.encoder(inputs, training=training)
        outputs["masked_lm_logits"] = self.masked_lm(
            outputs["sequence_output"],
            word_table=self.encoder.embeddings.word_table,
            positions=inputs.get("masked_lm_positions"),
        )
        outputs["next_sentence_logits"] = self.next_sentence(
            outputs["pooled_output"], training=training
        )
        return outputs


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class MobileBertForSequenceClassification(_Model):
    """Sequence classification: logits float32 [B, num_labels].

    Args:
        config: MobileBertConfig.
        num_labels: int.
        dropout_rate: float. The reference drops out 0.1 whatever the config.

    Returns the encoder's dict with `logits`.
    """

    def __init__(self, config, num_labels, dropout_rate=0.1, **kwargs):
        super().__init__(config, **kwargs)
        self.num_labels = num_labels
        self.dropout_rate = dropout_rate
        self.classifier = heads.ClassificationHead(
            self.config, num_labels, dropout_rate, name="classifier"
        )

    def call(self, inputs, training=None):
        outputs = self.encoder(inputs, training=training)
        outputs["logits"] = self.classifier(
            outputs["pooled_output"], training=training
        )
        return outputs

    def get_config(self):
        return {
            **super().get_config(),
            "num_labels": self.num_labels,
            "dropout_rate": self.dropout_rate,
        }
