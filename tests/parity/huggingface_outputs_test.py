"""All networks and heads give the outputs of Hugging Face's PyTorch ones."""

import hugging_face_models
import numpy as np
import parity_networks
import pytest
import small_networks
import tensorflow as tf

from mobilebert_tf.modeling import embeddings
from mobilebert_tf.modeling import models

_CLASSES = {
    "MobileBertModel": {
        "sequence_output": "last_hidden_state",
        "pooled_output": "pooler_output",
    },
    "MobileBertForPreTraining": {
        "masked_lm_logits": "prediction_logits",
        "next_sentence_logits": "seq_relationship_logits",
    },
    "MobileBertForMaskedLM": {"masked_lm_logits": "logits"},
    "MobileBertForNextSentencePrediction": {"next_sentence_logits": "logits"},
    "MobileBertForSequenceClassification": {"logits": "logits"},
    "MobileBertForMultipleChoice": {"logits": "logits"},
    "MobileBertForTokenClassification": {"logits": "logits"},
    "MobileBertForQuestionAnswering": {
        "start_logits": "start_logits",
        "end_logits": "end_logits",
    },
}
_NUM_LABELS = {
    "MobileBertForSequenceClassification": 3,
    "MobileBertForTokenClassification": 5,
}


def _make_pair(class_name, config):
    """Returns our model with random weights, and Hugging Face's with them."""
    labels = _NUM_LABELS.get(class_name)
    ours = getattr(models, class_name)(
        config, **({"num_labels": labels} if labels else {})
    )
    ours.build_weights()
    parity_networks.randomize(ours)
    return ours, hugging_face_models.make_model(ours, labels or 2)


def _assert_same(ours, theirs, inputs):
    actual = ours(inputs)
    expected = hugging_face_models.run(theirs, inputs)
    hugging_face_models.assert_same_encoder_outputs(actual, expected)
    for key, name in _CLASSES[type(ours).__name__].items():
        small_networks.assert_close(actual[key], getattr(expected, name))


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("name", parity_networks.CONFIGS)
def test_every_config(name, padded):
    config = parity_networks.CONFIGS[name]
    ours, theirs = _make_pair("MobileBertForPreTraining", config)
    inputs = parity_networks.make_inputs(config, 17, padded)
    assert padded == (not inputs["input_mask"].all())
    _assert_same(ours, theirs, inputs)


@pytest.mark.parametrize("name", ["mobilebert", "without_opt", "plain_bert"])
def test_lengths(name):
    config = parity_networks.CONFIGS[name]
    ours, theirs = _make_pair("MobileBertForPreTraining", config)
    for length in (1, 2, 3, 17, 128, 512):
        for padded in (False, True) if length > 1 else (False,):
            _assert_same(
                ours,
                theirs,
                parity_networks.make_inputs(config, length, padded),
            )


@pytest.mark.parametrize("name", ["tiny", "tanh_pooler"])
@pytest.mark.parametrize("class_name", _CLASSES)
def test_every_head(class_name, name):
    config = parity_networks.CONFIGS[name]
    ours, theirs = _make_pair(class_name, config)
    inputs = parity_networks.make_inputs(config, 11, count=6)
    if class_name == "MobileBertForMultipleChoice":
        inputs = {name: ids.reshape(2, 3, 11) for name, ids in inputs.items()}
    _assert_same(ours, theirs, inputs)


def test_absent_mask_and_types():
    config = parity_networks.CONFIGS["mobilebert"]
    ours, theirs = _make_pair("MobileBertForPreTraining", config)
    ids = parity_networks.make_inputs(config, 9)["input_word_ids"]
    _assert_same(ours, theirs, {"input_word_ids": ids})


def test_swapped_gamma_and_beta_would_show():
    config = parity_networks.CONFIGS["mobilebert"]
    ours, theirs = _make_pair("MobileBertModel", config)
    norm = ours.encoder.blocks[1].attention_output.normalization
    gamma, beta = norm.get_weights()
    norm.set_weights([beta, gamma])
    with pytest.raises(AssertionError):
        _assert_same(ours, theirs, parity_networks.make_inputs(config, 9))


def test_wrong_trigram_order_would_show(monkeypatch):
    config = parity_networks.CONFIGS["mobilebert"]
    ours, theirs = _make_pair("MobileBertModel", config)
    inputs = parity_networks.make_inputs(config, 9)
    correct = embeddings.trigram

    def previous_first(words):
        following, current, previous = tf.split(correct(words), 3, axis=-1)
        return tf.concat([previous, current, following], axis=-1)

    monkeypatch.setattr(embeddings, "trigram", previous_first)
    with pytest.raises(AssertionError):
        _assert_same(ours, theirs, inputs)


def test_wrong_type_of_gelu_would_show():
    """They differ by 5e-4 at most, so that the tolerance shows its worth."""
    config = parity_networks.CONFIGS["without_opt"]
    ours, theirs = _make_pair("MobileBertModel", config)
    exact, _ = _make_pair(
        "MobileBertModel", parity_networks.CONFIGS["exact_gelu"]
    )
    exact.set_weights(ours.get_weights())
    inputs = parity_networks.make_inputs(config, 9)
    _assert_same(ours, theirs, inputs)
    with pytest.raises(AssertionError):
        _assert_same(exact, theirs, inputs)


def test_random_weights_are_not_trivial():
    """Else a wrong pair of weights could go unseen."""
    ours, _ = _make_pair(
        "MobileBertForPreTraining", parity_networks.CONFIGS["mobilebert"]
    )
    for variable in ours.weights:
        assert np.unique(variable).size > 0.9 * np.size(variable)
