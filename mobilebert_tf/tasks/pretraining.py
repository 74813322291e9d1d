"""Tasks of pre-training: plain, distilled, and block-wise transfer.

Legend: B batch, S sequence, P predictions per sequence, V vocabulary.
"""

import tensorflow as tf
import tf_keras

from mobilebert_tf import experiments
from mobilebert_tf import losses
from mobilebert_tf.data import pretraining as pretraining_data
from mobilebert_tf.data import sharding
from mobilebert_tf.distillation import student as student_lib
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models
from mobilebert_tf.tasks import gradient_steps

# Losses and shares are weighted means: {name: (value, weight)}.
_PREDICTION_METRICS = ("masked_lm_loss", "masked_lm_accuracy")
_SENTENCE_METRICS = ("next_sentence_loss", "next_sentence_accuracy")


class PretrainingTask(gradient_steps.WeightedLossTask):
    """Masked LM and next-sentence prediction, distilled if there is a teacher.

    L = alpha * L_MLM + (1 - alpha) * L_KD + L_NSP (paper section 3.5); alpha
    is 1 without a teacher. The teacher runs in inference mode.

    Args:
        params: PretrainingTaskConfig.
        network: MobileBertConfig of the model to train.
        teacher: MobileBertForPreTraining or None.
        start_step: int. Batches of the training data to pass over, so that a
            resumed run sees what an uninterrupted one would.
        initial: MobileBertForPreTraining of the same network, to start a run
            without checkpoint from, or None.
    """

    def __init__(
        self,
        params: experiments.PretrainingTaskConfig,
        network: config_lib.MobileBertConfig,
        teacher: models.MobileBertForPreTraining | None = None,
        start_step: int = 0,
        initial: models.MobileBertForPreTraining | None = None,
    ):
        super().__init__(params)
        self.network = network
        self.teacher = teacher
        self.start_step = start_step
        self.initial = initial

    def build_model(self) -> models.MobileBertForPreTraining:
        model = models.MobileBertForPreTraining(self.network)
        model.build_weights()
        return model

    def initialize(self, model: models.MobileBertForPreTraining) -> None:
        """Starts a run without checkpoint."""
        if self.initial is not None:
            model.set_weights(self.initial.get_weights())
        elif self.teacher is not None:
            student_lib.initialize_from_teacher(model, self.teacher)

    def build_inputs(
        self,
        params: experiments.PretrainingDataConfig,
        input_context: tf.distribute.InputContext | None = None,
    ) -> tf.data.Dataset:
        batch_size = params.global_batch_size
        dataset = pretraining_data.make_dataset(
            params.input_path.split(","),
            max_seq_length=params.max_seq_length,
            max_predictions_per_seq=params.max_predictions_per_seq,
            batch_size=batch_size,
            is_training=params.is_training,
            seed=params.seed,
            start_batch=self.start_step if params.is_training else 0,
            drop_remainder=params.is_training,
            vocab_size=self.network.vocab_size,
        )
        return sharding.shard_batches(dataset, batch_size, input_context)

    def build_metrics(self, training: bool = True):
        del training
        names = (
            *self.extra_metrics(),
            *_PREDICTION_METRICS,
            *_SENTENCE_METRICS,
        )
        return [tf_keras.metrics.Mean(name) for name in names]

    def extra_metrics(self) -> tuple[str, ...]:
        """Names of the loss terms beyond masked LM and next sentence."""
        return () if self.teacher is None else ("distillation_loss",)

    def loss_factors(self) -> dict[str, float]:
        if self.teacher is None:
            return {"masked_lm_loss": 1.0, "next_sentence_loss": 1.0}
        alpha = self.task_config.distillation.ground_truth_ratio
        return {
            "masked_lm_loss": alpha,
            "distillation_loss": 1.0 - alpha,
            "next_sentence_loss": 1.0,
        }

    def loss_weights(self, inputs) -> dict[str, tf.Tensor]:
        predictions = tf.reduce_sum(inputs["masked_lm_weights"])
        labels = inputs["next_sentence_labels"]
        return {
            "masked_lm_loss": predictions,
            "distillation_loss": predictions,
            "next_sentence_loss": tf.cast(tf.shape(labels)[0], tf.float32),
        }

    def validation_step(self, inputs, model, metrics=None):
        # The terms are weighted by what they average over; a mean of the
        # batches' losses would not be.
        _, terms = self.compute_loss(inputs, model, training=False)
        gradient_steps.update_metrics(metrics, terms)
        return {}

    def compute_loss(self, inputs, model, training: bool):
        """Returns the loss and its terms as {name: (mean, weight)}."""
        outputs = model(inputs, training=training and self.teacher is None)
        loss, terms = pretraining_loss(inputs, outputs)
        if self.teacher is not None:
            distillation = self.task_config.distillation
            taught = self.teacher(inputs, training=False)
            divergence = losses.pretraining_distillation(
                taught["masked_lm_logits"],
                outputs["masked_lm_logits"],
                inputs["masked_lm_weights"],
                temperature=distillation.temperature,
            )
            weight = terms["masked_lm_loss"][1]
            terms["distillation_loss"] = (divergence, weight)
            alpha = distillation.ground_truth_ratio
            loss += (1.0 - alpha) * (divergence - terms["masked_lm_loss"][0])
        return loss, terms


