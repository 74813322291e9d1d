"""Encoder and heads put together."""

import numpy as np
import pytest
import small_networks
import tensorflow as tf
import tf_keras

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


def _join(gradients):
    return np.concatenate(
        [
            np.ravel(tf.convert_to_tensor(gradient))
            for gradient in gradients
            if gradient is not None
        ]
    )


@pytest.mark.parametrize("name", small_networks.CONFIGS)
def test_logits_only(name):
    """The same logits and gradients; the last block where they are read."""
    config = small_networks.CONFIGS[name]
    model = _make(models.MobileBertForPreTraining(config))
    inputs = {
        **small_networks.make_inputs(config),
        "masked_lm_positions": np.array([[1, 3], [2, 2], [4, 0], [9, 1]]),
    }
    results = []
    for logits_only in (False, True):
        with tf.GradientTape() as tape:
            outputs = model(inputs, logits_only=logits_only)
            loss = sum(
                tf.reduce_sum(tf.nn.log_softmax(outputs[logits])[..., 1])
                for logits in ("masked_lm_logits", "next_sentence_logits")
            )
        gradients = tape.gradient(loss, model.trainable_variables)
        results.append((outputs, gradients))
    (whole, expected), (logits, actual) = results
    assert logits.keys() == {"masked_lm_logits", "next_sentence_logits"}
    for key in logits:
        small_networks.assert_close(logits[key], whole[key], 1e-5)
    # All together: the gradient of a key's bias is rounding alone.
    small_networks.assert_close(_join(actual), _join(expected), 1e-5)


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


_HEADED = {
    "MobileBertForMaskedLM": ("masked_lm_logits", False),
    "MobileBertForNextSentencePrediction": ("next_sentence_logits", True),
    "MobileBertForQuestionAnswering": ("start_logits", False),
    "MobileBertForSentenceEmbedding": ("sentence_embedding", False),
    "MobileBertModel": ("pooled_output", True),
}


@pytest.mark.parametrize("name", _HEADED)
def test_pooler_only_where_it_is_read(name):
    """A pooler without a reader would be trained and exported for nothing."""
    key, has_pooler = _HEADED[name]
    config = small_networks.CONFIGS["teacher"]  # tanh pooler
    model = _make(getattr(models, name)(config))
    inputs = small_networks.make_inputs(config)
    outputs = model(inputs)
    assert key in outputs
    assert ("pooled_output" in outputs) == has_pooler
    assert any("pooler" in w.name for w in model.weights) == has_pooler


def test_masked_lm_equals_that_of_pretraining():
    config = small_networks.CONFIGS["mobilebert"]
    whole = _make(models.MobileBertForPreTraining(config))
    model = _make(models.MobileBertForMaskedLM(config))
    model.encoder.copy_weights(whole.encoder)
    model.masked_lm.set_weights(whole.masked_lm.get_weights())
    inputs = {
        **small_networks.make_inputs(config),
        "masked_lm_positions": np.array([[1, 3], [2, 2], [4, 0], [1, 1]]),
    }
    np.testing.assert_array_equal(
        model(inputs)["masked_lm_logits"], whole(inputs)["masked_lm_logits"]
    )


def test_multiple_choice_scores_each_choice_alone():
    config = small_networks.CONFIGS["teacher"]
    model = _make(models.MobileBertForMultipleChoice(config))
    one = _make(models.MobileBertForSequenceClassification(config, 1))
    one.set_weights(model.get_weights())
    inputs = small_networks.make_inputs(config, count=6)
    choices = {name: ids.reshape(2, 3, -1) for name, ids in inputs.items()}
    logits = model(choices)["logits"]
    assert logits.shape == [2, 3]
    np.testing.assert_allclose(
        logits, tf.reshape(one(inputs)["logits"], [2, 3]), rtol=1e-5
    )


def test_token_classification_is_a_dense_layer_on_each_token():
    config = small_networks.CONFIGS["mobilebert"]
    model = _make(models.MobileBertForTokenClassification(config, 5))
    outputs = model(small_networks.make_inputs(config))
    kernel, bias = model.classifier.get_weights()
    small_networks.assert_close(
        outputs["logits"],
        outputs["sequence_output"].numpy() @ kernel + bias,
        1e-5,
    )


def test_question_answering_columns_are_start_and_end():
    config = small_networks.CONFIGS["mobilebert"]
    model = _make(models.MobileBertForQuestionAnswering(config))
    outputs = model(small_networks.make_inputs(config))
    kernel, bias = model.span.get_weights()
    logits = outputs["sequence_output"].numpy() @ kernel + bias
    small_networks.assert_close(outputs["start_logits"], logits[..., 0], 1e-5)
    small_networks.assert_close(outputs["end_logits"], logits[..., 1], 1e-5)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_sentence_embedding(pooling, normalize):
    config = small_networks.CONFIGS["mobilebert"]
    model = _make(
        models.MobileBertForSentenceEmbedding(config, pooling, normalize)
    )
    inputs = small_networks.make_inputs(config)
    outputs = model(inputs)
    tokens = outputs["sequence_output"].numpy()
    expected = tokens[:, 0]
    if pooling == "mean":
        lengths = inputs["input_mask"].sum(axis=1)
        expected = np.stack(
            [
                row[:length].mean(axis=0)
                for row, length in zip(tokens, lengths, strict=True)
            ]
        )
    if normalize:
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    small_networks.assert_close(outputs["sentence_embedding"], expected, 1e-5)
    del inputs["input_mask"]
    assert model(inputs)["sentence_embedding"].shape == [4, 24]


def test_sentence_embedding_of_nothing_but_padding_is_zero():
    config = small_networks.CONFIGS["mobilebert"]
    model = _make(models.MobileBertForSentenceEmbedding(config))
    ids = np.zeros([1, 4], np.int32)
    outputs = model({"input_word_ids": ids, "input_mask": ids})
    np.testing.assert_array_equal(
        outputs["sentence_embedding"], np.zeros([1, 24])
    )


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda config: models.MobileBertForSentenceEmbedding(config, "max"),
            "pooling: expected one of .*, got 'max'",
        ),
        (
            lambda config: models.MobileBertForTokenClassification(config, 0),
            "num_labels: expected >= 1, got 0",
        ),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make(small_networks.CONFIGS["mobilebert"])


def test_models_are_layers_of_a_functional_model():
    config = small_networks.CONFIGS["mobilebert"]
    inputs = {
        name: tf_keras.Input([None], dtype=tf.int32, name=name)
        for name in small_networks.make_inputs(config)
    }
    inner = models.MobileBertForTokenClassification(config, 5)
    model = tf_keras.Model(inputs, inner(inputs)["logits"])
    small_networks.randomize(model)
    ids = small_networks.make_inputs(config)
    small_networks.assert_close(model(ids), inner(ids)["logits"], 1e-6)
