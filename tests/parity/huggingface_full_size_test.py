"""The published networks at full size: 24 blocks, 30,522 words."""

import hugging_face_models
import numpy as np
import parity_gradients
import parity_networks
import pytest
import small_networks
import tf_keras

from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models

_PRESETS = ("mobilebert", "mobilebert_tiny", "mobilebert_without_opt")
# About what the released weights reach, at the first token; this channel.
_LARGEST = -2.5e7
_CHANNEL = 0


def _make(name):
    model = models.MobileBertForPreTraining(config_lib.preset(name))
    model.build_weights()
    parity_networks.randomize(model)
    return model


@pytest.fixture(scope="module", params=_PRESETS, name="pair")
def _pair(request):
    ours = _make(request.param)
    return ours, hugging_face_models.make_model(ours)


@pytest.fixture(name="float64")
def _float64():
    tf_keras.mixed_precision.set_global_policy("float64")
    yield
    tf_keras.mixed_precision.set_global_policy("float32")


def _assert_same(ours, theirs, inputs):
    actual = ours(inputs)
    expected = hugging_face_models.run(theirs, inputs)
    hugging_face_models.assert_same_encoder_outputs(actual, expected)
    small_networks.assert_close(
        actual["masked_lm_logits"], expected.prediction_logits
    )
    small_networks.assert_close(
        actual["next_sentence_logits"], expected.seq_relationship_logits
    )
    return actual, expected


@pytest.mark.parametrize(
    "count, length, padded", [(1, 1, False), (2, 128, True), (1, 512, False)]
)
def test_outputs(pair, count, length, padded):
    ours, theirs = pair
    inputs = parity_networks.make_inputs(ours.config, length, padded, count)
    _assert_same(ours, theirs, inputs)


@pytest.mark.parametrize("name", ["mobilebert", "mobilebert_tiny"])
def test_gradients(name, float64):
    """In float64: among a million ReLUs some inputs are 0 to within float32.

    Where rounding puts one on the other side, gradients change by over 1e-3.
    """
    ours = _make(name)
    assert ours.encoder.embeddings.word_table.dtype == "float64"
    theirs = hugging_face_models.make_model(ours).double()
    parity_gradients.train_on_row_0(theirs)
    inputs = parity_networks.make_inputs(ours.config, 24, count=2)
    inputs["input_word_ids"][:, 3] = 0
    parity_gradients.assert_same_pretraining_gradients(ours, theirs, inputs)


def test_activations_as_large_as_the_released():
    """One channel of the first token reaches 1e7; all others must agree too.

    As in the released weights, what reads the channel inside the network has
    small kernels, and the next-sentence head has not: logits of 1e6.
    """
    ours = _make("mobilebert")
    _enlarge(ours)
    theirs = hugging_face_models.make_model(ours)
    inputs = parity_networks.make_inputs(ours.config, 64, count=2)
    actual, expected = _assert_same(ours, theirs, inputs)
    assert np.abs(actual["sequence_output"]).max() > 1e7
    assert np.abs(actual["next_sentence_logits"]).max() > 1e5
    for states, torch_states in zip(
        actual["encoder_outputs"], expected.hidden_states, strict=True
    ):
        others = np.delete(states, _CHANNEL, axis=-1)
        assert np.abs(others).max() < 1e4
        small_networks.assert_close(
            others, np.delete(torch_states.numpy(), _CHANNEL, axis=-1)
        )


def _enlarge(model):
    """Makes one channel of the first token carry _LARGEST to the end."""
    embeddings = model.encoder.embeddings
    _set(embeddings.position_table, (0, _CHANNEL), _LARGEST)
    _set(embeddings.normalization.gamma, _CHANNEL, 1.0)
    _weaken_readers(model.masked_lm.dense)
    for block in model.encoder.blocks:
        _set(block.output_bottleneck.normalization.gamma, _CHANNEL, 1.0)
        _weaken_readers(block.input_bottleneck.dense)
        _weaken_readers(block.key_query_bottleneck.dense)
        _weaken_readers(block.attention.value)


def _weaken_readers(dense):
    row = dense.kernel.numpy()[_CHANNEL]
    _set(dense.kernel, _CHANNEL, row / abs(_LARGEST))


def _set(variable, index, value):
    values = variable.numpy()
    values[index] = value
    variable.assign(values)
