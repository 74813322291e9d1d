"""Global batches to the replicas of a distribution strategy."""

import tensorflow as tf


def shard_batches(
    dataset: tf.data.Dataset,
    batch_size: int,
    input_context: tf.distribute.InputContext | None,
) -> tf.data.Dataset:
    """Splits global batches among the replicas of a strategy.

    Raises:
        ValueError: if the batch does not divide among the replicas.
    """
    if input_context is None or input_context.num_replicas_in_sync == 1:
        return dataset
    per_replica = input_context.get_per_replica_batch_size(batch_size)
    if input_context.num_input_pipelines > 1:
        per_pipeline = batch_size // input_context.num_input_pipelines
        start = input_context.input_pipeline_id * per_pipeline
        dataset = dataset.map(
            lambda batch: {
                name: values[start : start + per_pipeline]
                for name, values in batch.items()
            }
        )
    return dataset.rebatch(per_replica)
