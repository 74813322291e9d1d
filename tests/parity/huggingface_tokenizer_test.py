"""The Python tokenizer against Hugging Face's BertTokenizer."""

import os
import pathlib

import pytest

from mobilebert_tf import wordpiece

_REASON = "needs the extra 'parity': run `make test-parity`"
transformers = pytest.importorskip("transformers", reason=_REASON)

_VOCABULARY = [
    *wordpiece.SPECIAL_TOKENS,
    *"un ##want ##ed straße strasse cafe naive a b c ##b i ας σ mask".split(),
    *"' ’ … [ ] # $ - _ 中 国 ##中 豈 привет 👍 ᄒ ##ᅡ ##ᆫ 1 ² ﬁ fi".split(),
]
_TEXTS = [
    "",
    " \t\n",
    "UnWanted, unwantedx",
    "Straße STRASSE ẞ",
    "café CAFÉ cafe\u0301 NAÏVE e\u0327\u0301 a\u0301b",
    "İI ıi",
    "don't a’b the…a",
    "a\u00adb a\u200bb \ufeffa",
    "a\x00b\x01c a\x7fb",
    "a\u00a0b\u3000c\u2009a\u2028b\u2029c",
    "中国ab中国 \U00020000 \uf900",
    "한 Привет",
    "👍 👍👍 🤷\u200d♀\ufe0f",
    "# ## a##b $ a_b a-b [mask]",
    "a" + "b" * 99,
    "\ufffd a\ufffdb",
    "ﬁ ²1",
]


def _require_same(vocab_file, texts):
    reference = transformers.BertTokenizer(vocab=vocab_file)
    encoded = reference(
        texts, add_special_tokens=False, return_offsets_mapping=True
    )
    tokenizer = wordpiece.PythonTokenizer(vocab_file)
    for text, ids, offsets in zip(
        texts, encoded["input_ids"], encoded["offset_mapping"], strict=True
    ):
        assert tokenizer.encode(text) == ids, ascii(text)
        assert [
            (piece.start, piece.end) for piece in tokenizer.pieces(text)
        ] == offsets, ascii(text)


@pytest.fixture(name="vocab_file")
def _vocab_file(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(_VOCABULARY) + "\n", encoding="utf-8")
    return str(path)


def test_hard_cases_and_offsets(vocab_file):
    _require_same(vocab_file, _TEXTS)


def test_where_hugging_face_is_not_bert(vocab_file):
    """Longer words, final sigma, and special tokens written in a text."""
    reference = transformers.BertTokenizer(vocab=vocab_file)
    tokenizer = wordpiece.PythonTokenizer(vocab_file)
    for text, theirs, ours in (
        ("a" + "b" * 100, ["[UNK]"], ["a"] + ["##b"] * 100),
        ("ΑΣ", ["[UNK]"], ["ας"]),
        ("[MASK]", ["[MASK]"], ["[", "mask", "]"]),
    ):
        assert reference.tokenize(text) == theirs
        assert tokenizer.tokenize(text) == ours


def test_repeated_lines(tmp_path):
    path = tmp_path / "vocab.txt"
    lines = [*wordpiece.SPECIAL_TOKENS, "a", "b", "", "a", "c"]
    path.write_text("\n".join(lines) + "\n")
    _require_same(str(path), ["a b c ab"])


def test_real_texts():
    root = pathlib.Path(__file__).parents[2] / "../shared/data"
    folder = pathlib.Path(os.environ.get("MOBILEBERT_DATA", root))
    if not folder.is_dir():
        pytest.skip(f"MOBILEBERT_DATA: no folder {folder}")
    texts = (folder / "glue/SST-2/dev.tsv").read_text(encoding="utf-8")
    texts += (folder / "glue/STS-B/dev.tsv").read_text(encoding="utf-8")
    _require_same(str(folder / "vocab/vocab.txt"), texts.splitlines())
