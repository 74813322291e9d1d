"""Task of pre-training: plain, distilled, and block-wise transfer.

Legend: B batch, S sequence, P predictions per sequence, V vocabulary.
"""

import contextlib
from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from mobilebert_tf import losses
from mobilebert_tf.data import sharding
from mobilebert_tf.distillation import divergence as divergence_lib
from mobilebert_tf.distillation import pictures
from mobilebert_tf.distillation import schedule
from mobilebert_tf.distillation import student as student_lib
from mobilebert_tf.distillation import transfer
from mobilebert_tf.experiments import experiment_checks
from mobilebert_tf.experiments import pretraining_config
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import dense
from mobilebert_tf.modeling import models
from mobilebert_tf.optimization import optimizers
from mobilebert_tf.tasks import gradient_steps
from mobilebert_tf.tasks import pretraining_inputs

# Losses and shares are weighted means: {name: (value, weight)}.
_PREDICTION_METRICS = ("masked_lm_loss", "masked_lm_accuracy")
_SENTENCE_METRICS = ("next_sentence_loss", "next_sentence_accuracy")
# Blocks that are trained without a loss of their own.
_UNUSED_BLOCKS = "unused_blocks"


class PretrainingTask(gradient_steps.WeightedLossTask):
    """One stage of pre-training: plain, distilled, transfer, or both.

    L_PD = alpha * L_MLM + (1 - alpha) * L_KD + L_NSP (paper section 3.5);
    alpha is 1 without a teacher. Transfer losses are in
    distillation/transfer.py. The teacher runs in inference mode, and where it
    teaches the student has no dropout either, as in the reference. In a
    transfer stage
    blocks above those that learn are not computed, and nothing below them is
    differentiated.

    Args:
        params: PretrainingTaskConfig.
        network: MobileBertConfig of the model to train.
        stage: what to learn, on which data, at which rates.
        teacher: MobileBertForPreTraining or None.
        teacher_blocks: the teacher's block (0-based) for each block of the
            student; needed for transfer losses, and to watch divergence.
        start_step: int. Global step to start from: batches of the training
            data before it are passed over, so that a resumed run sees what an
            uninterrupted one would.
        initial: MobileBertForPreTraining of the same network, to start a run
            without checkpoint from, or None.
    """

    def __init__(
        self,
        params: pretraining_config.PretrainingTaskConfig,
        network: config_lib.MobileBertConfig,
        stage: schedule.Stage,
        teacher: models.MobileBertForPreTraining | None = None,
        teacher_blocks: Sequence[int] = (),
        start_step: int = 0,
        initial: models.MobileBertForPreTraining | None = None,
    ):
        super().__init__(params)
        self.network = network
        self.stage = stage
        self.teacher = teacher
        self.teacher_blocks = tuple(teacher_blocks)
        self.start_step = start_step
        self.initial = initial
        if teacher is not None:
            dense.set_precision(
                teacher,
                params.distillation.teacher_precision
                if self._distills and not stage.blocks
                else dense.FLOAT32,
            )
        # Of the stage; known once there is an optimizer.
        self._updates = None

    def build_model(self) -> models.MobileBertForPreTraining:
        model = models.MobileBertForPreTraining(self.network)
        model.build_weights()
        return model

    def initialize(self, model: models.MobileBertForPreTraining) -> None:
        """Starts a run without checkpoint."""
        if self.initial is not None:
            model.set_weights(self.initial.get_weights())
        elif (
            self.teacher is not None
            and not experiment_checks.never_loads_teacher(self.task_config)
        ):
            student_lib.initialize_from_teacher(model, self.teacher)

    def create_optimizer(
        self, optimizer_config, runtime_config=None, dp_config=None
    ) -> tf_keras.optimizers.legacy.Optimizer:
        """Returns the stage's optimizer, with rates per block."""
        del runtime_config, dp_config
        optimizer = optimizers.build(optimizer_config, self.stage)
        offset = self.stage.optimizer_offset
        self._updates = lambda: optimizer.iterations - offset
        return optimizer

    def build_inputs(
        self,
        params: pretraining_config.PretrainingDataConfig,
        input_context: tf.distribute.InputContext | None = None,
    ) -> tf.data.Dataset:
        start_batch = 0
        if params.is_training:
            if self.stage.data == schedule.FIRST_DATA:
                params = self.task_config.first_train_data
            start_batch = self.start_step - self.stage.data_offset
        batch_size = params.global_batch_size
        dataset = pretraining_inputs.make_dataset(
            params,
            self.task_config.model,
            self.network.vocab_size,
            start_batch=start_batch,
            input_context=input_context,
        )
        return sharding.split_among_replicas(dataset, batch_size, input_context)

    def build_metrics(self, training: bool = True):
        names = transfer.metric_names(
            self.task_config.knowledge_transfer, self._loss_blocks(training)
        )
        if self.stage.pretraining or not training:
            if self._distills:
                names.append("distillation_loss")
            names += [*_PREDICTION_METRICS, *_SENTENCE_METRICS]
        return [tf_keras.metrics.Mean(name) for name in names]

    def trainable_variables(self, model) -> list[tf.Variable]:
        """The variables that this task updates."""
        pairs = student_lib.trainable_variables(model, self.stage)
        return [variable for variable, _ in pairs]

    def train_step(self, inputs, model, optimizer, metrics=None):
        if self.stage.block_rates is not None:
            optimizers.set_rates(
                optimizer, student_lib.trainable_variables(model, self.stage)
            )
        return gradient_steps.apply(self, inputs, model, optimizer, metrics)

    def validation_step(self, inputs, model, metrics=None):
        # The terms are weighted by what they average over; a mean of the
        # batches' losses would not be.
        with self._exact_teacher():
            _, terms = self.compute_loss(inputs, model, training=False)
        gradient_steps.update_metrics(metrics, terms)
        return {}

    def after_evaluation(self, model, folder, step, writer) -> None:
        """Writes how far each block is from the teacher's, with pictures."""
        divergence = self.divergence(model)
        if divergence is not None:
            pictures.write(
                divergence,
                folder,
                self.stage.name,
                step,
                self.stage.blocks,
                writer,
            )

    def divergence(self, model) -> divergence_lib.Divergence | None:
        """Compares all blocks on the first validation batch.

        None also where no block of the teacher belongs to one of the student.
        """
        if self.teacher is None or not self.teacher_blocks:
            return None
        dataset = self.build_inputs(self.task_config.validation_data)
        with self._exact_teacher():
            return divergence_lib.observe(
                self.teacher.encoder,
                model.encoder,
                next(iter(dataset)),
                self.teacher_blocks,
            )

    def compute_loss(self, inputs, model, training: bool):
        """Returns the loss and its terms as {name: (mean, weight)}.

        In validation of a transfer stage the terms are those of all blocks,
        and those of pre-training beside them.
        """
        with_pretraining = self.stage.pretraining or not training
        blocks = self._loss_blocks(training)
        outputs = self._run_student(inputs, model, blocks, training)
        taught = self._run_teacher(inputs, blocks)
        terms = {}
        if with_pretraining:
            terms.update(pretraining_terms(inputs, outputs))
            if self._distills:
                divergence = self._distillation_loss(inputs, outputs, taught)
                _, weight = terms["masked_lm_loss"]
                terms["distillation_loss"] = (divergence, weight)
        if blocks:
            transferred = transfer.terms(
                self.task_config.knowledge_transfer,
                self.task_config.official_defects,
                self.teacher_blocks,
                blocks,
                taught,
                outputs,
                inputs["input_mask"],
            )
            terms.update(transfer.named(transferred))
        if self._trains_unused_blocks:
            weights = self.loss_weights(inputs)
            mean = tf.reduce_mean(outputs["encoder_outputs"][-1])
            terms[_UNUSED_BLOCKS] = (
                tf.cast(mean, tf.float32),
                weights[_UNUSED_BLOCKS],
            )
        loss = tf.add_n(
            [
                factor * terms[name][0]
                for name, factor in self.loss_factors().items()
            ]
        )
        return loss, terms

    def loss_factors(self) -> dict[str, float | tf.Tensor]:
        config = self.task_config
        factors = {}
        if self.stage.pretraining:
            alpha = config.distillation.ground_truth_ratio
            factors["masked_lm_loss"] = alpha if self._distills else 1.0
            if self._distills:
                factors["distillation_loss"] = 1.0 - alpha
            factors["next_sentence_loss"] = 1.0
        blocks = self._loss_blocks(training=True)
        factors.update(
            transfer.block_factors(
                config.knowledge_transfer,
                self.network.num_hidden_layers,
                blocks,
                self._gates(blocks),
            )
        )
        if self._trains_unused_blocks:
            # Zero gradients: the optimizer decays the weights all the same.
            factors[_UNUSED_BLOCKS] = 0.0
        return factors

    def loss_weights(self, inputs) -> dict[str, tf.Tensor]:
        predictions = tf.reduce_sum(inputs["masked_lm_weights"])
        sentences = tf.cast(
            tf.shape(inputs["next_sentence_labels"])[0], tf.float32
        )
        tokens = transfer.weight(
            self.task_config.knowledge_transfer, inputs["input_mask"]
        )
        weights = {name: tokens for name in self.loss_factors()}
        weights.update(
            masked_lm_loss=predictions,
            distillation_loss=predictions,
            next_sentence_loss=sentences,
        )
        return weights

    @property
    def _distills(self):
        """Whether there is an L_KD; a ratio of 1 spares the teacher's run."""
        alpha = self.task_config.distillation.ground_truth_ratio
        return self.stage.pretraining and self.teacher is not None and alpha < 1

    @property
    def _trains_unused_blocks(self):
        """Whether blocks above those with losses are handed to the optimizer.

        So with OfficialDefectsConfig.adamw_ignores_rates.
        """
        rates = self.stage.block_rates
        return bool(rates and any(rates[max(self.stage.blocks) + 1 :]))

    def _loss_blocks(self, training):
        """The student's blocks whose transfer losses are computed."""
        stage = self.stage
        if stage.is_transfer and not training:
            return tuple(range(self.network.num_hidden_layers))
        return tuple(sorted({*stage.blocks, *(stage.first_step_blocks or ())}))

    def _gates(self, blocks):
        """Which of the losses count at this step, where that changes."""
        stage = self.stage
        if stage.first_step_blocks is None or self._updates is None:
            return None
        is_first = tf.equal(self._updates(), 0)
        return {
            block: tf.where(
                is_first,
                float(block in stage.first_step_blocks),
                float(block in stage.blocks),
            )
            for block in blocks
        }

    def _run_student(self, inputs, model, blocks, training):
        if self.stage.pretraining or not training:
            learns_from_teacher = self._distills or bool(blocks)
            return model(
                inputs,
                training=training and not learns_from_teacher,
                logits_only=not blocks,
            )
        num_blocks = max(self.stage.blocks) + 1
        return model.encoder(
            inputs,
            training=False,
            num_blocks=None if self._trains_unused_blocks else num_blocks,
            num_frozen_blocks=student_lib.num_frozen_blocks(self.stage),
        )

    def _run_teacher(self, inputs, blocks):
        """Returns what the losses need of the teacher's outputs, or None."""
        if self._distills:
            return self._run_whole_teacher(inputs, logits_only=not blocks)
        if not blocks:
            return None
        num_blocks = transfer.num_teacher_blocks(
            blocks,
            self.teacher_blocks,
            len(self.teacher.encoder.blocks),
            self.task_config.official_defects,
        )
        return self.teacher.encoder(
            inputs, training=False, num_blocks=num_blocks
        )

    def _exact_teacher(self):
        """Returns a context in which the teacher's products are in floats."""
        if self.teacher is None:
            return contextlib.nullcontext()
        return dense.float_products(self.teacher)

    def _run_whole_teacher(self, inputs, logits_only):
        if not self.task_config.official_defects.temperature_on_teacher_hidden:
            return self.teacher(inputs, training=False, logits_only=logits_only)
        outputs = self.teacher.encoder(inputs, training=False)
        outputs["masked_lm_logits"] = self.teacher.masked_lm(
            outputs["sequence_output"]
            * self.task_config.distillation.temperature,
            word_table=self.teacher.encoder.embeddings.word_table,
            positions=inputs["masked_lm_positions"],
        )
        return outputs

    def _distillation_loss(self, inputs, outputs, taught):
        temperature = self.task_config.distillation.temperature
        if self.task_config.official_defects.temperature_on_teacher_hidden:
            temperature = 1.0
        return losses.pretraining_distillation(
            taught["masked_lm_logits"],
            outputs["masked_lm_logits"],
            inputs["masked_lm_weights"],
            temperature=temperature,
        )


def pretraining_terms(inputs, outputs):
    """Returns losses and accuracies of both tasks, {name: (mean, weight)}.

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
    return {
        "masked_lm_loss": (masked_lm, predictions),
        "masked_lm_accuracy": (accuracy, predictions),
        "next_sentence_loss": (next_sentence, batch),
        "next_sentence_accuracy": (sentence_accuracy, batch),
    }
