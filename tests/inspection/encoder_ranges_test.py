"""Activation ranges against the encoder's own outputs and plain NumPy."""

import inspected_networks
import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf.inspection import activations
from mobilebert_tf.modeling import encoder as encoder_lib


def _make(name):
    encoder = encoder_lib.MobileBertEncoder(inspected_networks.CONFIGS[name])
    encoder.build_weights()
    inspected_networks.randomize(encoder)
    return encoder


def _measure(encoder, features):
    return {
        (measured.name, measured.block): measured.range
        for measured in activations.measure(encoder, features)
    }


def _largest_at(tensor, mask):
    """Indices of the largest absolute value where the mask is set."""
    magnitudes = np.where(mask, np.abs(tensor), -1)
    return np.unravel_index(magnitudes.argmax(), magnitudes.shape)


@pytest.mark.parametrize("name", inspected_networks.CONFIGS)
def test_hidden_states_and_scores(name):
    """Of real positions only; with more texts than fit a batch."""
    encoder = _make(name)
    features = inspected_networks.make_features(encoder.config, count=19)
    measured = _measure(encoder, features)
    outputs = encoder(features)
    mask = features["input_mask"].astype(bool)
    hidden = [tensor.numpy() for tensor in outputs["encoder_outputs"]]
    keys = [(activations.EMBEDDINGS, None)]
    keys += [(activations.BLOCK_OUTPUT, i) for i in range(len(hidden) - 1)]
    for key, tensor in zip(keys, hidden, strict=True):
        values = tensor[mask]
        result = measured[key]
        assert result.minimum == pytest.approx(values.min(), rel=1e-4)
        assert result.maximum == pytest.approx(values.max(), rel=1e-4)
        assert result.num_values == values.size
        assert result.median == pytest.approx(
            np.median(np.abs(values)), rel=0.01
        )
        *row, channel = _largest_at(tensor, mask[..., np.newaxis])
        assert (result.row, result.channel) == (tuple(row), channel)
    for block, scores in enumerate(outputs["attention_scores"]):
        scores = np.moveaxis(scores.numpy(), 1, -1)  # heads last
        real = mask[:, :, np.newaxis] & mask[:, np.newaxis]
        result = measured[activations.SCORES, block]
        assert result.num_values == scores[real].size
        assert result.minimum == pytest.approx(scores[real].min(), rel=1e-4)
        assert result.maximum == pytest.approx(scores[real].max(), rel=1e-4)
        *row, head = _largest_at(scores, real[..., np.newaxis])
        assert (result.row, result.channel) == (tuple(row), head)


def _dense(layer, values):
    return values @ layer.kernel.numpy() + layer.bias.numpy()


def _norm(layer, values):
    return values * layer.gamma.numpy() + layer.beta.numpy()


def _inside_of_block(block, inputs, scores):
    """What the layers of a MobileBERT block put out, [B, S, *] by name."""
    tensors = {}
    for name, layer in (
        ("input bottleneck", block.input_bottleneck),
        ("key-query bottleneck", block.key_query_bottleneck),
    ):
        tensors[name] = _norm(layer.normalization, _dense(layer.dense, inputs))
    shared = tensors["key-query bottleneck"]
    tensors["query"] = _dense(block.attention.query, shared)
    tensors["key"] = _dense(block.attention.key, shared)
    tensors["value"] = _dense(block.attention.value, inputs)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    heads = np.split(tensors["value"], scores.shape[1], axis=-1)
    tensors["context"] = np.concatenate(
        [weights[:, n] @ head for n, head in enumerate(heads)], axis=-1
    )
    hidden = _norm(
        block.attention_output.normalization,
        _dense(block.attention_output.dense, tensors["context"])
        + tensors["input bottleneck"],
    )
    tensors["attention output"] = hidden
    for k, network in enumerate(block.feed_forward_networks):
        inner = np.maximum(_dense(network.intermediate, hidden), 0)
        hidden = _norm(
            network.normalization, _dense(network.output_dense, inner) + hidden
        )
        tensors[f"feed-forward {k} inner"] = inner
        tensors[f"feed-forward {k}"] = hidden
    return tensors


