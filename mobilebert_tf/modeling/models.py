"""Encoder and heads put together, one model per use.

Every model takes the encoder's dict of inputs and returns the encoder's dict
of outputs with the head's added, so that hidden states and attention scores
are at hand for any of them. They mirror the eight of Hugging Face, and one
for sentence embeddings.

Legend: B batch, C choices, S sequence, P predictions per sequence,
H hidden_size, V vocabulary.
"""

import tensorflow as tf
import tf_keras

from mobilebert_tf.modeling import configured
from mobilebert_tf.modeling import encoder as encoder_lib
from mobilebert_tf.modeling import heads

# The reference's run_classifier.py drops out this share of the pooled vector
# in training, whatever the config.
_CLASSIFIER_DROPOUT_RATE = 0.1


class _Model(configured.ConfiguredModel):
    """A model with an encoder, with a pooler if the head reads it."""

    _use_pooler = True

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        self.encoder = encoder_lib.MobileBertEncoder(
            self.config, use_pooler=self._use_pooler, name="bert"
        )

    def _masked_lm_logits(self, inputs, outputs):
        return self.masked_lm(
            outputs["sequence_output"],
            word_table=self.encoder.embeddings.word_table,
            positions=inputs.get("masked_lm_positions"),
        )


class _ClassifierModel(_Model):
    """A model whose head is `classifier`, with num_labels logits."""

    main_output = "logits"

    def __init__(
        self,
        config,
        num_labels: int,
        dropout_rate: float = _CLASSIFIER_DROPOUT_RATE,
        **kwargs,
    ):
        super().__init__(config, **kwargs)
        if num_labels < 1:
            raise ValueError(f"num_labels: expected >= 1, got {num_labels}")
        self.num_labels = num_labels
        self.dropout_rate = dropout_rate
        self.classifier = heads.ClassificationHead(
            self.config, num_labels, dropout_rate, name="classifier"
        )

    def get_config(self):
        return {
            **super().get_config(),
            "num_labels": self.num_labels,
            "dropout_rate": self.dropout_rate,
        }


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class MobileBertModel(_Model):
    """The encoder alone: returns the encoder's dict.

    Example:

        >>> from mobilebert_tf.modeling import config as config_lib
        >>> model = MobileBertModel(config_lib.micro(vocab_size=100))
        >>> outputs = model({"input_word_ids": tf.constant([[2, 17, 3]])})
        >>> outputs["pooled_output"].shape
        TensorShape([1, 128])
    """

    def call(self, inputs, training=None):
        return self.encoder(inputs, training=training)


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class MobileBertForPreTraining(_Model):
    """Masked language model and next-sentence prediction.

    Call arguments: the encoder's, with optional masked_lm_positions int
    [B, P] in `inputs` (absent: logits at all positions); and logits_only,
    which returns nothing else, needs the positions, and computes the last
    block only where they and the first token are.

    Returns the encoder's dict with masked_lm_logits float32 [B, P, V] and
    next_sentence_logits float32 [B, 2] (0: next, 1: random).

    Example:

        >>> from mobilebert_tf.modeling import config as config_lib
        >>> model = MobileBertForPreTraining(config_lib.micro(vocab_size=100))
        >>> outputs = model({"input_word_ids": tf.constant([[2, 17, 3]])})
        >>> outputs["masked_lm_logits"].shape
        TensorShape([1, 3, 100])
        >>> outputs["next_sentence_logits"].shape
        TensorShape([1, 2])
    """

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        self.masked_lm = heads.MaskedLanguageModelHead(
            self.config, name="cls_predictions"
        )
        self.next_sentence = heads.ClassificationHead(
            self.config, num_labels=2, name="cls_seq_relationship"
        )

    def call(self, inputs, training=None, logits_only=False):
        if logits_only:
            return self._logits(inputs, training)
        outputs = self.encoder(inputs, training=training)
        outputs["masked_lm_logits"] = self._masked_lm_logits(inputs, outputs)
        outputs["next_sentence_logits"] = self.next_sentence(
            outputs["pooled_output"], training=training
        )
        return outputs

    def _logits(self, inputs, training):
        outputs = self.encoder(
            inputs,
            training=training,
            read_positions=inputs["masked_lm_positions"],
        )
        return {
            "masked_lm_logits": self.masked_lm(
                outputs["sequence_output"],
                word_table=self.encoder.embeddings.word_table,
            ),
            "next_sentence_logits": self.next_sentence(
                outputs["pooled_output"], training=training
            ),
        }


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class MobileBertForMaskedLM(_Model):
    """Masked language model: no pooler, no next-sentence head.

    Call arguments: as MobileBertForPreTraining.

    Returns the encoder's dict with masked_lm_logits float32 [B, P, V].

    Example:

        >>> from mobilebert_tf.modeling import config as config_lib
        >>> model = MobileBertForMaskedLM(config_lib.micro(vocab_size=100))
        >>> inputs = {
        ...     "input_word_ids": tf.constant([[2, 17, 4, 3]]),
        ...     "masked_lm_positions": tf.constant([[2]]),
        ... }
        >>> model(inputs)["masked_lm_logits"].shape
        TensorShape([1, 1, 100])
    """

    main_output = "masked_lm_logits"
    _use_pooler = False

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        self.masked_lm = heads.MaskedLanguageModelHead(
            self.config, name="cls_predictions"
        )

    def call(self, inputs, training=None):
        outputs = self.encoder(inputs, training=training)
        outputs["masked_lm_logits"] = self._masked_lm_logits(inputs, outputs)
        return outputs


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class MobileBertForNextSentencePrediction(_Model):
    """Does the second segment follow the first?

    Returns the encoder's dict with next_sentence_logits float32 [B, 2]
    (0: next, 1: random).

    Example:

        >>> from mobilebert_tf.modeling import config as config_lib
        >>> config = config_lib.micro(vocab_size=100)
        >>> model = MobileBertForNextSentencePrediction(config)
        >>> inputs = {
        ...     "input_word_ids": tf.constant([[2, 17, 3, 18, 3]]),
        ...     "input_type_ids": tf.constant([[0, 0, 0, 1, 1]]),
        ... }
        >>> model(inputs)["next_sentence_logits"].shape
        TensorShape([1, 2])
    """

    main_output = "next_sentence_logits"

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        self.next_sentence = heads.ClassificationHead(
            self.config, num_labels=2, name="cls_seq_relationship"
        )

    def call(self, inputs, training=None):
        outputs = self.encoder(inputs, training=training)
        outputs["next_sentence_logits"] = self.next_sentence(
            outputs["pooled_output"], training=training
        )
        return outputs


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class MobileBertForSequenceClassification(_ClassifierModel):
    """Sequence classification, or regression with one label.

    Args:
        config: MobileBertConfig.
        num_labels: int. 1 makes `logits` the predicted value.
        dropout_rate: float. The reference drops out 0.1 whatever the config.

    Returns the encoder's dict with logits float32 [B, num_labels].

    Example:

        >>> from mobilebert_tf.modeling import config as config_lib
        >>> config = config_lib.micro(vocab_size=100)
        >>> model = MobileBertForSequenceClassification(config, num_labels=3)
        >>> model({"input_word_ids": tf.constant([[2, 17, 3]])})["logits"].shape
        TensorShape([1, 3])
    """

    def call(self, inputs, training=None):
        outputs = self.encoder(inputs, training=training)
        outputs["logits"] = self.classifier(
            outputs["pooled_output"], training=training
        )
        return outputs


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class MobileBertForMultipleChoice(_Model):
    """Which of C texts fits: one score per choice.

    Call arguments: the encoder's, each tensor int [B, C, S].

    Args:
        config: MobileBertConfig.
        dropout_rate: float. On the pooled vector, in training.

    Returns logits float32 [B, C], and the encoder's dict on [B * C, S].

    Example:

        >>> from mobilebert_tf.modeling import config as config_lib
        >>> config = config_lib.micro(vocab_size=100)
        >>> model = MobileBertForMultipleChoice(config)
        >>> ids = tf.constant([[[2, 17, 3], [2, 18, 3]]])
        >>> model({"input_word_ids": ids})["logits"].shape
        TensorShape([1, 2])
    """

    main_output = "logits"

    def __init__(
        self, config, dropout_rate: float = _CLASSIFIER_DROPOUT_RATE, **kwargs
    ):
        super().__init__(config, **kwargs)
        self.dropout_rate = dropout_rate
        self.classifier = heads.ClassificationHead(
            self.config, 1, dropout_rate, name="classifier"
        )

    def build_weights(self) -> None:
        self({"input_word_ids": tf.zeros([1, 1, 1], tf.int32)})

    def call(self, inputs, training=None):
        shape = tf.shape(inputs["input_word_ids"])
        outputs = self.encoder(
            {
                name: tf.reshape(ids, [-1, shape[2]])
                for name, ids in inputs.items()
            },
            training=training,
        )
        scores = self.classifier(
            outputs["pooled_output"], training=training
        )  # [B * C, 1]
        outputs["logits"] = tf.reshape(scores, shape[:2])
        return outputs

    def get_config(self):
        return {**super().get_config(), "dropout_rate": self.dropout_rate}


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class MobileBertForTokenClassification(_ClassifierModel):
    """A label for each token (tagging).

    Args:
        config: MobileBertConfig.
        num_labels: int.
        dropout_rate: float. On the token vectors, in training.

    Returns the encoder's dict with logits float32 [B, S, num_labels].

    Example:

        >>> from mobilebert_tf.modeling import config as config_lib
        >>> config = config_lib.micro(vocab_size=100)
        >>> model = MobileBertForTokenClassification(config, num_labels=9)
        >>> model({"input_word_ids": tf.constant([[2, 17, 3]])})["logits"].shape
        TensorShape([1, 3, 9])
    """

    _use_pooler = False

    def call(self, inputs, training=None):
        outputs = self.encoder(inputs, training=training)
        outputs["logits"] = self.classifier(
            outputs["sequence_output"], training=training
        )
        return outputs


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class MobileBertForQuestionAnswering(_Model):
    """Extractive question answering: first and last token of the answer.

    Returns the encoder's dict with start_logits and end_logits, float32
    [B, S] each.

    Example:

        >>> from mobilebert_tf.modeling import config as config_lib
        >>> config = config_lib.micro(vocab_size=100)
        >>> model = MobileBertForQuestionAnswering(config)
        >>> outputs = model({"input_word_ids": tf.constant([[2, 17, 3]])})
        >>> outputs["start_logits"].shape
        TensorShape([1, 3])
    """

    _use_pooler = False

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        self.span = heads.SpanHead(self.config, name="cls_squad")

    def call(self, inputs, training=None):
        outputs = self.encoder(inputs, training=training)
        outputs["start_logits"], outputs["end_logits"] = self.span(
            outputs["sequence_output"]
        )
        return outputs


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class MobileBertForSentenceEmbedding(_Model):
    """One vector per text.

    Args:
        config: MobileBertConfig.
        pooling: "mean" over the real tokens, or "cls", the first token.
        normalize: bool. Unit L2 norm.

    Returns the encoder's dict with sentence_embedding float32 [B, H].

    Example:

        >>> from mobilebert_tf.modeling import config as config_lib
        >>> config = config_lib.micro(vocab_size=100)
        >>> model = MobileBertForSentenceEmbedding(config, pooling="mean")
        >>> outputs = model({"input_word_ids": tf.constant([[2, 17, 3]])})
        >>> round(float(tf.norm(outputs["sentence_embedding"])), 4)
        1.0
    """

    main_output = "sentence_embedding"
    _use_pooler = False

    def __init__(
        self,
        config,
        pooling: str = heads.MEAN_POOLING,
        normalize: bool = True,
        **kwargs,
    ):
        super().__init__(config, **kwargs)
        self.pooling = pooling
        self.normalize = normalize
        self.sentence_embedding = heads.SentenceEmbeddingHead(
            pooling, normalize, name="sentence_embedding"
        )

    def call(self, inputs, training=None):
        outputs = self.encoder(inputs, training=training)
        mask = inputs.get("input_mask")
        if mask is None:
            mask = tf.ones_like(inputs["input_word_ids"])
        outputs["sentence_embedding"] = self.sentence_embedding(
            outputs["sequence_output"], input_mask=mask
        )
        return outputs

    def get_config(self):
        return {
            **super().get_config(),
            "pooling": self.pooling,
            "normalize": self.normalize,
        }
