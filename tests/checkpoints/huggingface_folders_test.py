"""Hugging Face folders as they are found: odd names, other configs, damage."""

import json
import os

import networks
import numpy as np
import pytest
import safetensors.numpy

from mobilebert_tf.checkpoints import conversion

_CONFIG = networks.CONFIGS["mobilebert"]


def _write(folder, head="pretraining", config=_CONFIG):
    checkpoint = networks.make_checkpoint(config, head)
    conversion.write(checkpoint, str(folder), "huggingface")
    return str(folder)


def _edit_tensors(folder, edit):
    """Replaces the tensors by `edit` of them; returns the folder."""
    path = os.path.join(folder, "model.safetensors")
    safetensors.numpy.save_file(edit(safetensors.numpy.load_file(path)), path)
    return folder


def _edit(path, **fields):
    config = json.loads(path.read_text())
    config.update(fields)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"model_type": "bert"}, "model_type: expected 'mobilebert', got 'ber"),
        (
            {"hidden_act": "swish"},
            "hidden_act: expected one of relu, .*'swish'",
        ),
        ({"hidden_act": ["relu"]}, r"hidden_act: expected .* \['relu'\]"),
        ({"architectures": [1]}, r"architectures: expected names, got \[1\]"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers: expected an integer"),
        ({"num_hidden_layers": 1}, r"layer\.1\..* is no weight of the network"),
        ({"num_hidden_layers": 3}, r"layer\.2\..* is missing, expected shape"),
        ({"vocab_size": 41}, r"weight has shape \[40, 8\], expected \[41, 8\]"),
        ({"id2label": {"0": "a", "2": "b"}}, "id2label: expected keys 0 to 1"),
        ({"key_query_shared_bottleneck": False}, "such as the teacher"),
    ],
)
def test_huggingface_config_that_does_not_fit(fields, message, tmp_path):
    path = _write(tmp_path / "a")
    _edit(tmp_path / "a" / "config.json", **fields)
    with pytest.raises(ValueError, match=message):
        conversion.read(path)


def test_huggingface_keys_that_are_no_field_are_accepted(tmp_path):
    path = _write(tmp_path / "a")
    _edit(
        tmp_path / "a" / "config.json",
        torch_dtype="float32",
        transformers_version="4.0.0",
        classifier_dropout=None,
        true_hidden_size=12,
        _name_or_path="x",
    )
    assert conversion.read(path).config == _CONFIG


def test_huggingface_file_alone_and_old_names(tmp_path):
    """Other prefixes and the older gamma and beta are understood."""
    path = _write(tmp_path / "a", "masked_lm")
    expected = conversion.read(path)
    weights = tmp_path / "a" / "model.safetensors"
    tensors = safetensors.numpy.load_file(weights)
    old = {
        name.replace("mobilebert.", "bert.")
        .replace("LayerNorm.weight", "LayerNorm.gamma")
        .replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in tensors.items()
    }
    # Tied tensors may be under their other name only.
    old["cls.predictions.decoder.bias"] = old.pop("cls.predictions.bias")
    safetensors.numpy.save_file(old, tmp_path / "old.safetensors")
    with pytest.raises(ValueError, match="no config.json beside it; give"):
        conversion.read(str(tmp_path / "old.safetensors"))
    checkpoint = conversion.read(
        str(tmp_path / "old.safetensors"),
        config_file=str(tmp_path / "a" / "config.json"),
    )
    assert checkpoint.head == "masked_lm"
    networks.assert_same_values(checkpoint.values, expected.values)


def test_classifier_of_unnamed_use(tmp_path):
    """Its tensors do not tell sequences from tokens; the user may."""
    path = _write(tmp_path / "a", "token_classification")
    _edit(tmp_path / "a" / "config.json", architectures=None)
    assert conversion.read(path).head == "sequence_classification"
    checkpoint = conversion.read(path, head="token_classification")
    assert not checkpoint.accounting.initialised
    _edit(
        tmp_path / "a" / "config.json",
        architectures=["MobileBertForTokenClassification"],
    )
    checkpoint = conversion.read(path, head="sequence_classification")
    assert len(checkpoint.accounting.initialised) == 2


