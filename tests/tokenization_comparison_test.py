"""What the comparison of tokenizers counts and prints."""

import subprocess
import sys

import pytest

from mobilebert_tf import tokenizer_comparison
from mobilebert_tf import wordpiece

_TOKENS = "the dog cafe strasse stra ##ß ##e n ##b a b , …".split()


@pytest.fixture(name="vocab_file")
def _vocab_file(tmp_path):
    path = tmp_path / "vocab.txt"
    lines = [*wordpiece.SPECIAL_TOKENS, *_TOKENS]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def _compare(vocab_file, text):
    comparison = tokenizer_comparison.Comparison(vocab_file)
    return comparison, comparison.add(text)


def test_words_that_differ(vocab_file):
    comparison, words = _compare(vocab_file, "The Café, the Straße… cafe")
    assert [(w.text, w.bert, w.device) for w in words if w.differs] == [
        ("Café", ("cafe",), ("[UNK]",)),
    ]
    assert [w.text for w in words] == [
        *("The", "Café", ",", "the", "Straße", "…", "cafe"),
    ]
    assert (comparison.words, comparison.different_words) == (7, 1)
    # "Straße" is three pieces in both modes.
    assert (comparison.bert_tokens, comparison.affected_tokens) == (9, 1)
    assert (comparison.bert_unknown, comparison.device_unknown) == (0, 1)


@pytest.mark.parametrize(
    "text, expected",
    [
        # BERT sees two words where the client sees one, or none at all.
        ("a\u00a0b the", [("a\u00a0b", ("a", "b"), ("[UNK]",))]),
        ("a \u200b b", [("\u200b", (), ("[UNK]",))]),
        # The accent is stripped, so that BERT's word ends before it.
        ("cafe\u0301 a", [("cafe\u0301", ("cafe",), ("[UNK]",))]),
        # A client written in C reads no further.
        ("a\0b the", [("a\0b", ("a", "##b"), ("a",)), ("the", ("the",), ())]),
        ("the dog", []),
        ("", []),
    ],
)
def test_stretches(vocab_file, text, expected):
    _, words = _compare(vocab_file, text)
    assert [(w.text, w.bert, w.device) for w in words if w.differs] == expected


def test_report(vocab_file):
    lines = tokenizer_comparison.report_lines(
        vocab_file, ["the dog", "the café", "Café the", "café"], 1
    )
    assert (
        "\n".join(lines)
        == """\
text 2: the café
  bert    the «cafe»
  device  the «[UNK]»

             number  differ    share
texts             4       3  75.00 %
words             7       3  42.86 %
BERT tokens       7       3  42.86 %

        tokens  [UNK]
bert         7      0
device       7      3

most frequent differing words  count  bert  device
café                               2  cafe   [UNK]
Café                               1  cafe   [UNK]"""
    )


def _run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "mobilebert_tf.compare_tokenizers", *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_binary(vocab_file, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("the dog\r\nthe café\u2028the\n", encoding="utf-8")
    done = _run(f"--vocab_file={vocab_file}", f"--input_file={texts}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("text 2: the café\\u2028the\n  bert    the «")

    done = _run(f"--vocab_file={vocab_file}", "--text=the", "--text=café")
    assert done.returncode == 0, done.stderr
    assert "texts             2       1" in done.stdout


def test_binary_needs_no_tensorflow():
    code = (
        "import sys; import mobilebert_tf.compare_tokenizers;"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_binary_mistakes(vocab_file, tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"the\n\xe9\n")
    vocab = f"--vocab_file={vocab_file}"
    for arguments, message in (
        ([vocab], "expected either --input_file or --text"),
        ([vocab, "--text=a", f"--input_file={bad}"], "expected either"),
        ([vocab, f"--input_file={bad}"], "bad.txt:2: got byte 0xe9"),
        ([vocab, "--input_file=absent"], "--input_file=absent: expected a"),
        (["--text=a"], "--vocab_file is required"),
        ([vocab, "--text=a", "--max_examples=-1"], "max_examples"),
    ):
        done = _run(*arguments)
        assert done.returncode == 1
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
