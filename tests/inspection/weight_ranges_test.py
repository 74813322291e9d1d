"""Every weight is in one part, and what is not finite is found."""

import inspected_networks
import numpy as np
import pytest

from mobilebert_tf import model_directory
from mobilebert_tf.inspection import cost
from mobilebert_tf.inspection import weights
from mobilebert_tf.modeling import models


@pytest.mark.parametrize("name", inspected_networks.CONFIGS)
def test_every_weight_is_in_the_part_that_costs_it(name):
    config = inspected_networks.CONFIGS[name]
    model = models.MobileBertForPreTraining(config)
    model.build_weights()
    parts = weights.parts(model)
    found = [id(v) for _, _, variables in parts for v in variables]
    assert sorted(found) == sorted(map(id, model.trainable_weights))
    costs = cost.of_config(config, 4)
    expected = [
        (part.name, block, sorted(part.shapes))
        for block, group in [
            (None, costs.embeddings),
            *((i, costs.block) for i in range(config.num_hidden_layers)),
            (None, costs.pooler + costs.heads),
        ]
        for part in group
        if part.shapes
    ]
    actual = [
        (name, block, sorted(tuple(v.shape) for v in variables))
        for name, block, variables in parts
    ]
    assert actual == expected


@pytest.mark.parametrize("head", model_directory.HEADS)
def test_every_head(head):
    info = model_directory.ModelInfo(
        head=head,
        max_seq_length=8,
        labels=("a", "b") if head in model_directory.LABELLED_HEADS else (),
    )
    config = inspected_networks.CONFIGS["teacher"]
    model = model_directory.make_model(config, info)
    model.build_weights()
    found = [id(v) for _, _, vs in weights.parts(model) for v in vs]
    assert sorted(found) == sorted(map(id, model.trainable_weights))


def test_ranges():
    model = models.MobileBertForPreTraining(
        inspected_networks.CONFIGS["mobilebert"]
    )
    model.build_weights()
    inspected_networks.randomize(model)
    query = model.encoder.blocks[1].attention.query
    bias = query.bias.numpy()
    bias[3] = -40.0
    query.bias.assign(bias)
    ranges = {(r.name, r.block): r for r in weights.measure(model)}
    attention = ranges["query, key, value", 1]
    assert attention.minimum == -40.0
    assert attention.largest == 40.0
    assert attention.tensor == "bert/layer_1/attention_self/query/bias"
    table = model.encoder.embeddings.word_table.numpy()
    assert ranges["word table", None].minimum == table.min()
    assert ranges["word table", None].maximum == table.max()
    assert ranges["word table", None].parameters == table.size
    assert not any(r.num_nan or r.num_infinite for r in ranges.values())


def test_not_finite():
    model = models.MobileBertModel(inspected_networks.CONFIGS["mobilebert"])
    model.build_weights()
    inspected_networks.randomize(model)
    dense = model.encoder.blocks[0].input_bottleneck.dense
    kernel = dense.kernel.numpy()
    kernel[0, :3] = np.nan
    kernel[1, 0] = -np.inf
    dense.kernel.assign(kernel)
    norm = model.encoder.embeddings.normalization
    for variable in norm.weights:
        variable.assign(np.full(variable.shape, np.nan))
    ranges = {(r.name, r.block): r for r in weights.measure(model)}
    bad = ranges.pop(("input bottleneck", 0))
    assert (bad.num_nan, bad.num_infinite) == (3, 1)
    assert bad.largest == max(
        np.abs(values.numpy()[np.isfinite(values)]).max()
        for values in model.encoder.blocks[0].input_bottleneck.weights
    )
    nothing = ranges.pop(("embedding norm", None))
    assert nothing.num_nan == nothing.parameters == 2 * 24
    assert np.isnan([nothing.minimum, nothing.maximum, nothing.largest]).all()
    assert not any(r.num_nan or r.num_infinite for r in ranges.values())
