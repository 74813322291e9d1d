"""Cross-entropy of labels: weighted by class, and smoothed.

Legend: C number of labels.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from mobilebert_tf.experiments import fine_tuning_config
from mobilebert_tf.tasks import gradient_steps

# A mean and its weight.
Term = tuple[tf.Tensor, tf.Tensor]


class LabelLoss:
    """The loss that a LossConfig describes.

    Args:
        config: LossConfig.
        labels: names of the C labels.
        train_ids: int, labels of the training data; None if nothing is
            trained.

    Raises:
        ValueError: for options that do not fit the labels.
    """

    def __init__(
        self,
        config: fine_tuning_config.LossConfig,
        labels: Sequence[str],
        train_ids: np.ndarray | None,
    ):
        check(config, labels)
        self._smoothing = config.label_smoothing
        self._class_weights = _class_weights(config, len(labels), train_ids)

    def weights(self, label_ids: tf.Tensor) -> tf.Tensor:
        """Returns how much each position counts, float32 [...].

        Args:
            label_ids: int [...]; negative where there is nothing to learn.
        """
        weights = tf.cast(label_ids >= 0, tf.float32)
        if self._class_weights is None:
            return weights
        class_weights = tf.constant(self._class_weights, tf.float32)
        return weights * tf.gather(class_weights, tf.maximum(label_ids, 0))

    def terms(
        self, label_ids: tf.Tensor, logits: tf.Tensor
    ) -> tuple[Term, Term]:
        """Returns loss and accuracy.

        Args:
            label_ids: int [...], as of `weights`.
            logits: float32 [..., C].
        """
        losses = _cross_entropies(
            logits, tf.maximum(label_ids, 0), self._smoothing
        )
        # No prediction equals the label where there is none.
        hits = tf.argmax(logits, -1, label_ids.dtype) == label_ids
        return (
            gradient_steps.weighted_mean(losses, self.weights(label_ids)),
            gradient_steps.weighted_mean(
                tf.cast(hits, tf.float32),
                tf.cast(label_ids >= 0, tf.float32),
            ),
        )


def check(config: fine_tuning_config.LossConfig, labels: Sequence[str]) -> None:
    """Raises ValueError for options that do not fit the labels."""
    if not 0 <= config.label_smoothing < 1:
        raise ValueError(
            "task.loss.label_smoothing: expected at least 0 and less than 1, "
            f"got {config.label_smoothing}"
        )
    if config.class_weights and config.balance_classes:
        raise ValueError(
            "task.loss: expected class_weights or balance_classes, got both"
        )
    if config.class_weights and (
        len(config.class_weights) != len(labels)
        or not all(map(_is_weight, config.class_weights))
    ):
        raise ValueError(
            "task.loss.class_weights: expected a positive number for each of "
            f"{', '.join(labels)}, got {list(config.class_weights)}"
        )


def check_without_classes(
    config: fine_tuning_config.LossConfig, what: str
) -> None:
    """Raises ValueError for options that need classes.

    Args:
        config: LossConfig.
        what: has none, for the message.
    """
    is_weighted = config.class_weights or config.balance_classes
    if is_weighted or config.label_smoothing:
        raise ValueError(f"task.loss: {what} has no classes to weigh or smooth")


def _is_weight(value):
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 < value < np.inf


def _class_weights(config, num_labels, train_ids):
    """Returns a weight per class, or None for all alike."""
    if config.class_weights:
        return list(config.class_weights)
    if not config.balance_classes or train_ids is None:
        return None
    counts = np.bincount(train_ids, minlength=num_labels)
    # A class without examples needs no weight.
    return (len(train_ids) / (num_labels * np.maximum(counts, 1))).tolist()


def _cross_entropies(logits, label_ids, smoothing):
    """Returns the loss at each position, float32 [...]."""
    if not smoothing:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(label_ids, logits)
    num_labels = logits.shape[-1]
    labels = (1 - smoothing) * tf.one_hot(label_ids, num_labels)
    return tf.nn.softmax_cross_entropy_with_logits(
        labels + smoothing / num_labels, logits
    )
