"""Configurations: published files, presets, and every way to be wrong."""

import dataclasses
import json

import pytest

from mobilebert_tf.modeling import config as config_lib

# bert_config.json of uncased_L-24_H-128_B-512_A-4_F-4_OPT; absent keys take
# the defaults of the published configuration class.
_PUBLISHED = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "relu",
    "hidden_dropout_prob": 0.0,
    "hidden_size": 512,
    "initializer_range": 0.02,
    "intermediate_size": 512,
    "max_position_embeddings": 512,
    "num_attention_heads": 4,
    "num_hidden_layers": 24,
    "type_vocab_size": 2,
    "vocab_size": 30522,
    "embedding_size": 128,
    "trigram_input": True,
    "use_bottleneck": True,
    "intra_bottleneck_size": 128,
    "key_query_shared_bottleneck": True,
    "num_feedforward_networks": 4,
    "normalization_type": "no_norm",
    "classifier_activation": False,
}
_TINY_CHANGES = {
    "use_bottleneck_attention": True,
    "num_feedforward_networks": 2,
}
_TEACHER_CHANGES = {
    "intra_bottleneck_size": 1024,
    "intermediate_size": 4096,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
}


def _published(without=(), **changes):
    fields = {**_PUBLISHED, **changes}
    return {key: fields[key] for key in fields if key not in without}


@pytest.mark.parametrize(
    "fields, preset",
    [
        (_published(), config_lib.mobilebert),
        (
            _published(["key_query_shared_bottleneck"], **_TINY_CHANGES),
            config_lib.mobilebert_tiny,
        ),
        (
            _published(
                [
                    "key_query_shared_bottleneck",
                    "num_feedforward_networks",
                    "normalization_type",
                    "classifier_activation",
                ],
                **_TEACHER_CHANGES,
            ),
            config_lib.ib_bert_large,
        ),
    ],
    ids=["mobilebert", "mobilebert_tiny", "ib_bert_large"],
)
def test_published_files_are_the_presets(tmp_path, fields, preset):
    path = tmp_path / "bert_config.json"
    path.write_text(json.dumps(fields))
    config = config_lib.MobileBertConfig.from_json_file(str(path))
    assert config == preset()


def test_absent_keys_take_the_published_class_defaults():
    config = config_lib.MobileBertConfig.from_dict({})
    assert config.to_dict() == {
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
        "type_vocab_size": 16,
        "initializer_range": 0.02,
        "embedding_size": 768,
        "trigram_input": False,
        "use_bottleneck": False,
        "intra_bottleneck_size": 768,
        "use_bottleneck_attention": False,
        "key_query_shared_bottleneck": False,
        "num_feedforward_networks": 1,
        "normalization_type": "layer_norm",
        "classifier_activation": True,
        "attention_mask_type": "additive",
        "pad_invariant": False,
    }


def test_sizes_that_follow_hidden_size():
    config = config_lib.MobileBertConfig(hidden_size=96, num_attention_heads=8)
    assert config.embedding_size == config.intra_bottleneck_size == 96
    assert (config.block_size, config.head_size) == (96, 12)
    narrow = config_lib.mobilebert()
    assert (narrow.block_size, narrow.head_size) == (128, 32)
    # Without bottlenecks the width inside a block is that between blocks.
    config = config_lib.MobileBertConfig(intra_bottleneck_size=128)
    assert config.block_size == 768


@pytest.mark.parametrize("name", config_lib.PRESETS)
def test_json_round_trip(tmp_path, name):
    config = config_lib.preset(name, vocab_size=99)
    path = str(tmp_path / "new" / "bert_config.json")
    config.to_json_file(path)
    copy = config_lib.MobileBertConfig.from_json_file(path)
    assert copy == config
    assert copy.vocab_size == 99
    assert copy != config_lib.preset(name)


def test_presets_differ_from_each_other():
    configs = [config_lib.preset(name) for name in config_lib.PRESETS]
    assert len(set(configs)) == len(configs) == 8


@pytest.mark.parametrize("name", ["micro", "mini"])
def test_small_presets_pair_up_with_their_teachers(name):
    """Everything that transfer compares or copies has one shape."""
    student = config_lib.preset(name)
    teacher = config_lib.preset(f"{name}_teacher")
    for field in (
        "vocab_size",
        "hidden_size",
        "embedding_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
        "type_vocab_size",
        "trigram_input",
    ):
        assert getattr(student, field) == getattr(teacher, field)
    assert teacher.block_size >= teacher.hidden_size > student.block_size
    assert teacher.normalization_type != student.normalization_type


def test_unknown_preset():
    with pytest.raises(ValueError, match="'mobilbert', expected .*micro"):
        config_lib.preset("mobilbert")


@pytest.mark.parametrize(
    "key, hint",
    [
        ("hiden_size", "did you mean 'hidden_size'?"),
        ("num_hidden_layer", "did you mean 'num_hidden_layers'?"),
        ("qqq", "no such field"),
    ],
)
def test_unknown_keys(key, hint):
    with pytest.raises(ValueError) as info:
        config_lib.MobileBertConfig.from_dict({key: 1}, source="a/b.json")
    assert str(info.value) == f"a/b.json: unknown key {key!r}; {hint}"


