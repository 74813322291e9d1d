"""Outliers that were put into a small model are found where they are."""

import numpy as np
import pytest
import small_models

from export import calibration
from export import conversion
from export import inference_graph
from export import outliers

CONFIG = small_models.CONFIGS["mobilebert"]
CHANNEL = 5


def _float_model(model):
    return conversion.convert(
        inference_graph.module_of(model, small_models.SEQUENCE_LENGTH)
    )


def _find(model, **kwargs):
    inputs = small_models.make_inputs(CONFIG, 4)
    return outliers.find(
        _float_model(model), calibration.single_rows(inputs), **kwargs
    )


def _with_outlier(value):
    """Returns a model with one value in the embeddings of the first token."""
    model = small_models.make_classifier(CONFIG)
    (table,) = (
        variable
        for variable in model.encoder.weights
        if variable.shape == (CONFIG.max_position_embeddings, 32)
    )
    values = table.numpy()
    values[0, CHANNEL] = value
    table.assign(values)
    return model


@pytest.mark.parametrize("value", [1e3, -1e7])
def test_token_and_channel_are_named(value):
    found = _find(_with_outlier(value))
    (embeddings,) = (o for o in found if o.name == "embeddings/sum")
    assert embeddings.position == 0
    assert embeddings.channel == CHANNEL
    assert 0.4 < embeddings.value / value < 1.6  # times gamma
    assert embeddings.ratio > 100
    assert embeddings.overflows_float16 == (value == -1e7)
    assert "embeddings/sum: " in embeddings.describe()
    assert "(token 0, channel 5 of example" in embeddings.describe()
    assert ("float16" in embeddings.describe()) == (value == -1e7)
    ratios = [each.ratio for each in found]
    assert ratios == sorted(ratios, reverse=True)


def test_none_in_a_usual_model():
    model = small_models.make_classifier(CONFIG)
    assert _find(model) == []
    assert _find(model, min_ratio=1.0)


def test_value_at_padding_does_not_count():
    inputs = small_models.make_inputs(CONFIG, 4)
    for name, ids in inputs.items():
        inputs[name] = np.flip(ids, axis=1).copy()  # padding comes first
    rows = [
        row
        for row in calibration.single_rows(inputs)
        if not row["input_mask"][0, 0]
    ]
    assert rows
    found = outliers.find(_float_model(_with_outlier(1e3)), rows)
    assert "embeddings/sum" not in [each.name for each in found]