class KnowledgeTransferTask(PretrainingTask):
    """Transfer of one block: feature maps and attention (paper 3.5, 3.6).

    Only the variables of the student's block are updated, blocks below are
    frozen, blocks above are not computed. Dropout is off, as in the
    reference.

    Args:
        block: int. The block that learns (0-based).
        **kwargs: of PretrainingTask; `teacher` is required.
    """

    def __init__(self, *args, block: int, **kwargs):
        super().__init__(*args, **kwargs)
        self.block = block

    def extra_metrics(self) -> tuple[str, ...]:
        return ("feature_map_loss", "attention_loss")

    def build_metrics(self, training: bool = True):
        if training:
            names = self.extra_metrics()
            return [tf_keras.metrics.Mean(name) for name in names]
        return super().build_metrics(training)

    def trainable_variables(self, model):
        return model.encoder.blocks[self.block].trainable_variables

    def loss_factors(self):
        factors = self.task_config.knowledge_transfer
        return {
            "feature_map_loss": factors.feature_map_factor,
            "attention_loss": factors.attention_factor,
        }

    def loss_weights(self, inputs):
        tokens = tf.reduce_sum(tf.cast(inputs["input_mask"], tf.float32))
        return {"feature_map_loss": tokens, "attention_loss": tokens}

    def compute_loss(self, inputs, model, training):
        mask = inputs["input_mask"]
        num_blocks = self.block + 1
        taught = self.teacher.encoder(
            inputs, training=False, num_blocks=num_blocks
        )
        outputs = model.encoder(inputs, training=False, num_blocks=num_blocks)
        feature_map = losses.feature_map_transfer(
            taught["encoder_outputs"][-1], outputs["encoder_outputs"][-1], mask
        )
        attention = losses.attention_transfer(
            taught["attention_scores"][-1],
            outputs["attention_scores"][-1],
            mask,
        )
        factors = self.task_config.knowledge_transfer
        loss = (
            factors.feature_map_factor * feature_map
            + factors.attention_factor * attention
        )
        weight = tf.reduce_sum(tf.cast(mask, tf.float32))
        terms = {
            "feature_map_loss": (feature_map, weight),
            "attention_loss": (attention, weight),
        }
        if not training:
            whole = model(inputs, training=False)
            terms.update(pretraining_loss(inputs, whole)[1])
        return loss, terms


def pretraining_loss(inputs, outputs):
    """Returns L_MLM + L_NSP and the terms {name: (mean, weight)}.

    Args:
        inputs: dict with masked_lm_ids int [B, P], masked_lm_weights float
            [B, P] and next_sentence_labels int [B, 1].
        outputs: of MobileBertForPreTraining.
    """
    ids, weights = inputs["masked_lm_ids"], inputs["masked_lm_weights"]
    masked_lm = losses.masked_lm(outputs["masked_lm_logits"], ids, weights)
    hits = tf.argmax(outputs["masked_lm_logits"], -1, tf.int32) == ids
    predictions = tf.reduce_sum(weights)
    accuracy = tf.math.divide_no_nan(
        tf.reduce_sum(tf.cast(hits, tf.float32) * weights), predictions
    )
    labels = inputs["next_sentence_labels"]
    next_sentence = losses.next_sentence(
        outputs["next_sentence_logits"], labels
    )
    sentence_hits = (
        tf.argmax(outputs["next_sentence_logits"], -1, tf.int32) == labels[:, 0]
    )
    batch = tf.cast(tf.shape(labels)[0], tf.float32)
    sentence_accuracy = tf.math.divide_no_nan(
        tf.reduce_sum(tf.cast(sentence_hits, tf.float32)), batch
    )
    terms = {
        "masked_lm_loss": (masked_lm, predictions),
        "masked_lm_accuracy": (accuracy, predictions),
        "next_sentence_loss": (next_sentence, batch),
        "next_sentence_accuracy": (sentence_accuracy, batch),
    }
    return masked_lm + next_sentence, terms
