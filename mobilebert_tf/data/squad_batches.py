"""Windows of SQuAD -> batches of what the model reads.

The features stay where they are, as a rule mapped from the file of a cache;
each batch is gathered by NumPy in this process.

Legend: N windows, B batch, S sequence.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from mobilebert_tf.data import glue
from mobilebert_tf.data import sharding
from mobilebert_tf.data import squad_features

# Which of the N windows it is, int32 [B].
ROW = "row"

_INPUTS = ("input_word_ids", "input_mask", "input_type_ids")
_POSITIONS = ("start_positions", "end_positions")
_FOR_INPUTS = ("input_word_ids", "context_start", "context_length")


def shuffled(
    features: squad_features.Features,
    batch_size: int,
    seed: int,
    start_batch: int = 0,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Makes an endless data set of batches, in a new order in each epoch.

    Args:
        features: of N windows, as made for training.
        batch_size: B, over all replicas.
        seed: of the orders.
        start_batch: batches to skip: the stream continues as it would after
            so many batches.
        input_context: what a strategy hands to its input function.

    Returns:
        Dicts of the model's inputs, int32 [B, S], `start_positions` and
        `end_positions`, int32 [B]; B is this replica's.
    """
    rows = glue.make_dataset(
        _rows(features),
        batch_size,
        is_training=True,
        seed=seed,
        start_batch=start_batch,
    )
    rows = sharding.shard_batches(rows, batch_size, input_context)
    return _gathered(features, rows, _POSITIONS)


def in_order(
    features: squad_features.Features,
    batch_size: int,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Makes a data set of one pass over all windows, for every worker.

    Args:
        features: of N windows.
        batch_size: B, over all replicas; the last batch may be smaller.
        input_context: what a strategy hands to its input function.

    Returns:
        Dicts of the model's inputs, int32 [B, S], and ROW.
    """
    rows = glue.make_dataset(
        _rows(features),
        batch_size,
        is_training=False,
        seed=0,
        drop_remainder=False,
    )
    rows = sharding.split_among_replicas(
        rows, batch_size, input_context, across_workers=False
    )
    return _gathered(features, rows, ())


def model_inputs(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the part of a batch that the model is called with."""
    return {name: batch[name] for name in _INPUTS}


def _rows(features):
    count = len(features["input_word_ids"])
    return {ROW: np.arange(count, dtype=np.int32)}


def _gathered(features, rows, more):
    """Returns batches of the windows that `rows` names."""
    length = features["input_word_ids"].shape[1]

    def gather(row):
        windows = {name: features[name][row] for name in _FOR_INPUTS}
        inputs = squad_features.model_inputs(windows)
        return [inputs[name] for name in _INPUTS] + [
            features[name][row] for name in more
        ]

    def gather_batch(batch):
        row = batch[ROW]
        names = (*_INPUTS, *more)
        values = tf.numpy_function(
            gather, [row], [tf.int32] * len(names), stateful=False
        )
        for name, value in zip(names, values, strict=True):
            value.set_shape(
                [row.shape[0], length] if name in _INPUTS else row.shape
            )
        return {ROW: row, **dict(zip(names, values, strict=True))}

    batches = rows.map(gather_batch, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE)
