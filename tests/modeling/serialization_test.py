"""Layers and models go through Keras' serialisation and come back equal."""

import json

import numpy as np
import pytest
import small_networks
import tensorflow as tf
import tf_keras

from mobilebert_tf.modeling import attention
from mobilebert_tf.modeling import block
from mobilebert_tf.modeling import bottleneck
from mobilebert_tf.modeling import dropout
from mobilebert_tf.modeling import embeddings
from mobilebert_tf.modeling import encoder
from mobilebert_tf.modeling import feed_forward
from mobilebert_tf.modeling import heads
from mobilebert_tf.modeling import models
from mobilebert_tf.modeling import normalization

_CONFIG = small_networks.CONFIGS["mobilebert"]
_IDS = small_networks.make_inputs(_CONFIG)
_WIDE = tf.random.stateless_normal([4, 10, _CONFIG.hidden_size], [1, 2])
_NARROW = tf.random.stateless_normal([4, 10, _CONFIG.block_size], [3, 4])
_MASK = attention.make_attention_mask(_IDS["input_mask"])
_TABLE = tf.random.stateless_normal([_CONFIG.vocab_size, 8], [5, 6])

# Layer, and how to call it.
_CASES = {
    "LayerNorm": (
        normalization.LayerNorm(epsilon=1e-6, name="n"),
        lambda layer: layer(_WIDE),
    ),
    "NoNorm": (normalization.NoNorm(name="n"), lambda layer: layer(_WIDE)),
    "CheckpointedDropout": (
        dropout.CheckpointedDropout(0.25, seed=3, name="n"),
        lambda layer: layer(_WIDE, training=True),
    ),
    "MobileBertEmbeddings": (
        embeddings.MobileBertEmbeddings(_CONFIG, name="n"),
        lambda layer: layer(_IDS["input_word_ids"], _IDS["input_type_ids"]),
    ),
    "Bottleneck": (
        bottleneck.Bottleneck(_CONFIG, name="n"),
        lambda layer: layer(_WIDE),
    ),
    "OutputBottleneck": (
        bottleneck.OutputBottleneck(_CONFIG, name="n"),
        lambda layer: layer(_NARROW, residual=_WIDE),
    ),
    "MultiHeadSelfAttention": (
        attention.MultiHeadSelfAttention(_CONFIG, name="n"),
        lambda layer: layer(_NARROW, _NARROW, _WIDE, attention_mask=_MASK),
    ),
    "AttentionOutput": (
        attention.AttentionOutput(_CONFIG, name="n"),
        lambda layer: layer(_NARROW, residual=_NARROW),
    ),
    "FeedForwardNetwork": (
        feed_forward.FeedForwardNetwork(_CONFIG, dropout_rate=0.3, name="n"),
        lambda layer: layer(_NARROW),
    ),
    "MobileBertBlock": (
        block.MobileBertBlock(_CONFIG, name="n"),
        lambda layer: layer(_WIDE, attention_mask=_MASK),
    ),
    "MaskedLanguageModelHead": (
        heads.MaskedLanguageModelHead(_CONFIG, name="n"),
        lambda layer: layer(_WIDE, word_table=_TABLE),
    ),
    "ClassificationHead": (
        heads.ClassificationHead(_CONFIG, 3, dropout_rate=0.4, name="n"),
        lambda layer: layer(_WIDE[:, 0]),
    ),
    "SpanHead": (heads.SpanHead(_CONFIG, name="n"), lambda layer: layer(_WIDE)),
    "SentenceEmbeddingHead": (
        heads.SentenceEmbeddingHead("cls", normalize=False, name="n"),
        lambda layer: layer(_WIDE, _IDS["input_mask"]),
    ),
    "MobileBertEncoder": (
        encoder.MobileBertEncoder(_CONFIG, name="n"),
        lambda model: model(_IDS),
    ),
    "MobileBertForMultipleChoice": (
        models.MobileBertForMultipleChoice(_CONFIG, dropout_rate=0.4, name="n"),
        lambda model: model(
            {key: ids[np.newaxis] for key, ids in _IDS.items()}
        ),
    ),
    "MobileBertForTokenClassification": (
        models.MobileBertForTokenClassification(
            _CONFIG, 5, dropout_rate=0.4, name="n"
        ),
        lambda model: model(_IDS),
    ),
    "MobileBertForSentenceEmbedding": (
        models.MobileBertForSentenceEmbedding(
            _CONFIG, pooling="cls", normalize=False, name="n"
        ),
        lambda model: model(_IDS),
    ),
    **{
        model.__name__: (model(_CONFIG, name="n"), lambda model: model(_IDS))
        for model in (
            models.MobileBertModel,
            models.MobileBertForPreTraining,
            models.MobileBertForMaskedLM,
            models.MobileBertForNextSentencePrediction,
            models.MobileBertForQuestionAnswering,
        )
    },
    "MobileBertForSequenceClassification": (
        models.MobileBertForSequenceClassification(
            _CONFIG, 3, dropout_rate=0.4, name="n"
        ),
        lambda model: model(_IDS),
    ),
}


