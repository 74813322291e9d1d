"""Keras' own compile, fit and evaluate on every model with a head."""

import numpy as np
import pytest
import small_networks
import tensorflow as tf
import tf_keras

from mobilebert_tf.modeling import models

_CONFIG = small_networks.CONFIGS["mobilebert"]
_INPUTS = small_networks.make_inputs(_CONFIG)


def _crossentropy():
    return tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _labels(*shape, high):
    return np.random.default_rng(0).integers(0, high, shape)


_CASES = {
    "pretraining": (
        lambda: models.MobileBertForPreTraining(_CONFIG),
        {
            "masked_lm_logits": _labels(4, 10, high=40),
            "next_sentence_logits": _labels(4, high=2),
        },
    ),
    "masked_lm": (
        lambda: models.MobileBertForMaskedLM(_CONFIG),
        {"masked_lm_logits": _labels(4, 10, high=40)},
    ),
    "next_sentence": (
        lambda: models.MobileBertForNextSentencePrediction(_CONFIG),
        {"next_sentence_logits": _labels(4, high=2)},
    ),
    "sequence_classification": (
        lambda: models.MobileBertForSequenceClassification(_CONFIG, 3),
        {"logits": _labels(4, high=3)},
    ),
    "token_classification": (
        lambda: models.MobileBertForTokenClassification(_CONFIG, 5),
        {"logits": _labels(4, 10, high=5)},
    ),
    "question_answering": (
        lambda: models.MobileBertForQuestionAnswering(_CONFIG),
        {
            "start_logits": _labels(4, high=10),
            "end_logits": _labels(4, high=10),
        },
    ),
}


@pytest.mark.parametrize("name", _CASES)
def test_fit_lowers_the_loss(name):
    make, targets = _CASES[name]
    tf_keras.utils.set_random_seed(0)
    model = make()
    model.build_weights()
    model.compile(
        tf_keras.optimizers.Adam(1e-2),
        loss={key: _crossentropy() for key in targets},
        metrics={key: ["accuracy"] for key in targets},
    )
    losses = model.fit(_INPUTS, targets, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    scores = model.evaluate(_INPUTS, targets, verbose=0, return_dict=True)
    assert any("accuracy" in key for key in scores)


def test_bare_target_is_that_of_the_main_output():
    tf_keras.utils.set_random_seed(0)
    labels = _labels(4, high=3)
    losses = []
    for targets in (labels, {"logits": labels}):
        model = models.MobileBertForSequenceClassification(_CONFIG, 3)
        model.build_weights()
        small_networks.randomize(model)
        model.compile("sgd", loss=_crossentropy())
        losses.append(model.evaluate(_INPUTS, targets, verbose=0))
    assert losses[0] == pytest.approx(losses[1])


def test_multiple_choice_fits():
    choices = {name: ids[np.newaxis] for name, ids in _INPUTS.items()}
    model = models.MobileBertForMultipleChoice(_CONFIG)
    model.compile("sgd", loss=_crossentropy())
    history = model.fit(choices, np.array([2]), verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_bare_target_of_several_outputs_is_refused():
    model = models.MobileBertForQuestionAnswering(_CONFIG)
    model.compile("sgd", loss=_crossentropy())
    with pytest.raises(ValueError, match="expected targets by the name"):
        model.fit(_INPUTS, _labels(4, high=10), verbose=0)


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({"input_ids": [[1, 2]]}, "got input_ids"),
        (
            {"input_word_ids": [[1, 2]], "attention_mask": [[1, 0]]},
            "expected input_word_ids, input_mask .*, got attention_mask",
        ),
        ({}, "got none"),
        ({"input_word_ids": [1, 2]}, r"expected shape \[batch, sequence\]"),
    ],
)
def test_inputs_of_other_names_and_shapes_are_refused(inputs, message):
    model = models.MobileBertModel(_CONFIG)
    tensors = {name: tf.constant(value) for name, value in inputs.items()}
    with pytest.raises(ValueError, match=message):
        model(tensors)


def test_too_long_for_the_positions_in_a_graph_of_any_length():
    model = models.MobileBertModel(_CONFIG)
    model.build_weights()

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def serve(ids):
        return model({"input_word_ids": ids})["pooled_output"]

    assert serve(tf.zeros([1, 12], tf.int32)).shape == [1, 24]
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match="sequence exceeds max_position_embeddings=12",
    ):
        serve(tf.zeros([1, 13], tf.int32))


def test_a_name_is_no_config():
    with pytest.raises(TypeError, match="expected a MobileBertConfig, got"):
        models.MobileBertModel("micro")
