"""Mixed precision: bfloat16 holds the released weights' range, float16 not."""

import numpy as np
import pytest
import small_networks
import tensorflow as tf
import tf_keras

from mobilebert_tf.modeling import encoder as encoder_lib
from mobilebert_tf.modeling import models


@pytest.fixture(name="policy")
def _policy():
    before = tf_keras.mixed_precision.global_policy()
    yield tf_keras.mixed_precision.set_global_policy
    tf_keras.mixed_precision.set_global_policy(before)


def _with_outlier(config):
    """Like the released weights: one channel reaches -2.5e7."""
    model = models.MobileBertForPreTraining(config)
    model.build_weights()
    small_networks.randomize(model)
    norm = model.encoder.blocks[-1].output_bottleneck.normalization
    beta = norm.beta.numpy()
    beta[3] = -2.5e7
    norm.beta.assign(beta)
    return model


def test_bfloat16_survives_the_range_of_the_released_weights(policy):
    config = small_networks.CONFIGS["mobilebert"]
    inputs = small_networks.make_inputs(config)
    expected = _with_outlier(config)(inputs)
    policy("mixed_bfloat16")
    outputs = _with_outlier(config)(inputs)
    assert outputs["sequence_output"].dtype == tf.bfloat16
    assert outputs["masked_lm_logits"].dtype == tf.float32
    assert np.abs(expected["sequence_output"]).max() > 2e7
    for key in ("sequence_output", "masked_lm_logits", "next_sentence_logits"):
        actual = tf.cast(outputs[key], tf.float32)
        assert np.isfinite(actual).all()
        small_networks.assert_close(actual, expected[key], 0.05)


def test_the_same_weights_overflow_in_float16():
    """Why the next test's refusal is right."""
    config = small_networks.CONFIGS["mobilebert"]
    outputs = _with_outlier(config)(small_networks.make_inputs(config))
    assert np.isinf(tf.cast(outputs["sequence_output"], tf.float16)).any()


@pytest.mark.parametrize("name", ["mixed_float16", "float16"])
def test_float16_is_refused(policy, name):
    config = small_networks.CONFIGS["mobilebert"]
    policy(name)
    with pytest.raises(ValueError) as info:
        encoder_lib.MobileBertEncoder(config)
    assert str(info.value) == (
        f"MobileBertEncoder: got dtype policy '{name}': float16 ends at 65504 "
        "and MobileBERT's activations reach 1e7; use float32 or mixed_bfloat16"
    )
