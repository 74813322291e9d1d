"""The deployment graph computes what the Keras model computes."""

import numpy as np
import pytest
import small_models
import tensorflow as tf
from ai_edge_litert import interpreter as litert

from export import conversion
from export import folding
from export import graph_heads
from export import inference_graph
from export import model_file
from export import weights


@pytest.mark.parametrize("name", small_models.CONFIGS)
def test_float32_file_gives_keras_hidden_states(name):
    config = small_models.CONFIGS[name]
    model = small_models.make_classifier(config)
    inputs = small_models.make_inputs(config, count=4)
    assert inputs["input_type_ids"].any()
    assert inputs["input_mask"][0].all() and not inputs["input_mask"].all()

    module = inference_graph.make_module(
        config,
        weights.from_encoder(model.encoder),
        small_models.SEQUENCE_LENGTH,
        graph_heads.HiddenStatesHead(),
    )
    outputs = small_models.run(conversion.convert(module), inputs)

    expected = model(inputs)["encoder_outputs"]
    assert len(outputs) == len(expected) == config.num_hidden_layers + 1
    for i, hidden in enumerate(expected):
        small_models.assert_close(outputs[f"hidden_state_{i}"], hidden.numpy())


def _random_bases(config, weights_of_encoder):
    """A basis for every tensor that may have one."""
    widths = {folding.WORDS: weights_of_encoder.word_table.shape[1]}
    if config.normalization_type == "no_norm":
        widths[folding.EMBEDDINGS] = config.hidden_size
    for i, block in enumerate(weights_of_encoder.blocks):
        scope = f"{folding.block_name(i)}/"
        inner = len(block.query.bias)
        widths[scope + folding.QUERY] = inner
        widths[scope + folding.VALUE] = inner
        for k, network in enumerate(block.feed_forward):
            widths[scope + folding.INTERMEDIATE.format(k)] = len(
                network.intermediate.bias
            )
        if config.normalization_type != "no_norm":
            continue
        width = len(block.attention_output.bias)
        widths[scope + folding.ATTENTION_OUTPUT] = width
        for k in range(len(block.feed_forward)):
            widths[scope + folding.FEED_FORWARD_OUTPUT.format(k)] = width
        if config.use_bottleneck:
            for name in (folding.BOTTLENECK, folding.KEY_QUERY_BOTTLENECK):
                widths[scope + name] = width
            widths[scope + folding.OUTPUT_BOTTLENECK] = config.hidden_size
    generator = np.random.default_rng(5)
    return {
        name: generator.uniform(0.3, 3.0, width)
        for name, width in widths.items()
    }


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, config in small_models.CONFIGS.items()
        if config.hidden_act == "relu"
    ],
)
def test_bases_change_nothing_but_how_tensors_are_stored(name):
    config = small_models.CONFIGS[name]
    model = small_models.make_classifier(config)
    inputs = small_models.make_inputs(config, count=2)
    encoder = weights.from_encoder(model.encoder)
    bases = _random_bases(config, encoder)
    content = conversion.convert(
        inference_graph.make_module(
            config,
            encoder,
            small_models.SEQUENCE_LENGTH,
            graph_heads.HiddenStatesHead(),
            folding.Bases(bases),
        )
    )
    outputs = small_models.run(content, inputs)
    hidden = model(inputs)["encoder_outputs"]
    for i, stored in enumerate(folding.stream_names(config)):
        small_models.assert_close(
            outputs[f"hidden_state_{i}"],
            hidden[i].numpy() * bases.get(stored, 1.0),
        )


def test_heads_undo_the_basis_of_what_they_read():
    config = small_models.CONFIGS["mobilebert"]
    inputs = small_models.make_inputs(config, count=2)
    for make in small_models.MAKERS.values():
        model = make(config)
        encoder = weights.from_encoder(model.encoder)
        module = inference_graph.module_of(
            model,
            small_models.SEQUENCE_LENGTH,
            folding.Bases(_random_bases(config, encoder)),
        )
        outputs = small_models.run(conversion.convert(module), inputs)
        expected = small_models.keras_outputs(model, inputs)
        assert outputs.keys() == expected.keys()
        for name, values in expected.items():
            small_models.assert_close(outputs[name], values)


def test_carried_bases_leave_no_factor():
    config = small_models.CONFIGS["mobilebert"]
    model = small_models.make_classifier(config)
    encoder = weights.from_encoder(model.encoder)
    carried = folding.stream_names(config)[1:]
    for i in range(config.num_hidden_layers):
        carried += [
            f"{folding.block_name(i)}/{folding.FEED_FORWARD_OUTPUT.format(k)}"
            for k in range(config.num_feedforward_networks)
        ]
    given = {
        name: basis
        for name, basis in _random_bases(config, encoder).items()
        if name not in carried
    }
    bases = folding.Bases(given, frozenset(carried))
    module = inference_graph.module_of(
        model, small_models.SEQUENCE_LENGTH, bases
    )
    content = conversion.convert(module)
    mask = 1
    assert model_file.ModelFile(content).census()["MUL"] == {"FLOAT32": mask}
    inputs = small_models.make_inputs(config, count=2)
    (outputs,) = small_models.run(content, inputs).values()
    (expected,) = small_models.keras_outputs(model, inputs).values()
    small_models.assert_close(outputs, expected)


