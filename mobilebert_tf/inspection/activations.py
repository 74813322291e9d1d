"""Ranges of the activations of an encoder on given texts.

Only real positions count; attention scores only from real to real ones.

Legend: N texts, B batch, S sequence, H hidden_size, A heads, C channels.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tf_keras

from mobilebert_tf.inspection import ranges
from mobilebert_tf.modeling import encoder as encoder_lib

EMBEDDINGS = "embeddings"
BLOCK_OUTPUT = "output"
SCORES = "attention scores"

_BATCH_SIZE = 8


@dataclasses.dataclass(frozen=True)
class ActivationRange:
    """The range of one tensor of the network.

    Attributes:
        name: what it is.
        block: index of the block, None for the embeddings.
        range: its values. The row of the largest is (text, position), for
            attention scores (text, query position, key position); the channel
            is that of the last axis, for attention scores the head.
    """

    name: str
    block: int | None
    range: ranges.Range


def measure(
    encoder: encoder_lib.MobileBertEncoder, features: Mapping[str, np.ndarray]
) -> list[ActivationRange]:
    """Runs the encoder in inference mode and returns ranges, in order.

    Args:
        encoder: with weights.
        features: int32 [N, S]: input_word_ids, input_mask, input_type_ids.

    Returns:
        The embeddings; then for each block what its layers put out, its
        attention scores (after scale and mask, before softmax) and its output.
    """
    layers = {
        (name, index): layer
        for index, block in enumerate(encoder.blocks)
        for name, layer in _inner_layers(block).items()
    }
    running = {}
    num_texts = len(features["input_word_ids"])
    for start in range(0, num_texts, _BATCH_SIZE):
        batch = {
            name: values[start : start + _BATCH_SIZE]
            for name, values in features.items()
        }
        mask = batch["input_mask"].astype(bool)  # [B, S]
        with _recorded(layers) as recorded:
            outputs = encoder(
                {name: tf.constant(values) for name, values in batch.items()},
                training=False,
            )
        tensors = _tensors(outputs, recorded, mask, start)
        for key, (values, rows) in tensors.items():
            running.setdefault(key, ranges.RunningRange()).update(values, rows)
    return [
        ActivationRange(name, block, collected.result())
        for (name, block), collected in running.items()
    ]


def _tensors(outputs, recorded, mask, first_text):
    """Values [R, C] and rows [R, K] of the real positions, by (name, block)."""
    places = np.argwhere(mask) + [first_text, 0]  # [R, 2]
    pairs_mask = mask[:, :, np.newaxis] & mask[:, np.newaxis]  # [B, S, S]
    pairs = np.argwhere(pairs_mask) + [first_text, 0, 0]  # [R, 3]
    hidden = [tensor.numpy() for tensor in outputs["encoder_outputs"]]
    tensors = {(EMBEDDINGS, None): (hidden[0][mask], places)}
    for index, scores in enumerate(outputs["attention_scores"]):
        for (name, block), tensor in recorded.items():
            if block == index:
                tensors[name, block] = (tensor.numpy()[mask], places)
        scores = np.moveaxis(scores.numpy(), 1, -1)  # [B, S, S, A]
        tensors[SCORES, index] = (scores[pairs_mask], pairs)
        tensors[BLOCK_OUTPUT, index] = (hidden[index + 1][mask], places)
    return tensors


def _inner_layers(block):
    """The layers inside a block, by the name of what they put out."""
    layers = {}
    if hasattr(block, "input_bottleneck"):
        layers["input bottleneck"] = block.input_bottleneck
    if hasattr(block, "key_query_bottleneck"):
        layers["key-query bottleneck"] = block.key_query_bottleneck
    layers["query"] = block.attention.query
    layers["key"] = block.attention.key
    layers["value"] = block.attention.value
    layers["context"] = block.attention
    layers["attention output"] = block.attention_output
    for k, network in enumerate(block.feed_forward_networks):
        layers[f"feed-forward {k} inner"] = network.intermediate
        layers[f"feed-forward {k}"] = network
    return layers


@contextlib.contextmanager
def _recorded(
    layers: Mapping[tuple, tf_keras.layers.Layer],
) -> Iterator[dict[tuple, tf.Tensor]]:
    """Yields a dict that takes each layer's output when it is called.

    Of several outputs it takes the first. The layers are as before afterwards.
    """
    outputs = {}

    def record(key, call):
        def recording_call(*args, **kwargs):
            result = call(*args, **kwargs)
            outputs[key] = result[0] if isinstance(result, tuple) else result
            return result

        return recording_call

    try:
        for key, layer in layers.items():
            # The instance's attribute hides the class's method.
            layer.call = record(key, layer.call)
        yield outputs
    finally:
        for layer in layers.values():
            vars(layer).pop("call", None)
