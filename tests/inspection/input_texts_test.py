"""Texts from a file: which lines are refused, and what is made of them."""

import pytest

from mobilebert_tf import tokenization
from mobilebert_tf.inspection import texts


def _write(tmp_path, data):
    path = tmp_path / "texts.txt"
    path.write_bytes(data)
    return str(path)


def test_texts(tmp_path):
    path = _write(tmp_path, "a b\r\n\n \nö\nc".encode())
    examples = texts.read(path, 10)
    assert [e.text_a for e in examples] == ["a b", "ö", "c"]
    assert [e.text_b for e in examples] == [None] * 3
    assert [e.text_a for e in texts.read(path, 2)] == ["a b", "ö"]


def test_pairs_become_features(tmp_path):
    vocab_file = tmp_path / "vocab.txt"
    vocab_file.write_text(
        "\n".join([*tokenization.SPECIAL_TOKENS, "a", "b"]) + "\n"
    )
    tokenizer = tokenization.WordPieceTokenizer(str(vocab_file))
    examples = texts.read(_write(tmp_path, b"a\tb b\n"), 10)
    features = texts.features(examples, tokenizer, 8)
    # [PAD] [UNK] [CLS] [SEP] [MASK] a b: 0 to 6.
    assert features["input_word_ids"].tolist() == [[2, 5, 3, 6, 6, 3, 0, 0]]
    assert features["input_mask"].tolist() == [[1, 1, 1, 1, 1, 1, 0, 0]]
    assert features["input_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1, 0, 0]]
    assert len(features) == 3


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "{path}: got no text, expected one per line"),
        (b"\n \n", "{path}: got no text"),
        (b"a\nb\tc\n", "{path}:2: got two texts, expected one text as in"),
        (b"a\tb\n\nc\n", "{path}:3: got one text, expected two texts as in"),
        (b"a\tb\tc\n", "{path}:1: expected a text, or two separated by a tab"),
        (b"a\t\n", "{path}:1: expected a text, or two separated by a tab"),
        (b"a\n\xff\n", "{path}:2: got byte 0xff, expected UTF-8 text"),
    ],
)
def test_wrong_files(tmp_path, data, message):
    path = _write(tmp_path, data)
    with pytest.raises(ValueError) as error:
        texts.read(path, 10)
    assert str(error.value).startswith(message.format(path=path))


def test_missing_file():
    with pytest.raises(ValueError, match="--text_file=absent: expected a file"):
        texts.read("absent", 10)
