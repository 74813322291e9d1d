"""A trained model's folder: written, read back, and each way to be broken."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf import model_directory
from mobilebert_tf import tokenization
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models

_TOKENS = [*tokenization.SPECIAL_TOKENS, "a", "b", "c"]
_CONFIG = config_lib.micro(
    vocab_size=len(_TOKENS),
    hidden_size=16,
    embedding_size=8,
    intra_bottleneck_size=8,
    intermediate_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    max_position_embeddings=10,
)
_PRETRAINING = model_directory.ModelInfo("pretraining", max_seq_length=10)
_CLASSIFIER = model_directory.ModelInfo(
    "sequence_classification",
    max_seq_length=8,
    lower_case=False,
    task_name="MNLI",
    labels=("no", "yes", "maybe"),
    data_dir="/data",
)
_IDS = {"input_word_ids": np.array([[2, 5, 6, 3]])}


@pytest.fixture(name="vocab_file")
def _vocab_file(tmp_path):
    path = tmp_path / "given.txt"
    path.write_text("\n".join(_TOKENS) + "\n")
    return str(path)


@pytest.fixture(name="folder")
def _folder(tmp_path, vocab_file):
    """The folder of a pre-trained model with one checkpoint."""
    folder = str(tmp_path / "model")
    model_directory.write(folder, _CONFIG, _PRETRAINING, vocab_file)
    _save(models.MobileBertForPreTraining(_CONFIG), folder)
    return folder


def _save(model, folder):
    """Writes a checkpoint as training does: the model and more."""
    model.build_weights()
    for seed, weight in enumerate(model.weights):
        weight.assign(
            np.random.default_rng(seed).normal(size=weight.shape) * 0.1
        )
    checkpoint = tf.train.Checkpoint(model=model, global_step=tf.Variable(7))
    manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=None)
    manager.save()
    return model


def test_reads_back_what_was_written(folder, vocab_file):
    assert model_directory.read_config(folder) == _CONFIG
    assert model_directory.read_info(folder) == _PRETRAINING
    with open(f"{folder}/vocab.txt") as copy, open(vocab_file) as given:
        assert copy.read() == given.read()


def test_loads_a_pretrained_model(folder, tmp_path):
    trained = model_directory.load(folder)
    assert type(trained.model) is models.MobileBertForPreTraining
    assert (trained.config, trained.info) == (_CONFIG, _PRETRAINING)
    assert trained.checkpoint == f"{folder}/ckpt-1"
    assert trained.tokenizer.vocab_size == len(_TOKENS)
    expected = _save(
        models.MobileBertForPreTraining(_CONFIG), str(tmp_path / "other")
    )
    for name in ("masked_lm_logits", "next_sentence_logits"):
        np.testing.assert_array_equal(
            trained.model(_IDS)[name], expected(_IDS)[name]
        )


def test_loads_a_classifier(tmp_path, vocab_file):
    folder = str(tmp_path / "classifier")
    model_directory.write(folder, _CONFIG, _CLASSIFIER, vocab_file)
    saved = _save(
        models.MobileBertForSequenceClassification(_CONFIG, 3), folder
    )
    trained = model_directory.load(folder)
    assert trained.info == _CLASSIFIER
    assert trained.info.labels == ("no", "yes", "maybe")
    np.testing.assert_array_equal(
        trained.model(_IDS)["logits"], saved(_IDS)["logits"]
    )
    # An uncased vocabulary, read as a cased one, does not know "A".
    ids = trained.tokenizer.tokenize(["A a"]).to_list()
    assert ids == [[_TOKENS.index("[UNK]"), _TOKENS.index("a")]]


def test_newest_checkpoint_is_read(folder):
    model = models.MobileBertForPreTraining(_CONFIG)
    model.build_weights()
    checkpoint = tf.train.Checkpoint(model=model)
    manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=None)
    manager.save(checkpoint_number=12)
    trained = model_directory.load(folder)
    assert trained.checkpoint == f"{folder}/ckpt-12"
    np.testing.assert_array_equal(
        trained.model.encoder.embeddings.word_table,
        model.encoder.embeddings.word_table,
    )


def test_same_model_may_go_on(tmp_path, vocab_file):
    """From elsewhere too, and with the folder's own vocabulary."""
    folder = str(tmp_path / "model")
    model_directory.write(folder, _CONFIG, _CLASSIFIER, vocab_file)
    moved = dataclasses.replace(_CLASSIFIER, data_dir="/elsewhere")
    model_directory.write(folder, _CONFIG, moved, f"{folder}/vocab.txt")
    assert model_directory.read_info(folder) == moved
    with open(f"{folder}/vocab.txt") as stream:
        assert stream.read().split() == _TOKENS


