"""Device mode against what on-device clients were recorded to do.

`record_device_tokens.py` made the recording.
"""

import json
import pathlib
import unicodedata

import device_strings
import pytest
import tensorflow as tf

from mobilebert_tf import tokenization
from mobilebert_tf import wordpiece

_RECORDED = json.loads(
    (pathlib.Path(__file__).parent / "testdata/device_tokens.json").read_text()
)
_CLIENT = pytest.mark.parametrize("client", ["mediapipe", "task_library"])


@pytest.fixture(scope="module", name="vocab_file")
def _vocab_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    lines = "\n".join(device_strings.VOCABULARY) + "\n"
    path.write_text(lines, encoding="utf-8")
    return str(path)


def _without_cls_and_sep(rows):
    for row in rows:
        assert (row[0], row[-1]) == (2, 3)
    return [row[1:-1] for row in rows]


@_CLIENT
def test_python_equals_client(client, vocab_file):
    tokenizer = wordpiece.PythonTokenizer(vocab_file, mode="device")
    expected = _without_cls_and_sep(_RECORDED[client]["strings"])
    for text, row in zip(device_strings.STRINGS, expected, strict=True):
        assert tokenizer.encode(text) == row, ascii(text)


@_CLIENT
@pytest.mark.parametrize("kind", ["strings", "invalid"])
def test_tensorflow_equals_client(client, kind, vocab_file):
    tokenizer = tokenization.WordPieceTokenizer(vocab_file, mode="device")
    texts = {
        "strings": device_strings.STRINGS,
        "invalid": device_strings.INVALID,
    }[kind]
    expected = _without_cls_and_sep(_RECORDED[client][kind])
    assert tokenizer.tokenize(list(texts)).to_list() == expected

    dataset = tf.data.Dataset.from_tensor_slices(list(texts)).batch(16)
    dataset = dataset.map(tokenizer.tokenize)
    assert [row for batch in dataset for row in batch.to_list()] == expected


@_CLIENT
@pytest.mark.parametrize("kind", ["white_space", "own_word"])
def test_every_character_splits_words_as_in_client(client, kind, tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(device_strings.SCAN_VOCABULARY) + "\n")
    tokenizer = wordpiece.PythonTokenizer(str(path), mode="device")
    tokens = {
        "white_space": ["a", "b"],
        "own_word": ["a", "[UNK]", "b"],
    }[kind]
    recorded = {
        code
        for low, high in _RECORDED[client]["characters"][kind]
        for code in range(low, high + 1)
    }
    # The recording leaves out surrogates and its own separator. Of what
    # Unicode assigned after this Python only the clients know the kind.
    codes = [
        code
        for code in range(1, 0x110000)
        if code != ord(".")
        and unicodedata.category(chr(code)) not in ("Cn", "Cs")
    ]
    assert len(codes) > 280_000
    assert [
        code for code in codes if tokenizer.tokenize(f"a{chr(code)}b") == tokens
    ] == [code for code in codes if code in recorded]


@_CLIENT
def test_truncation_keeps_the_first_tokens_and_sep(client, vocab_file):
    tokenizer = wordpiece.PythonTokenizer(vocab_file, mode="device")
    recorded = _without_cls_and_sep(_RECORDED[client]["short"])
    assert max(map(len, recorded)) == 6  # The model takes 8.
    for text, row in zip(device_strings.TRUNCATED, recorded, strict=True):
        assert tokenizer.encode(text)[:6] == row


def test_client_reads_an_odd_vocabulary_otherwise(tmp_path):
    """Why device mode refuses it, and why repeated lines are no reason."""
    path = tmp_path / "vocab.txt"
    path.write_bytes(device_strings.QUIRKY_VOCABULARY)
    bert = wordpiece.PythonTokenizer(str(path))
    recorded = _without_cls_and_sep(_RECORDED["mediapipe"]["quirks"])
    by_text = dict(zip(device_strings.QUIRKS, recorded, strict=True))
    assert by_text["a"] == bert.encode("a") == [7]
    assert (by_text["c"], bert.encode("c")) == ([1], [8])
    assert (by_text["i"], bert.encode("i")) == ([11], [12])
    with pytest.raises(ValueError, match="'c' has id 8, but id None"):
        wordpiece.PythonTokenizer(str(path), mode="device")


def test_clients_agree_but_for_unicode_of_2024():
    mediapipe, task_library = (
        dict(_RECORDED[name]) for name in ("mediapipe", "task_library")
    )
    assert mediapipe.pop("version") == "1.2.2"
    assert task_library.pop("version") == "0.4.4"
    for recorded in (mediapipe, task_library):
        recorded.pop("characters")
    # Task Library does not strip a carriage return from a vocabulary line.
    for recorded in (mediapipe, task_library):
        recorded["quirks"].pop(device_strings.QUIRKS.index("e"))
    assert mediapipe == task_library
