"""Hugging Face's own classes load what we write, and we what they save."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.modeling import config as config_lib

_REASON = "needs the extra 'parity': run `make test-parity`"
torch = pytest.importorskip("torch", reason=_REASON)
transformers = pytest.importorskip("transformers", reason=_REASON)
safetensors = pytest.importorskip("safetensors.torch", reason=_REASON)

_SIZES = dict(
    vocab_size=40,
    hidden_size=24,
    embedding_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=20,
    max_position_embeddings=12,
    intra_bottleneck_size=12,
)
_NETWORKS = {
    "mobilebert": config_lib.mobilebert(**_SIZES),
    "tiny": config_lib.mobilebert_tiny(
        **_SIZES, classifier_activation=True, hidden_act="relu6"
    ),
    "both_flags": config_lib.mobilebert_tiny(
        **_SIZES, key_query_shared_bottleneck=True
    ),
    "without_opt": config_lib.mobilebert_without_opt(**_SIZES),
    "exact_gelu": config_lib.mobilebert_without_opt(
        **_SIZES, hidden_act="gelu_erf", classifier_activation=True
    ),
    "one_network": config_lib.mobilebert(**_SIZES, num_feedforward_networks=1),
    "no_trigram": config_lib.mobilebert(**_SIZES, trigram_input=False),
    "no_projection": config_lib.mobilebert(
        **{**_SIZES, "embedding_size": 24}, trigram_input=False
    ),
    "no_bottleneck": config_lib.MobileBertConfig(
        **_SIZES, type_vocab_size=3, num_feedforward_networks=2
    ),
}
_CLASSES = {
    "encoder": "MobileBertModel",
    "pretraining": "MobileBertForPreTraining",
    "masked_lm": "MobileBertForMaskedLM",
    "next_sentence": "MobileBertForNextSentencePrediction",
    "sequence_classification": "MobileBertForSequenceClassification",
    "multiple_choice": "MobileBertForMultipleChoice",
    "token_classification": "MobileBertForTokenClassification",
    "question_answering": "MobileBertForQuestionAnswering",
}
# Our output, and Hugging Face's.
_OUTPUTS = {
    "encoder": {
        "sequence_output": "last_hidden_state",
        "pooled_output": "pooler_output",
    },
    "pretraining": {
        "masked_lm_logits": "prediction_logits",
        "next_sentence_logits": "seq_relationship_logits",
    },
    "masked_lm": {"masked_lm_logits": "logits"},
    "next_sentence": {"next_sentence_logits": "logits"},
    "question_answering": {
        "start_logits": "start_logits",
        "end_logits": "end_logits",
    },
}
_LABELS = ("NEGATIVE", "NEUTRAL", "POSITIVE")
_TOKENS = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "hello",
    "##s",
    "Hello",
)
_VOCABULARY = "".join(
    f"{token}\n" for token in (*_TOKENS, *(f"w{i}" for i in range(32)))
)
_ACTIVATIONS = {"gelu": "gelu_new", "gelu_erf": "gelu"}


def _make_huggingface(config, head):
    """Returns their model with random weights, all of them."""
    fields = config.to_dict()
    fields["hidden_act"] = _ACTIVATIONS.get(
        config.hidden_act, config.hidden_act
    )
    del fields["attention_mask_type"], fields["pad_invariant"]
    if head in model_directory.LABELLED_HEADS:
        fields["id2label"] = dict(enumerate(_LABELS))
    model = getattr(transformers, _CLASSES[head])(
        transformers.MobileBertConfig(**fields)
    ).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "LayerNorm.weight" in name:
                parameter.copy_(1.0 + 0.2 * noise)
            elif parameter.ndim == 2 and parameter.shape[1]:
                parameter.copy_(noise / parameter.shape[1] ** 0.5)
            else:
                parameter.copy_(0.3 * noise)
    return model


def _make_ours(config, head, folder):
    """Writes a model folder with random weights; returns its model."""
    labels = _LABELS if head in model_directory.LABELLED_HEADS else ()
    info = model_directory.ModelInfo(head, 12, True, labels=labels)
    vocab_file = os.path.join(os.path.dirname(folder), "vocab.txt")
    with open(vocab_file, "w", encoding="utf-8") as stream:
        stream.write(_VOCABULARY)
    model_directory.write(folder, config, info, vocab_file)
    model = model_directory.make_model(config, info)
    model.build_weights()
    generator = np.random.default_rng(4)
    for variable in model.trainable_variables:
        noise = generator.standard_normal(variable.shape)
        if "gamma" in variable.name:
            noise = 1.0 + 0.2 * noise
        elif len(variable.shape) == 2:
            noise /= np.sqrt(variable.shape[0])
        variable.assign(noise)
    tf.train.Checkpoint(model=model).save(os.path.join(folder, "ckpt"))
    return model


def _assert_same_outputs(head, ours, theirs):
    shape = (2, 3, 9) if head == "multiple_choice" else (3, 9)
    generator = np.random.default_rng(5)
    ids = generator.integers(0, 40, shape)
    mask = np.ones(shape, np.int64)
    mask[..., 1, 6:] = 0
    types = np.zeros(shape, np.int64)
    types[..., 4:] = 1
    mine = ours(
        {
            "input_word_ids": tf.constant(ids, tf.int32),
            "input_mask": tf.constant(mask, tf.int32),
            "input_type_ids": tf.constant(types, tf.int32),
        }
    )
    with torch.no_grad():
        other = theirs(
            input_ids=torch.tensor(ids),
            attention_mask=torch.tensor(mask),
            token_type_ids=torch.tensor(types),
        )
    for name, their_name in _OUTPUTS.get(head, {"logits": "logits"}).items():
        actual, expected = mine[name].numpy(), other[their_name].numpy()
        assert actual.shape == expected.shape
        error = np.max(np.abs(actual - expected)) / np.max(np.abs(expected))
        assert error < 1e-4, name


def _load(path, head):
    """Loads with their class: nothing missing, nothing left over."""
    model, report = getattr(transformers, _CLASSES[head]).from_pretrained(
        path, output_loading_info=True
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not report[kind], kind
    return model.eval()


_EVERY_HEAD = ("mobilebert", "exact_gelu")
_CASES = [
    (network, head)
    for network in _NETWORKS
    for head in (
        _CLASSES if network in _EVERY_HEAD else ("pretraining", "encoder")
    )
]


@pytest.mark.parametrize("network, head", _CASES)
def test_we_read_what_they_save(network, head, tmp_path):
    theirs = _make_huggingface(_NETWORKS[network], head)
    theirs.save_pretrained(tmp_path)
    checkpoint = conversion.read(str(tmp_path), "auto")
    assert checkpoint.head == head
    assert checkpoint.config == _NETWORKS[network]
    if head in model_directory.LABELLED_HEADS:
        assert checkpoint.labels == _LABELS
    assert not checkpoint.accounting.notes
    assert set(checkpoint.accounting.ignored) <= {"unused by the network"}
    _assert_same_outputs(head, conversion.build_model(checkpoint), theirs)


@pytest.mark.parametrize("network, head", _CASES)
def test_they_load_what_we_write(network, head, tmp_path):
    ours = _make_ours(_NETWORKS[network], head, str(tmp_path / "ours"))
    target = str(tmp_path / "theirs")
    conversion.convert(str(tmp_path / "ours"), target, "auto", "huggingface")
    theirs = _load(target, head)
    if head in model_directory.LABELLED_HEADS:
        assert theirs.config.id2label == dict(enumerate(_LABELS))
        assert theirs.config.label2id["POSITIVE"] == 2
    _assert_same_outputs(head, ours, theirs)


def test_sentence_embedding_loads_as_their_encoder(tmp_path):
    config = _NETWORKS["exact_gelu"]
    ours = _make_ours(config, "sentence_embedding", str(tmp_path / "ours"))
    target = str(tmp_path / "theirs")
    conversion.convert(str(tmp_path / "ours"), target, "auto", "huggingface")
    theirs = _load(target, "encoder")
    outputs = ours({"input_word_ids": tf.constant([[2, 7, 9, 3]])})
    with torch.no_grad():
        other = theirs(input_ids=torch.tensor([[2, 7, 9, 3]]))
    np.testing.assert_allclose(
        outputs["sequence_output"], other.last_hidden_state, atol=1e-4
    )


def test_pipeline_of_own_model_folder_after_a_full_turn(tmp_path):
    """Ours to theirs, saved by them, and back: the same bits."""
    _make_ours(_NETWORKS["mobilebert"], "pretraining", str(tmp_path / "a"))
    conversion.convert(
        str(tmp_path / "a"), str(tmp_path / "b"), "auto", "huggingface"
    )
    _load(str(tmp_path / "b"), "pretraining").save_pretrained(tmp_path / "c")
    before = conversion.read(str(tmp_path / "a"))
    after = conversion.read(str(tmp_path / "c"))
    assert sorted(before.values) == sorted(after.values)
    for name, value in before.values.items():
        np.testing.assert_array_equal(value, after.values[name], err_msg=name)


def test_sharded_files(tmp_path):
    theirs = _make_huggingface(_NETWORKS["mobilebert"], "pretraining")
    theirs.save_pretrained(tmp_path / "whole")
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    index = tmp_path / "shards" / "model.safetensors.index.json"
    shards = set(json.loads(index.read_text())["weight_map"].values())
    assert len(shards) > 2
    whole = conversion.read(str(tmp_path / "whole"))
    parts = conversion.read(str(tmp_path / "shards"))
    for name, value in whole.values.items():
        np.testing.assert_array_equal(value, parts.values[name])
    os.remove(tmp_path / "shards" / min(shards))
    with pytest.raises(ValueError, match=f"names .*{min(shards)}, .* absent"):
        conversion.read(str(tmp_path / "shards"))


def test_torch_file(tmp_path):
    """The older form: tied copies and buffers are in it too."""
    theirs = _make_huggingface(_NETWORKS["mobilebert"], "pretraining")
    theirs.save_pretrained(tmp_path / "whole")
    state = dict(theirs.state_dict())
    assert "cls.predictions.decoder.weight" in state
    state["mobilebert.embeddings.position_ids"] = torch.arange(12)[None]
    old = tmp_path / "old"
    old.mkdir()
    torch.save(state, old / "pytorch_model.bin")
    theirs.config.save_pretrained(old)
    expected = conversion.read(str(tmp_path / "whole"))
    for path in (old, old / "pytorch_model.bin"):
        checkpoint = conversion.read(str(path))
        for name, value in expected.values.items():
            np.testing.assert_array_equal(value, checkpoint.values[name])
    assert checkpoint.accounting.ignored == {
        "buffers": ("mobilebert.embeddings.position_ids",),
        "tied copies": (
            "cls.predictions.decoder.bias",
            "cls.predictions.decoder.weight",
        ),
    }


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_decoder_that_they_compute_with_is_not_left_out(name, tmp_path):
    """Where it is no copy, their logits are others."""
    theirs = _make_huggingface(_NETWORKS["mobilebert"], "masked_lm")
    theirs.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    decoder = f"cls.predictions.decoder.{name}"
    state = {key: value.clone() for key, value in theirs.state_dict().items()}
    safetensors.save_file(state, weights, metadata={"format": "pt"})
    assert (
        decoder
        in conversion.read(str(tmp_path)).accounting.ignored["tied copies"]
    )
    inputs = torch.tensor([[2, 7, 9, 3]])
    with torch.no_grad():
        tied = _load(tmp_path, "masked_lm")(inputs).logits
    state[decoder] += 1.0
    safetensors.save_file(state, weights, metadata={"format": "pt"})
    with torch.no_grad():
        untied = _load(tmp_path, "masked_lm")(inputs).logits
    assert (untied - tied).abs().max() > 0.9
    with pytest.raises(ValueError, match=f"{decoder} differs from "):
        conversion.read(str(tmp_path))


def test_torch_file_of_parameters(tmp_path):
    """They are tensors that require gradients."""
    theirs = _make_huggingface(_NETWORKS["mobilebert"], "pretraining")
    theirs.save_pretrained(tmp_path)
    expected = conversion.read(str(tmp_path))
    os.remove(tmp_path / "model.safetensors")
    path = tmp_path / "pytorch_model.bin"
    torch.save(dict(theirs.named_parameters()), path)
    checkpoint = conversion.read(str(tmp_path))
    for name, value in expected.values.items():
        np.testing.assert_array_equal(value, checkpoint.values[name])


@pytest.mark.parametrize(
    "state, message",
    [
        ({1: torch.zeros(2)}, "1: expected the name of a tensor"),
        ({"a": 1}, "a: expected a tensor, got int"),
        ([torch.zeros(2)], "expected a dict of tensors, got list"),
    ],
)
def test_torch_file_of_something_else(state, message, tmp_path):
    theirs = _make_huggingface(_NETWORKS["mobilebert"], "encoder")
    theirs.config.save_pretrained(tmp_path)
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=f"pytorch_model.bin: {message}"):
        conversion.read(str(tmp_path))


def test_torch_tensor_that_numpy_cannot_hold(tmp_path):
    theirs = _make_huggingface(_NETWORKS["mobilebert"], "encoder")
    theirs.config.save_pretrained(tmp_path)
    state = dict(theirs.state_dict())
    name = "embeddings.word_embeddings.weight"
    state[name] = state[name].to_sparse()
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(
        ValueError, match=f"pytorch_model.bin: {name} cannot be read: TypeError"
    ):
        conversion.read(str(tmp_path))


@pytest.mark.parametrize("is_zip", [True, False])
def test_damaged_torch_files(is_zip, tmp_path):
    """Whatever torch raises, it is one line that names the file."""
    theirs = _make_huggingface(_NETWORKS["mobilebert"], "encoder")
    theirs.config.save_pretrained(tmp_path)
    path = tmp_path / "pytorch_model.bin"
    torch.save(theirs.state_dict(), path, _use_new_zipfile_serialization=is_zip)
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole[: generator.integers(len(whole))])
        for place in generator.integers(min(3000, len(damaged) + 1), size=5):
            damaged[place : place + 1] = bytes([generator.integers(256)])
        path.write_bytes(damaged)
        try:
            conversion.read(str(tmp_path))
        except ValueError as error:
            refused += 1
            assert str(tmp_path) in str(error)
            assert "\n" not in str(error)
    assert refused == 60


class _Attack:
    def __reduce__(self):
        return (os.mkdir, ("attacked",))


def test_torch_file_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weights": _Attack()}, tmp_path / "pytorch_model.bin")
    _make_huggingface(
        _NETWORKS["mobilebert"], "encoder"
    ).config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="not a whole file of plain tensors"):
        conversion.read(str(tmp_path))
    assert not os.path.exists("attacked")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_becomes_float32_and_is_told(dtype, tmp_path):
    theirs = _make_huggingface(_NETWORKS["mobilebert"], "encoder")
    theirs = theirs.to(getattr(torch, dtype))
    theirs.save_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / "weights.bin")
    for path in (tmp_path, tmp_path / "weights.bin"):
        checkpoint = conversion.read(str(path), "huggingface")
        assert checkpoint.accounting.notes == (
            f"{dtype} values were converted to float32",
        )
        np.testing.assert_array_equal(
            checkpoint.values["bert/embeddings/word_embeddings"],
            theirs.embeddings.word_embeddings.weight.detach().float().numpy(),
        )


@pytest.mark.parametrize("lower_case", [True, False])
def test_their_tokenizer_loads_our_vocabulary(lower_case, tmp_path):
    _make_ours(_NETWORKS["mobilebert"], "encoder", str(tmp_path / "ours"))
    target = tmp_path / "theirs"
    conversion.convert(
        str(tmp_path / "ours"),
        str(target),
        "auto",
        "huggingface",
        lower_case=lower_case,
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(target))
    assert type(tokenizer).__name__ == transformers.MobileBertTokenizer.__name__
    hello = 5 if lower_case else 7
    assert tokenizer("Hello hellos")["input_ids"] == [2, hello, 5, 6, 3]
    assert tokenizer.model_max_length == 12
    # What they save has tokenizer.json only.
    tokenizer.save_pretrained(str(tmp_path / "saved"))
    assert not os.path.exists(tmp_path / "saved" / "vocab.txt")
    for name in ("config.json", "model.safetensors"):
        os.link(target / name, tmp_path / "saved" / name)
    checkpoint = conversion.read(str(tmp_path / "saved"))
    assert checkpoint.vocabulary == _VOCABULARY.encode()
    assert checkpoint.lower_case is lower_case


@pytest.mark.parametrize("kind", [{"model_type": "mobilebert"}, {}])
def test_absent_keys_take_their_defaults(kind, tmp_path):
    """Also in a config.json without model_type, which theirs reads."""
    path = tmp_path / "config.json"
    model = transformers.MobileBertModel(
        transformers.MobileBertConfig(num_hidden_layers=1, vocab_size=99)
    )
    model.save_pretrained(tmp_path)
    fields = {**kind, "num_hidden_layers": 1, "vocab_size": 99}
    path.write_text(json.dumps(fields))
    again = transformers.MobileBertConfig.from_pretrained(tmp_path)
    assert again.classifier_activation
    checkpoint = conversion.read(str(tmp_path))
    assert checkpoint.config == config_lib.mobilebert(
        num_hidden_layers=1, vocab_size=99, classifier_activation=True
    )
    assert len(checkpoint.values) == len(list(model.named_parameters()))
