"""Range of the weights of each part of a model, and what is not finite."""

import dataclasses
import math

import numpy as np
import tensorflow as tf
import tf_keras

from mobilebert_tf.modeling import configured

# Of a block's layers, by attribute: the part of `cost` that they belong to.
_BLOCK_PARTS = {
    "input_bottleneck": "input bottleneck",
    "key_query_bottleneck": "key-query bottleneck",
    "attention": "query, key, value",
    "attention_output": "attention output",
    "output_bottleneck": "output bottleneck",
}


@dataclasses.dataclass(frozen=True)
class WeightRange:
    """Weights of one part.

    Attributes:
        name: the part's name, as in `cost`.
        block: index of the block, None outside of blocks.
        parameters: number of weights.
        minimum, maximum: of the finite weights.
        largest: the largest absolute value of them.
        tensor: the variable that holds it.
        num_nan, num_infinite: weights that are not finite.
    """

    name: str
    block: int | None
    parameters: int
    minimum: float
    maximum: float
    largest: float
    tensor: str
    num_nan: int
    num_infinite: int


def measure(model: configured.ConfiguredModel) -> list[WeightRange]:
    """Returns the ranges of all parts of a built model, in order."""
    return [
        _measure(name, block, variables)
        for name, block, variables in parts(model)
    ]


def parts(
    model: configured.ConfiguredModel,
) -> list[tuple[str, int | None, list[tf.Variable]]]:
    """Returns name, block index and variables of each part of a model.

    Every weight of the model is in exactly one part, except the random state
    of dropout.
    """
    embeddings = model.encoder.embeddings
    found = [
        ("word table", None, [embeddings.word_table]),
        ("type table", None, [embeddings.type_table]),
        ("position table", None, [embeddings.position_table]),
    ]
    if embeddings.needs_projection:
        found.append(("projection", None, embeddings.projection.weights))
    found.append(("embedding norm", None, embeddings.normalization.weights))
    for index, block in enumerate(model.encoder.blocks):
        found += [
            (name, index, layer.trainable_weights)
            for name, layer in _block_layers(block)
        ]
    if hasattr(model.encoder, "pooler"):
        found.append(("pooler", None, model.encoder.pooler.weights))
    return found + _heads(model)


def _block_layers(block):
    for attribute, name in _BLOCK_PARTS.items():
        if hasattr(block, attribute):
            yield name, getattr(block, attribute)
        if attribute == "attention_output":
            for k, network in enumerate(block.feed_forward_networks):
                yield f"feed-forward {k}", network


def _heads(model):
    """The layers with weights of their own beside the encoder."""
    return [
        (name, None, layer.trainable_weights)
        for name, layer in vars(model).items()
        if isinstance(layer, tf_keras.layers.Layer)
        and layer is not model.encoder
        and layer.trainable_weights
    ]


def _measure(name, block, variables):
    arrays = {
        # Without the model's name in front.
        variable.name.split("/", 1)[1].split(":")[0]: variable.numpy()
        for variable in variables
    }
    finite = {
        tensor: values[np.isfinite(values)] for tensor, values in arrays.items()
    }
    finite = {
        tensor: values for tensor, values in finite.items() if values.size
    }
    peaks = {
        tensor: float(np.abs(values).max()) for tensor, values in finite.items()
    }
    tensor = max(peaks, key=peaks.get, default="")
    return WeightRange(
        name=name,
        block=block,
        parameters=sum(values.size for values in arrays.values()),
        minimum=min(
            (float(v.min()) for v in finite.values()), default=math.nan
        ),
        maximum=max(
            (float(v.max()) for v in finite.values()), default=math.nan
        ),
        largest=peaks.get(tensor, math.nan),
        tensor=tensor,
        num_nan=sum(int(np.isnan(v).sum()) for v in arrays.values()),
        num_infinite=sum(int(np.isinf(v).sum()) for v in arrays.values()),
    )
