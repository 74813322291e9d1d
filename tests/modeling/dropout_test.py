"""Dropout: scale, rate, and a random state that checkpoints carry."""

import numpy as np
import pytest
import small_networks
import tensorflow as tf
import tf_keras

from mobilebert_tf.modeling import dropout
from mobilebert_tf.modeling import encoder as encoder_lib

_ONES = tf.ones([100, 100])


@pytest.mark.parametrize("training", [False, None])
def test_identity_outside_training(training):
    layer = dropout.CheckpointedDropout(0.5)
    np.testing.assert_array_equal(layer(_ONES, training=training), _ONES)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_rate_and_scale_in_training(rate):
    outputs = dropout.CheckpointedDropout(rate, seed=1)(
        _ONES, training=True
    ).numpy()
    kept = outputs[outputs != 0]
    np.testing.assert_allclose(kept, 1 / (1 - rate), rtol=1e-6)
    # Five standard deviations of 10,000 draws.
    deviation = np.sqrt(rate * (1 - rate) / outputs.size)
    assert abs(np.mean(outputs == 0) - rate) < 5 * deviation


def test_rate_zero_is_the_identity_in_training():
    np.testing.assert_array_equal(
        dropout.CheckpointedDropout(0.0)(_ONES, training=True), _ONES
    )


def test_gradient_passes_where_the_input_was_kept():
    layer = dropout.CheckpointedDropout(0.5, seed=3)
    inputs = tf.constant(np.arange(1.0, 33.0), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
    gradient = tape.gradient(outputs, inputs).numpy()
    np.testing.assert_array_equal(gradient, 2.0 * (outputs.numpy() != 0))
    assert 0 < np.count_nonzero(gradient) < 32


def test_low_precision_keeps_its_type_and_its_share():
    """Draws are float32: bfloat16 has 1/128 resolution below 1."""
    layer = dropout.CheckpointedDropout(0.001, seed=0, dtype="bfloat16")
    outputs = layer(tf.ones([1000, 1000], tf.bfloat16), training=True)
    assert outputs.dtype == tf.bfloat16
    dropped = np.mean(tf.cast(outputs, tf.float32).numpy() == 0)
    assert dropped == pytest.approx(0.001, rel=0.2)


def test_calls_differ_and_a_seed_repeats_them():
    first, second, other = (
        dropout.CheckpointedDropout(0.5, seed=s) for s in (7, 7, 8)
    )
    draws = [first(_ONES, training=True).numpy() for _ in range(2)]
    assert (draws[0] != draws[1]).any()
    np.testing.assert_array_equal(second(_ONES, training=True), draws[0])
    np.testing.assert_array_equal(second(_ONES, training=True), draws[1])
    assert (other(_ONES, training=True).numpy() != draws[0]).any()


def test_keras_seed_sets_the_seed():
    seeds = []
    for seed in (1, 1, 2):
        tf_keras.utils.set_random_seed(seed)
        seeds.append([dropout.CheckpointedDropout(0.5).seed for _ in range(2)])
    assert seeds[0] == seeds[1] != seeds[2]
    assert seeds[0][0] != seeds[0][1]


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_impossible_rates(rate):
    with pytest.raises(ValueError, match=r"\[0, 1\), got"):
        dropout.CheckpointedDropout(rate)


@pytest.mark.parametrize("compiled", [False, True])
def test_checkpoint_restores_the_next_draw(tmp_path, compiled):
    layer = dropout.CheckpointedDropout(0.5, seed=5)
    layer(_ONES, training=True)
    path = tf.train.Checkpoint(layer=layer).save(str(tmp_path / "ckpt"))
    draws = [layer(_ONES, training=True).numpy() for _ in range(2)]

    resumed = dropout.CheckpointedDropout(0.5, seed=99)
    call = tf.function(resumed) if compiled else resumed
    call(_ONES, training=True)
    status = tf.train.Checkpoint(layer=resumed).restore(path)
    status.assert_consumed()
    for draw in draws:
        np.testing.assert_array_equal(call(_ONES, training=True), draw)


def test_network_resumes_with_the_same_draws(tmp_path):
    """Every dropout of a network is in its checkpoint."""
    config = small_networks.CONFIGS["teacher"]
    inputs = small_networks.make_inputs(config)
    encoder = encoder_lib.MobileBertEncoder(config)
    encoder(inputs, training=True)
    path = tf.train.Checkpoint(model=encoder).save(str(tmp_path / "ckpt"))
    expected = encoder(inputs, training=True)["sequence_output"].numpy()
    again = encoder(inputs, training=True)["sequence_output"].numpy()
    assert (expected != again).any()

    resumed = encoder_lib.MobileBertEncoder(config)
    resumed.build_weights()
    status = tf.train.Checkpoint(model=resumed).restore(path)
    status.assert_existing_objects_matched()
    for draw in (expected, again):
        np.testing.assert_array_equal(
            resumed(inputs, training=True)["sequence_output"], draw
        )