def test_every_class_is_here():
    modules = (
        attention,
        block,
        bottleneck,
        dropout,
        embeddings,
        encoder,
        feed_forward,
        heads,
        models,
        normalization,
    )
    public = {
        name
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, tf_keras.layers.Layer)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }
    assert public == set(_CASES)


@pytest.mark.parametrize("name", _CASES)
def test_round_trip_computes_the_same(name):
    layer, call = _CASES[name]
    call(layer)
    small_networks.randomize(layer)
    serialized = tf_keras.saving.serialize_keras_object(layer)
    assert serialized["registered_name"] == f"mobilebert_tf>{name}"
    text = json.dumps(serialized)

    copy = tf_keras.saving.deserialize_keras_object(json.loads(text))
    assert type(copy) is type(layer)
    assert copy.get_config() == layer.get_config()
    if not isinstance(layer, tf_keras.Model):  # Keras drops models' names
        assert copy.name == "n"
    if name == "CheckpointedDropout":
        copy = type(layer).from_config(layer.get_config())
        layer = type(layer).from_config(layer.get_config())
    else:
        call(copy)
        copy.set_weights(layer.get_weights())
    tf.nest.map_structure(
        np.testing.assert_array_equal, call(copy), call(layer)
    )


@pytest.mark.parametrize("name", small_networks.CONFIGS)
def test_every_field_of_the_network_survives(name):
    config = small_networks.CONFIGS[name]
    model = models.MobileBertForPreTraining(config)
    copy = models.MobileBertForPreTraining.from_config(model.get_config())
    assert copy.config == config


@pytest.mark.parametrize("name", ["mobilebert", "teacher", "plain_bert"])
def test_checkpoint_restores_the_model(name, tmp_path):
    config = small_networks.CONFIGS[name]
    inputs = small_networks.make_inputs(config)
    model = models.MobileBertForPreTraining(config)
    model.build_weights()
    small_networks.randomize(model)
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "ckpt"))
    copy = models.MobileBertForPreTraining(config)
    copy.build_weights()
    status = tf.train.Checkpoint(model=copy).restore(path)
    status.assert_existing_objects_matched()
    np.testing.assert_array_equal(
        copy(inputs)["masked_lm_logits"], model(inputs)["masked_lm_logits"]
    )


@pytest.mark.parametrize("name", ["mobilebert", "teacher", "plain_bert"])
def test_keras_file_restores_the_model(name, tmp_path):
    config = small_networks.CONFIGS[name]
    inputs = small_networks.make_inputs(config)
    model = models.MobileBertForSequenceClassification(config, 3)
    model(inputs)
    small_networks.randomize(model)
    path = str(tmp_path / "model.keras")
    model.save(path)
    copy = tf_keras.models.load_model(path)
    assert type(copy) is models.MobileBertForSequenceClassification
    assert copy.config == config
    np.testing.assert_array_equal(
        copy(inputs)["logits"], model(inputs)["logits"]
    )
