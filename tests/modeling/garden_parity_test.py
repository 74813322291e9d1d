"""The Model Garden's own MobileBERT encoder gives the same outputs.

Weights go over by the map below, written against the Garden's layers; they
are random everywhere (fresh gammas, betas and biases would hide errors).
"""

import dataclasses

import numpy as np
import pytest
import small_networks
import tensorflow as tf
from official.nlp.modeling.networks import mobile_bert_encoder

from mobilebert_tf.modeling import encoder as encoder_lib

# The Garden knows no network without trigram or bottlenecks.
_NAMES = ("mobilebert", "tiny", "without_opt", "teacher", "separate_attention")


def _make_garden_encoder(config):
    activation = (
        tf.nn.relu6 if config.hidden_act == "relu6" else (config.hidden_act)
    )
    if activation == "gelu":
        activation = lambda x: tf.nn.gelu(x, approximate=True)  # noqa: E731
    return mobile_bert_encoder.MobileBERTEncoder(
        word_vocab_size=config.vocab_size,
        word_embed_size=config.embedding_size,
        type_vocab_size=config.type_vocab_size,
        max_sequence_length=config.max_position_embeddings,
        num_blocks=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        intermediate_act_fn=activation,
        hidden_dropout_prob=config.hidden_dropout_prob,
        attention_probs_dropout_prob=config.attention_probs_dropout_prob,
        intra_bottleneck_size=config.intra_bottleneck_size,
        use_bottleneck_attention=config.use_bottleneck_attention,
        key_query_shared_bottleneck=config.key_query_shared_bottleneck,
        num_feedforward_networks=config.num_feedforward_networks,
        normalization_type=config.normalization_type,
        classifier_activation=config.classifier_activation,
    )


def _copy_weights(source, target):
    """Copies every weight of our encoder; returns how many values."""
    pairs = _weight_pairs(source, target)
    for ours, theirs in pairs:
        # Attention kernels are [in, N, d] and [N, d, b] in the Garden.
        theirs.assign(tf.reshape(ours, theirs.shape))
    assert len({id(theirs) for _, theirs in pairs}) == len(target.weights)
    return sum(int(tf.size(theirs)) for _, theirs in pairs)


def _weight_pairs(source, target):
    """Pairs each weight of our encoder with the Garden's."""
    pairs = list(_embedding_pairs(source.embeddings, target.embedding_layer))
    for block, layer in zip(
        source.blocks, target.transformer_layers, strict=True
    ):
        pairs += _block_pairs(block, layer.block_layers)
    if target.pooler_layer is not None:
        pairs += _dense_pairs(source.pooler, target.pooler_layer)
    return pairs


def _embedding_pairs(ours, theirs):
    yield ours.word_table, theirs.word_embedding.embeddings
    yield ours.type_table, theirs.type_embedding.embeddings
    (positions,) = theirs.pos_embedding.weights
    yield ours.position_table, positions
    yield from _dense_pairs(ours.projection, theirs.word_embedding_proj)
    yield from _norm_pairs(ours.normalization, theirs.layer_norm)


def _block_pairs(block, layers):
    dense, norm = layers["bottleneck_input"]
    yield from _dense_pairs(block.input_bottleneck.dense, dense)
    yield from _norm_pairs(block.input_bottleneck.normalization, norm)
    if "kq_shared_bottleneck" in layers:
        dense, norm = layers["kq_shared_bottleneck"]
        yield from _dense_pairs(block.key_query_bottleneck.dense, dense)
        yield from _norm_pairs(block.key_query_bottleneck.normalization, norm)
    attention, norm = layers["attention"]
    yield from _dense_pairs(block.attention.query, attention._query_dense)
    yield from _dense_pairs(block.attention.key, attention._key_dense)
    yield from _dense_pairs(block.attention.value, attention._value_dense)
    yield from _dense_pairs(
        block.attention_output.dense, attention._output_dense
    )
    yield from _norm_pairs(block.attention_output.normalization, norm)
    for network, (inner, outer, norm) in zip(
        block.feed_forward_networks, layers["ffn"], strict=True
    ):
        yield from _dense_pairs(network.intermediate, inner)
        yield from _dense_pairs(network.output_dense, outer)
        yield from _norm_pairs(network.normalization, norm)
    dense, _, norm = layers["bottleneck_output"]
    yield from _dense_pairs(block.output_bottleneck.dense, dense)
    yield from _norm_pairs(block.output_bottleneck.normalization, norm)


def _dense_pairs(ours, theirs):
    yield ours.kernel, theirs.kernel
    yield ours.bias, theirs.bias


