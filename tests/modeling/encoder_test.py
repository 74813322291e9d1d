"""The encoder's outputs, optional inputs, masking and pooling."""

import dataclasses

import numpy as np
import numpy_reference
import pytest
import small_networks
import tensorflow as tf

from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import encoder as encoder_lib


def _make(config):
    encoder = encoder_lib.MobileBertEncoder(config)
    encoder.build_weights()
    small_networks.randomize(encoder)
    return encoder


@pytest.mark.parametrize("name", small_networks.CONFIGS)
def test_outputs_are_a_chain_of_blocks(name):
    """Embeddings, then each block of the one before, by NumPy."""
    config = small_networks.CONFIGS[name]
    encoder = _make(config)
    inputs = small_networks.make_inputs(config, count=2)
    outputs = encoder(inputs)
    assert len(outputs["encoder_outputs"]) == config.num_hidden_layers + 1
    assert len(outputs["attention_scores"]) == config.num_hidden_layers

    weights = numpy_reference.weights_of(encoder)
    for row in range(2):
        hidden = numpy_reference.embed(
            config,
            _below(weights, "embeddings/"),
            inputs["input_word_ids"][row],
            inputs["input_type_ids"][row],
        )
        small_networks.assert_close(
            outputs["encoder_outputs"][0][row], hidden, 1e-5
        )
        for i in range(config.num_hidden_layers):
            hidden, _ = numpy_reference.block(
                config,
                _below(weights, f"layer_{i}/"),
                hidden,
                inputs["input_mask"][row],
            )
            small_networks.assert_close(
                outputs["encoder_outputs"][i + 1][row], hidden
            )
        pooled = hidden[0]
        if config.classifier_activation:
            pooled = np.tanh(numpy_reference.dense(weights, "pooler", pooled))
        small_networks.assert_close(outputs["pooled_output"][row], pooled)
    np.testing.assert_array_equal(
        outputs["sequence_output"], outputs["encoder_outputs"][-1]
    )


def _below(weights, prefix):
    return {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }


@pytest.mark.parametrize("num_blocks", [0, 1, 2, None])
def test_num_blocks_runs_the_first_ones(num_blocks):
    config = small_networks.CONFIGS["mobilebert"]
    encoder = _make(config)
    inputs = small_networks.make_inputs(config)
    whole = encoder(inputs)
    outputs = encoder(inputs, num_blocks=num_blocks)
    count = config.num_hidden_layers if num_blocks is None else num_blocks
    assert len(outputs["attention_scores"]) == count
    for part, expected in zip(
        outputs["encoder_outputs"],
        whole["encoder_outputs"][: count + 1],
        strict=True,
    ):
        np.testing.assert_array_equal(part, expected)
    np.testing.assert_array_equal(
        outputs["sequence_output"], whole["encoder_outputs"][count]
    )
    np.testing.assert_array_equal(
        outputs["pooled_output"], whole["encoder_outputs"][count][:, 0]
    )


def test_pooler_exists_only_with_classifier_activation():
    config = small_networks.CONFIGS["mobilebert"]
    raw = _make(config)
    pooled = _make(dataclasses.replace(config, classifier_activation=True))
    inputs = small_networks.make_inputs(config)
    outputs = raw(inputs)
    np.testing.assert_array_equal(
        outputs["pooled_output"], outputs["sequence_output"][:, 0]
    )
    assert pooled.count_params() - raw.count_params() == 24 * 24 + 24
    assert np.abs(outputs["pooled_output"]).max() > 1
    assert np.abs(pooled(inputs)["pooled_output"]).max() <= 1


def test_mask_and_types_default_to_ones_and_zeros():
    config = small_networks.CONFIGS["mobilebert"]
    encoder = _make(config)
    inputs = small_networks.make_inputs(config)
    ids = inputs["input_word_ids"]
    explicit = encoder(
        {
            "input_word_ids": ids,
            "input_mask": np.ones_like(ids),
            "input_type_ids": np.zeros_like(ids),
        }
    )["sequence_output"]
    implicit = encoder({"input_word_ids": ids})["sequence_output"]
    np.testing.assert_array_equal(implicit, explicit)
    assert (encoder(inputs)["sequence_output"] != explicit).numpy().any()


@pytest.mark.parametrize("name", small_networks.CONFIGS)
def test_padding_reaches_no_further_than_the_trigram(name):
    """Only the last real position sees the ids of the first padding one."""
    config = small_networks.CONFIGS[name]
    encoder = _make(config)
    mask = np.array([[1, 1, 1, 1, 0, 0, 0, 0]])
    ids = np.array([[2, 7, 8, 3, 11, 12, 13, 14]])

    def embed_and_run(padding):
        changed = np.where(mask == 1, ids, padding)
        outputs = encoder({"input_word_ids": changed, "input_mask": mask})
        return (
            outputs["encoder_outputs"][0].numpy(),
            outputs["sequence_output"].numpy(),
        )

    embeddings, outputs = embed_and_run(ids)
    # The first padding token stays: nothing may change.
    _, far = embed_and_run(np.array([[0, 0, 0, 0, 11, 20, 21, 22]]))
    np.testing.assert_allclose(outputs[:, :4], far[:, :4], atol=1e-5)
    near_embeddings, near = embed_and_run(np.full([1, 8], 30))
    np.testing.assert_array_equal(embeddings[:, :3], near_embeddings[:, :3])
    leak = np.abs(embeddings[:, 3] - near_embeddings[:, 3]).max()
    if config.trigram_input:
        assert leak > 0.1
    else:
        assert leak == 0
        np.testing.assert_allclose(outputs[:, :4], near[:, :4], atol=1e-5)


