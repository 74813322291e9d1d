"""What a fine-tuned teacher adds to the loss of a task.

    L = alpha L_labels + (1 - alpha) L_KD + f L_FMT + a L_AT

L_KD compares the logits (Hinton et al., 2015), L_FMT and L_AT the blocks'
outputs and attention maps, as in knowledge transfer (paper section 3.5): all
blocks of a MobileBERT and its teacher have outputs of one size.

A teacher in inference mode always says the same of an example. Its logits are
computed once, before the first step, and lie beside the features from then on:
with them alone a step costs what it costs without a teacher. Feature and
attention maps are too large for that; with a factor on them the teacher's
blocks, as many as are compared, run in each step.

Legend: B batch, C classes or choices, N examples, S sequence, H hidden_size.
"""

import time
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tf_keras
from absl import logging

from mobilebert_tf import losses
from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.distillation import layer_mapping
from mobilebert_tf.distillation import transfer
from mobilebert_tf.experiments import experiment_checks
from mobilebert_tf.experiments import pretraining_config
from mobilebert_tf.experiments import task_distillation_config
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.tasks import gradient_steps

DISTILLATION = "distillation_loss"

_KEY = "task.distillation"
_TEACHER = "teacher_"
_LOGITS = ("logits", "start_logits", "end_logits")
# Always the same, so that a run that is continued gets the same logits.
_BATCH_SIZE = 64
_SECONDS_BETWEEN_LINES = 10.0
_NO_DEFECTS = pretraining_config.OfficialDefectsConfig()


