"""The presets' outputs are those of golden_slices.json."""

import dataclasses

import golden_slices
import pytest

from mobilebert_tf.modeling import config as config_lib


@pytest.mark.parametrize("name", config_lib.PRESETS)
def test_outputs_are_as_stored(name):
    slices = golden_slices.compute(config_lib.preset(name))
    stored = golden_slices.read()[name]
    assert slices.keys() == stored.keys()
    for output, numbers in slices.items():
        error = golden_slices.relative_error(numbers, stored[output])
        assert error <= golden_slices.TOLERANCE, output


def test_all_presets_are_stored():
    assert golden_slices.read().keys() == config_lib.PRESETS.keys()


def test_another_seed_shows_everywhere():
    slices = golden_slices.compute(config_lib.micro(), seed=1)
    for output, numbers in golden_slices.read()["micro"].items():
        error = golden_slices.relative_error(slices[output], numbers)
        assert error > 1000 * golden_slices.TOLERANCE, output


@pytest.mark.parametrize(
    "name, change",
    [
        ("micro", {"hidden_act": "gelu"}),
        ("micro", {"pad_invariant": True}),
        ("micro", {"attention_mask_type": "multiplicative"}),
        ("micro", {"num_attention_heads": 2}),
        ("micro", {"normalization_type": "layer_norm"}),
        ("micro_teacher", {"hidden_act": "gelu_erf"}),
        ("micro_teacher", {"classifier_activation": False}),
    ],
)
def test_another_network_shows(name, change):
    """Of the same variables, or nearly; some differ in few positions.

    relu6 would not: no activation is that large.
    """
    config = dataclasses.replace(config_lib.preset(name), **change)
    slices = golden_slices.compute(config)
    errors = [
        golden_slices.relative_error(slices[output], numbers)
        for output, numbers in golden_slices.read()[name].items()
    ]
    assert max(errors) > 2 * golden_slices.TOLERANCE
