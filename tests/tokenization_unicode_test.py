"""TensorFlow and Python tokenize alike: all of Unicode, and real texts."""

import os
import pathlib
import random
import unicodedata

import bert_tokenization
import pytest
import tensorflow as tf
from official.nlp.tools import tokenization as garden_tokenization

from mobilebert_tf import tokenization
from mobilebert_tf import wordpiece

# Letters of Unicode 14 (2021) that TensorFlow's ICU does not lower-case.
_NOT_LOWERED = {0x2C2F, 0xA7C0, 0xA7D0, 0xA7D6, 0xA7D8}
_NOT_LOWERED |= set(range(0x10570, 0x10596))
_MODE = pytest.mark.parametrize("mode", wordpiece.MODES)


def _assigned():
    return [
        code
        for code in range(0x110000)
        if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")
        and code not in _NOT_LOWERED
    ]


@pytest.fixture(scope="module", name="vocab_file")
def _vocab_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    lines = "\n".join(bert_tokenization.VOCABULARY) + "\n"
    path.write_text(lines, encoding="utf-8")
    return str(path)


def _require_same(vocab_file, mode, texts):
    python = wordpiece.PythonTokenizer(vocab_file, mode=mode)
    tensorflow = tokenization.WordPieceTokenizer(vocab_file, mode=mode)
    expected = [python.encode(text) for text in texts]
    assert tensorflow.tokenize(texts).to_list() == expected
    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(500)
    dataset = dataset.map(tensorflow.tokenize)
    assert [row for batch in dataset for row in batch.to_list()] == expected
    return expected


@_MODE
def test_random_texts(vocab_file, mode):
    rng = random.Random(7)
    assigned = [chr(code) for code in _assigned()]
    known = list("".join(bert_tokenization.HARD_CASES[:-1]))
    texts = []
    for _ in range(3000):
        characters = rng.choices(known, k=30) + rng.choices(assigned, k=6)
        rng.shuffle(characters)
        texts.append("".join(characters))
    rows = _require_same(vocab_file, mode, texts)
    # Not only unknown words.
    assert len({i for row in rows for i in row}) > 30


def test_clients_read_normalized_text_as_bert_does(vocab_file):
    """What docs/tokenization.md advises apps to do."""
    texts = bert_tokenization.HARD_CASES
    normalized = tokenization.normalize(tf.constant(texts)).numpy()
    bert = wordpiece.PythonTokenizer(vocab_file)
    device = wordpiece.PythonTokenizer(vocab_file, mode="device")
    checked = 0
    for text, plain in zip(texts, normalized, strict=True):
        if len(plain) <= 100:
            assert device.encode(plain.decode()) == bert.encode(text)
            checked += device.encode(text) != bert.encode(text)
    assert checked > 5


@_MODE
def test_random_vocabularies(tmp_path, mode):
    rng = random.Random(3)
    path = tmp_path / "vocab.txt"
    for extra in ([], ["##"], ["#", "##"], ["##", "###"], ["a b"], ["a\0b"]):
        words = ["".join(rng.choices("abc#é", k=rng.randint(1, 4)))] * 2
        words += [
            "".join(rng.choices("abc#é", k=rng.randint(1, 4)))
            for _ in range(20)
        ]
        words += [f"##{word}" for word in rng.sample(words, 10)] + extra
        rng.shuffle(words)
        path.write_text("\n".join([*wordpiece.SPECIAL_TOKENS, *words]))
        texts = ["".join(rng.choices("abcé# ", k=12)) for _ in range(200)]
        _require_same(str(path), mode, texts)


@_MODE
def test_every_assigned_character(tmp_path, mode):
    """Each stands between letters, and its lower-cased form is a token."""
    codes = _assigned()
    assert len(codes) > 140_000
    tokens = dict.fromkeys(wordpiece.SPECIAL_TOKENS)
    for code in codes:
        lowered = unicodedata.normalize("NFD", chr(code).lower())
        # No white space, which would not survive in a vocabulary's line.
        if len(lowered) == 1 and lowered.strip():
            tokens[lowered] = tokens[f"##{lowered}"] = None
    path = tmp_path / "vocab.txt"
    path.write_bytes("\n".join(tokens).encode())
    _require_same(str(path), mode, [f"a{chr(code)}b" for code in codes])


@_MODE
def test_letters_newer_than_tensorflows_unicode(tmp_path, mode):
    """They keep their case in TensorFlow: the one known difference."""
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*wordpiece.SPECIAL_TOKENS, "ⱟ", "Ⱟ"]))
    python = wordpiece.PythonTokenizer(str(path), mode=mode)
    tensorflow = tokenization.WordPieceTokenizer(str(path), mode=mode)
    expected = {"bert": ["ⱟ"], "device": ["Ⱟ"]}[mode]
    if unicodedata.unidata_version >= "14":
        assert python.tokenize("Ⱟ") == expected
    assert tensorflow.tokenize(["Ⱟ"]).to_list() == [[6]]


def _real_texts():
    root = pathlib.Path(__file__).parents[1] / "../shared/data"
    folder = pathlib.Path(os.environ.get("MOBILEBERT_DATA", root))
    if not folder.is_dir():
        pytest.skip(f"MOBILEBERT_DATA: no folder {folder}")
    texts = []
    for name, step in (
        ("text/sample_text.txt", 1),
        ("glue/CoLA/dev.tsv", 1),
        ("glue/SST-2/train.tsv", 15),
        ("text/wikitext-2/wiki.valid.tokens", 4),
        *((path, 150) for path in sorted(folder.glob("text/gutenberg/*.txt"))),
    ):
        content = (folder / name).read_text(encoding="utf-8")
        texts += content.splitlines()[::step]
    return str(folder / "vocab/vocab.txt"), texts


@_MODE
def test_real_texts(mode):
    vocab_file, texts = _real_texts()
    assert len(texts) > 5000
    rows = _require_same(vocab_file, mode, texts)
    if mode == wordpiece.BERT:
        reference = garden_tokenization.FullTokenizer(vocab_file)
        assert rows == [
            reference.convert_tokens_to_ids(reference.tokenize(text))
            for text in texts
        ]
