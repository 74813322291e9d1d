"""One update from a batch: accumulated, over replicas, and only if finite.

A loss is a sum of terms, each a factor times a weighted mean; what a mean is
over (predictions, tokens, sentences) varies from batch to batch. The mean of
the micro-batches' means would weigh a lone prediction in one of them like many
in another. Here each micro-batch of each replica contributes

    factor * (its weight / weight of the whole batch) * its mean,

and the contributions and their gradients are added up: the update is that of
the whole batch at once, up to rounding.

Legend: T loss terms.
"""

import abc
from collections.abc import Mapping
from collections.abc import Sequence

import tensorflow as tf
import tf_keras
from official.core import base_task

from mobilebert_tf.tasks import finite_guard

Terms = dict[str, tuple[tf.Tensor, tf.Tensor]]


class WeightedLossTask(base_task.Task):
    """A task whose loss is a sum of weighted means.

    Its configuration has gradient_accumulation_steps, and global_batch_size
    in train_data.
    """

    def __init__(self, params):
        super().__init__(params)
        self.guard = finite_guard.FiniteGuard()

    @abc.abstractmethod
    def compute_loss(
        self, inputs, model: tf_keras.Model, training: bool
    ) -> tuple[tf.Tensor, Terms]:
        """Returns the loss and {name: (mean, weight)}, float32 scalars.

        The terms beyond those of loss_factors are metrics of the same names.
        """

    @abc.abstractmethod
    def loss_factors(self) -> Mapping[str, float | tf.Tensor]:
        """Returns {name: factor}; the loss is the sum of factor * mean."""

    @abc.abstractmethod
    def loss_weights(self, inputs) -> Mapping[str, tf.Tensor]:
        """Returns {name: weight} of the terms of loss_factors.

        They follow from the inputs alone and equal those of compute_loss.
        """

    def trainable_variables(self, model) -> list[tf.Variable]:
        """The variables that this task updates."""
        return model.trainable_variables

    def after_evaluation(
        self,
        model: tf_keras.Model,
        folder: str,
        step: int,
        writer: tf.summary.SummaryWriter,
    ) -> None:
        """Writes what a task shows of its model besides metrics.

        Args:
            model: that was evaluated.
            folder: of the run.
            step: int. The model's.
            writer: of TensorBoard summaries.
        """
        del model, folder, step, writer

    def train_step(self, inputs, model, optimizer, metrics=None):
        return apply(self, inputs, model, optimizer, metrics)


def apply(
    task: WeightedLossTask,
    inputs: Mapping[str, tf.Tensor],
    model: tf_keras.Model,
    optimizer: tf_keras.optimizers.legacy.Optimizer,
    metrics: Sequence[tf_keras.metrics.Mean] | None = None,
) -> dict[str, tf.Tensor]:
    """Makes one update of the task's variables, in replica context.

    An update with a loss or gradient that is not finite is left out, and all
    after it: see FiniteGuard.

    Args:
        task: what to minimise.
        inputs: this replica's part of the batch; [B, ...] each, B a multiple
            of gradient_accumulation_steps.
        model: of the task.
        optimizer: adds up the replicas' gradients.
        metrics: each is updated with the term of its name.

    Returns:
        {task.loss: this replica's share of the loss, so scaled that the mean
        over the replicas is the loss of the whole batch}.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    variables = task.trainable_variables(model)
    factors = dict(task.loss_factors())
    weights = task.loss_weights(inputs)
    totals = _sum_over_replicas({name: weights[name] for name in factors})

    def differentiate(batch):
        # Watching nothing else leaves frozen parts and the teacher unrecorded.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            _, terms = task.compute_loss(batch, model, training=True)
            contributions = _contributions(terms, factors, totals)
            loss = tf.add_n(contributions)
        update_metrics(metrics, terms)
        gradients = tape.gradient(loss, variables)
        return tf.stack(contributions), [_dense(each) for each in gradients]

    count = task.task_config.gradient_accumulation_steps
    if count == 1:
        contributions, gradients = differentiate(inputs)
    else:
        contributions, gradients = _accumulate(
            differentiate,
            _split(inputs, count),
            count,
            len(factors),
            variables,
        )
    updates = [
        (gradient, variable)
        for gradient, variable in zip(gradients, variables, strict=True)
        if gradient is not None
    ]
    names = [f"loss term {name}" for name in factors]
    names += [f"gradient of {variable.name}" for _, variable in updates]
    # Half the sum of squares is finite if all numbers are.
    squares = [tf.nn.l2_loss(gradient) for gradient, _ in updates]
    watched = tf.concat([contributions, tf.stack(squares)], axis=0)
    may_update = task.guard.admit(names, _sum_over_replicas(watched))
    _update_if(may_update, optimizer, updates)
    return {task.loss: tf.reduce_sum(contributions) * replicas}


def weighted_mean(
    values: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the mean, 0 without weight, and the sum of the weights."""
    weight = tf.reduce_sum(weights)
    mean = tf.math.divide_no_nan(tf.reduce_sum(weights * values), weight)
    return mean, weight


