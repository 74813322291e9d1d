"""Global batches to the workers and replicas of a distribution strategy.

Every worker makes the same stream of global batches and takes its rows of
each, so that what is learned from does not depend on how many there are. Each
reads all the files for that; reading is cheap beside a step, and what is dear
(parsing, masking) can be done after `take_rows` to a worker's own rows.
"""

import tensorflow as tf


def shard_batches(
    dataset: tf.data.Dataset,
    batch_size: int,
    input_context: tf.distribute.InputContext | None,
) -> tf.data.Dataset:
    """Splits global batches among the workers and their replicas.

    Args:
        dataset: global batches, of any structure of tensors [B, ...].
        batch_size: B; the last batch of a pass may be smaller.
        input_context: what a strategy hands to its input function.

    Returns:
        A data set of the batches of this worker's replicas: of each global
        batch one for each replica in turn.

    Raises:
        ValueError: if B does not divide among the replicas.
    """
    dataset = take_rows(dataset, batch_size, input_context)
    return split_among_replicas(dataset, batch_size, input_context)


def take_rows(
    dataset: tf.data.Dataset,
    batch_size: int,
    input_context: tf.distribute.InputContext | None,
) -> tf.data.Dataset:
    """Reduces global batches to the rows of this worker, in order.

    A worker that gets none of a last, smaller batch has one batch less.

    Args:
        dataset: as of shard_batches.
        batch_size: likewise.
        input_context: likewise.

    Raises:
        ValueError: if B does not divide among the replicas.
    """
    if input_context is None or input_context.num_input_pipelines == 1:
        return dataset
    _check(batch_size, input_context)
    rows = batch_size // input_context.num_input_pipelines
    start = input_context.input_pipeline_id * rows

    def is_there(*batch):
        return tf.shape(tf.nest.flatten(batch)[0])[0] > 0

    return dataset.map(
        lambda *batch: tf.nest.map_structure(
            lambda values: values[start : start + rows],
            batch if len(batch) > 1 else batch[0],
        )
    ).filter(is_there)


def split_among_replicas(
    dataset: tf.data.Dataset,
    batch_size: int,
    input_context: tf.distribute.InputContext | None,
    across_workers: bool = True,
) -> tf.data.Dataset:
    """Splits a worker's rows of each global batch among its replicas.

    Args:
        dataset: what take_rows returns.
        batch_size: B, of all workers together.
        input_context: as of shard_batches.
        across_workers: bool. False if each worker has all rows.

    Raises:
        ValueError: if B does not divide among the replicas.
    """
    if input_context is None or input_context.num_replicas_in_sync == 1:
        return dataset
    _check(batch_size, input_context)
    replicas = input_context.num_replicas_in_sync
    if not across_workers:
        replicas //= input_context.num_input_pipelines
    is_static = all(
        spec.shape[0] is not None
        for spec in tf.nest.flatten(dataset.element_spec)
    )
    return dataset.rebatch(batch_size // replicas, drop_remainder=is_static)


def _check(batch_size, input_context):
    replicas = input_context.num_replicas_in_sync
    if batch_size % replicas:
        raise ValueError(
            f"global_batch_size={batch_size}: expected a multiple of the "
            f"{replicas} replicas"
        )
