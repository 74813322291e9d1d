"""Rows -> batches, shuffled for training or in order for evaluation.

Each batch is gathered by NumPy in this process, so that features may stay
where they are, such as mapped from the file of a cache.

Legend: N rows, B batch.
"""

import functools

import numpy as np
import tensorflow as tf

from mobilebert_tf.data import epochs
from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.data import sharding

# Which of the N rows it is, int64 [B].
ROW = "row"


def shuffled(
    rows: rows_lib.Rows,
    batch_size: int,
    seed: int,
    start_batch: int = 0,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Makes an endless data set of batches, in a new order in each epoch.

    Batches run across the ends of epochs; every epoch is a permutation drawn
    from (seed, epoch).

    Args:
        rows: N rows.
        batch_size: B, over all replicas.
        seed: of the permutations.
        start_batch: batches to skip: the stream continues as it would after
            so many batches.
        input_context: what a strategy hands to its input function.

    Returns:
        Dicts of the rows' arrays [B, ...] and ROW; B is this replica's.
    """
    size = len(rows)
    numbers = epochs.endless(
        functools.partial(_permutation, size),
        size,
        start_batch * batch_size,
        seed,
    ).batch(batch_size, drop_remainder=True)
    numbers = numbers.map(lambda row: {ROW: row})
    return _gathered(
        rows, sharding.shard_batches(numbers, batch_size, input_context)
    )


def in_order(
    rows: rows_lib.Rows,
    batch_size: int,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Makes a data set of one pass over all rows, for every worker.

    Args:
        rows: N rows.
        batch_size: B, over all replicas; the last batch may be smaller.
        input_context: what a strategy hands to its input function.

    Returns:
        As `shuffled`.
    """
    numbers = tf.data.Dataset.range(len(rows)).batch(batch_size)
    numbers = numbers.map(lambda row: {ROW: row})
    return _gathered(
        rows,
        sharding.split_among_replicas(
            numbers, batch_size, input_context, across_workers=False
        ),
    )


def _permutation(size, epoch_seed):
    return tf.data.Dataset.from_tensor_slices(
        tf.random.experimental.stateless_shuffle(
            tf.range(size, dtype=tf.int64), epoch_seed
        )
    )


def _gathered(rows, numbers):
    """Returns batches of the rows that `numbers` names."""
    sample = rows.inputs(np.arange(0))
    names = list(sample)

    def gather(row):
        values = rows.inputs(row)
        return [values[name] for name in names]

    def gather_batch(batch):
        row = batch[ROW]
        values = tf.numpy_function(
            gather,
            [row],
            [tf.as_dtype(sample[name].dtype) for name in names],
            stateful=False,
        )
        for name, value in zip(names, values, strict=True):
            value.set_shape([row.shape[0], *sample[name].shape[1:]])
        return {ROW: row, **dict(zip(names, values, strict=True))}

    batches = numbers.map(gather_batch, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE)
