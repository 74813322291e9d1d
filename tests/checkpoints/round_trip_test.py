"""There and back through each format leaves every bit as it was."""

import dataclasses
import json
import os

import networks
import numpy as np
import pytest

from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.checkpoints import names
from mobilebert_tf.checkpoints import weight as weight_lib

# Heads that a format does not have: the encoder is all that comes back.
_WITHOUT_HEAD = {
    weight_lib.TF1: ("multiple_choice", "token_classification"),
    weight_lib.HUGGINGFACE: (),
    weight_lib.GARDEN: ("multiple_choice",),
    weight_lib.NATIVE: (),
}
_NOT_BUILT = {
    weight_lib.HUGGINGFACE: ("teacher",),
    weight_lib.GARDEN: ("no_bottleneck", "plain_bert"),
}


def _round_trip(checkpoint, name, folder, **options):
    accounting = conversion.write(checkpoint, str(folder), name)
    return conversion.read(str(folder), **options), accounting


@pytest.mark.parametrize("head", model_directory.HEADS)
@pytest.mark.parametrize("name", weight_lib.FORMATS)
def test_every_head(name, head, tmp_path):
    config = networks.CONFIGS["pooler"]
    checkpoint = networks.make_checkpoint(config, head)
    back, accounting = _round_trip(checkpoint, name, tmp_path / "out")
    has_pooler = "bert/pooler/dense/kernel" in checkpoint.values
    carried = {
        key: value
        for key, value in checkpoint.values.items()
        if key not in accounting.not_carried
    }
    networks.assert_same_values(back.values, carried)
    assert back.vocabulary == checkpoint.vocabulary
    assert not back.accounting.initialised
    if head in _WITHOUT_HEAD[name]:
        assert len(accounting.not_carried) == 2
        assert back.head == "encoder"
    elif head == "sentence_embedding" and name != weight_lib.NATIVE:
        assert back.head == "encoder"
    else:
        assert not accounting.not_carried
        assert back.head == head
    # TF1's and the Garden's encoders have one whatever the head.
    if not has_pooler and (name in ("tf1", "garden") or back.head == "encoder"):
        assert "no pooler" in accounting.notes[-1]
        config = dataclasses.replace(config, classifier_activation=False)
    assert back.config == config
    if name in (weight_lib.HUGGINGFACE, weight_lib.NATIVE):
        assert back.labels == checkpoint.labels


@pytest.mark.parametrize("network", networks.CONFIGS)
@pytest.mark.parametrize("name", weight_lib.FORMATS)
def test_every_network(name, network, tmp_path):
    config = networks.CONFIGS[network]
    checkpoint = networks.make_checkpoint(config, "pretraining")
    if network in _NOT_BUILT.get(name, ()):
        with pytest.raises(ValueError, match="has no network"):
            conversion.write(checkpoint, str(tmp_path / "out"), name)
        assert os.listdir(tmp_path) == []
        return
    back, accounting = _round_trip(checkpoint, name, tmp_path / "out")
    networks.assert_same_values(back.values, checkpoint.values)
    expected = config.to_dict()
    if name == weight_lib.HUGGINGFACE and network == "both_flags":
        expected["key_query_shared_bottleneck"] = False
    assert back.config.to_dict() == expected
    assert not accounting.not_carried
    if (name, network) == (weight_lib.HUGGINGFACE, "plain_bert"):
        assert accounting.added == (
            "mobilebert.embeddings.embedding_transformation.weight",
            "mobilebert.embeddings.embedding_transformation.bias",
            "cls.predictions.dense.weight",
        )
    else:
        assert not accounting.added


@pytest.mark.parametrize(
    "field",
    [{"attention_mask_type": "multiplicative"}, {"pad_invariant": True}],
)
@pytest.mark.parametrize("name", weight_lib.FORMATS)
def test_own_config_fields_survive(name, field, tmp_path):
    config = dataclasses.replace(
        networks.CONFIGS["mobilebert"], hidden_act="relu6", **field
    )
    checkpoint = networks.make_checkpoint(config, "encoder")
    back, accounting = _round_trip(checkpoint, name, tmp_path / "out")
    assert back.config == config
    ignored = [note for note in accounting.notes if "ignores" in note]
    assert len(ignored) == (1 if name == weight_lib.HUGGINGFACE else 0)