def test_mask_types():
    """A mask may be bool, int64 or float."""
    config = small_networks.CONFIGS["mobilebert"]
    encoder = _make(config)
    inputs = small_networks.make_inputs(config)
    expected = encoder(inputs)["sequence_output"]
    for dtype in (np.bool_, np.int64, np.float32):
        mask = inputs["input_mask"].astype(dtype)
        outputs = encoder({**inputs, "input_mask": mask})
        np.testing.assert_array_equal(outputs["sequence_output"], expected)


def test_sequence_longer_than_the_position_table():
    encoder = _make(small_networks.CONFIGS["mobilebert"])
    with pytest.raises(ValueError, match="13 tokens .*_embeddings=12"):
        encoder({"input_word_ids": tf.zeros([1, 13], tf.int32)})


def test_any_batch_and_length_in_one_graph():
    config = small_networks.CONFIGS["mobilebert"]
    encoder = _make(config)
    spec = tf.TensorSpec([None, None], tf.int32)
    function = tf.function(
        lambda ids: encoder({"input_word_ids": ids})["sequence_output"],
        input_signature=[spec],
    )
    for shape in ([1, 1], [3, 12], [2, 5]):
        ids = tf.random.stateless_uniform(
            shape, seed=[1, 2], maxval=config.vocab_size, dtype=tf.int32
        )
        small_networks.assert_close(
            function(ids), encoder({"input_word_ids": ids})["sequence_output"]
        )


def test_every_parameter_has_a_gradient():
    """Nothing is disconnected; key biases alone cannot change a softmax."""
    config = small_networks.CONFIGS["mobilebert"]
    encoder = _make(config)
    inputs = small_networks.make_inputs(config)
    with tf.GradientTape() as tape:
        outputs = encoder(inputs, training=True)["sequence_output"]
        loss = tf.reduce_sum(outputs**2)
    gradients = tape.gradient(loss, encoder.trainable_weights)
    for weight, gradient in zip(
        encoder.trainable_weights, gradients, strict=True
    ):
        assert gradient is not None, weight.name
        if "key/bias" not in weight.name:
            dense = tf.convert_to_tensor(gradient)
            assert np.abs(dense).max() > 1e-4, weight.name


def test_initial_weights():
    """Truncated normal kernels and tables, zero biases, gamma 1, beta 0."""
    config = config_lib.micro(initializer_range=0.05, num_hidden_layers=1)
    encoder = encoder_lib.MobileBertEncoder(config)
    encoder.build_weights()
    for weight in encoder.weights:
        values = weight.numpy()
        name = weight.name.split("/")[-1]
        if name.startswith("gamma"):
            assert (values == 1).all()
        elif name.startswith(("beta", "bias")):
            assert (values == 0).all()
        else:
            assert np.abs(values).max() <= 2 * 0.05, weight.name
            # Cut at two deviations, a normal distribution keeps 0.880 of one.
            tolerance = 0.05 if values.size > 1000 else 0.2
            assert values.std() == pytest.approx(0.044, rel=tolerance)


def test_read_positions_are_rows_of_the_last_block():
    config = small_networks.CONFIGS["mobilebert"]
    encoder = _make(config)
    inputs = small_networks.make_inputs(config)
    positions = np.array([[1, 3], [2, 2], [4, 0], [9, 1]])
    whole = encoder(inputs)
    outputs = encoder(inputs, read_positions=positions)
    rows = np.pad(positions, [[0, 0], [1, 0]])
    small_networks.assert_close(
        outputs["sequence_output"],
        tf.gather(whole["sequence_output"], positions, batch_dims=1),
        1e-5,
    )
    small_networks.assert_close(
        outputs["pooled_output"], whole["pooled_output"], 1e-5
    )
    small_networks.assert_close(
        outputs["encoder_outputs"][-1],
        tf.gather(whole["encoder_outputs"][-1], rows, batch_dims=1),
        1e-5,
    )
    small_networks.assert_close(
        outputs["attention_scores"][-1],
        tf.gather(
            whole["attention_scores"][-1],
            np.tile(rows[:, np.newaxis], [1, config.num_attention_heads, 1]),
            batch_dims=2,
        ),
        1e-5,
    )
    np.testing.assert_array_equal(
        outputs["encoder_outputs"][-2], whole["encoder_outputs"][-2]
    )


def test_read_positions_need_the_last_block():
    config = small_networks.CONFIGS["mobilebert"]
    with pytest.raises(ValueError, match="read_positions: .*num_blocks=1"):
        _make(config)(
            small_networks.make_inputs(config),
            num_blocks=1,
            read_positions=np.zeros([4, 1], np.int32),
        )