def test_inside_of_blocks():
    encoder = _make("mobilebert")
    features = inspected_networks.make_features(encoder.config)
    measured = _measure(encoder, features)
    outputs = encoder(features)
    mask = features["input_mask"].astype(bool)
    for index, block in enumerate(encoder.blocks):
        inside = _inside_of_block(
            block,
            outputs["encoder_outputs"][index].numpy(),
            outputs["attention_scores"][index].numpy(),
        )
        assert {
            name for name, measured_in in measured if measured_in == index
        } == {*inside, activations.SCORES, activations.BLOCK_OUTPUT}
        for name, values in inside.items():
            values = values[mask]
            result = measured[name, index]
            assert result.num_values == values.size
            assert result.minimum == pytest.approx(values.min(), rel=1e-3)
            assert result.maximum == pytest.approx(values.max(), rel=1e-3)


def test_names_of_every_structure():
    expected = {
        "mobilebert": {"input bottleneck", "key-query bottleneck"},
        "tiny": {"input bottleneck"},
        "teacher": {"input bottleneck"},
        "plain_bert": set(),
    }
    common = {"query", "key", "value", "context", "attention output"}
    common |= {activations.SCORES, activations.BLOCK_OUTPUT}
    for name, bottlenecks in expected.items():
        encoder = _make(name)
        features = inspected_networks.make_features(encoder.config, count=1)
        count = encoder.config.num_feedforward_networks
        networks = {f"feed-forward {k}" for k in range(count)}
        networks |= {f"feed-forward {k} inner" for k in range(count)}
        measured = _measure(encoder, features)
        for block in range(encoder.config.num_hidden_layers):
            names = {key[0] for key in measured if key[1] == block}
            assert names == common | bottlenecks | networks


def test_layers_are_as_before():
    """The recording leaves no trace, also when the encoder fails."""
    encoder = _make("mobilebert")
    features = inspected_networks.make_features(encoder.config)
    before = encoder(features)["sequence_output"].numpy()
    activations.measure(encoder, features)
    too_large = {
        name: np.pad(values, [[0, 0], [0, 9]])
        for name, values in features.items()
    }
    with pytest.raises(ValueError, match="max_position_embeddings"):
        activations.measure(encoder, too_large)
    for layer in encoder.submodules:
        assert "call" not in vars(layer)
    after = encoder(features)["sequence_output"].numpy()
    np.testing.assert_array_equal(after, before)


def test_an_outlier_is_found_where_it_is():
    """One channel at one token, as [CLS] of the released weights."""
    encoder = _make("mobilebert")
    features = inspected_networks.make_features(encoder.config)
    text, position, token = 5, 2, 39
    ids = features["input_word_ids"]
    ids[ids == token] = 1
    ids[text, position] = token
    table = encoder.embeddings.word_table.numpy()
    table[token, 0] = 1e9
    encoder.embeddings.word_table.assign(table)
    kernel = encoder.embeddings.projection.kernel.numpy()
    width = encoder.config.embedding_size
    kernel[[0, width, 2 * width]] = 0
    kernel[width, 17] = 1.0  # the current token's first channel
    encoder.embeddings.projection.kernel.assign(kernel)
    result = _measure(encoder, features)[activations.EMBEDDINGS, None]
    assert (result.row, result.channel) == ((text, position), 17)
    assert result.beyond_float16
    assert result.beyond_int8
    assert result.outlier_factor > 1e8


def test_not_finite():
    encoder = _make("mobilebert")
    bias = encoder.blocks[1].output_bottleneck.dense.bias
    bias.assign(tf.tensor_scatter_nd_update(bias, [[3]], [np.nan]))
    features = inspected_networks.make_features(encoder.config)
    measured = _measure(encoder, features)
    num_tokens = features["input_mask"].sum()
    assert measured[activations.BLOCK_OUTPUT, 1].num_not_finite == num_tokens
    assert measured[activations.BLOCK_OUTPUT, 0].num_not_finite == 0
