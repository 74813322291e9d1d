import pytest

from mobilebert_tf.data import sentences
from mobilebert_tf.data import text

_BOOK = """\
CHAPTER I.


It was a dark and stormy night; the rain fell in torrents, except at
occasional intervals. Mr. Clifford, of Lincoln's Inn, looked out. "Who
goes there?" he cried. Nobody answered.

* * *

Then he went back to
bed.



CHAPTER II.

The next morning was bright, and the streets were full of people who
had slept well. J. Smith was one of them. Was he? Yes!
"""


def _write(tmp_path, content):
    path = tmp_path / "text.txt"
    if isinstance(content, str):
        content = content.encode()
    path.write_bytes(content)
    return str(path)


def test_book(tmp_path):
    path = _write(tmp_path, _BOOK)
    expected = [
        [
            "CHAPTER I.",
            "It was a dark and stormy night; the rain fell in torrents, "
            "except at occasional intervals.",
            "Mr. Clifford, of Lincoln's Inn, looked out.",
            '"Who goes there?" he cried.',
            "Nobody answered.",
            "Then he went back to bed.",
        ],
        [
            "CHAPTER II.",
            "The next morning was bright, and the streets were full of people "
            "who had slept well.",
            "J. Smith was one of them.",
            "Was he?",
            "Yes!",
        ],
    ]
    assert list(text.read_documents(path, text.BOOK)) == expected
    assert list(text.read_documents(path)) == expected


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_sentences(tmp_path, newline, mark):
    lines = ["", "First one.", "  Second.  ", " ", "", "Another document."]
    path = _write(tmp_path, mark + newline.join(lines))
    expected = [["First one.", "Second."], ["Another document."]]
    assert list(text.read_documents(path)) == expected


def test_short_sentences_are_not_taken_for_a_book(tmp_path):
    path = _write(tmp_path, "One line.\nNext!\nNo end\nSo.\nIs it?\n")
    [document] = text.read_documents(path)
    assert len(document) == 5


def test_empty_file_has_no_documents(tmp_path):
    assert list(text.read_documents(_write(tmp_path, "\n \n"))) == []


@pytest.mark.parametrize("text_format", text.FORMATS)
def test_encoding_error_names_file_and_offset(tmp_path, text_format):
    path = _write(tmp_path, "é line.\nnext ".encode() + b"\xe9 one.\n")
    with pytest.raises(ValueError, match="byte 0xe9 at offset 14") as error:
        list(text.read_documents(path, text_format))
    assert path in str(error.value)


def test_offsets_count_carriage_returns(tmp_path):
    path = _write(tmp_path, b"One.\r\n\r\nTwo.\r\n\r\nThree \xe9.\r\n")
    assert list(text.read_documents(path, text.SENTENCES, 8, 16)) == [["Two."]]
    with pytest.raises(ValueError, match=r"at offset 22 \(line 5\)"):
        list(text.read_documents(path, text.SENTENCES))
    assert b"".join(text.raw_lines(path, 3)).startswith(b".\r\n\r\nTwo.")


def test_expand(tmp_path):
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "c.txt").mkdir()
    paths = text.expand([f"{tmp_path}/*.txt", f"{tmp_path}/a.txt"])
    assert paths == [f"{tmp_path}/a.txt", f"{tmp_path}/b.txt"]
    with pytest.raises(ValueError, match="absent.*: got no file"):
        text.expand([f"{tmp_path}/a.txt", f"{tmp_path}/absent*"])
    with pytest.raises(ValueError, match="no input file"):
        text.expand([])


@pytest.mark.parametrize(
    "paragraph, expected",
    [
        ("One. Two? Three! Four", ["One.", "Two?", "Three!", "Four"]),
        ("He said “Go.” Then left.", ["He said “Go.”", "Then left."]),
        ("Dr. Who met Mrs. Smith.", ["Dr. Who met Mrs. Smith."]),
        ("It cost 3.50 in all. 12 came.", ["It cost 3.50 in all.", "12 came."]),
        ("So do I. You too.", ["So do I.", "You too."]),
        ("Wait... what? yes.", ["Wait... what? yes."]),
        ("End. (Not quite.) Done.", ["End.", "(Not quite.)", "Done."]),
        ("Là. École.", ["Là.", "École."]),
        ("* * *", []),
        ("", []),
    ],
)
def test_sentence_splitting(paragraph, expected):
    assert sentences.split(paragraph) == expected


def test_real_books_are_recognised(real_data):
    for path in text.expand([f"{real_data}/text/gutenberg/*.txt"]):
        with open(path, encoding="utf-8") as stream:
            lines = [line.strip() for line in stream]
        assert text.guess_format(lines)[0] == text.BOOK, path
        documents = list(text.read_documents(path))
        lengths = [len(s) for document in documents for s in document]
        assert 20 < sum(lengths) / len(lengths) < 300, path
