"""Sensitive parts are found, and kept in float32 until a file is accurate."""

import types

import numpy as np
import small_models

from export import calibration
from export import conversion
from export import folding
from export import graph_heads
from export import inference_graph
from export import int8_simulator
from export import mixed_precision
from export import model_file
from export import quantization
from export import weights

CONFIG = small_models.CONFIGS["mobilebert"]


def _damaged_model():
    """One channel inside the second block is 3000 times as wide as others."""
    model = small_models.make_classifier(CONFIG, num_labels=3)
    network = model.encoder.blocks[1].feed_forward_networks[0]
    network.intermediate.bias.assign(
        np.eye(1, CONFIG.intermediate_size, dtype=np.float32)[0] * 3000.0
    )
    kernel = network.output_dense.kernel.numpy()
    kernel[0] /= 3000.0
    network.output_dense.kernel.assign(kernel)
    return model


def _files(model, parts):
    """Returns the float32 file and the int8 one with parts in float32."""
    content = conversion.convert(
        inference_graph.module_of(model, small_models.SEQUENCE_LENGTH)
    )
    ranges = calibration.collect_ranges(
        content,
        calibration.single_rows(small_models.make_inputs(CONFIG, 16, seed=1)),
    )
    recipe = quantization.load_recipe(quantization.INT8)
    recipe = mixed_precision.with_float_parts(recipe, parts)
    return content, quantization.quantize(content, recipe, ranges)


def _error(content, model):
    inputs = small_models.make_inputs(CONFIG, 32, seed=2)
    (values,) = small_models.run(content, inputs).values()
    (expected,) = small_models.keras_outputs(model, inputs).values()
    return np.sqrt(np.mean((values - expected) ** 2))


def test_damaged_block_is_the_most_sensitive():
    model = _damaged_model()
    simulator = int8_simulator.Simulator(
        CONFIG,
        weights.from_encoder(model.encoder),
        graph_heads.from_model(model),
        small_models.make_inputs(CONFIG, 16, seed=1),
    )
    done = []
    gains = mixed_precision.rank(
        simulator, simulator.plain, lambda *each: done.append(each)
    )
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert list(gains)[0] == "layer_1"
    assert gains["layer_1"] > 6.0
    assert gains.keys() == {"embeddings", "layer_0", "layer_1"}
    assert list(gains.values()) == sorted(gains.values(), reverse=True)

    _, whole = _files(model, ())
    _, kept = _files(model, ["layer_1"])
    assert _error(kept, model) < 0.5 * _error(whole, model)


def test_parts_are_float_in_the_file():
    model = small_models.make_classifier(CONFIG)
    _, content = _files(model, ["layer_0"])
    file = model_file.ModelFile(content)
    formats = {"layer_0": set(), "layer_1": set()}
    for operator in file.operators:
        if operator.name == "FULLY_CONNECTED":
            name = file.tensors[operator.outputs[0]].name
            for part, seen in formats.items():
                if name.startswith(f"{part}/"):
                    seen.add(file.computation_type(operator))
    assert formats == {"layer_0": {"FLOAT32"}, "layer_1": {"INT8"}}
    counts = mixed_precision.count_kept(content, ["layer_0"])
    per_block = 7 + 2 * CONFIG.num_feedforward_networks
    assert counts["FULLY_CONNECTED"] == per_block
    assert counts["BATCH_MATMUL"] == 2
    assert mixed_precision.count_kept(content, []) == {}


def test_block_1_is_not_block_10():
    (rule,) = mixed_precision.with_float_parts([], ["layer_1"])
    assert rule["regex"].endswith("layer_1/")


def _verdict(drop):
    return types.SimpleNamespace(is_accurate=drop <= 1.0, drops={"f1": drop})


def test_parts_are_kept_until_the_file_is_accurate():
    drops = {1: 3.0, 2: 2.0, 4: 0.5}
    gains = {f"layer_{i}": 8.0 - i for i in range(12)}
    verdict, steps = mixed_precision.keep_parts(
        gains,
        _verdict(5.0),
        lambda parts: _verdict(drops[len(parts)]),
        lambda: "not measured",
    )
    assert verdict.is_accurate
    assert [len(step.parts) for step in steps] == [0, 1, 2, 4]
    assert steps[2].parts == ("layer_0", "layer_1")
    assert steps[2].gain_db == 15.0
    assert [step.drops["f1"] for step in steps] == [5.0, 3.0, 2.0, 0.5]


def test_no_more_than_half_of_the_parts_are_kept():
    gains = {f"layer_{i}": 1.0 for i in range(6)}
    verdict, steps = mixed_precision.keep_parts(
        gains, _verdict(5.0), lambda parts: _verdict(4.0), lambda: ""
    )
    assert not verdict.is_accurate
    assert [len(step.parts) for step in steps] == [0, 1, 2]


def test_folded_weights_are_those_of_the_bases():
    """The ranking is of the file that is made."""
    model = _damaged_model()
    simulator = int8_simulator.Simulator(
        CONFIG,
        weights.from_encoder(model.encoder),
        graph_heads.from_model(model),
        small_models.make_inputs(CONFIG, 4, seed=1),
    )
    basis = np.full(CONFIG.hidden_size, 2.0)
    folded = simulator.fold(folding.Bases({folding.EMBEDDINGS: basis}))
    np.testing.assert_allclose(
        folded.positions, 2.0 * simulator.plain.positions
    )
