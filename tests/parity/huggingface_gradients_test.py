"""Gradients of all weights agree with Hugging Face's PyTorch networks."""

import hugging_face_models
import numpy as np
import parity_gradients
import parity_networks
import pytest

from mobilebert_tf.modeling import models

_LENGTH = 12


def _make_pair(class_name, config, **labels):
    ours = getattr(models, class_name)(config, **labels)
    ours.build_weights()
    parity_networks.randomize(ours)
    theirs = hugging_face_models.make_model(ours, *labels.values())
    return ours, theirs


@pytest.mark.parametrize("name", parity_networks.CONFIGS)
def test_pretraining(name):
    config = parity_networks.CONFIGS[name]
    ours, theirs = _make_pair("MobileBertForPreTraining", config)
    parity_gradients.train_on_row_0(theirs)
    inputs = parity_networks.make_inputs(config, _LENGTH)
    inputs["input_word_ids"][:, 3] = 0
    parity_gradients.assert_same_pretraining_gradients(ours, theirs, inputs)


def test_only_row_0_is_trained_otherwise():
    """What train_on_row_0 undoes; and a wrong gradient would show."""
    config = parity_networks.CONFIGS["mobilebert"]
    ours, theirs = _make_pair("MobileBertForPreTraining", config)
    inputs = parity_networks.make_inputs(config, _LENGTH)
    ids = inputs["input_word_ids"]
    ids[ids == 0] = 1
    parity_gradients.assert_same_pretraining_gradients(ours, theirs, inputs)
    ids[:, 3] = 0
    with pytest.raises(AssertionError, match="word_embeddings.weight"):
        parity_gradients.assert_same_pretraining_gradients(ours, theirs, inputs)


def test_sequence_classification():
    config = parity_networks.CONFIGS["tanh_pooler"]
    ours, theirs = _make_pair(
        "MobileBertForSequenceClassification", config, num_labels=4
    )
    parity_gradients.train_on_row_0(theirs)
    inputs = parity_networks.make_inputs(config, _LENGTH)
    labels = np.array([3, 0, 1])
    parity_gradients.assert_same_gradients(
        ours,
        theirs,
        inputs,
        lambda outputs: parity_gradients.mean_cross_entropy(
            outputs["logits"], labels
        ),
        {
            **hugging_face_models.to_torch(inputs),
            **parity_gradients.to_labels(labels=labels),
        },
    )


def test_token_classification():
    config = parity_networks.CONFIGS["without_opt"]
    ours, theirs = _make_pair(
        "MobileBertForTokenClassification", config, num_labels=5
    )
    parity_gradients.train_on_row_0(theirs)
    inputs = parity_networks.make_inputs(config, _LENGTH)
    labels = np.random.default_rng(0).integers(0, 5, [3, _LENGTH])
    parity_gradients.assert_same_gradients(
        ours,
        theirs,
        inputs,
        lambda outputs: parity_gradients.mean_cross_entropy(
            outputs["logits"], labels
        ),
        {
            **hugging_face_models.to_torch(inputs),
            **parity_gradients.to_labels(labels=labels),
        },
    )


def test_question_answering():
    config = parity_networks.CONFIGS["tiny"]
    ours, theirs = _make_pair("MobileBertForQuestionAnswering", config)
    parity_gradients.train_on_row_0(theirs)
    inputs = parity_networks.make_inputs(config, _LENGTH)
    starts, ends = np.array([1, 4, 0]), np.array([2, 4, 5])

    def loss_of(outputs):
        first, last = (
            parity_gradients.mean_cross_entropy(outputs[key], labels)
            for key, labels in (("start_logits", starts), ("end_logits", ends))
        )
        return (first + last) / 2

    parity_gradients.assert_same_gradients(
        ours,
        theirs,
        inputs,
        loss_of,
        {
            **hugging_face_models.to_torch(inputs),
            **parity_gradients.to_labels(
                start_positions=starts, end_positions=ends
            ),
        },
        # The softmax is over positions: what all share does not count. From
        # the last nonlinearity on these reach all alike.
        shifts=(
            "layer.2.output.dense.bias",
            "layer.2.output.LayerNorm.bias",
            "layer.2.output.bottleneck.dense.bias",
            "layer.2.output.bottleneck.LayerNorm.bias",
            "qa_outputs.bias",
        ),
    )
