"""Real Model Garden models: their checkpoints read, ours restored by them."""

import os
import re
import subprocess
import sys

import networks
import numpy as np
import pytest
import small_networks
import tensorflow as tf
import tf_keras
from official.nlp.modeling import layers
from official.nlp.modeling import models
from official.nlp.modeling.networks import mobile_bert_encoder

from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.modeling import config as config_lib

_NETWORKS = ("mobilebert", "tiny", "both_flags", "without_opt", "pooler")
_ACTIVATIONS = {
    "relu": "relu",
    "gelu": lambda x: tf.nn.gelu(x, approximate=True),
    "gelu_erf": lambda x: tf.nn.gelu(x, approximate=False),
}


def _make_encoder(config):
    return mobile_bert_encoder.MobileBERTEncoder(
        word_vocab_size=config.vocab_size,
        word_embed_size=config.embedding_size,
        type_vocab_size=config.type_vocab_size,
        max_sequence_length=config.max_position_embeddings,
        num_blocks=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        intermediate_act_fn=_ACTIVATIONS[config.hidden_act],
        hidden_dropout_prob=config.hidden_dropout_prob,
        attention_probs_dropout_prob=config.attention_probs_dropout_prob,
        intra_bottleneck_size=config.intra_bottleneck_size,
        use_bottleneck_attention=config.use_bottleneck_attention,
        key_query_shared_bottleneck=config.key_query_shared_bottleneck,
        num_feedforward_networks=config.num_feedforward_networks,
        normalization_type=config.normalization_type,
        classifier_activation=config.classifier_activation,
    )


def _make_masked_lm(config, encoder):
    return layers.MobileBertMaskedLM(
        embedding_table=encoder.get_embedding_table(),
        activation=_ACTIVATIONS[config.hidden_act],
        name="cls/predictions",
    )


def _make_pretrainer(config, inner_dim=0):
    encoder = _make_encoder(config)
    head = layers.ClassificationHead(
        inner_dim=inner_dim, num_classes=2, name="next_sentence"
    )
    pretrainer = models.BertPretrainerV2(
        encoder_network=encoder,
        customized_masked_lm=_make_masked_lm(config, encoder),
        classification_heads=[head],
    )
    inputs = small_networks.make_inputs(config)
    pretrainer({**inputs, "masked_lm_positions": np.zeros([4, 2], np.int32)})
    return pretrainer


def _make_classifier(config):
    return models.BertClassifier(_make_encoder(config), num_classes=3)


def _make_token_classifier(config):
    return models.BertTokenClassifier(_make_encoder(config), num_classes=3)


def _make_span_labeler(config):
    return models.BertSpanLabeler(_make_encoder(config))


_MODELS = {
    "encoder": _make_encoder,
    "pretraining": _make_pretrainer,
    "sequence_classification": _make_classifier,
    "token_classification": _make_token_classifier,
    "question_answering": _make_span_labeler,
}


def _randomize(model, seed=0):
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        end = re.sub(r":\d+$", "", variable.name)
        variable.assign(networks.make_value(end, variable.shape, generator))


def _save(folder, config, **items):
    """Saves as the Garden does; the config beside it, as by a user."""
    tf.train.Checkpoint(**items).save(str(folder / "ckpt"))
    config.to_json_file(str(folder / "bert_config.json"))
    return str(folder)


def _outputs(head, model, config):
    """Returns what the head computes, by the Garden or by ours."""
    outputs = model(small_networks.make_inputs(config))
    names = {
        "encoder": ("sequence_output", "pooled_output"),
        "pretraining": ("sequence_output",),
        "token_classification": ("logits",),
    }.get(head)
    if isinstance(outputs, dict) and names:
        return [outputs[name] for name in names]
    if isinstance(outputs, dict):  # ours
        names = {"question_answering": ("start_logits", "end_logits")}
        return [outputs[name] for name in names.get(head, ("logits",))]
    return outputs if isinstance(outputs, list | tuple) else [outputs]