def _norm_pairs(ours, theirs):
    if hasattr(theirs, "scale") and hasattr(theirs, "bias"):  # NoNorm
        yield ours.gamma, theirs.scale
        yield ours.beta, theirs.bias
    else:
        yield ours.gamma, theirs.gamma
        yield ours.beta, theirs.beta


def _make_pair(config):
    """Returns our encoder with random weights, and the Garden's with them."""
    encoder = encoder_lib.MobileBertEncoder(config)
    encoder.build_weights()
    small_networks.randomize(encoder)
    garden = _make_garden_encoder(config)
    assert _copy_weights(encoder, garden) == encoder.count_params()
    return encoder, garden


def _assert_same_outputs(encoder, garden, inputs):
    ours, theirs = encoder(inputs), garden(inputs)
    for actual, expected in zip(
        ours["encoder_outputs"], theirs["encoder_outputs"], strict=True
    ):
        small_networks.assert_close(actual, expected)
    for key in ("sequence_output", "pooled_output"):
        small_networks.assert_close(ours[key], theirs[key])
    # The Garden returns probabilities. Its hidden scores are lower than ours
    # (-1e9 against -1e4); both are 0 after softmax.
    for scores, expected in zip(
        ours["attention_scores"], theirs["attention_scores"], strict=True
    ):
        small_networks.assert_close(tf.nn.softmax(scores), expected)


@pytest.mark.parametrize("name", _NAMES)
def test_same_outputs(name):
    config = small_networks.CONFIGS[name]
    encoder, garden = _make_pair(config)
    inputs = small_networks.make_inputs(config)
    assert inputs["input_type_ids"].any()
    assert not inputs["input_mask"].all()
    _assert_same_outputs(encoder, garden, inputs)


def test_teacher_at_all_lengths():
    """The teacher, which Hugging Face cannot represent, padded and not."""
    config = dataclasses.replace(
        small_networks.CONFIGS["teacher"], max_position_embeddings=512
    )
    encoder, garden = _make_pair(config)
    for length in (1, 2, 17, 128, 512):
        inputs = small_networks.make_inputs(config, count=2, length=length)
        if length > 1:
            _assert_same_outputs(encoder, garden, inputs)
        inputs["input_mask"] = np.ones_like(inputs["input_mask"])
        _assert_same_outputs(encoder, garden, inputs)


@pytest.mark.parametrize("name", _NAMES)
def test_same_gradients(name):
    """Of a sum that weighs every output at random, for each weight."""
    config = small_networks.CONFIGS[name]
    encoder, garden = _make_pair(config)
    inputs = small_networks.make_inputs(config)
    generator = np.random.default_rng(0)
    weights = generator.standard_normal([4, 10, config.hidden_size])
    pooled_weights = generator.standard_normal([4, config.hidden_size])
    names = [ours.name for ours, _ in _weight_pairs(encoder, garden)]
    gradients = []
    for index, network in enumerate((encoder, garden)):
        with tf.GradientTape() as tape:
            outputs = network(inputs)
            loss = tf.reduce_sum(
                outputs["sequence_output"] * weights.astype(np.float32)
            ) + tf.reduce_sum(
                outputs["pooled_output"] * pooled_weights.astype(np.float32)
            )
        variables = [pair[index] for pair in _weight_pairs(encoder, garden)]
        values = map(tf.convert_to_tensor, tape.gradient(loss, variables))
        gradients.append(
            {
                name: value.numpy().ravel()
                for name, value in zip(names, values, strict=True)
            }
        )
    actual, expected = gradients
    for name in names:
        # What a key's bias adds is the same for all scores of a query, which
        # softmax takes away: its gradient is rounding, measured by its
        # kernel's.
        of_scale = name.replace("key/bias", "key/kernel")
        scale = np.linalg.norm(expected[of_scale])
        assert scale > 0, name
        error = np.linalg.norm(actual[name] - expected[name])
        assert error <= 1e-3 * scale, name


def test_copy_would_show_swapped_gamma_and_beta():
    """The comparison above can fail: one wrong pair is seen."""
    config = small_networks.CONFIGS["mobilebert"]
    encoder, garden = _make_pair(config)
    norm = garden.transformer_layers[0].block_layers["attention"][1]
    gamma, beta = norm.scale.numpy(), norm.bias.numpy()
    norm.scale.assign(beta)
    norm.bias.assign(gamma)
    inputs = small_networks.make_inputs(config)
    with pytest.raises(AssertionError):
        small_networks.assert_close(
            encoder(inputs)["sequence_output"],
            garden(inputs)["sequence_output"],
        )
    assert np.any(gamma != beta)