@pytest.mark.parametrize("name", weight_lib.FORMATS)
def test_special_floats_keep_their_bits(name, tmp_path):
    checkpoint = networks.make_checkpoint(
        networks.CONFIGS["mobilebert"], "question_answering"
    )
    odd = np.array([-0.0, 1e-42, np.inf, -2.4e7], np.float32)
    checkpoint.values["cls/squad/output_weights"][0, :4] = odd
    checkpoint.values["bert/embeddings/word_embeddings"][1, :4] = odd
    back, _ = _round_trip(checkpoint, name, tmp_path / "out")
    networks.assert_same_values(back.values, checkpoint.values)


def test_chain_of_all_formats(tmp_path):
    checkpoint = networks.make_checkpoint(
        networks.CONFIGS["mobilebert"], "pretraining"
    )
    path = str(tmp_path / "start")
    conversion.write(checkpoint, path, weight_lib.TF1)
    for name in ("huggingface", "garden", "mobilebert_tf", "tf1"):
        target = str(tmp_path / f"to_{name}")
        conversion.convert(path, target, "auto", name)
        path = target
    back = conversion.read(path, "tf1")
    networks.assert_same_values(back.values, checkpoint.values)
    assert back.config == checkpoint.config
    assert back.vocabulary == checkpoint.vocabulary


def test_regression_and_info_survive_in_a_model_folder(tmp_path):
    config = networks.CONFIGS["mobilebert"]
    checkpoint = networks.make_checkpoint(
        config, "sequence_classification", labels=1
    )
    for name in ("tf1", "huggingface", "garden", "mobilebert_tf"):
        back, _ = _round_trip(checkpoint, name, tmp_path / name)
        networks.assert_same_values(back.values, checkpoint.values)
        assert len(back.labels) == 1
    assert back.info == checkpoint.info


@pytest.mark.parametrize(
    "network, head",
    [
        *((network, "pretraining") for network in networks.CONFIGS),
        *(("pooler", head) for head in model_directory.HEADS[2:]),
    ],
)
def test_built_model_has_exactly_the_weights_of_the_map(network, head):
    checkpoint = networks.make_checkpoint(networks.CONFIGS[network], head)
    model = conversion.build_model(checkpoint)
    shapes = sorted(tuple(v.shape) for v in model.trainable_variables)
    assert shapes == sorted(
        weight.places[weight_lib.NATIVE].shape
        for weight in names.list_weights(
            checkpoint.config, head, len(checkpoint.labels)
        )
    )


def test_report_tells_what_the_returned_accounting_does(tmp_path):
    checkpoint = networks.make_checkpoint(
        networks.CONFIGS["mobilebert"], "multiple_choice"
    )
    path = str(tmp_path / "own")
    conversion.write(checkpoint, path, "mobilebert_tf")
    target = tmp_path / "tf1"
    accounting = conversion.convert(path, str(target), "auto", "tf1")
    report = json.loads((target / "conversion.json").read_text())
    assert report["loaded"] == list(accounting.loaded)
    assert len(accounting.loaded) == len(checkpoint.values)
    assert report["not_carried"] == [
        "multiple_choice/output_weights",
        "multiple_choice/output_bias",
    ]
    assert "not carried: 2: multiple_choice/output_weights" in str(accounting)
    assert set(accounting.ignored) == {"dropout state", "step counters"}


@pytest.mark.parametrize("name", [weight_lib.HUGGINGFACE, weight_lib.NATIVE])
def test_sequence_length_survives_where_there_is_room_for_it(name, tmp_path):
    """A published network depends on the padded length."""
    checkpoint = networks.make_checkpoint(
        networks.CONFIGS["mobilebert"], "question_answering"
    )
    info = dataclasses.replace(checkpoint.info, max_seq_length=7)
    checkpoint = dataclasses.replace(checkpoint, info=info)
    back, _ = _round_trip(checkpoint, name, tmp_path / "out")
    assert back.info.max_seq_length == 7


def test_sequence_length_can_be_given(tmp_path):
    checkpoint = networks.make_checkpoint(
        networks.CONFIGS["mobilebert"], "question_answering"
    )
    back, _ = _round_trip(
        checkpoint, weight_lib.TF1, tmp_path / "out", max_seq_length=9
    )
    assert back.info.max_seq_length == 9
    with pytest.raises(ValueError, match="--max_seq_length: expected 1 to"):
        conversion.read(str(tmp_path / "out"), max_seq_length=13)
