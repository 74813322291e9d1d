"""Both tokenizers against BERT's algorithm and the Model Garden's."""

import random
import unicodedata

import bert_tokenization
import pytest
import tensorflow as tf
from official.nlp.tools import tokenization as garden_tokenization

from mobilebert_tf import tokenization
from mobilebert_tf import wordpiece

_VOCABULARY = set(bert_tokenization.VOCABULARY)


@pytest.fixture(scope="module", name="vocab_file")
def _vocab_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    lines = "\n".join(bert_tokenization.VOCABULARY) + "\n"
    path.write_text(lines, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module", name="tokenizer")
def _tokenizer(vocab_file):
    return tokenization.WordPieceTokenizer(vocab_file)


def _tokens(tokenizer, texts):
    """Tokenizes with either tokenizer."""
    if isinstance(tokenizer, wordpiece.PythonTokenizer):
        rows = [tokenizer.encode(text) for text in texts]
    else:
        ids = tokenizer.tokenize(texts)
        assert ids.dtype == tf.int32
        rows = ids.to_list()
    return [[tokenizer.vocabulary[i] for i in row] for row in rows]


_BOTH = pytest.mark.parametrize(
    "make", [tokenization.WordPieceTokenizer, wordpiece.PythonTokenizer]
)


@_BOTH
@pytest.mark.parametrize("lower_case", [True, False])
def test_hard_cases_equal_bert(make, lower_case, vocab_file):
    tokenizer = make(vocab_file, lower_case)
    for text in bert_tokenization.HARD_CASES:
        assert _tokens(tokenizer, [text]) == [
            bert_tokenization.tokenize(text, _VOCABULARY, lower_case)
        ], ascii(text)


@_BOTH
def test_hard_cases_equal_the_model_gardens_tokenizer(make, vocab_file):
    reference = garden_tokenization.FullTokenizer(vocab_file)
    # google-research/bert allows 200 characters in a word, its port 400.
    reference.wordpiece_tokenizer.max_input_chars_per_word = 200
    texts = bert_tokenization.HARD_CASES
    assert _tokens(make(vocab_file), texts) == [
        reference.tokenize(text) for text in texts
    ]


@_BOTH
def test_random_texts_equal_bert(make, vocab_file):
    rng = random.Random(1)
    blocks = [
        (0x00, 0xFF),
        (0x100, 0x17F),
        (0x370, 0x3FF),
        (0x400, 0x45F),
        (0x5D0, 0x5EA),
        (0x620, 0x652),
        (0x900, 0x97F),
        (0xE01, 0xE3A),
        (0x1E00, 0x1EFF),
        (0x2000, 0x206F),
        (0x3000, 0x30FF),
        (0x4E00, 0x4E40),
        (0xAC00, 0xAC80),
        (0xFF01, 0xFF5E),
        (0x1F600, 0x1F640),
    ]
    alphabet = [
        chr(code)
        for low, high in blocks
        for code in range(low, high + 1)
        if unicodedata.category(chr(code)) != "Cn"
    ]
    alphabet += list("abcxie ßи中, '") * 60
    texts = ["".join(rng.choices(alphabet, k=40)) for _ in range(2000)]
    assert _tokens(make(vocab_file), texts) == [
        bert_tokenization.tokenize(text, _VOCABULARY) for text in texts
    ]


def test_invalid_utf8_is_dropped(tokenizer):
    texts = tf.constant([b"a\xffb", b"\xc3", b"the \xe4\xb8 dog"])
    assert _tokens(tokenizer, texts) == [
        bert_tokenization.tokenize("ab", _VOCABULARY),
        [],
        ["the", "dog"],
    ]


def test_same_inside_tf_data_and_in_long_lists(tokenizer, monkeypatch):
    texts = bert_tokenization.HARD_CASES
    expected = tokenizer.tokenize(texts).to_list()
    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(7)
    dataset = dataset.map(tokenizer.tokenize)
    assert [row for batch in dataset for row in batch.to_list()] == expected

    monkeypatch.setattr(tokenization, "_TEXTS_PER_CALL", 4)
    assert tokenizer.tokenize(texts).to_list() == expected
    assert tokenizer.tokenize([]).to_list() == []


def test_very_long_text(tokenizer):
    [tokens] = tokenizer.tokenize(["the dog " * 50_000]).to_list()
    assert len(tokens) == 100_000


def test_pieces_point_into_the_text(vocab_file):
    tokenizer = wordpiece.PythonTokenizer(vocab_file)
    text = "  Un\u200bwanted NAÏVE,İ\u0000 zzz\u4e2d"
    assert [
        (piece.token, text[piece.start : piece.end])
        for piece in tokenizer.pieces(text)
    ] == [
        ("un", "Un"),
        ("##want", "want"),
        ("##ed", "ed"),
        ("naive", "NAÏVE"),
        (",", ","),
        ("i", "İ"),
        ("[UNK]", "zzz"),
        ("中", "中"),
    ]


@_BOTH
def test_special_ids(make, vocab_file):
    tokenizer = make(vocab_file)
    assert tokenizer.vocab_size == len(bert_tokenization.VOCABULARY)
    assert (
        tokenizer.pad_id,
        tokenizer.unk_id,
        tokenizer.cls_id,
        tokenizer.sep_id,
        tokenizer.mask_id,
    ) == (0, 1, 2, 3, 4)


@_BOTH
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"mode": "phone"}, "got 'phone', expected bert or device"),
        ({"mode": "device", "lower_case": False}, "clients lower-case"),
    ],
)
def test_wrong_mode(make, vocab_file, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(vocab_file, **arguments)
