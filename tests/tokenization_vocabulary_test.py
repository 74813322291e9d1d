"""Vocabulary files, ordinary and odd, against the Model Garden's loader."""

import logging
import os

import pytest
from official.nlp.tools import tokenization as garden_tokenization

from mobilebert_tf import tokenization
from mobilebert_tf import wordpiece

_SPECIAL = list(wordpiece.SPECIAL_TOKENS)
# A repeated word, a repeated suffix, empty lines, Unicode white space around
# a token, a repeated special token.
_ODD_LINES = [
    *_SPECIAL,
    "the",
    "dog",
    "##s",
    "",
    "the",
    "\u3000cat \x85",
    "##s",
    "\xa0",
    "[UNK]",
    "the",
    "last",
]
_TEXT = "The dogs, the cat's last dog"


def _write(folder, lines, end="\n"):
    path = folder / "vocab.txt"
    path.write_bytes("".join(line + end for line in lines).encode())
    return str(path)


def test_odd_lines_are_counted_as_in_bert(tmp_path):
    path = _write(tmp_path, _ODD_LINES)
    expected = garden_tokenization.load_vocab(path)
    expected.pop("")
    vocabulary = wordpiece.load_vocabulary(path)
    assert len(vocabulary) == len(_ODD_LINES)
    assert vocabulary == [line.strip() for line in _ODD_LINES]
    assert wordpiece.ids_by_token(vocabulary) == expected
    assert expected["the"] == 14 and expected["##s"] == 11


def test_odd_vocabulary_yields_berts_ids(tmp_path):
    path = _write(tmp_path, _ODD_LINES)
    reference = garden_tokenization.FullTokenizer(path)
    expected = reference.convert_tokens_to_ids(reference.tokenize(_TEXT))
    python = wordpiece.PythonTokenizer(path)
    tensorflow = tokenization.WordPieceTokenizer(path)
    assert python.encode(_TEXT) == expected
    assert tensorflow.tokenize([_TEXT]).to_list() == [expected]
    assert python.unk_id == tensorflow.unk_id == 13
    assert python.vocabulary == tensorflow.vocabulary
    assert tensorflow.vocab_size == len(_ODD_LINES)


@pytest.mark.parametrize("mode", wordpiece.MODES)
def test_no_text_yields_an_unused_line(tmp_path, mode):
    path = _write(tmp_path, [*_SPECIAL, "a", "##a", "a", "##a"])
    tokenizer = tokenization.WordPieceTokenizer(path, mode=mode)
    # What could stand for line 6 inside the tokenizer.
    texts = ["aa", "5", " 5", "\ufffd5", "\ufffd 5", "a 5", "\x005", "[5]"]
    ids = {i for row in tokenizer.tokenize(texts).to_list() for i in row}
    assert ids == {1, 7, 8}


def test_unused_lines_are_logged_once(tmp_path, caplog):
    path = _write(tmp_path, _ODD_LINES)
    with caplog.at_level(logging.WARNING, logger="absl"):
        wordpiece.load_vocabulary(path)
        wordpiece.load_vocabulary(path)
    [record] = caplog.records
    assert record.getMessage() == (
        f"{path}: 6 unused ids, as in BERT; on lines "
        "2 ('[UNK]', also 14), 6 ('the', also 15), 8 ('##s', also 12), "
        "9 (empty), 10 ('the', also 15), ..."
    )


def test_ordinary_vocabulary_logs_nothing(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        wordpiece.load_vocabulary(_write(tmp_path, [*_SPECIAL, "a"]))
    assert not caplog.records


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "empty file"),
        (b"\n", "empty file"),
        (b"[PAD]\n[UNK]\na\n", r"missing.*\[CLS\] \[SEP\] \[MASK\]"),
        (b"a\n\xff\n", ":2: got byte 0xff"),
    ],
)
def test_bad_vocabulary(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        tokenization.load_vocabulary(str(path))
    assert str(path) in str(error.value)


@pytest.mark.parametrize("mode", wordpiece.MODES)
def test_line_ends(tmp_path, mode):
    path = _write(tmp_path, [*_SPECIAL, "é"], end="\r\n")
    tokenizer = wordpiece.PythonTokenizer(path, mode=mode)
    assert tokenizer.vocabulary == [*_SPECIAL, "é"]


def test_absent_vocabulary(tmp_path):
    with pytest.raises(OSError):
        tokenization.load_vocabulary(os.path.join(str(tmp_path), "absent"))


@pytest.mark.parametrize(
    "lines, message",
    [
        (["a", "", "b"], "'b' has id 7, but id 6 for on-device clients"),
        (["a", " b"], "'b' has id 6, but id None for on-device"),
        (["a", "\xa0"], r"'\\xa0' has id None, but id 6 for on-device"),
    ],
)
def test_device_mode_refuses_what_clients_read_otherwise(
    tmp_path, lines, message
):
    path = _write(tmp_path, [*_SPECIAL, *lines])
    wordpiece.PythonTokenizer(path)
    with pytest.raises(ValueError, match=message):
        wordpiece.PythonTokenizer(path, mode="device")
    # An empty line after the last token shifts nothing.
    wordpiece.PythonTokenizer(
        _write(tmp_path, [*_SPECIAL, "a", ""]), mode="device"
    )
