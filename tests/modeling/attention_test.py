"""Attention scores and the two masks."""

import numpy as np
import numpy_reference
import small_networks
import tensorflow as tf

from mobilebert_tf.modeling import attention

_SCORES = np.array([[[[5.0, -2.0, 70.0], [0.5, 1.0, -9.0]]]], np.float32)


def test_attention_mask():
    mask = attention.make_attention_mask(tf.constant([[1, 1, 0], [1, 0, 0]]))
    assert mask.dtype == tf.float32
    np.testing.assert_array_equal(mask, [[[[1, 1, 0]]], [[[1, 0, 0]]]])


def test_additive_mask_lowers_padding_scores():
    mask = attention.make_attention_mask(tf.constant([[1, 1, 0]]))
    np.testing.assert_array_equal(
        attention.mask_scores(_SCORES, mask, "additive"),
        [[[[5.0, -2.0, -9930.0], [0.5, 1.0, -10009.0]]]],
    )


def test_multiplicative_mask_replaces_padding_scores():
    mask = attention.make_attention_mask(tf.constant([[1, 1, 0]]))
    np.testing.assert_array_equal(
        attention.mask_scores(_SCORES, mask, "multiplicative"),
        [[[[5.0, -2.0, -6.0], [0.5, 1.0, -6.0]]]],
    )


def test_multiplicative_mask_leaves_padding_its_published_share():
    """With flat scores: 3.2 % of attention at 9 real of 128 positions."""
    for real, length, share in ((9, 128, 0.032), (128, 384, 0.005)):
        mask = attention.make_attention_mask(
            tf.cast(tf.range(length) < real, tf.int32)[tf.newaxis]
        )
        scores = attention.mask_scores(
            tf.zeros([1, 1, 1, length]), mask, "multiplicative"
        )
        padding = tf.reduce_sum(tf.nn.softmax(scores)[0, 0, 0, real:])
        assert abs(float(padding) - share) < 0.0005


def test_scores_are_scaled_masked_and_before_softmax():
    """Four channels, two heads of two: every number by hand."""
    config = small_networks.CONFIGS["mobilebert"]
    layer = attention.MultiHeadSelfAttention(config)
    width = config.block_size
    inputs = np.zeros([1, 3, width], np.float32)
    inputs[0, :, 0] = [1.0, 2.0, 3.0]  # first head, first channel
    inputs[0, :, width // 2] = [10.0, 0.0, -1.0]  # second head
    mask = attention.make_attention_mask(tf.constant([[1, 1, 0]]))
    layer(inputs, inputs, inputs, attention_mask=mask)
    for dense in (layer.query, layer.key, layer.value):
        dense.kernel.assign(np.eye(width, dtype=np.float32))
    layer.value.bias.assign(np.full([width], 0.5))

    context, scores = layer(inputs, inputs, inputs, attention_mask=mask)
    scale = np.sqrt(width / 2)
    visible = np.array(
        [
            [[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]],
            [[100.0, 0.0], [0.0, 0.0], [-10.0, 0.0]],
        ]
    )
    np.testing.assert_allclose(scores[0, :, :, :2], visible / scale, rtol=1e-6)
    hidden = np.array([[3.0, 6.0, 9.0], [-10.0, 0.0, 1.0]]) / scale - 10000
    np.testing.assert_allclose(scores[0, :, :, 2], hidden, rtol=1e-6)
    first = numpy_reference.softmax(visible[0] / scale) @ [1.0, 2.0] + 0.5
    second = numpy_reference.softmax(visible[1] / scale) @ [10.0, 0.0] + 0.5
    np.testing.assert_allclose(context[0, :, 0], first, rtol=1e-5)
    np.testing.assert_allclose(context[0, :, width // 2], second, rtol=1e-5)
    np.testing.assert_allclose(context[0, :, 1], 0.5, rtol=1e-5)


def test_fully_masked_sequence_stays_finite():
    """As in a padded batch's empty examples: uniform, not NaN."""
    config = small_networks.CONFIGS["mobilebert"]
    layer = attention.MultiHeadSelfAttention(config)
    inputs = tf.random.stateless_normal([1, 4, config.block_size], [0, 1])
    mask = attention.make_attention_mask(tf.zeros([1, 4], tf.int32))
    context, scores = layer(inputs, inputs, inputs, attention_mask=mask)
    assert np.isfinite(context).all()
    assert scores.numpy().max() < -9000
