"""Heads against their formulas."""

import dataclasses

import numpy as np
import numpy_reference
import pytest
import small_networks
import tensorflow as tf

from mobilebert_tf.modeling import heads


def _make_masked_lm(config):
    head = heads.MaskedLanguageModelHead(config)
    generator = np.random.default_rng(3)
    sequence = generator.normal(size=[2, 6, config.hidden_size])
    table = generator.normal(size=[config.vocab_size, config.embedding_size])
    sequence, table = sequence.astype(np.float32), table.astype(np.float32)
    head(sequence, word_table=table)
    small_networks.randomize(head)
    return head, sequence, table


@pytest.mark.parametrize(
    "name", ["mobilebert", "without_opt", "teacher", "plain_bert"]
)
def test_masked_lm_formula(name):
    """A real LayerNorm, also in NoNorm models; tied and extra columns."""
    config = small_networks.CONFIGS[name]
    head, sequence, table = _make_masked_lm(config)
    positions = np.array([[4, 0, 0], [1, 5, 2]])
    logits = head(sequence, word_table=table, positions=positions)
    assert logits.dtype == tf.float32

    weights = numpy_reference.weights_of(head)
    picked = np.stack([sequence[i, positions[i]] for i in range(2)])
    hidden = numpy_reference.activate(
        config, numpy_reference.dense(weights, "transform", picked)
    )
    hidden = numpy_reference.standardize(hidden) * weights["LayerNorm/gamma"]
    hidden += weights["LayerNorm/beta"]
    width = config.embedding_size
    expected = hidden[..., :width] @ table.T + weights["output_bias"]
    if width < config.hidden_size:
        expected += hidden[..., width:] @ weights["extra_output_weights"].T
    small_networks.assert_close(logits, expected, 1e-5)


def test_extra_weights_fill_up_to_hidden_size():
    shapes = {}
    for name in ("mobilebert", "plain_bert"):
        head, _, _ = _make_masked_lm(small_networks.CONFIGS[name])
        shapes[name] = {
            weight.name.split("/")[-1].split(":")[0]: tuple(weight.shape)
            for weight in head.weights
        }
    assert shapes["mobilebert"]["extra_output_weights"] == (40, 24 - 8)
    assert "extra_output_weights" not in shapes["plain_bert"]


def test_without_positions_all_are_predicted():
    head, sequence, table = _make_masked_lm(
        small_networks.CONFIGS["mobilebert"]
    )
    logits = head(sequence, word_table=table)
    assert logits.shape == [2, 6, 40]
    positions = np.array([[5, 1], [0, 3]])
    picked = head(sequence, word_table=table, positions=positions)
    for row in range(2):
        np.testing.assert_allclose(
            picked[row],
            logits.numpy()[row, positions[row]],
            rtol=1e-4,
            atol=1e-5,
        )


def test_word_table_is_tied():
    """Gradient reaches the table that the caller passes."""
    head, sequence, table = _make_masked_lm(
        small_networks.CONFIGS["mobilebert"]
    )
    table = tf.constant(table)
    with tf.GradientTape() as tape:
        tape.watch(table)
        loss = tf.reduce_sum(head(sequence, word_table=table)[..., 7])
    gradient = tape.gradient(loss, table).numpy()
    assert np.abs(gradient[7]).min() > 0
    assert not np.delete(gradient, 7, axis=0).any()


def test_classification_formula():
    config = small_networks.CONFIGS["mobilebert"]
    head = heads.ClassificationHead(config, num_labels=3)
    pooled = np.random.default_rng(4).normal(size=[5, 24]).astype(np.float32)
    head(pooled)
    small_networks.randomize(head)
    weights = numpy_reference.weights_of(head)
    expected = numpy_reference.dense(weights, "logits", pooled)
    small_networks.assert_close(head(pooled), expected, 1e-5)
    np.testing.assert_array_equal(head(pooled, training=True), head(pooled))


def test_classification_dropout_is_on_the_pooled_vector():
    config = small_networks.CONFIGS["mobilebert"]
    head = heads.ClassificationHead(config, num_labels=24, dropout_rate=0.5)
    pooled = tf.ones([50, 24])
    head(pooled)
    head.dense.kernel.assign(np.eye(24, dtype=np.float32))
    head.dense.bias.assign(np.full([24], 0.25))
    np.testing.assert_array_equal(head(pooled), np.full([50, 24], 1.25))
    logits = head(pooled, training=True).numpy()
    assert set(np.unique(logits)) == {0.25, 2.25}


def test_logits_are_float32_in_mixed_precision():
    config = small_networks.CONFIGS["mobilebert"]
    pooled = tf.ones([2, 24], tf.bfloat16)
    head = heads.ClassificationHead(config, 2, dtype="mixed_bfloat16")
    assert head(pooled).dtype == tf.float32
    masked_lm = heads.MaskedLanguageModelHead(config, dtype="mixed_bfloat16")
    table = tf.ones([40, 8])
    logits = masked_lm(tf.ones([1, 3, 24], tf.bfloat16), word_table=table)
    assert logits.dtype == tf.float32


def test_positions_of_another_config_are_not_needed():
    """The head works on any length; the encoder alone has positions."""
    config = dataclasses.replace(
        small_networks.CONFIGS["mobilebert"], max_position_embeddings=2
    )
    head, sequence, table = _make_masked_lm(config)
    assert head(sequence, word_table=table).shape == [2, 6, 40]
