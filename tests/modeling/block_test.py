"""One block against the NumPy reference, and where dropout acts."""

import dataclasses

import numpy as np
import numpy_reference
import pytest
import small_networks
import tensorflow as tf

from mobilebert_tf.modeling import attention
from mobilebert_tf.modeling import block as block_lib

_MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]])


def _make(config):
    """Returns a randomised block and its input."""
    block = block_lib.MobileBertBlock(config, name="block")
    inputs = np.random.default_rng(1).normal(
        size=[*_MASK.shape, config.hidden_size]
    )
    inputs = inputs.astype(np.float32)
    _call(block, inputs)
    small_networks.randomize(block)
    return block, inputs


def _call(block, inputs, **kwargs):
    mask = attention.make_attention_mask(tf.constant(_MASK))
    return block(inputs, attention_mask=mask, **kwargs)


@pytest.mark.parametrize("name", small_networks.CONFIGS)
def test_numpy_reference(name):
    config = small_networks.CONFIGS[name]
    block, inputs = _make(config)
    weights = numpy_reference.weights_of(block)
    expected = [
        numpy_reference.block(config, weights, row.astype(np.float64), mask)
        for row, mask in zip(inputs, _MASK, strict=True)
    ]
    outputs, scores = _call(block, inputs)
    small_networks.assert_close(outputs, [row[0] for row in expected], 1e-5)
    visible = np.broadcast_to(_MASK[:, None, None, :] == 1, scores.shape)
    expected_scores = np.array([row[1] for row in expected])
    small_networks.assert_close(
        scores.numpy()[visible], expected_scores[visible], 1e-5
    )
    # One float32 step at 10,000 is 1e-3.
    np.testing.assert_allclose(
        scores.numpy()[~visible], expected_scores[~visible], atol=2e-3
    )


def test_bottleneck_attention_wins_over_shared_key_query():
    """If both flags are set, as in the published code."""
    config = dataclasses.replace(
        small_networks.CONFIGS["tiny"], key_query_shared_bottleneck=True
    )
    both, inputs = _make(config)
    tiny, _ = _make(small_networks.CONFIGS["tiny"])
    assert both.count_params() == tiny.count_params()
    np.testing.assert_array_equal(
        _call(both, inputs)[0], _call(tiny, inputs)[0]
    )


def _without_dropout(name, **rates):
    rates = {
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        **rates,
    }
    return dataclasses.replace(small_networks.CONFIGS[name], **rates)


@pytest.mark.parametrize("name", small_networks.CONFIGS)
def test_training_without_dropout_is_inference(name):
    block, inputs = _make(_without_dropout(name))
    np.testing.assert_array_equal(
        _call(block, inputs, training=True)[0], _call(block, inputs)[0]
    )


def test_hidden_dropout_acts_on_the_output_bottleneck_alone():
    """Training output = inference output where the bottleneck was dropped.

    With NoNorm, y = gamma * (d + x) + beta where d is 0 or twice the
    bottleneck's value.
    """
    block, inputs = _make(
        _without_dropout("mobilebert", hidden_dropout_prob=0.5)
    )
    gamma, beta = (
        w.numpy() for w in block.output_bottleneck.normalization.weights
    )
    plain = (_call(block, inputs)[0].numpy() - beta) / gamma - inputs
    outputs = _call(block, inputs, training=True)[0].numpy()
    ratio = ((outputs - beta) / gamma - inputs) / plain
    dropped = np.abs(ratio) < 0.01
    doubled = np.abs(ratio - 2) < 0.01
    # Ratios of values near zero are noise.
    clear = np.abs(plain) > 0.01
    assert (dropped | doubled)[clear].all()
    assert 0.4 < dropped[clear].mean() < 0.6


def test_attention_dropout_acts_on_probabilities_not_on_scores():
    block, inputs = _make(
        _without_dropout("mobilebert", attention_probs_dropout_prob=0.5)
    )
    plain, plain_scores = _call(block, inputs)
    outputs, scores = _call(block, inputs, training=True)
    np.testing.assert_array_equal(scores, plain_scores)
    assert (outputs.numpy() != plain.numpy()).any(axis=-1).all()


@pytest.mark.parametrize(
    "name, attention_output, networks",
    [
        ("mobilebert", 0.0, [0.0, 0.0, 0.0, 0.0]),
        ("teacher", 0.0, [0.0]),
        ("plain_bert", 0.25, [0.0, 0.25]),
    ],
)
def test_dropout_before_inner_residuals_only_without_bottleneck(
    name, attention_output, networks
):
    block, _ = _make(_without_dropout(name, hidden_dropout_prob=0.25))
    assert block.attention_output.dropout.rate == attention_output
    rates = [n.dropout.rate for n in block.feed_forward_networks]
    assert rates == networks
    assert block.attention.dropout.rate == 0.0