@pytest.mark.parametrize(
    "network, item",
    [*((network, "encoder") for network in _NETWORKS), ("pooler", "model")],
)
def test_encoder_of_the_garden(network, item, tmp_path):
    config = networks.CONFIGS[network]
    garden = _make_encoder(config)
    _randomize(garden)
    path = _save(tmp_path, config, **{item: garden})
    checkpoint = conversion.read(path, "auto")
    assert checkpoint.head == "encoder"
    assert len(checkpoint.values) == len(garden.weights)
    assert list(checkpoint.accounting.ignored) == ["step counters"]
    ours = conversion.build_model(checkpoint)
    for actual, expected in zip(
        _outputs("encoder", ours, config),
        _outputs("encoder", garden, config),
        strict=True,
    ):
        small_networks.assert_close(actual, expected)


@pytest.mark.parametrize("head", list(_MODELS)[1:])
def test_model_of_the_garden(head, tmp_path):
    config = networks.CONFIGS["pooler"]
    garden = _MODELS[head](config)
    _randomize(garden)
    checkpoint = conversion.read(_save(tmp_path, config, model=garden))
    assert checkpoint.head == head
    ours = conversion.build_model(checkpoint)
    for actual, expected in zip(
        _outputs(head, ours, config),
        _outputs(head, garden, config),
        strict=True,
    ):
        small_networks.assert_close(actual, expected)


def _masked_lm_logits(pretrainer, config):
    inputs = small_networks.make_inputs(config)
    positions = tf.constant([[1, 3]] * 4, tf.int32)
    outputs = pretrainer.encoder_network(inputs)
    return pretrainer.masked_lm(
        outputs["sequence_output"], masked_positions=positions
    ), {**inputs, "masked_lm_positions": positions}


def test_checkpoint_items_of_the_garden_pretrainer(tmp_path):
    """They hold the masked LM, and of next sentence another's pooler."""
    config = networks.CONFIGS["mobilebert"]
    garden = _make_pretrainer(config, inner_dim=config.hidden_size)
    _randomize(garden)
    path = _save(tmp_path, config, **garden.checkpoint_items)
    checkpoint = conversion.read(path, "garden")
    assert checkpoint.head == "masked_lm"
    ignored = checkpoint.accounting.ignored["heads of another structure"]
    assert [name.split("/")[:2] for name in ignored] == [
        ["next_sentence..pooler_dense", "bias"],
        ["next_sentence..pooler_dense", "kernel"],
    ]
    expected, inputs = _masked_lm_logits(garden, config)
    actual = conversion.build_model(checkpoint)(inputs)["masked_lm_logits"]
    small_networks.assert_close(actual, expected)


def test_training_checkpoint_of_the_garden(tmp_path):
    config = networks.CONFIGS["mobilebert"]
    model = _make_classifier(config)
    optimizer = tf_keras.optimizers.legacy.Adam()
    variables = model.trainable_variables
    optimizer.apply_gradients((v * 0.1, v) for v in variables)
    path = _save(
        tmp_path,
        config,
        model=model,
        optimizer=optimizer,
        global_step=tf.Variable(7),
    )
    checkpoint = conversion.read(path, "garden")
    ignored = checkpoint.accounting.ignored
    assert set(ignored) == {"optimizer state", "step counters"}
    slots = [n for n in ignored["optimizer state"] if "OPTIMIZER_SLOT" in n]
    assert len(slots) == 2 * len(variables)
    assert len(checkpoint.accounting.loaded) == len(variables)


def test_pooled_classifier_is_not_ours(tmp_path):
    config = networks.CONFIGS["mobilebert"]
    model = models.BertClassifier(
        _make_encoder(config), num_classes=3, use_encoder_pooler=False
    )
    checkpoint = conversion.read(_save(tmp_path, config, model=model))
    assert checkpoint.head == "encoder"
    ignored = checkpoint.accounting.ignored["heads of another structure"]
    assert len(ignored) == 4


@pytest.mark.parametrize(
    "network, item",
    [*((network, "encoder") for network in _NETWORKS), ("pooler", "model")],
)
def test_garden_encoder_restores_ours(network, item, tmp_path):
    config = networks.CONFIGS[network]
    checkpoint = networks.make_checkpoint(config, "encoder")
    path = str(tmp_path / "out")
    conversion.write(checkpoint, path, "garden")
    garden = _make_encoder(config)
    status = tf.train.Checkpoint(**{item: garden}).restore(
        tf.train.latest_checkpoint(path)
    )
    status.assert_existing_objects_matched()
    ours = conversion.build_model(checkpoint)
    for actual, expected in zip(
        _outputs("encoder", garden, config),
        _outputs("encoder", ours, config),
        strict=True,
    ):
        small_networks.assert_close(actual, expected)


