"""Masks and padded lengths: what padding does to the real positions."""

import dataclasses

import numpy as np
import pytest
import small_networks

from mobilebert_tf.modeling import encoder as encoder_lib

_REAL = 5


def _outputs(config, length):
    """Outputs at the real positions of one text padded to `length`."""
    encoder = encoder_lib.MobileBertEncoder(config)
    encoder.build_weights()
    small_networks.randomize(encoder)
    ids = np.zeros([1, length], np.int32)
    ids[0, :_REAL] = [2, 17, 9, 31, 3]
    mask = (np.arange(length) < _REAL).astype(np.int32)[np.newaxis]
    outputs = encoder({"input_word_ids": ids, "input_mask": mask})
    return np.stack([x[0, :_REAL] for x in outputs["encoder_outputs"]])


def _largest_difference(config):
    bare, padded = _outputs(config, _REAL), _outputs(config, 12)
    return np.max(np.abs(padded - bare)) / np.max(np.abs(bare))


@pytest.mark.parametrize("name", small_networks.CONFIGS)
def test_pad_invariant(name):
    config = dataclasses.replace(
        small_networks.CONFIGS[name], pad_invariant=True
    )
    assert _largest_difference(config) < 1e-5


def test_published_network_reads_the_pad_embedding():
    """The last real token's trigram, and from there everything."""
    config = small_networks.CONFIGS["mobilebert"]
    assert _largest_difference(config) > 1e-2
    bare, padded = _outputs(config, _REAL)[0], _outputs(config, 12)[0]
    changed = np.any(bare != padded, axis=-1)
    np.testing.assert_array_equal(changed, [False] * 4 + [True])


def test_pad_invariant_changes_nothing_without_padding():
    config = small_networks.CONFIGS["mobilebert"]
    invariant = dataclasses.replace(config, pad_invariant=True)
    np.testing.assert_array_equal(
        _outputs(config, _REAL), _outputs(invariant, _REAL)
    )


def test_multiplicative_mask_depends_on_the_padded_length():
    """Even where the trigram does not: padding keeps attention."""
    config = dataclasses.replace(
        small_networks.CONFIGS["mobilebert"],
        trigram_input=False,
        attention_mask_type="multiplicative",
    )
    assert _largest_difference(config) > 1e-4
    additive = dataclasses.replace(config, attention_mask_type="additive")
    assert _largest_difference(additive) < 1e-5


def test_multiplicative_mask_can_not_be_pad_invariant():
    with pytest.raises(ValueError, match="pad_invariant=true needs"):
        dataclasses.replace(
            small_networks.CONFIGS["mobilebert"],
            attention_mask_type="multiplicative",
            pad_invariant=True,
        )
