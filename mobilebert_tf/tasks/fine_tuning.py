"""What the tasks of fine-tuning a head have in common.

Legend: B batch, N rows.
"""

import abc
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from mobilebert_tf.data import batches
from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.distillation import schedule
from mobilebert_tf.distillation import task_distillation
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.experiments import fine_tuning_config
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.optimization import optimizers
from mobilebert_tf.quantization_aware import simulation
from mobilebert_tf.tasks import gradient_steps

CROSS_ENTROPY = "cross_entropy"
ACCURACY = "accuracy"

# Called after each evaluation with the model, the global step, the metrics of
# all sets, and what they are of.
OnEvaluation = Callable[
    [
        tf_keras.Model,
        int,
        dict[str, float],
        list[evaluation_set.Evaluated],
    ],
    None,
]


class FineTuningTask(gradient_steps.WeightedLossTask, abc.ABC):
    """A loss of a head's outputs; metrics over whole evaluation sets.

    Args:
        params: FineTuningTaskConfig.
        network: MobileBertConfig.
        train_rows: N rows with targets, or None.
        evaluation_sets: to evaluate on, of one shape; () for none.
        start_step: int. Batches of the training data to pass over.
        encoder: to start from, or None for random weights.
        head: a layer to start from, likewise.
        distillation: what a teacher adds to the loss, or None.
        teacher_logits: {name: [N, ...]}, beside train_rows; what
            `distillation` returned of them.
        on_evaluation: called after each evaluation; None does without.
        num_steps: of the whole run; counts where it is quantisation-aware.

    Raises:
        ValueError: for more frozen blocks than there are.
    """

    # Name of the loss term.
    loss_name = CROSS_ENTROPY
    # Terms without part in the loss, of which training tells the means.
    training_metrics = (ACCURACY,)
    # Outputs that evaluation reads.
    output_names = ("logits",)
    # Attribute of the model.
    head_name = "classifier"

    def __init__(
        self,
        params: fine_tuning_config.FineTuningTaskConfig,
        network: config_lib.MobileBertConfig,
        train_rows: rows_lib.Rows | None = None,
        evaluation_sets: Sequence[evaluation_set.EvaluationSet] = (),
        start_step: int = 0,
        encoder: tf_keras.Model | None = None,
        head: tf_keras.layers.Layer | None = None,
        distillation: task_distillation.TaskDistillation | None = None,
        teacher_logits: Mapping[str, np.ndarray] | None = None,
        on_evaluation: OnEvaluation | None = None,
        num_steps: int = 0,
    ):
        super().__init__(params)
        check_frozen_blocks(params, network)
        self.network = network
        self._train_rows = train_rows
        if teacher_logits:
            self._train_rows = rows_lib.ExtendedRows(train_rows, teacher_logits)
        self._distillation = distillation
        self._evaluation_sets = tuple(evaluation_sets)
        self._start_step = start_step
        self._encoder = encoder
        self._head = head
        self._on_evaluation = on_evaluation
        self._num_steps = num_steps
        self._model = None
        self._simulation = None

    @abc.abstractmethod
    def make_model(self) -> tf_keras.Model:
        """Returns a fresh model with its head."""

    @abc.abstractmethod
    def label_weights(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns how much each item counts, 0 without label; float32.

        Args:
            inputs: a batch with its targets.
        """

    @abc.abstractmethod
    def label_terms(
        self,
        inputs: Mapping[str, tf.Tensor],
        outputs: Mapping[str, tf.Tensor],
    ) -> gradient_steps.Terms:
        """Returns the loss term, and ACCURACY where there is one.

        Args:
            inputs: a batch with its targets.
            outputs: of the model.
        """

    def build_model(self) -> tf_keras.Model:
        self._model = self.make_model()
        self._model.build_weights()
        config = self.task_config
        if config.quantization_aware:
            self._simulation = simulation.Simulation(
                self._model,
                config.quantization,
                config.max_seq_length,
                self._num_steps,
            )
        return self._model

    def initialize(self, model) -> None:
        """Starts a run without checkpoint from what is pre-trained."""
        if self._encoder is not None:
            model.encoder.copy_weights(self._encoder)
        if self._head is not None:
            getattr(model, self.head_name).set_weights(self._head.get_weights())
        if self._simulation is not None:
            config = self.task_config
            self._simulation.calibrate(
                batches.shuffled(
                    self._train_rows,
                    config.train_data.global_batch_size,
                    config.train_data.seed,
                ).take(config.quantization.calibration_batches)
            )

    def create_optimizer(
        self, optimizer_config, runtime_config=None, dp_config=None
    ) -> tf_keras.optimizers.legacy.Optimizer:
        """Returns the Garden's optimizer, with a rate per block if asked for.

        After build_model.
        """
        decay = self.task_config.layerwise_rate_decay
        if decay == 1.0:
            return super().create_optimizer(
                optimizer_config, runtime_config, dp_config
            )
        encoder = self._model.encoder
        # From the embeddings, the lowest part, to the last block.
        parts = [encoder.embeddings, *encoder.blocks]
        rates = [decay**power for power in range(len(parts), 0, -1)]
        optimizer = optimizers.build(
            optimizer_config,
            schedule.Stage(
                "fine_tuning",
                0,
                0,
                block_rates=tuple(rates[1:]),
                embeddings_rate=rates[0],
            ),
        )
        optimizers.set_rates(
            optimizer,
            [
                (variable, rate)
                for part, rate in zip(parts, rates, strict=True)
                for variable in part.trainable_variables
            ],
        )
        return optimizer

    def trainable_variables(self, model):
        count = self.task_config.num_frozen_blocks
        if count is None:
            return model.trainable_variables
        frozen = [model.encoder.embeddings, *model.encoder.blocks[:count]]
        # A variable compares by value.
        ids = {id(each) for part in frozen for each in part.trainable_variables}
        return [v for v in model.trainable_variables if id(v) not in ids]

    def build_inputs(
        self,
        params: fine_tuning_config.DataConfig,
        input_context: tf.distribute.InputContext | None = None,
    ) -> tf.data.Dataset:
        if params.is_training:
            return batches.shuffled(
                self._train_rows,
                params.global_batch_size,
                params.seed,
                self._start_step,
                input_context,
            )
        # Each worker evaluates all rows: the metrics are not means, and are
        # computed from the outputs of its own replicas.
        return batches.in_order(
            rows_lib.JoinedRows(self._evaluation_sets),
            params.global_batch_size,
            input_context,
        )

    def build_metrics(self, training: bool = True):
        if not training:
            return []
        names = list(self.training_metrics)
        if self._distillation is not None:
            names += [self.loss_name, *self._distillation.metric_names]
        return [tf_keras.metrics.Mean(name) for name in names]

    def loss_factors(self):
        if self._distillation is None:
            return {self.loss_name: 1.0}
        return self._distillation.factors(self.loss_name)

    def loss_weights(self, inputs):
        weights = self.label_weights(inputs)
        result = {self.loss_name: tf.reduce_sum(weights)}
        if self._distillation is not None:
            result |= self._distillation.loss_weights(inputs, weights > 0)
        return result

    def compute_loss(self, inputs, model, training):
        outputs = self._outputs(inputs, model, training)
        terms = self.label_terms(inputs, outputs)
        if self._distillation is not None:
            has_label = self.label_weights(inputs) > 0
            terms |= self._distillation.terms(inputs, outputs, has_label)
        factors = self.loss_factors()
        loss = tf.add_n([factors[name] * terms[name][0] for name in factors])
        return loss, terms

    def validation_step(self, inputs, model, metrics=None):
        outputs = self._outputs(inputs, model, training=False)
        return {
            batches.ROW: inputs[batches.ROW],
            **{name: outputs[name] for name in self.output_names},
        }

    def _outputs(self, inputs, model, training):
        inputs = encoder_inputs(inputs)
        if self._simulation is not None:
            return self._simulation(inputs, training)
        return model(inputs, training=training)

    def aggregate_logs(self, state=None, step_outputs=None):
        state = state or {name: [] for name in step_outputs}
        for name, parts in state.items():
            parts += [part.numpy() for part in step_outputs[name]]
        return state

    def reduce_aggregated_logs(self, aggregated_logs, global_step=None):
        whole = {
            name: np.concatenate(parts)
            for name, parts in aggregated_logs.items()
        }
        # Replicas take turns.
        order = np.argsort(whole.pop(batches.ROW))
        evaluated = []
        start = 0
        for each in self._evaluation_sets:
            own = order[start : start + len(each)]
            start += len(each)
            outputs = {name: values[own] for name, values in whole.items()}
            evaluated.append(
                evaluation_set.Evaluated(each, outputs, each.measure(outputs))
            )
        metrics = evaluation_set.joint_metrics(evaluated)
        if self._on_evaluation is not None:
            step = 0 if global_step is None else int(global_step)
            self._on_evaluation(self._model, step, metrics, evaluated)
        return metrics


def check_frozen_blocks(
    params: fine_tuning_config.FineTuningTaskConfig,
    network: config_lib.MobileBertConfig,
) -> None:
    """Raises ValueError if more blocks are to be frozen than there are."""
    count = params.num_frozen_blocks
    if count is not None and count not in range(network.num_hidden_layers + 1):
        raise ValueError(
            f"task.num_frozen_blocks: expected 0 to "
            f"{network.num_hidden_layers}, got {count}"
        )


def encoder_inputs(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the part of a batch that a model is called with."""
    return {name: inputs[name] for name in rows_lib.INPUT_NAMES}