def update_metrics(
    metrics: Sequence[tf_keras.metrics.Mean] | None, terms: Terms
) -> None:
    """Adds the term of its name, with its weight, to each metric."""
    for metric in metrics or ():
        value, weight = terms[metric.name]
        # A replica may have got no example of the last batch.
        value = tf.where(weight > 0, value, 0.0)
        metric.update_state(value, sample_weight=weight)


def _contributions(terms, factors, totals):
    """Returns what these terms add to the loss of the whole batch."""
    contributions = []
    for name, factor in factors.items():
        mean, weight = terms[name]
        share = tf.math.divide_no_nan(weight, totals[name])
        contributions.append(factor * share * mean)
    return contributions


def _dense(gradient):
    """Returns a sparse gradient as a tensor, with repeated rows added up.

    The optimizers clip by the norm over all gradients; of one with repeated
    rows they would take too large a norm.
    """
    return None if gradient is None else tf.convert_to_tensor(gradient)


def _accumulate(differentiate, parts, count, num_terms, variables):
    """Adds up what `differentiate` returns for each of the micro-batches.

    In a loop, so that there are the activations of one of them at a time. A
    gradient is None where the loss does not depend on the variable.
    """
    is_connected = []

    def add(index, contributions, sums):
        batch = {name: values[index] for name, values in parts.items()}
        more, gradients = differentiate(batch)
        is_connected[:] = [gradient is not None for gradient in gradients]
        sums = [
            total if gradient is None else total + gradient
            for total, gradient in zip(sums, gradients, strict=True)
        ]
        return index + 1, contributions + more, sums

    zeros = [tf.zeros(variable.shape, variable.dtype) for variable in variables]
    _, contributions, sums = tf.while_loop(
        lambda index, *_: index < count,
        add,
        (tf.constant(0), tf.zeros([num_terms]), zeros),
        parallel_iterations=1,
    )
    return contributions, [
        total if connected else None
        for total, connected in zip(sums, is_connected, strict=True)
    ]


def _split(inputs, count):
    """Returns [B, ...] as [count, B / count, ...]."""
    parts = {}
    for name, values in inputs.items():
        shape = tf.shape(values)
        parts[name] = tf.reshape(
            values, tf.concat([[count, shape[0] // count], shape[1:]], axis=0)
        )
    return parts


def _sum_over_replicas(values):
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(
        tf.distribute.ReduceOp.SUM, values
    )


def _update_if(condition, optimizer, updates):
    """Applies (gradient, variable) pairs where `condition` holds.

    The condition lies outside of the replicas: an optimizer may not leave
    their context from within one.
    """
    gradients = [gradient for gradient, _ in updates]
    variables = [variable for _, variable in updates]

    def apply_gradients(gradients):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    def across_replicas(strategy, condition, gradients):
        def update():
            strategy.extended.call_for_each_replica(
                apply_gradients, args=(gradients,)
            )

        # All replicas have the same.
        (condition, *_) = strategy.experimental_local_results(condition)
        tf.cond(condition, update, lambda: None)

    tf.distribute.get_replica_context().merge_call(
        across_replicas, args=(condition, gradients)
    )
