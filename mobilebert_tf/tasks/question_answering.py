"""Task of extractive question answering.

Legend: B batch, S sequence.
"""

import tensorflow as tf

from mobilebert_tf.modeling import models
from mobilebert_tf.tasks import fine_tuning
from mobilebert_tf.tasks import gradient_steps


class QuestionAnsweringTask(fine_tuning.FineTuningTask):
    """Cross-entropy of the answer's first and last token.

    As in the official run_squad.py: the mean of both, each over all positions
    of the sequence, padding too; a window without the answer has both at
    [CLS].
    """

    output_names = ("start_logits", "end_logits")
    head_name = "span"

    def make_model(self) -> models.MobileBertForQuestionAnswering:
        return models.MobileBertForQuestionAnswering(self.network)

    def label_weights(self, inputs):
        return tf.ones_like(inputs["start_positions"], tf.float32)

    def label_terms(self, inputs, outputs):
        losses, hits = 0.0, True
        for part in ("start", "end"):
            logits = outputs[f"{part}_logits"]  # [B, S]
            positions = inputs[f"{part}_positions"]  # [B]
            losses += tf.nn.sparse_softmax_cross_entropy_with_logits(
                positions, logits
            )
            hits &= tf.argmax(logits, -1, positions.dtype) == positions
        weights = self.label_weights(inputs)
        hits = tf.cast(hits, tf.float32)
        return {
            self.loss_name: gradient_steps.weighted_mean(losses / 2.0, weights),
            fine_tuning.ACCURACY: gradient_steps.weighted_mean(hits, weights),
        }
