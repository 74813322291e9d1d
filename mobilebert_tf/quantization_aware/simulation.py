"""A Keras model as its int8 file will compute it, for training.

The weights are folded as those of a file are, as functions of the model's
variables, and the deployment graph runs on them with int8 rounding. What is
learned are the model's own variables: it stays an ordinary model.

Legend: B batch, C choices, S sequence.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from export import folding
from export import graph_heads
from export import inference_graph
from export import numerics as numerics_lib
from export import weights as weights_lib
from mobilebert_tf import model_directory
from mobilebert_tf.experiments import quantization_config
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import configured
from mobilebert_tf.modeling import models
from mobilebert_tf.quantization_aware import ranges as ranges_lib


class Simulation:
    """The int8 form of a model.

    The model gets an attribute with the ranges of activations, which its
    checkpoints save.

    Args:
        model: a built model that is fine-tuned.
        config: QuantizationConfig.
        sequence_length: S.
        num_steps: of the training.
    """

    def __init__(
        self,
        model: configured.ConfiguredModel,
        config: quantization_config.QuantizationConfig,
        sequence_length: int,
        num_steps: int,
    ):
        self._model = model
        self._length = sequence_length
        self._float_names = inference_graph.float_activations(
            model.config, graph_heads.from_model(model)
        )
        is_symmetric = {
            name: each.is_symmetric
            for name, each in self._trace_activations().items()
        }
        self._ranges = ranges_lib.Ranges(
            is_symmetric, config, int(config.following_share * num_steps)
        )
        setattr(model, model_directory.INT8_RANGES, self._ranges)

    # None of it is for AutoGraph, which takes long.
    @tf.autograph.experimental.do_not_convert
    def __call__(
        self, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> dict[str, tf.Tensor]:
        """Returns the logits that the model's head gives, by name.

        Args:
            inputs: int32 [B, S] by name, of multiple choice [B, C, S].
            training: whether the head drops out, and ranges follow the batch.
        """
        numerics = numerics_lib.Int8(self._ranges.of, self._float_names)
        logits = self.logits(inputs, numerics, training)
        if training:
            self._ranges.follow(lambda: _bounds(inputs, numerics.activations))
        return logits

    def calibrate(self, batches: tf.data.Dataset) -> None:
        """Sets the ranges to the mean of those of batches, in float32.

        Raises:
            ValueError: if an activation is not finite.
        """

        @tf.function(autograph=False)
        def bounds_of(batch):
            numerics = numerics_lib.Float()
            self.logits(batch, numerics)
            bounds = _bounds(batch, numerics.activations)
            return {
                name: tf.where(each.is_finite(), bounds[name], np.nan)
                for name, each in numerics.activations.items()
            }

        found = [bounds_of(batch) for batch in batches]
        self._ranges.start(
            {
                name: np.mean([each[name] for each in found], axis=0)
                for name in found[0]
            }
        )

    def logits(
        self,
        inputs: Mapping[str, tf.Tensor],
        numerics: numerics_lib.Float,
        training: bool = False,
    ) -> dict[str, tf.Tensor]:
        """Runs the graph in any numerics; as __call__, but ranges stay."""
        model = self._model
        shape = inputs["input_word_ids"].shape
        inputs = {
            name: tf.ensure_shape(
                tf.reshape(inputs[name], [-1, self._length]),
                [None, self._length],
            )
            for name in inference_graph.INPUT_NAMES
        }
        folded = folding.fold(
            model.config,
            weights_lib.from_encoder(model.encoder, weights_lib.as_tensor),
            self._length,
        )
        encoder = inference_graph.EncoderGraph(
            model.config, folded, numerics, self._length, is_batched=True
        )
        head = graph_heads.from_model(model, weights_lib.as_tensor)
        outputs = encoder(
            *(inputs[name] for name in inference_graph.INPUT_NAMES),
            first_token_only=head.first_token_only,
        )
        dropout = {}
        if hasattr(model, "classifier"):
            layer = model.classifier.dropout
            dropout["dropout"] = lambda x: layer(x, training=training)
        logits = head.logits(outputs, numerics, **dropout)
        return {
            name: self._shaped(each, shape) for name, each in logits.items()
        }

    def _shaped(self, logits, input_shape):
        """Returns logits of rows, [R, ...], as the Keras model gives them."""
        model = self._model
        if isinstance(model, models.MobileBertForMultipleChoice):
            shape = [-1, *input_shape[1:-1]]
        elif isinstance(model, models.MobileBertForTokenClassification):
            shape = [-1, self._length, model.num_labels]
        elif isinstance(model, models.MobileBertForQuestionAnswering):
            shape = [-1, self._length]
        else:
            return logits
        return tf.reshape(logits, shape)

    def _trace_activations(self):
        """Returns the activations of the graph; their values mean nothing."""
        numerics = numerics_lib.Float()
        ids = tf.TensorSpec([1, self._length], tf.int32)
        tf.function(
            lambda batch: self.logits(batch, numerics), autograph=False
        ).get_concrete_function(
            {name: ids for name in inference_graph.INPUT_NAMES}
        )
        return numerics.activations


def tell_dropout(config: config_lib.MobileBertConfig) -> None:
    """Logs which dropout of the network the simulation leaves out."""
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        rate = getattr(config, name)
        if rate:
            logging.info(
                "quantization_aware: %s %g does not count, the graph of the "
                "file has no dropout",
                name,
                rate,
            )


def _bounds(inputs, activations):
    """Returns the smallest and largest value of each activation."""
    mask = inputs["input_mask"]
    real = tf.cast(tf.reshape(mask, [-1, mask.shape[-1]]), tf.float32)
    return {name: each.bounds(real) for name, each in activations.items()}
