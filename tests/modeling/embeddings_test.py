"""Embeddings: trigram order, ends of the array, types and positions."""

import dataclasses

import numpy as np
import numpy_reference
import pytest
import small_networks
import tensorflow as tf

from mobilebert_tf.modeling import embeddings

_WITHOUT_TRIGRAM = dataclasses.replace(
    small_networks.CONFIGS["mobilebert"], trigram_input=False
)


def _make(config):
    layer = embeddings.MobileBertEmbeddings(config, name="embeddings")
    ids = tf.zeros([1, 1], tf.int32)
    layer(ids, ids)
    small_networks.randomize(layer)
    return layer


def test_trigram_is_next_current_previous():
    words = tf.constant([[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]])
    np.testing.assert_array_equal(
        embeddings.trigram(words),
        [
            [
                [2.0, 20.0, 1.0, 10.0, 0.0, 0.0],
                [3.0, 30.0, 2.0, 20.0, 1.0, 10.0],
                [0.0, 0.0, 3.0, 30.0, 2.0, 20.0],
            ]
        ],
    )


def test_trigram_of_a_single_token():
    np.testing.assert_array_equal(
        embeddings.trigram(tf.constant([[[5.0]]])), [[[0.0, 5.0, 0.0]]]
    )


@pytest.mark.parametrize(
    "config",
    [*small_networks.CONFIGS.values(), _WITHOUT_TRIGRAM],
    ids=[*small_networks.CONFIGS, "without_trigram"],
)
def test_numpy_reference(config):
    layer = _make(config)
    inputs = small_networks.make_inputs(config)
    ids, types = inputs["input_word_ids"], inputs["input_type_ids"]
    weights = numpy_reference.weights_of(layer)
    expected = [
        numpy_reference.embed(config, weights, *row)
        for row in zip(ids, types, strict=True)
    ]
    small_networks.assert_close(layer(ids, types), expected, 1e-5)


def test_projection_only_where_widths_differ():
    names = {
        name: {w.name.split("/")[1] for w in _make(config).weights}
        for name, config in {
            **small_networks.CONFIGS,
            "without_trigram": _WITHOUT_TRIGRAM,
        }.items()
    }
    projected = {
        name
        for name, value in names.items()
        if "embedding_transformation" in value
    }
    assert projected == set(names) - {"plain_bert"}


def test_padding_row_is_an_ordinary_row():
    """The last token sees [PAD] behind it, or zeros at the array's end."""
    config = small_networks.CONFIGS["mobilebert"]
    layer = _make(config)
    short = layer(tf.constant([[4, 5]]), tf.zeros([1, 2], tf.int32)).numpy()
    padded = layer(tf.constant([[4, 5, 0]]), tf.zeros([1, 3], tf.int32)).numpy()
    np.testing.assert_allclose(short[:, 0], padded[:, 0], rtol=1e-5)
    assert np.abs(short[:, 1] - padded[:, 1]).max() > 0.1
    layer.word_table.assign(
        tf.tensor_scatter_nd_update(
            layer.word_table, [[0]], [[0.0] * config.embedding_size]
        )
    )
    padded = layer(tf.constant([[4, 5, 0]]), tf.zeros([1, 3], tf.int32)).numpy()
    np.testing.assert_allclose(short, padded[:, :2], rtol=1e-5, atol=1e-6)


def test_longest_sequence_and_one_more():
    config = small_networks.CONFIGS["mobilebert"]
    layer = _make(config)
    ids = tf.zeros([1, config.max_position_embeddings], tf.int32)
    assert layer(ids, ids).shape == [1, 12, 24]
    too_long = tf.zeros([1, config.max_position_embeddings + 1], tf.int32)
    message = "sequence of 13 tokens exceeds max_position_embeddings=12"
    with pytest.raises(ValueError, match=message):
        layer(too_long, too_long)
    with pytest.raises(ValueError, match=message):
        tf.function(layer)(too_long, too_long)


def test_unknown_sequence_length():
    """Graphs of any length, as in a SavedModel; too long still fails."""
    config = small_networks.CONFIGS["mobilebert"]
    layer = _make(config)
    spec = tf.TensorSpec([None, None], tf.int32)
    function = tf.function(layer, input_signature=[spec, spec])
    inputs = small_networks.make_inputs(config)
    ids, types = inputs["input_word_ids"], inputs["input_type_ids"]
    np.testing.assert_allclose(
        function(ids, types), layer(ids, types), rtol=1e-5, atol=1e-6
    )
    too_long = tf.zeros([1, config.max_position_embeddings + 1], tf.int32)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        function(too_long, too_long)


def test_dropout_follows_normalization():
    """Dropped channels are zero although beta is not."""
    config = dataclasses.replace(
        small_networks.CONFIGS["mobilebert"], hidden_dropout_prob=0.5
    )
    layer = _make(config)
    ids = tf.ones([20, 12], tf.int32)
    plain = layer(ids, ids * 0).numpy()
    outputs = layer(ids, ids * 0, training=True).numpy()
    assert plain.all()
    dropped = outputs == 0
    assert 0.45 < dropped.mean() < 0.55
    np.testing.assert_allclose(
        outputs[~dropped], 2 * plain[~dropped], rtol=1e-5
    )
