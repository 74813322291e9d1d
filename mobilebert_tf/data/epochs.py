"""An endless stream over a data set, shuffled anew in every epoch."""

from collections.abc import Callable

import tensorflow as tf


def endless(
    make_epoch: Callable[[tf.Tensor], tf.data.Dataset],
    epoch_size: int,
    start: int,
    seed: int,
) -> tf.data.Dataset:
    """Chains epochs, beginning at any element as if the stream had run.

    Args:
        make_epoch: called with int64 [2] (a seed that differs by epoch);
            returns a data set of `epoch_size` elements whose order is a
            function of that seed.
        epoch_size: elements of an epoch.
        start: elements to skip. Whole epochs are not read.
        seed: of the stream.

    Returns:
        An infinite data set.
    """
    first_epoch, offset = divmod(start, epoch_size)

    def epoch_elements(epoch):
        # A stateless draw rather than [seed, epoch] itself: consumers may use
        # one of the two numbers alone.
        epoch_seed = tf.random.stateless_uniform(
            [2],
            tf.stack([tf.cast(seed, tf.int64), epoch]),
            None,
            None,
            tf.int64,
        )
        return make_epoch(epoch_seed)

    epochs = tf.data.Dataset.counter(first_epoch)
    elements = epochs.flat_map(epoch_elements).skip(offset)
    return elements.apply(
        tf.data.experimental.assert_cardinality(
            tf.data.experimental.INFINITE_CARDINALITY
        )
    )