@pytest.mark.parametrize(
    "field, old, new",
    [("intermediate_size", 8, 12), ("max_seq_length", 10, 5)],
)
def test_another_model_is_refused(folder, vocab_file, field, old, new):
    config, info = (
        dataclasses.replace(part, **{field: new})
        if hasattr(part, field)
        else part
        for part in (_CONFIG, _PRETRAINING)
    )
    with pytest.raises(ValueError) as error:
        model_directory.write(folder, config, info, vocab_file)
    assert str(error.value) == (
        f"{folder} holds another model: {field} is {old}, this run has {new}; "
        "choose another --model_dir"
    )
    assert model_directory.read_config(folder) == _CONFIG
    assert model_directory.read_info(folder) == _PRETRAINING


def test_another_vocabulary_is_refused(folder, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("\n".join([*_TOKENS[:-1], "d"]) + "\n")
    with pytest.raises(ValueError, match="vocab.txt and .*other.txt differ"):
        model_directory.write(folder, _CONFIG, _PRETRAINING, str(other))


def _remove(name):
    return lambda path: (path / name).unlink()


def _write(name, text):
    return lambda path: (path / name).write_text(text)


_INFO = '{"head": "pretraining", "max_seq_length": 10, "labels": []'


@pytest.mark.parametrize(
    "damage, message",
    [
        (_remove("bert_config.json"), "not a model folder, no bert_config"),
        (_write("bert_config.json", "{"), "bert_config.json: not JSON"),
        (_remove("model_info.json"), "not a model folder, no model_info"),
        (_write("model_info.json", "{"), "model_info.json: Expecting"),
        (_write("model_info.json", ""), "model_info.json: Expecting"),
        (_write("model_info.json", "[]"), "model_info.json: "),
        (_write("model_info.json", "{}"), "model_info.json: .*labels"),
        (
            _write("model_info.json", _INFO + ', "x": 1}'),
            "model_info.json: .*'x'",
        ),
        (
            _write(
                "model_info.json",
                '{"head": "squad", "max_seq_length": 1, "labels": []}',
            ),
            "model_info.json: head: expected one of encoder, .* 'squad'",
        ),
        (_remove("vocab.txt"), "vocab.txt"),
        (
            _write("vocab.txt", "\n".join([*_TOKENS, "d"]) + "\n"),
            "vocab.txt has 9 entries but the model's vocab_size is 8",
        ),
        (_remove("checkpoint"), "ckpt-1.* is there, but .* .checkpoint. is"),
        (_remove("ckpt-1.index"), "ckpt-1.* is there, but .* names another"),
        *(
            (damage, "ckpt-1: not a whole checkpoint: ")
            for damage in (
                _remove("ckpt-1.data-00000-of-00001"),
                _write("ckpt-1.data-00000-of-00001", "short"),
                _write("ckpt-1.index", ""),
                _write("ckpt-1.index", 100 * "nothing of the kind"),
            )
        ),
    ],
)
def test_damaged_folders(folder, tmp_path, damage, message):
    """The error names the file, in a type that becomes one line."""
    damage(tmp_path / "model")
    with pytest.raises((ValueError, OSError), match=message):
        model_directory.load(folder)


@pytest.mark.parametrize(
    "field, value",
    [
        ("intermediate_size", 12),  # other shapes
        ("num_hidden_layers", 2),  # more variables
        ("key_query_shared_bottleneck", False),  # fewer variables
        ("classifier_activation", True),
    ],
)
def test_checkpoint_of_another_network(folder, field, value):
    config = {**_CONFIG.to_dict(), field: value}
    path = f"{folder}/bert_config.json"
    config_lib.MobileBertConfig(**config).to_json_file(path)
    with pytest.raises(ValueError, match="ckpt-1: does not fit the model: "):
        model_directory.load(folder)


def test_checkpoint_of_another_head(folder):
    model = models.MobileBertForSequenceClassification(_CONFIG, 2)
    model.build_weights()
    with pytest.raises(ValueError, match="ckpt-1: does not fit the model"):
        model_directory.restore(model, f"{folder}/ckpt-1")


def test_folder_that_is_none(tmp_path, vocab_file):
    for path, kind in (
        (str(tmp_path / "absent"), "no such directory"),
        (vocab_file, "a file"),
    ):
        with pytest.raises(ValueError) as info:
            model_directory.load(path)
        assert str(info.value) == (
            f"--model_dir={path}: expected a directory, got {kind}"
        )
    with pytest.raises(ValueError, match="not a model folder, no bert_config"):
        model_directory.load(str(tmp_path))
    with pytest.raises(ValueError, match="no checkpoint"):
        model_directory.latest_checkpoint(str(tmp_path))


def test_unknown_head():
    with pytest.raises(ValueError, match="^head: expected one of .* 'squad'"):
        model_directory.ModelInfo("squad", max_seq_length=8)


def test_info_file_is_plain_json(folder):
    with open(f"{folder}/model_info.json") as stream:
        assert json.load(stream) == {
            "head": "pretraining",
            "max_seq_length": 10,
            "lower_case": True,
            "task_name": "",
            "labels": [],
            "data_dir": "",
            "pooling": "mean",
        }


def test_vocabulary_and_word_table():
    assert model_directory.check_vocabulary(8, _CONFIG, "v.txt") is None
    with pytest.raises(ValueError, match="v.txt has 7 entries .* is 8"):
        model_directory.check_vocabulary(7, _CONFIG, "v.txt")


@pytest.mark.parametrize("head", model_directory.HEADS)
def test_every_head_is_written_and_loaded(head, tmp_path, vocab_file):
    labelled = head in model_directory.LABELLED_HEADS
    info = model_directory.ModelInfo(
        head,
        max_seq_length=10,
        labels=("a", "b", "c") if labelled else (),
        pooling="cls" if head == "sentence_embedding" else "mean",
    )
    folder = str(tmp_path / "model")
    model_directory.write(folder, _CONFIG, info, vocab_file)
    model = model_directory.make_model(_CONFIG, info)
    _save(model, folder)
    ids = _IDS["input_word_ids"]
    if head == "multiple_choice":
        ids = ids[np.newaxis]
    trained = model_directory.load(folder)
    assert type(trained.model) is type(model)
    assert trained.info == info
    expected, actual = (
        m({"input_word_ids": ids}) for m in (model, trained.model)
    )
    tf.nest.map_structure(np.testing.assert_array_equal, actual, expected)


@pytest.mark.parametrize(
    "head, labels, message",
    [
        ("token_classification", (), "has labels, got \\[\\]"),
        ("question_answering", ("a",), "has no labels, got \\['a'\\]"),
    ],
)
def test_labels_go_with_the_head(head, labels, message):
    with pytest.raises(ValueError, match=f"labels: the head {head} {message}"):
        model_directory.ModelInfo(head, max_seq_length=8, labels=labels)