_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "embedding_size",
    "intra_bottleneck_size",
    "num_feedforward_networks",
)


@pytest.mark.parametrize("name", _SIZES)
@pytest.mark.parametrize(
    "value, expected",
    [
        (0, "expected at least 1, got 0"),
        (-3, "expected at least 1, got -3"),
        (1.0, "expected an integer, got 1.0"),
        ("8", "expected an integer, got '8'"),
        (True, "expected an integer, got True"),
    ],
)
def test_impossible_sizes(name, value, expected):
    with pytest.raises(ValueError) as info:
        config_lib.mobilebert(**{name: value})
    assert str(info.value) == f"{name}: {expected}"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob: .* got 1.0"),
        ({"hidden_dropout_prob": -0.1}, "hidden_dropout_prob: .* got -0.1"),
        ({"attention_probs_dropout_prob": 1.5}, "attention_.*: .* got 1.5"),
        (
            {"attention_probs_dropout_prob": float("nan")},
            "attention_.*: .* got nan",
        ),
        ({"initializer_range": 0.0}, "initializer_range: expected > 0, got 0"),
        ({"initializer_range": -1.0}, "initializer_range: .*, got -1.0"),
        ({"hidden_act": "swish"}, "hidden_act: .*'relu6'.*, got 'swish'"),
        ({"hidden_act": None}, "hidden_act: .*, got None"),
        (
            {"normalization_type": "manual_layer_norm"},
            "normalization_type: .*'no_norm'.* got 'manual_layer_norm'",
        ),
        (
            {"num_attention_heads": 3},
            "num_attention_heads=3 must divide the width inside a block, 128",
        ),
        (
            {"embedding_size": 513},
            "embedding_size=513 must not exceed hidden_size=512",
        ),
        (
            {"use_bottleneck": False},
            "key_query_shared_bottleneck needs use_bottleneck=true",
        ),
        (
            {
                "use_bottleneck": False,
                "key_query_shared_bottleneck": False,
                "use_bottleneck_attention": True,
            },
            "use_bottleneck_attention needs use_bottleneck=true",
        ),
    ],
)
def test_impossible_values(changes, message):
    with pytest.raises(ValueError, match=message):
        config_lib.mobilebert(**changes)
    fields = {**config_lib.mobilebert().to_dict(), **changes}
    with pytest.raises(ValueError, match=f"^x.json: {message}"):
        config_lib.MobileBertConfig.from_dict(fields, source="x.json")


@pytest.mark.parametrize(
    "field",
    [
        field.name
        for field in dataclasses.fields(config_lib.MobileBertConfig)
        if field.type in ("float", float)
    ],
)
@pytest.mark.parametrize("value", ["0.1", None, [0.1], True])
def test_numbers_of_another_type(field, value):
    """A quoted number in the JSON file, for example."""
    with pytest.raises(ValueError) as info:
        config_lib.MobileBertConfig.from_dict({field: value}, source="x.json")
    assert str(info.value) == (
        f"x.json: {field}: expected a number, got {value!r}"
    )


@pytest.mark.parametrize(
    "field",
    [
        field.name
        for field in dataclasses.fields(config_lib.MobileBertConfig)
        if field.type in ("bool", bool)
    ],
)
@pytest.mark.parametrize("value", ["false", 0, None])
def test_switches_must_be_booleans(field, value):
    """The string "false" would switch on."""
    with pytest.raises(ValueError) as info:
        config_lib.MobileBertConfig.from_dict({field: value}, source="x.json")
    assert str(info.value) == (
        f"x.json: {field}: expected true or false, got {value!r}"
    )


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[1]", "expected a JSON object, got list"),
        ("3", "expected a JSON object, got int"),
        ('{"vocab": 3}', "unknown key 'vocab'; did you mean 'vocab_size'?"),
    ],
)
def test_malformed_files(tmp_path, content, message):
    path = tmp_path / "bert_config.json"
    path.write_text(content)
    with pytest.raises(ValueError) as info:
        config_lib.MobileBertConfig.from_json_file(str(path))
    assert str(info.value).startswith(f"{path}: {message}")


def test_file_that_is_not_text(tmp_path):
    path = tmp_path / "bert_config.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="bert_config.json: not JSON"):
        config_lib.MobileBertConfig.from_json_file(str(path))


@pytest.mark.parametrize(
    "name, kind", [("absent.json", "no such file"), ("", "a directory")]
)
def test_absent_file(tmp_path, name, kind):
    path = str(tmp_path / name)
    with pytest.raises(ValueError) as info:
        config_lib.MobileBertConfig.from_json_file(path)
    assert str(info.value) == (
        f"--bert_config_file={path}: expected a file, got {kind}"
    )


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        config_lib.mobilebert().hidden_size = 3