@pytest.mark.parametrize("wrapper", ["module.", "model.", "base_model.model."])
@pytest.mark.parametrize(
    "head", ["encoder", "pretraining", "token_classification"]
)
def test_names_with_the_prefix_of_a_wrapper(wrapper, head, tmp_path):
    path = _write(tmp_path / "a", head)
    expected = conversion.read(path)
    _edit_tensors(path, lambda t: {wrapper + k: v for k, v in t.items()})
    checkpoint = conversion.read(path)
    assert checkpoint.info == expected.info
    assert not checkpoint.accounting.ignored
    networks.assert_same_values(checkpoint.values, expected.values)


@pytest.mark.parametrize(
    "head, tensor, rest",
    [
        ("sequence_classification", "classifier.weight", "encoder"),
        ("question_answering", "qa_outputs.weight", "encoder"),
        ("pretraining", "cls.seq_relationship.weight", "masked_lm"),
    ],
)
def test_head_that_the_config_names_is_not_lost(head, tensor, rest, tmp_path):
    """Under a name that nobody knows it would be left out in silence."""
    path = _write(tmp_path / "a", head)
    _edit_tensors(
        path,
        lambda t: {
            f"my_{name}" if name == tensor else name: value
            for name, value in t.items()
        },
    )
    with pytest.raises(
        ValueError,
        match=f"{tensor} is missing, which MobileBertFor.* has; --head={rest}",
    ):
        conversion.read(path)
    checkpoint = conversion.read(path, head=rest)
    assert not checkpoint.accounting.initialised
    assert f"my_{tensor}" in checkpoint.accounting.ignored["unknown"]
    if rest == "encoder":
        drawn = conversion.read(path, head=head).accounting.initialised
        assert len(drawn) == 2


@pytest.mark.parametrize("name", ["weight", "bias"])
@pytest.mark.parametrize("ties", [True, False])
def test_decoder_of_its_own_is_refused(name, ties, tmp_path):
    """Hugging Face computes with it, whatever tie_word_embeddings."""
    path = _write(tmp_path / "a", "masked_lm")
    _edit(tmp_path / "a" / "config.json", tie_word_embeddings=ties)
    decoder = f"cls.predictions.decoder.{name}"
    twin = {
        "weight": "mobilebert.embeddings.word_embeddings.weight",
        "bias": "cls.predictions.bias",
    }[name]
    _edit_tensors(path, lambda t: {**t, decoder: t[twin].copy()})
    ignored = conversion.read(path).accounting.ignored
    assert ignored == {"tied copies": (decoder,)}
    _edit_tensors(path, lambda t: {**t, decoder: t[decoder] + 1.0})
    with pytest.raises(
        ValueError, match=f"{decoder} differs from {twin}; .*--head=encoder"
    ):
        conversion.read(path)
    ignored = conversion.read(path, head="encoder").accounting.ignored
    assert ignored["untied decoder"] == (decoder,)


@pytest.mark.parametrize(
    "architectures",
    [
        ["MobileBertForTokenClassification"],
        ["TFMobileBertForTokenClassification"],
        "MobileBertForTokenClassification",
    ],
)
def test_spellings_of_the_architecture(architectures, tmp_path):
    path = _write(tmp_path / "a", "token_classification")
    _edit(tmp_path / "a" / "config.json", architectures=architectures)
    checkpoint = conversion.read(path)
    assert checkpoint.head == "token_classification"
    assert not checkpoint.accounting.notes


@pytest.mark.parametrize("architectures", [None, [], ["BertForX"]])
def test_guess_of_a_head_is_told(architectures, tmp_path):
    path = _write(tmp_path / "a", "token_classification")
    _edit(tmp_path / "a" / "config.json", architectures=architectures)
    checkpoint = conversion.read(path)
    assert checkpoint.head == "sequence_classification"
    (note,) = checkpoint.accounting.notes
    name = "BertForX" if architectures else "none"
    assert f"names no head (architectures: {name})" in note


