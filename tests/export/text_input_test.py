"""Texts in: the same features, and the same outputs, as by way of features."""

import functools

import numpy as np
import pytest
import small_models
import tensorflow as tf
from ai_edge_litert import interpreter as litert

from export import calibration
from export import conversion
from export import delegation
from export import inference_graph
from export import saved_model
from export import text_input
from export import text_model
from mobilebert_tf import tokenization
from mobilebert_tf.data import glue

CONFIG = small_models.CONFIGS["mobilebert"]
LENGTH = small_models.SEQUENCE_LENGTH
# With [CLS], 40 tokens as the config has.
VOCABULARY = [
    *tokenization.SPECIAL_TOKENS,
    *("a fine film fil ##m ##s is not good bad uber strasse stra ##ss").split(),
    *("the end ##e . , ! ? ' - ... … ß ##ß we it was").split(),
    *("##ing ##ed on").split(),
    "中",
    "x",
]
TEXTS = [
    "a fine film",
    "",
    "Films, films: the END!",
    "über Film 中中 it's",
    "a " * 40,
    "unknownword\tis bad\u00a0- x",
    " ? ",
    "the\nend",
]
OTHERS = ["good", "a " * 30, "", "x x", "bad " * 30, "we", "it was", "."]
# Where FastBertTokenizer is not BERT's.
DIFFERENT = ["straße", "the end…", "go\x01od", "ﬁlm"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    assert len(VOCABULARY) == CONFIG.vocab_size
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("".join(f"{token}\n" for token in VOCABULARY))
    return tokenization.WordPieceTokenizer(str(path))


def _expected(tokenizer, texts, others=None):
    """Returns the features by the code that makes those of training."""
    examples = [
        glue.Example("", text, others and other)
        for text, other in zip(texts, others or texts, strict=True)
    ]
    features = glue.features(examples, tokenizer, LENGTH, labels=())
    return {name: features[name] for name in small_models.INPUT_NAMES}


@pytest.mark.parametrize("others", [None, OTHERS], ids=["single", "pair"])
def test_features_are_those_of_training(tokenizer, others):
    text = text_input.TextInput(tokenizer, LENGTH, is_pair=others is not None)
    texts = [TEXTS, others] if others else [TEXTS]
    for features in (
        text.features(texts),
        tf.function(text.features)([tf.constant(each) for each in texts]),
    ):
        expected = _expected(tokenizer, TEXTS, others)
        assert features.keys() == expected.keys()
        for name, ids in expected.items():
            assert features[name].dtype == tf.int32
            np.testing.assert_array_equal(features[name], ids)


@pytest.mark.parametrize("others", [None, OTHERS], ids=["single", "pair"])
def test_saved_model_takes_texts(tokenizer, others, tmp_path):
    model = small_models.make_classifier(CONFIG)
    text = text_input.TextInput(tokenizer, LENGTH, is_pair=others is not None)
    saved_model.write(model, str(tmp_path / "saved"), text)
    signatures = tf.saved_model.load(str(tmp_path / "saved")).signatures
    assert set(signatures) == {"serving_default", "serving_text"}
    texts = [TEXTS, others] if others else [TEXTS]
    outputs = signatures["serving_text"](
        **dict(zip(text.names, map(tf.constant, texts), strict=True))
    )
    features = _expected(tokenizer, TEXTS, others)
    expected = small_models.keras_outputs(model, features)
    small_models.assert_close(
        outputs["probabilities"].numpy(), expected["probabilities"]
    )
    outputs = signatures["serving_default"](
        **{name: tf.constant(ids) for name, ids in features.items()}
    )
    small_models.assert_close(
        outputs["probabilities"].numpy(), expected["probabilities"]
    )


@functools.cache
def _float_model(head):
    model = small_models.MAKERS[head](CONFIG)
    return conversion.convert(inference_graph.module_of(model, LENGTH))


def _run_texts(content, **texts):
    """Runs a text-in file text by text; returns {output: [N, ...]}."""
    run = text_input.load_interpreter(content).get_signature_runner(
        inference_graph.SIGNATURE
    )
    rows = [
        run(
            **{
                name: np.array([text.encode()])
                for name, text in zip(texts, row, strict=True)
            }
        )
        for row in zip(*texts.values(), strict=True)
    ]
    return {
        name: np.concatenate([row[name] for row in rows]) for name in rows[0]
    }


@pytest.mark.parametrize("head", ["classification", "embedding_mean"])
def test_tflite_takes_texts(tokenizer, head):
    features_in = _float_model(head)
    text = text_input.TextInput(tokenizer, LENGTH)
    content = text_input.add_tokenizer(features_in, text)
    outputs = _run_texts(content, text=TEXTS)
    expected = small_models.run(features_in, _expected(tokenizer, TEXTS))
    assert outputs.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(outputs[name], values, atol=1e-6)
    # The tokenizer's tensors are dynamic; XNNPACK takes the rest all the same.
    interpreter = text_input.load_interpreter(content)
    interpreter.allocate_tensors()
    found = delegation.of_interpreter(interpreter)
    assert found.partitions == delegation.delegation(features_in).partitions
    assert "FULLY_CONNECTED" not in found.left_out


def test_tflite_takes_pairs(tokenizer):
    features_in = _float_model("classification")
    text = text_input.TextInput(tokenizer, LENGTH, is_pair=True)
    content = text_input.add_tokenizer(features_in, text)
    outputs = _run_texts(content, text=TEXTS, text_pair=OTHERS)
    features = _expected(tokenizer, TEXTS, OTHERS)
    expected = small_models.run(features_in, features)["probabilities"]
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-6)


