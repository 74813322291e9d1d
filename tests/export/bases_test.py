"""Bases are chosen by what int8 makes of a model, and only where they help."""

import numpy as np
import pytest
import small_models
import tensorflow as tf

from export import bases
from export import calibration
from export import conversion
from export import folding
from export import graph_heads
from export import inference_graph
from export import int8_simulator
from export import model_file
from export import quantization
from export import weights

CONFIG = small_models.CONFIGS["mobilebert"]


def _with_outlier_channels(model):
    """Makes four channels of the stream 50 times as wide as the others."""
    for block in model.encoder.blocks:
        norm = block.output_bottleneck.normalization
        scale = np.ones(CONFIG.hidden_size, np.float32)
        scale[:4] = 50.0
        norm.beta.assign(norm.beta * scale)
        kernel = block.output_bottleneck.dense.kernel
        kernel.assign(kernel * scale)
        for reader in (
            block.input_bottleneck.dense,
            block.key_query_bottleneck.dense,
            block.attention.value,
        ):
            reader.kernel.assign(reader.kernel / scale[:, np.newaxis])
    return model


def _simulator(model, count=16):
    return int8_simulator.Simulator(
        model.config,
        weights.from_encoder(model.encoder),
        graph_heads.from_model(model),
        small_models.make_inputs(model.config, count, seed=1),
    )


def _file_sqnr_db(model, chosen):
    """Measures a real int8 file on other inputs than those it was made on."""
    module = inference_graph.module_of(
        model, small_models.SEQUENCE_LENGTH, chosen
    )
    content = conversion.convert(module)
    ranges = calibration.collect_ranges(
        content,
        calibration.single_rows(
            small_models.make_inputs(model.config, 16, seed=1)
        ),
    )
    int8 = quantization.quantize(
        content, quantization.load_recipe(quantization.INT8), ranges
    )
    inputs = small_models.make_inputs(model.config, 32, seed=2)
    (values,) = small_models.run(int8, inputs).values()
    (expected,) = small_models.keras_outputs(model, inputs).values()
    noise = np.sum((values - expected) ** 2)
    return 10 * np.log10(np.sum(expected**2) / noise)


def test_outlier_channels_are_evened_out():
    model = _with_outlier_channels(
        small_models.make_classifier(CONFIG, num_labels=3)
    )
    choice = bases.choose(_simulator(model))
    assert choice.name != bases.PLAIN
    assert choice.sqnr_db[choice.name] > choice.sqnr_db[bases.PLAIN] + 6.0
    gain = _file_sqnr_db(model, choice.bases)
    gain -= _file_sqnr_db(model, folding.PLAIN)
    assert gain > 6.0


@pytest.mark.parametrize("head", ["classification", "encoder", "embedding_cls"])
def test_choice_is_the_fastest_of_the_best(head):
    model = small_models.MAKERS[head](CONFIG)
    told = []
    choice = bases.choose(
        _simulator(model), lambda name, sqnr_db: told.append(name)
    )
    assert told == list(choice.sqnr_db)
    best = max(choice.sqnr_db.values())
    good = [n for n, db in choice.sqnr_db.items() if db >= best - 0.3]
    assert choice.name in good
    assert choice.num_factors[choice.name] == min(
        choice.num_factors[name] for name in good
    )
    joins = CONFIG.num_hidden_layers * (CONFIG.num_feedforward_networks + 1)
    assert choice.num_factors[bases.PLAIN] == joins
    assert choice.num_factors["never"] == 0


def test_chosen_bases_leave_the_float_file_as_it_was():
    model = _with_outlier_channels(
        small_models.make_classifier(CONFIG, num_labels=3)
    )
    choice = bases.choose(_simulator(model))
    module = inference_graph.module_of(
        model, small_models.SEQUENCE_LENGTH, choice.bases
    )
    inputs = small_models.make_inputs(CONFIG, 4)
    (values,) = small_models.run(conversion.convert(module), inputs).values()
    (expected,) = small_models.keras_outputs(model, inputs).values()
    small_models.assert_close(values, expected)


def test_near_zero_gammas_begin_a_new_choice():
    """1 / gamma would blow up: the residual keeps its factor there."""
    model = small_models.make_classifier(CONFIG)
    network = model.encoder.blocks[0].feed_forward_networks[0]
    gamma = network.normalization.gamma
    gamma.assign(tf.tensor_scatter_nd_update(gamma, [[0], [1]], [0.0, 1e-6]))
    choice = bases.choose(_simulator(model))
    # Nothing is carried beyond it: the last sum of every chain is one factor.
    assert choice.num_factors["never"] == 1
    for name, sqnr_db in choice.sqnr_db.items():
        assert np.isfinite(sqnr_db), name
    assert np.isfinite(_file_sqnr_db(model, choice.bases))


@pytest.mark.parametrize("name", ["without_opt", "plain_bert", "plain_no_norm"])
def test_networks_without_a_free_stream_are_plain(name):
    model = small_models.make_classifier(small_models.CONFIGS[name])
    choice = bases.choose(_simulator(model, count=4))
    assert list(choice.sqnr_db) == [bases.PLAIN]
    assert choice.bases == folding.PLAIN


def test_simulation_is_near_the_file():
    model = small_models.make_classifier(CONFIG, num_labels=3)
    simulator = _simulator(model)
    simulated = simulator.sqnr_db(simulator.plain)
    # Of probabilities and other examples, hence not the same number.
    assert simulated == pytest.approx(
        _file_sqnr_db(model, folding.PLAIN), abs=10.0
    )


def test_activation_that_is_not_finite():
    model = small_models.make_classifier(CONFIG)
    norm = model.encoder.blocks[0].output_bottleneck.normalization
    norm.gamma.assign(norm.gamma * 1e38)
    with pytest.raises(ValueError, match="activation .* is not finite"):
        _simulator(model, count=2)


def test_carried_streams_have_no_multiplications():
    model = small_models.make_classifier(CONFIG)
    simulator = _simulator(model, count=4)
    choice = bases.choose(simulator)
    module = inference_graph.module_of(
        model, small_models.SEQUENCE_LENGTH, choice.bases
    )
    census = model_file.ModelFile(conversion.convert(module)).census()
    mask = 1
    factors = choice.num_factors[choice.name]
    assert census["MUL"] == {"FLOAT32": mask + factors}
