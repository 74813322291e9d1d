"""The TensorFlow tokenizer against BERT's algorithm in plain Python."""

import os
import pathlib
import random
import unicodedata

import pytest
import tensorflow as tf
from official.nlp.tools import tokenization as garden_tokenization

from mobilebert_tf import tokenization

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_PIECES = (
    "un want ##want ##ed runn ##ing , . ! $ ' [ ] # ß strasse stra ##ß ##e e"
    " cafe naive a b c x ##x ##xx i ##i the dog s ' ’ 中 国 ##中 привет"
    " ##привет и ##и σ ας hello world 1 ##2 ² unk mask ǆ 👍 ᄒ ##ᅡ ##ᆫ ` ^"
    " — of ##ﬁ fi ﬁ"
).split()
_VOCABULARY = list(dict.fromkeys(_SPECIAL + _PIECES))

_CJK = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def _clean(text):
    cleaned = []
    for char in text:
        category = unicodedata.category(char)
        if char in " \t\n\r" or category == "Zs":
            cleaned.append(" ")
        elif char != "\ufffd" and category not in ("Cc", "Cf"):
            is_cjk = any(low <= ord(char) <= high for low, high in _CJK)
            cleaned.append(f" {char} " if is_cjk else char)
    return "".join(cleaned)


def _is_punctuation(char):
    code = ord(char)
    return (
        33 <= code <= 47
        or 58 <= code <= 64
        or 91 <= code <= 96
        or 123 <= code <= 126
        or unicodedata.category(char).startswith("P")
    )


def _reference_words(text, lower_case):
    words = []
    for word in _clean(text).split():
        if lower_case:
            word = unicodedata.normalize("NFD", word.lower())
            word = "".join(c for c in word if unicodedata.category(c) != "Mn")
        spaced = "".join(f" {c} " if _is_punctuation(c) else c for c in word)
        words.extend(spaced.split())
    return words


def _reference_pieces(word, vocabulary):
    if len(word) > 200:
        return ["[UNK]"]
    pieces = []
    start = 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                pieces.append(piece)
                start = end
                break
        else:
            return ["[UNK]"]
    return pieces


def _reference(text, vocabulary, lower_case=True):
    return [
        piece
        for word in _reference_words(text, lower_case)
        for piece in _reference_pieces(word, vocabulary)
    ]


@pytest.fixture(scope="module", name="vocab_file")
def _vocab_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(_VOCABULARY) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module", name="tokenizer")
def _tokenizer(vocab_file):
    return tokenization.WordPieceTokenizer(vocab_file)


def _tokens(tokenizer, texts):
    ids = tokenizer.tokenize(texts)
    assert ids.dtype == tf.int32
    return [[tokenizer.vocabulary[i] for i in row] for row in ids.to_list()]


_HARD_CASES = [
    "",
    " ",
    "\t\n\r",
    "unwanted running",
    "UNWANTED,running!",
    "Straße STRASSE ẞ",
    "café naïve CAFÉ cafe\u0301",
    "İI ıi",
    "ΑΣ Σ ας",
    "Ǆ ﬁ ²12",
    "don't “the” dog’s",
    "a\u00adb a\u200bb a\u200db \ufeffa",
    "a\x00b\x01c a\x7fb",
    "a\u00a0b\u3000c\u2009x\u2028x\u2029x\u0085x",
    "中国ab中国 \U00020000 \uf900",
    "한 привет Привет",
    "👍 👍👍 🤷\u200d♀\ufe0f",
    "[MASK] [CLS] # ## a##b",
    "$^`— a_b a-b",
    "x" * 200,
    "x" * 201,
    "и" * 200,
    "и" * 201,
    "\ufffd a\ufffdb",
    "zzz the qqq",
    "a" * 199 + "\u0301" * 5,
]


@pytest.mark.parametrize("text", _HARD_CASES)
def test_hard_case_equals_bert(tokenizer, text):
    assert _tokens(tokenizer, [text]) == [_reference(text, set(_VOCABULARY))]


def test_cased_keeps_case_and_accents(vocab_file):
    tokenizer = tokenization.WordPieceTokenizer(vocab_file, lower_case=False)
    texts = ["The dog", "the café", "cafe", "ß"]
    assert _tokens(tokenizer, texts) == [
        _reference(text, set(_VOCABULARY), lower_case=False) for text in texts
    ]


def test_random_texts_equal_bert(tokenizer):
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
    vocabulary = set(_VOCABULARY)
    assert _tokens(tokenizer, texts) == [
        _reference(text, vocabulary) for text in texts
    ]


def test_invalid_utf8_is_dropped(tokenizer):
    texts = tf.constant([b"a\xffb", b"\xc3", b"the \xe4\xb8 dog"])
    assert _tokens(tokenizer, texts) == [
        _reference("ab", set(_VOCABULARY)),
        [],
        ["the", "dog"],
    ]


def test_same_inside_tf_data_and_in_long_lists(tokenizer, monkeypatch):
    expected = tokenizer.tokenize(_HARD_CASES).to_list()
    dataset = tf.data.Dataset.from_tensor_slices(_HARD_CASES).batch(7)
    dataset = dataset.map(tokenizer.tokenize)
    assert [row for batch in dataset for row in batch.to_list()] == expected

    monkeypatch.setattr(tokenization, "_TEXTS_PER_CALL", 4)
    assert tokenizer.tokenize(_HARD_CASES).to_list() == expected
    assert tokenizer.tokenize([]).to_list() == []


def test_very_long_text(tokenizer):
    [tokens] = tokenizer.tokenize(["the dog " * 50_000]).to_list()
    assert len(tokens) == 100_000


def test_special_ids(tokenizer):
    assert tokenizer.vocab_size == len(_VOCABULARY)
    assert (
        tokenizer.pad_id,
        tokenizer.unk_id,
        tokenizer.cls_id,
        tokenizer.sep_id,
        tokenizer.mask_id,
    ) == (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "empty file"),
        (b"\n", "empty file"),
        (b"[PAD]\n[UNK]\na\n", r"missing.*\[CLS\] \[SEP\] \[MASK\]"),
        (b"a\nb\n\nc\n", ":3: got an empty line"),
        (b"a\nb\na\n", ":3: token 'a' was already on line 1"),
        (b"a\n\xff\n", ":2: got byte 0xff"),
    ],
)
def test_bad_vocabulary(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        tokenization.load_vocabulary(str(path))
    assert str(path) in str(error.value)


def test_vocabulary_line_ends(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("\r\n".join(_SPECIAL + ["é"]).encode())
    assert tokenization.load_vocabulary(str(path)) == _SPECIAL + ["é"]
    with pytest.raises(OSError):
        tokenization.load_vocabulary(os.path.join(str(tmp_path), "absent"))


def test_real_texts_equal_the_model_gardens_tokenizer():
    root = pathlib.Path(__file__).parents[1] / "../shared/data"
    folder = pathlib.Path(os.environ.get("MOBILEBERT_DATA", root))
    if not folder.is_dir():
        pytest.skip(f"MOBILEBERT_DATA: no folder {folder}")
    vocab_file = str(folder / "vocab/vocab.txt")
    texts = [
        line
        for name in ("text/sample_text.txt", "glue/CoLA/dev.tsv")
        for line in (folder / name).read_text(encoding="utf-8").splitlines()
    ]
    tokenizer = tokenization.WordPieceTokenizer(vocab_file)
    reference = garden_tokenization.FullTokenizer(vocab_file)
    assert _tokens(tokenizer, texts) == [reference.tokenize(t) for t in texts]