def test_zero_gammas():
    """What is scaled by nothing is nothing, not NaN."""
    config = small_models.CONFIGS["mobilebert"]
    model = small_models.make_classifier(config)
    block = model.encoder.blocks[0]
    for layer in (
        block.attention_output,
        block.feed_forward_networks[0],
        block.output_bottleneck,
    ):
        gamma = layer.normalization.gamma
        gamma.assign(tf.tensor_scatter_nd_update(gamma, [[0]], [0.0]))
    module = inference_graph.module_of(model, small_models.SEQUENCE_LENGTH)
    inputs = small_models.make_inputs(config, count=2)
    outputs = small_models.run(conversion.convert(module), inputs)
    (expected,) = small_models.keras_outputs(model, inputs).values()
    small_models.assert_close(outputs["probabilities"], expected)


def test_signature_and_shapes():
    config = small_models.CONFIGS["mobilebert"]
    model = small_models.make_classifier(config)
    module = inference_graph.module_of(model, sequence_length=9)
    interpreter = litert.Interpreter(model_content=conversion.convert(module))
    run = interpreter.get_signature_runner(inference_graph.SIGNATURE)
    details = run.get_input_details()
    assert sorted(details) == sorted(inference_graph.INPUT_NAMES)
    for detail in details.values():
        assert detail["dtype"] == np.int32
        assert list(detail["shape"]) == [1, 9]
    (output,) = run.get_output_details().values()
    assert output["dtype"] == np.float32
    assert list(output["shape"]) == [1, 3]


@pytest.mark.parametrize(
    "head, config_name",
    [
        ("classification", "mobilebert"),
        ("question_answering", "pad_invariant"),
        ("embedding_mean", "plain_bert"),
    ],
)
def test_one_file_of_any_length_gives_keras_outputs(head, config_name):
    config = small_models.CONFIGS[config_name]
    model = small_models.MAKERS[head](config)
    content = conversion.convert(inference_graph.module_of(model, None))
    for length in (5, small_models.SEQUENCE_LENGTH, 20):
        inputs = small_models.make_inputs(config, count=2, length=length)
        expected = small_models.keras_outputs(model, inputs)
        interpreter = litert.Interpreter(model_content=content)
        details = interpreter.get_input_details()
        assert [list(d["shape_signature"]) for d in details] == [[1, -1]] * 3
        for detail in details:
            interpreter.resize_tensor_input(detail["index"], [1, length])
        del details, detail
        run = interpreter.get_signature_runner(inference_graph.SIGNATURE)
        for i in range(2):
            outputs = run(**{k: ids[i : i + 1] for k, ids in inputs.items()})
            for name, values in expected.items():
                small_models.assert_close(outputs[name], values[i : i + 1])


def test_products_of_activations_are_batch_matmuls():
    """XNNPACK refuses a FULLY_CONNECTED whose weights are computed."""
    model = small_models.make_classifier(small_models.CONFIGS["mobilebert"])
    module = inference_graph.module_of(model, small_models.SEQUENCE_LENGTH)
    file = model_file.ModelFile(conversion.convert(module))
    census = file.census()
    assert census["BATCH_MATMUL"] == {"FLOAT32": 4}
    for operator in file.operators:
        if operator.name == "FULLY_CONNECTED":
            assert file.tensors[operator.inputs[1]].is_constant


def test_no_norm_without_residual_leaves_no_operator():
    """Per block: one product per residual norm but the attention's own."""
    config = small_models.CONFIGS["mobilebert"]
    model = small_models.make_classifier(config)
    module = inference_graph.module_of(model, small_models.SEQUENCE_LENGTH)
    census = model_file.ModelFile(conversion.convert(module)).census()
    per_block = config.num_feedforward_networks + 1
    mask = 1
    assert census["MUL"] == {
        "FLOAT32": mask + config.num_hidden_layers * per_block
    }


def test_masked_positions_do_not_matter():
    """The mask leaves nothing of a padded position's word."""
    config = small_models.CONFIGS["plain_bert"]
    model = small_models.make_classifier(config)
    module = inference_graph.module_of(model, small_models.SEQUENCE_LENGTH)
    content = conversion.convert(module)
    inputs = small_models.make_inputs(config, count=4)
    padding = inputs["input_mask"] == 0
    changed = {**inputs}
    changed["input_word_ids"] = np.where(
        padding, 7, inputs["input_word_ids"]
    ).astype(np.int32)
    np.testing.assert_array_equal(
        small_models.run(content, inputs)["probabilities"],
        small_models.run(content, changed)["probabilities"],
    )


@pytest.mark.parametrize("length", [0, 21])
def test_sequence_length_out_of_range(length):
    model = small_models.make_classifier(small_models.CONFIGS["tiny"])
    with pytest.raises(
        ValueError, match=f"max_position_embeddings=20, got {length}"
    ):
        inference_graph.module_of(model, length)
