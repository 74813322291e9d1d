"""Chunks of text files: they cover the files, and wrong files are named."""

import itertools

import numpy as np
import pytest

from mobilebert_tf.data import text
from mobilebert_tf.data import text_chunks


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(text_chunks, "_CHUNK_BYTES", 1 << 12)
    monkeypatch.setattr(text_chunks, "_MAX_CHUNK_BYTES", 1 << 14)
    monkeypatch.setattr(text_chunks, "_LONGEST_LINE_BYTES", 1 << 17)
    text_chunks._chunk_lengths.cache_clear()
    yield
    text_chunks._chunk_lengths.cache_clear()


def _write(tmp_path, content, name="x.txt"):
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


def _sentences(documents):
    return list(itertools.chain.from_iterable(documents))


def test_chunks_are_the_file(text_file):
    chunks = text_chunks.index([text_file])
    with open(text_file, "rb") as stream:
        content = stream.read()
    assert len(chunks.chunks) > 10
    assert chunks.num_bytes == len(content)
    position = 0
    for file, offset, length in chunks.chunks.tolist():
        assert (file, offset) == (0, position)
        assert 0 < length <= 1 << 14
        position += length
    # No document of this file is longer than a chunk.
    whole = list(text.read_documents(text_file))
    assert list(chunks.documents(range(len(chunks.chunks)))) == whole


def test_any_order(text_file):
    chunks = text_chunks.index([text_file])
    order = np.random.default_rng(0).permutation(len(chunks.chunks))
    whole = _sentences(text.read_documents(text_file))
    assert sorted(_sentences(chunks.documents(order))) == sorted(whole)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_books(tmp_path, line_end):
    """Hard-wrapped, with chapters; no sentence is cut between chunks."""
    paragraph = ["It was a long day for all of", "them. Nobody spoke again."]
    chapter = [*paragraph, ""] * 90 + ["", "", ""]
    content = "\ufeff" + line_end.join(chapter * 5)
    path = _write(tmp_path, content.encode())
    chunks = text_chunks.index([path])
    assert chunks.formats == (text.BOOK,)
    assert len(chunks.chunks) > 3
    documents = list(chunks.documents(range(len(chunks.chunks))))
    assert len(documents) >= 5
    assert _sentences(documents) == _sentences(text.read_documents(path))


def test_a_long_document_is_cut_between_lines(tmp_path):
    lines = [f"Sentence number {i} of one document." for i in range(2500)]
    path = _write(tmp_path, "\n".join(lines).encode())
    chunks = text_chunks.index([path])
    assert len(chunks.chunks) > 5
    documents = list(chunks.documents(range(len(chunks.chunks))))
    assert len(documents) == len(chunks.chunks)
    assert _sentences(documents) == lines


def test_several_files(tmp_path):
    paths = [
        _write(tmp_path, f"Text {i}.\n".encode(), f"{i}.txt") for i in range(3)
    ]
    chunks = text_chunks.index(paths)
    assert list(chunks.documents([2, 0])) == [["Text 2."], ["Text 0."]]


def test_wrong_files(tmp_path):
    line = b"A line of text.\n"
    for content, message in (
        (b"", "got no text, expected some words"),
        (b" \n\r\n\t\n" * 5000, "got no text, expected some words"),
        (
            line * 3000 + b"caf\xe9\n",
            f"line 3001: got byte 0xe9 at offset {3000 * len(line) + 3}, "
            "expected UTF-8 text",
        ),
        (b"x" * (1 << 18), "got more than 131072 bytes in a line"),
    ):
        path = _write(tmp_path, content)
        text_chunks._chunk_lengths.cache_clear()
        with pytest.raises(ValueError, match=f"{path}: {message}"):
            text_chunks.index([path])


def test_a_file_that_changes_is_noticed(tmp_path):
    path = _write(tmp_path, b"A line of text.\n" * 1000)
    chunks = text_chunks.index([path])
    _write(tmp_path, b"A line of text.\n" * 10)
    with pytest.raises(ValueError, match=f"{path}: the file changed"):
        list(chunks.documents(range(len(chunks.chunks))))
