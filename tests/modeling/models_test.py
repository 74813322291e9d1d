"""Encoder and heads put together."""

import numpy as np
import pytest
import small_networks
import tensorflow as tf

from mobilebert_tf.modeling import models


def _make(model):
    model.build_weights()
    small_networks.randomize(model)
    return model


@pytest.mark.parametrize("name", ["mobilebert", "teacher", "plain_bert"])
def test_pretraining_outputs(name):
    config = small_networks.CONFIGS[name]
    model = _make(models.MobileBertForPreTraining(config))
    inputs = small_networks.make_inputs(config)
    positions = np.array([[1, 3], [2, 2], [4, 0], [1, 1]])
    outputs = model({**inputs, "masked_lm_positions": positions})
    encoded = model.encoder(inputs)
    np.testing.assert_array_equal(
        outputs["sequence_output"], encoded["sequence_output"]
    )
    np.testing.assert_array_equal(
        outputs["masked_lm_logits"],
        model.masked_lm(
            encoded["sequence_output"],
            word_table=model.encoder.embeddings.word_table,
            positions=positions,
        ),
    )
    np.testing.assert_array_equal(
        outputs["next_sentence_logits"],
        model.next_sentence(encoded["pooled_output"]),
    )
    assert outputs["masked_lm_logits"].shape == [4, 2, 40]
    assert outputs["next_sentence_logits"].shape == [4, 2]
    assert model(inputs)["masked_lm_logits"].shape == [4, 10, 40]


def test_word_table_counts_and_trains_once():
    """The head's tied columns are the encoder's table."""
    config = small_networks.CONFIGS["mobilebert"]
    model = _make(models.MobileBertForPreTraining(config))
    tables = [w for w in model.trainable_weights if w.shape == [40, 8]]
    assert len(tables) == 1
    ids = tf.zeros([1, 3], tf.int32)  # only row 0 is looked up
    with tf.GradientTape() as tape:
        logits = model({"input_word_ids": ids})["masked_lm_logits"]
        loss = tf.reduce_sum(logits**2)
    gradient = tf.convert_to_tensor(tape.gradient(loss, tables[0])).numpy()
    assert (np.abs(gradient).max(axis=1) > 0).all()


def test_classifier_outputs_and_its_dropout():
    config = small_networks.CONFIGS["mobilebert"]  # hidden dropout 0
    model = _make(
        models.MobileBertForSequenceClassification(config, num_labels=3)
    )
    inputs = small_networks.make_inputs(config)
    outputs = model(inputs)
    assert outputs["logits"].shape == [4, 3]
    np.testing.assert_array_equal(
        outputs["logits"],
        model.classifier(model.encoder(inputs)["pooled_output"]),
    )
    assert model.classifier.dropout.rate == 0.1


def test_training_flag_reaches_every_dropout():
    """The same call twice: equal in inference, not in training."""
    config = small_networks.CONFIGS["teacher"]
    inputs = small_networks.make_inputs(config)
    for model, key in (
        (models.MobileBertForPreTraining(config), "masked_lm_logits"),
        (models.MobileBertForSequenceClassification(config, 2), "logits"),
    ):
        _make(model)
        np.testing.assert_array_equal(model(inputs)[key], model(inputs)[key])
        for part in (key, "encoder_outputs"):
            first, second = (
                model(inputs, training=True)[part] for _ in range(2)
            )
            for a, b in zip(
                tf.nest.flatten(first), tf.nest.flatten(second), strict=True
            ):
                assert (a != b).numpy().any()