@pytest.mark.parametrize("head", list(_MODELS)[1:])
def test_garden_model_restores_ours(head, tmp_path):
    config = networks.CONFIGS["pooler"]
    checkpoint = networks.make_checkpoint(config, head)
    path = str(tmp_path / "out")
    conversion.write(checkpoint, path, "garden")
    written = config_lib.MobileBertConfig.from_json_file(
        os.path.join(path, "bert_config.json")
    )
    garden = _MODELS[head](written)
    status = tf.train.Checkpoint(model=garden).restore(
        tf.train.latest_checkpoint(path)
    )
    status.assert_existing_objects_matched()
    ours = conversion.build_model(checkpoint)
    for actual, expected in zip(
        _outputs(head, garden, config),
        _outputs(head, ours, config),
        strict=True,
    ):
        small_networks.assert_close(actual, expected)


def test_garden_pretraining_items_restore_ours(tmp_path):
    """Encoder and masked LM share one word table, before and after."""
    config = networks.CONFIGS["without_opt"]
    checkpoint = networks.make_checkpoint(config, "pretraining")
    path = str(tmp_path / "out")
    conversion.write(checkpoint, path, "garden")
    garden = _make_pretrainer(config)
    status = tf.train.Checkpoint(
        encoder=garden.encoder_network, masked_lm=garden.masked_lm
    ).restore(tf.train.latest_checkpoint(path))
    status.assert_existing_objects_matched()
    assert garden.masked_lm.embedding_table is (
        garden.encoder_network.get_embedding_table()
    )
    actual, inputs = _masked_lm_logits(garden, config)
    expected = conversion.build_model(checkpoint)(inputs)["masked_lm_logits"]
    small_networks.assert_close(actual, expected)


def test_several_encoders_need_a_scope(tmp_path):
    config = networks.CONFIGS["mobilebert"]
    student, teacher = _make_encoder(config), _make_encoder(config)
    path = _save(tmp_path, config, student=student, teacher=teacher)
    with pytest.raises(ValueError, match="found student, teacher; choose"):
        conversion.read(path, "garden")
    checkpoint = conversion.read(path, "garden", scope="teacher")
    np.testing.assert_array_equal(
        checkpoint.values["bert/embeddings/word_embeddings"],
        teacher.get_embedding_table().numpy(),
    )
    assert "other encoders" in checkpoint.accounting.ignored


# The wheel's model_utils misses an import. Names without prefix, as with
# --nouse_model_prefix.
_OFFICIAL_CONVERTER = """
import sys
import tf_keras
from official.projects.mobilebert import model_utils
from official.projects.mobilebert import tf2_model_checkpoint_converter as own
model_utils.tf_keras = tf_keras
names = [("bert/", ""), *own._NAME_REPLACEMENT[1:]]
config = model_utils.BertConfig.from_json_file(sys.argv[1])
own.convert(*sys.argv[2:], names, [], config, own._EXCLUDE_PATTERNS)
"""


def test_same_as_the_gardens_own_converter(tmp_path):
    """From TF1 through its converter and our reader, or ours alone.

    It drops next sentence. In a process of its own: it loads by the names of
    layers, which Keras numbers.
    """
    checkpoint = networks.make_checkpoint(
        networks.CONFIGS["mobilebert"], "pretraining"
    )
    source = tmp_path / "tf1"
    conversion.write(checkpoint, str(source), "tf1")
    config_file = str(source / "bert_config.json")
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            _OFFICIAL_CONVERTER,
            config_file,
            str(source / "mobilebert_variables.ckpt"),
            str(tmp_path / "garden" / "ckpt"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    converted = conversion.read(
        str(tmp_path / "garden"), config_file=config_file
    )
    assert converted.head == "masked_lm"
    masked_lm = conversion.read(str(source), head="masked_lm")
    networks.assert_same_values(converted.values, masked_lm.values)