class TaskDistillation:
    """The teacher of a fine-tuning task.

    The task's loss has `factors` in place of its own, and the `terms` and
    `loss_weights` of here beside its own. Logits count where there is a label:
    of tagging, at words.

    Args:
        config: TaskDistillationConfig with a teacher.
        teacher: model with the task's head, fine-tuned, without dropout.
        student: MobileBertConfig of the model to train.
        is_regression: bool. Whether the only logit is the predicted value.

    Raises:
        ValueError: if maps are to be compared that the networks do not have
            in the same size, or blocks that the teacher has not.
    """

    def __init__(
        self,
        config: task_distillation_config.TaskDistillationConfig,
        teacher: tf_keras.Model,
        student: config_lib.MobileBertConfig,
        is_regression: bool = False,
    ):
        self._config = config
        self._teacher = teacher
        self._is_regression = is_regression
        self._transfer = pretraining_config.KnowledgeTransferConfig(
            feature_map_factor=config.feature_map_factor,
            attention_factor=config.attention_factor,
        )
        self._teacher_blocks = _teacher_blocks(config, teacher.config, student)
        teacher.trainable = False

    @property
    def uses_logits(self) -> bool:
        """Whether there is an L_KD; a ratio of 1 spares the teacher's run."""
        return self._config.ground_truth_ratio < 1

    @property
    def metric_names(self) -> list[str]:
        """Names of `terms`, of which training tells the means."""
        names = [DISTILLATION] if self.uses_logits else []
        return names + list(self._map_factors())

    def factors(self, label_loss: str) -> dict[str, float]:
        """Returns the factor of each term in the loss of the task.

        Args:
            label_loss: name of the term of the labels.
        """
        alpha = self._config.ground_truth_ratio
        factors = {label_loss: alpha}
        if self.uses_logits:
            factors[DISTILLATION] = 1.0 - alpha
        return factors | self._map_factors()

    def teacher_logits(self, rows: rows_lib.Rows) -> dict[str, np.ndarray]:
        """Runs the teacher over the training data; {} if nothing needs it.

        Args:
            rows: N rows of the model's inputs.

        Returns:
            float32 [N, ...] by name: what `terms` expects among its inputs.
        """
        if not self.uses_logits:
            return {}
        count = len(rows)
        logging.info("the teacher's logits of %d rows", count)
        predict = tf.function(self._predict, reduce_retracing=True)
        logits = {}
        begin = shown = time.monotonic()
        for start in range(0, count, _BATCH_SIZE):
            part = slice(start, min(start + _BATCH_SIZE, count))
            for name, values in predict(_select(rows.inputs(part))).items():
                if not start:
                    shape = [count, *values.shape[1:]]
                    logits[name] = np.zeros(shape, np.float32)
                logits[name][part] = values.numpy()
            now = time.monotonic()
            if now - shown > _SECONDS_BETWEEN_LINES:
                shown = now
                rate = part.stop / (now - begin)
                logging.info(
                    "teacher: %d/%d  %.0f rows/s", part.stop, count, rate
                )
        return logits

    def loss_weights(
        self, inputs: Mapping[str, tf.Tensor], has_label: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Returns {name: weight} of `terms`, from the inputs alone.

        Args:
            inputs: a batch.
            has_label: bool [B] or, of tagging, [B, S].
        """
        tokens = transfer.weight(self._transfer, _mask(inputs))
        weights = {name: tokens for name in self._map_factors()}
        if self.uses_logits:
            weights[DISTILLATION] = tf.reduce_sum(
                tf.cast(has_label, tf.float32)
            )
        return weights

    def terms(
        self,
        inputs: Mapping[str, tf.Tensor],
        outputs: Mapping[str, tf.Tensor],
        has_label: tf.Tensor,
    ) -> gradient_steps.Terms:
        """Returns {name: (mean, weight)}, float32 scalars.

        Feature and attention terms are sums over the student's blocks, each
        a mean over the real tokens.

        Args:
            inputs: a batch, with what `teacher_logits` returned of it.
            outputs: of the student.
            has_label: as of loss_weights.
        """
        terms = {}
        if self.uses_logits:
            terms[DISTILLATION] = gradient_steps.weighted_mean(
                self._distances(inputs, outputs),
                tf.cast(has_label, tf.float32),
            )
        if self._teacher_blocks:
            named = transfer.named(self._block_terms(inputs, outputs))
            terms |= {name: named[name] for name in self._map_factors()}
        return terms

    def _predict(self, batch):
        outputs = self._teacher(batch, training=False)
        return {
            f"{_TEACHER}{name}": tf.cast(outputs[name], tf.float32)
            for name in _LOGITS
            if name in outputs
        }

    def _distances(self, inputs, outputs):
        """Returns the loss of each item; of both ends, the mean."""
        names = [name for name in _LOGITS if name in outputs]
        values = []
        for name in names:
            teacher, student = inputs[f"{_TEACHER}{name}"], outputs[name]
            if self._is_regression:
                values.append(tf.square(teacher - student)[:, 0])
            else:
                values.append(
                    losses.distillation(
                        teacher, student, self._config.temperature
                    )
                )
        return tf.add_n(values) / len(values)

    def _block_terms(self, inputs, outputs):
        taught = self._teacher.encoder(
            {name: _flat(inputs[name]) for name in rows_lib.INPUT_NAMES},
            training=False,
            num_blocks=max(self._teacher_blocks) + 1,
        )
        return transfer.terms(
            self._transfer,
            _NO_DEFECTS,
            self._teacher_blocks,
            range(len(self._teacher_blocks)),
            taught,
            outputs,
            _mask(inputs),
        )

    def _map_factors(self):
        return transfer.factors(self._transfer, len(self._teacher_blocks))


def check(config: task_distillation_config.TaskDistillationConfig) -> None:
    """Checks what needs no file and no network.

    Raises:
        ValueError: for a value out of its range, or one that means nothing
            without a teacher, naming the key.
    """
    if not config.teacher_dir:
        defaults = type(config)().as_dict()
        for name, value in config.as_dict().items():
            if value != defaults[name]:
                raise ValueError(
                    f"{_KEY}.{name}={value} needs a teacher: --teacher_dir is "
                    "empty"
                )
        return
    # A NaN is in no range.
    if not 0 <= config.ground_truth_ratio <= 1:
        raise ValueError(
            f"{_KEY}.ground_truth_ratio: expected 0 to 1, got "
            f"{config.ground_truth_ratio}"
        )
    if not 0 < config.temperature < np.inf:
        raise ValueError(
            f"{_KEY}.temperature: expected more than 0, got "
            f"{config.temperature}"
        )
    for name in ("feature_map_factor", "attention_factor"):
        if not 0 <= getattr(config, name) < np.inf:
            raise ValueError(
                f"{_KEY}.{name}: expected at least 0, got "
                f"{getattr(config, name)}"
            )
    if config.layer_mapping not in experiment_checks.LAYER_MAPPINGS:
        raise ValueError(
            f"{_KEY}.layer_mapping: expected one of "
            f"{', '.join(experiment_checks.LAYER_MAPPINGS)}, got "
            f"{config.layer_mapping!r}"
        )
    if config.teacher_layers and config.layer_mapping != "explicit":
        raise ValueError(
            f"{_KEY}.teacher_layers: expected none with layer_mapping="
            f"{config.layer_mapping}, got {config.teacher_layers}"
        )


def _teacher_blocks(config, teacher, student):
    """Returns the teacher's block for each of the student's, () for none."""
    sizes = {
        "feature_map_factor": "hidden_size",
        "attention_factor": "num_attention_heads",
    }
    for factor, field in sizes.items():
        ours, theirs = getattr(student, field), getattr(teacher, field)
        if getattr(config, factor) and ours != theirs:
            raise ValueError(
                f"{_KEY}.{factor}={getattr(config, factor)}: expected a "
                f"teacher with {field} {ours}, as the student, got {theirs}; "
                "blocks of other sizes cannot be compared, logits can"
            )
    if not config.feature_map_factor and not config.attention_factor:
        return ()
    return layer_mapping.teacher_blocks(
        config.layer_mapping,
        config.teacher_layers,
        student.num_hidden_layers,
        teacher.num_hidden_layers,
        key=_KEY,
    )


def _select(inputs):
    return {
        name: tf.convert_to_tensor(inputs[name])
        for name in rows_lib.INPUT_NAMES
    }


def _mask(inputs):
    return _flat(inputs["input_mask"])


def _flat(ids):
    """Returns int [B, S], of multiple choice [B, C, S] as [B * C, S]."""
    return tf.reshape(ids, [-1, tf.shape(ids)[-1]])