def test_label_names_of_another_number_are_told(tmp_path):
    path = _write(tmp_path / "a", "sequence_classification")
    _edit(tmp_path / "a" / "config.json", id2label={"0": "no", "1": "yes"})
    checkpoint = conversion.read(path)
    assert checkpoint.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    (note,) = checkpoint.accounting.notes
    assert note.startswith("id2label names 2 labels, the head has 3 outputs")


def test_equal_label_names_are_refused(tmp_path):
    path = _write(tmp_path / "a", "sequence_classification")
    same = {"0": "no", "1": "no", "2": "yes"}
    _edit(tmp_path / "a" / "config.json", id2label=same)
    with pytest.raises(ValueError, match="--labels: .* twice: no, no, yes"):
        conversion.read(path)
    with pytest.raises(ValueError, match="--labels: .* twice: a, b, b"):
        conversion.read(path, labels=("a", "b", "b"))
    labels = ("no", "maybe", "yes")
    assert conversion.read(path, labels=labels).labels == labels


@pytest.mark.parametrize(
    "head, tensor, shape, message",
    [
        ("sequence_classification", "classifier.weight", (), "is a scalar"),
        (
            "question_answering",
            "qa_outputs.weight",
            (3, 24),
            r"has 3 outputs \(num_labels\), expected 2: start and end",
        ),
    ],
)
def test_heads_of_odd_shapes(head, tensor, shape, message, tmp_path):
    path = _write(tmp_path / "a", head)
    _edit_tensors(path, lambda t: {**t, tensor: np.zeros(shape, np.float32)})
    with pytest.raises(ValueError, match=f"{tensor} {message}"):
        conversion.read(path)


@pytest.mark.parametrize(
    "network, stated, message",
    [
        ("mobilebert", True, "pooler.dense.weight is missing"),
        ("pooler", False, "pooler.dense.* is no weight of the network"),
    ],
)
def test_wrong_classifier_activation_is_named(
    network, stated, message, tmp_path
):
    path = _write(tmp_path / "a", "pretraining", networks.CONFIGS[network])
    _edit(tmp_path / "a" / "config.json", classifier_activation=stated)
    expected = f"{message}.*its classifier_activation is {str(stated).lower()}"
    with pytest.raises(ValueError, match=expected):
        conversion.read(path)


def test_configs_of_the_other_kind_are_refused(tmp_path):
    """Most of their keys are the same, but "gelu" is another function."""
    theirs = _write(tmp_path / "a")
    ours = str(tmp_path / "b")
    conversion.convert(theirs, ours, "auto", "tf1")
    config_file = os.path.join(ours, "bert_config.json")
    with pytest.raises(ValueError, match="no model_type: expected Hugging F"):
        conversion.read(theirs, config_file=config_file)
    config_file = os.path.join(theirs, "config.json")
    with pytest.raises(ValueError, match="expected a bert_config.json, got H"):
        conversion.read(ours, config_file=config_file)


@pytest.mark.parametrize(
    "value, lower_case", [(None, False), (False, False), (True, True)]
)
def test_null_casing_is_no_casing(value, lower_case, tmp_path):
    """Then tokenizer.json says it."""
    path = _write(tmp_path / "a")
    ids = {
        token: i for i, token in enumerate(networks.VOCABULARY.decode().split())
    }
    (tmp_path / "a" / "tokenizer.json").write_text(
        json.dumps(
            {"model": {"vocab": ids}, "normalizer": {"lowercase": False}}
        )
    )
    _edit(tmp_path / "a" / "tokenizer_config.json", do_lower_case=value)
    assert conversion.read(path).lower_case is lower_case


