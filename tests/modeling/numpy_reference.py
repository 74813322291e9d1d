"""The forward computation in float64 NumPy, one sequence at a time.

Written from the paper and the published code's behaviour, step by step and
position by position; it shares nothing with the layers it is compared with
except the names of their weights.
"""

import numpy as np


def weights_of(layer) -> dict[str, np.ndarray]:
    """Returns {variable name below `layer`: float64 values}."""
    return {
        variable.name.split("/", 1)[1].split(":")[0]: variable.numpy().astype(
            np.float64
        )
        for variable in layer.weights
    }


def embed(config, weights, ids, types) -> np.ndarray:
    """Returns [S, H] from ids and types, both [S]."""
    table = weights["word_embeddings"]
    rows = []
    for position in range(len(ids)):
        vector = table[ids[position]]
        if config.trigram_input:
            zeros = np.zeros_like(vector)
            following = previous = zeros
            if position + 1 < len(ids):
                following = table[ids[position + 1]]
            if position > 0:
                previous = table[ids[position - 1]]
            vector = np.concatenate([following, vector, previous])
        if "embedding_transformation/kernel" in weights:
            vector = dense(weights, "embedding_transformation", vector)
        vector = vector + weights["token_type_embeddings"][types[position]]
        vector = vector + weights["position_embeddings"][position]
        rows.append(normalize(config, weights, "", vector))
    return np.array(rows)


def block(config, weights, inputs, mask) -> tuple[np.ndarray, np.ndarray]:
    """Returns a block's output [S, H] and its masked scores [N, S, S]."""
    residual = inputs
    if config.use_bottleneck:
        residual = normalize(
            config,
            weights,
            "bottleneck_input/",
            dense(weights, "bottleneck_input/dense", inputs),
        )
    query = key = value = inputs
    if config.use_bottleneck_attention:
        query = key = value = residual
    elif config.key_query_shared_bottleneck:
        query = key = normalize(
            config,
            weights,
            "bottleneck_attention/",
            dense(weights, "bottleneck_attention/dense", inputs),
        )
    context, scores = attend(
        config,
        dense(weights, "attention_self/query", query),
        dense(weights, "attention_self/key", key),
        dense(weights, "attention_self/value", value),
        mask,
    )
    hidden = normalize(
        config,
        weights,
        "attention_output/",
        dense(weights, "attention_output/dense", context) + residual,
    )
    for k in range(config.num_feedforward_networks):
        inner = activate(
            config, dense(weights, f"ffn_{k}/intermediate", hidden)
        )
        hidden = normalize(
            config,
            weights,
            f"ffn_{k}/",
            dense(weights, f"ffn_{k}/output", inner) + hidden,
        )
    if config.use_bottleneck:
        hidden = normalize(
            config,
            weights,
            "bottleneck_output/",
            dense(weights, "bottleneck_output/dense", hidden) + inputs,
        )
    return hidden, scores


def attend(config, query, key, value, mask):
    """Returns the context [S, b] and the masked scores [N, S, S]."""
    size = query.shape[-1] // config.num_attention_heads
    contexts, all_scores = [], []
    for head in range(config.num_attention_heads):
        part = slice(head * size, (head + 1) * size)
        scores = query[:, part] @ key[:, part].T / np.sqrt(size)
        scores = scores + (np.asarray(mask) - 1.0) * 10000.0
        contexts.append(softmax(scores) @ value[:, part])
        all_scores.append(scores)
    return np.concatenate(contexts, axis=-1), np.array(all_scores)


def dense(weights, name, inputs):
    """The linear map `name`, with bias."""
    return inputs @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]


def normalize(config, weights, prefix, inputs):
    """NoNorm or LayerNorm with the weights below `prefix`."""
    if config.normalization_type == "no_norm":
        prefix += "FakeLayerNorm"
    else:
        prefix += "LayerNorm"
        inputs = standardize(inputs)
    return inputs * weights[f"{prefix}/gamma"] + weights[f"{prefix}/beta"]


def standardize(inputs):
    """LayerNorm over the last axis without gamma and beta."""
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + 1e-12)


def activate(config, inputs):
    """hidden_act; gelu in its tanh approximation."""
    if config.hidden_act == "gelu":
        inner = np.sqrt(2 / np.pi) * (inputs + 0.044715 * inputs**3)
        return 0.5 * inputs * (1 + np.tanh(inner))
    rectified = np.maximum(inputs, 0.0)
    return (
        np.minimum(rectified, 6.0)
        if config.hidden_act == "relu6"
        else (rectified)
    )


def softmax(scores):
    """Over the last axis."""
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