def test_runs_only_with_the_operators_of_tensorflow_text(tokenizer):
    features_in = _float_model("classification")
    text = text_input.TextInput(tokenizer, LENGTH)
    content = text_input.add_tokenizer(features_in, text)
    with pytest.raises((RuntimeError, ValueError), match="FastBertNormalize"):
        litert.Interpreter(model_content=content).allocate_tensors()


def test_tokenizers_differ_only_where_it_says(tokenizer):
    fast = text_input.fast_tokenizer(tokenizer)
    same = [text for text in TEXTS if "中" not in text] + OTHERS
    assert fast.tokenize(same).to_list() == tokenizer.tokenize(same).to_list()
    for text in DIFFERENT:
        assert (
            fast.tokenize([text]).to_list()
            != tokenizer.tokenize([text]).to_list()
        ), text


@pytest.mark.parametrize("others", [None, OTHERS], ids=["single", "pair"])
def test_text_in_file_is_scored_on_features(tokenizer, others, tmp_path):
    features_in = _float_model("classification")
    text = text_input.TextInput(tokenizer, LENGTH, is_pair=others is not None)
    path = tmp_path / "model_text.tflite"
    path.write_bytes(text_input.add_tokenizer(features_in, text))
    model = text_model.TextModel(str(path), text)
    assert model.input_shapes["input_mask"] == (1, LENGTH)
    assert model.output_shapes == {"probabilities": (1, 3)}
    features = _expected(tokenizer, TEXTS, others)
    outputs = [
        model.run(row, ["probabilities"])["probabilities"]
        for row in calibration.single_rows(features)
    ]
    expected = small_models.run(features_in, features)["probabilities"]
    np.testing.assert_allclose(np.concatenate(outputs), expected, atol=1e-6)


def test_texts_of_features(tokenizer):
    text = text_input.TextInput(tokenizer, LENGTH, is_pair=True)
    (row,) = calibration.single_rows(
        _expected(tokenizer, ["Films ? unseen"], ["is it THE ende"])
    )
    assert text_model.texts_of(row, text) == {
        "text": "films ? \ue000",
        "text_pair": "is it the ende",
    }


def test_broken_text_in_file(tokenizer, tmp_path):
    path = tmp_path / "model_text.tflite"
    path.write_bytes(b"not a model")
    text = text_input.TextInput(tokenizer, LENGTH)
    with pytest.raises(ValueError, match="model_text.tflite: LiteRT cannot"):
        text_model.TextModel(str(path), text)


def test_vocabulary_with_repeated_lines(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"{token}\n" for token in [*VOCABULARY, "a"]))
    tokenizer = tokenization.WordPieceTokenizer(str(path))
    with pytest.raises(ValueError, match="got 40 tokens on 41 lines"):
        text_input.fast_tokenizer(tokenizer)


def test_no_room_for_tokens(tokenizer):
    with pytest.raises(ValueError, match="got 2, expected at least 3"):
        text_input.TextInput(tokenizer, 2)
    with pytest.raises(ValueError, match="got 4, expected at least 5"):
        text_input.TextInput(tokenizer, 4, is_pair=True)