def test_null_casing_alone_is_the_default(tmp_path):
    path = _write(tmp_path / "a")
    _edit(
        tmp_path / "a" / "tokenizer_config.json",
        do_lower_case=None,
        model_max_length=None,
    )
    checkpoint = conversion.read(path)
    assert checkpoint.lower_case is True
    assert checkpoint.info.max_seq_length == 12


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"do_lower_case": "false"}, "do_lower_case: expected a bool, got 'fa"),
        ({"model_max_length": "9"}, "model_max_length: expected a number"),
    ],
)
def test_malformed_tokenizer_config(fields, message, tmp_path):
    path = _write(tmp_path / "a")
    _edit(tmp_path / "a" / "tokenizer_config.json", **fields)
    with pytest.raises(ValueError, match=f"tokenizer_config.json: {message}"):
        conversion.read(path)


@pytest.mark.parametrize(
    "content",
    [
        {"model": []},
        {"model": {"vocab": {"a": "b"}}},
        {"model": {"vocab": {"a": 1}}},
        {"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 1}]},
    ],
)
def test_malformed_tokenizer(content, tmp_path):
    path = _write(tmp_path / "a")
    (tmp_path / "a" / "vocab.txt").unlink()
    (tmp_path / "a" / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="tokenizer.json: no vocabulary .*; g"):
        conversion.read(path)


def _split(folder):
    """Replaces the file by two and their index, as transformers names them."""
    whole = folder / "model.safetensors"
    tensors = list(safetensors.numpy.load_file(whole).items())
    weight_map = {}
    for number, part in enumerate((tensors[:40], tensors[40:]), 1):
        name = f"model-{number:05}-of-00002.safetensors"
        safetensors.numpy.save_file(dict(part), folder / name)
        weight_map.update({key: name for key, _ in part})
    whole.unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    return index


def test_index_and_single_shard_as_input(tmp_path):
    expected = conversion.read(_write(tmp_path / "a"))
    index = _split(tmp_path / "a")
    checkpoint = conversion.read(str(index))
    networks.assert_same_values(checkpoint.values, expected.values)
    shard = str(tmp_path / "a" / "model-00002-of-00002.safetensors")
    with pytest.raises(ValueError, match=f"{shard}: one of several files; giv"):
        conversion.read(shard)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"weight_map": {"a": 1}}']
)
def test_malformed_index(content, tmp_path):
    _write(tmp_path / "a")
    index = _split(tmp_path / "a")
    index.write_text(content)
    with pytest.raises(ValueError, match=f"{index}: "):
        conversion.read(str(tmp_path / "a"))


def test_types_that_are_no_weights_are_named(tmp_path):
    path = _write(tmp_path / "a", "encoder")
    weights = tmp_path / "a" / "model.safetensors"
    name = "embeddings.LayerNorm.bias"
    header = {
        name: {"dtype": "F8_E4M3", "shape": [24], "data_offsets": [0, 24]}
    }
    tensors = safetensors.numpy.load_file(weights)
    del tensors[name]
    safetensors.numpy.save_file(tensors, weights)
    text = json.dumps(header).encode()
    (tmp_path / "a" / "model-2.safetensors").write_bytes(
        len(text).to_bytes(8, "little") + text + bytes(24)
    )
    os.rename(weights, tmp_path / "a" / "model-1.safetensors")
    weight_map = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    index = tmp_path / "a" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ValueError, match=f"{name} .*(cannot be read|expected)"):
        conversion.read(path)


def test_values_beyond_float32_are_refused(tmp_path):
    path = _write(tmp_path / "a", "question_answering")
    bias = "qa_outputs.bias"
    _edit_tensors(path, lambda t: {**t, bias: np.array([1e300, 1.0])})
    with pytest.raises(ValueError, match=f"{bias} .* beyond float32"):
        conversion.read(path)
    _edit_tensors(path, lambda t: {**t, bias: np.array([np.inf, np.nan])})
    assert conversion.read(path).accounting.notes == (
        f"NaN or infinity in 1: {bias}",
        "float64 values were converted to float32",
    )
