"""Dependence on the padded length: predicted and measured."""

import dataclasses

import inspected_networks
import numpy as np
import pytest

from mobilebert_tf.inspection import padding
from mobilebert_tf.modeling import encoder as encoder_lib


def _make(name="mobilebert", zero_row=False, **changes):
    config = dataclasses.replace(inspected_networks.CONFIGS[name], **changes)
    encoder = encoder_lib.MobileBertEncoder(config)
    encoder.build_weights()
    inspected_networks.randomize(encoder)
    if zero_row:
        table = encoder.embeddings.word_table.numpy()
        table[0] = 0
        encoder.embeddings.word_table.assign(table)
    return encoder


@pytest.mark.parametrize(
    "arguments, is_invariant, verdict",
    [
        ({}, False, "the last real token reads the [PAD] row as its next"),
        ({"zero_row": True}, True, "the [PAD] row is zero"),
        ({"pad_invariant": True}, True, "padding count as zeros"),
        ({"name": "plain_bert"}, True, "a token reads its own row only"),
        (
            {"zero_row": True, "attention_mask_type": "multiplicative"},
            False,
            "the multiplicative mask leaves padding some attention",
        ),
    ],
)
def test_verdict_agrees_with_measurement(arguments, is_invariant, verdict):
    encoder = _make(**arguments)
    table = encoder.embeddings.word_table.numpy()
    row = padding.check_row(encoder.config, table, pad_id=0)
    assert row.is_invariant == is_invariant
    assert verdict in row.verdict
    assert row.norm == pytest.approx(np.sqrt(np.sum(table[0] ** 2)))
    norms = sorted(np.sqrt(np.sum(table**2, axis=1)))
    assert norms[19] <= row.median_norm <= norms[20]

    features = inspected_networks.make_features(encoder.config)
    effect = padding.measure_effect(encoder, features)
    assert effect.num_texts == len(features["input_mask"]) - 1
    if is_invariant:
        assert effect.embeddings < 1e-5
        assert effect.output < 1e-4
    else:
        assert effect.output > 1e-3
        assert effect.output >= effect.first_token > 1e-4


def test_effect_is_the_difference_of_the_outputs():
    encoder = _make()
    features = inspected_networks.make_features(encoder.config)
    effect = padding.measure_effect(encoder, features)
    lengths = features["input_mask"].sum(axis=1)
    padded = encoder(features)["sequence_output"].numpy()
    worst = {}
    for text, length in enumerate(lengths):
        ids = features["input_word_ids"][text : text + 1, :length]
        alone = encoder({"input_word_ids": ids})["sequence_output"].numpy()[0]
        for position in range(length):
            difference = np.abs(padded[text, position] - alone[position]).max()
            worst[text, position] = difference / np.abs(alone[position]).max()
    at = max(worst, key=worst.get)
    assert (effect.text, effect.position) == at
    assert effect.output == pytest.approx(worst[at], rel=1e-3)
    assert effect.first_token == pytest.approx(
        max(value for (_, position), value in worst.items() if not position),
        rel=1e-2,
    )


def test_other_pad_id():
    table = np.ones([5, 4], np.float32)
    table[3] = 0
    config = inspected_networks.CONFIGS["mobilebert"]
    assert not padding.check_row(config, table, pad_id=0).is_invariant
    assert padding.check_row(config, table, pad_id=3).is_invariant


def test_nothing_to_compare_without_padding():
    encoder = _make()
    features = inspected_networks.make_features(encoder.config, count=1)
    assert padding.measure_effect(encoder, features) is None
