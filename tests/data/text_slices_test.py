"""Where files are cut: no document is lost, doubled or torn."""

import itertools
import random

import pytest

from mobilebert_tf.data import text
from mobilebert_tf.data.pretraining_examples import text_slices


def _write(path, documents, separator):
    path.write_text(separator.join("\n".join(d) for d in documents) + "\n")
    return str(path)


def _documents(count, seed=0):
    rng = random.Random(seed)
    return [
        [f"Sentence {d}.{s} é." for s in range(rng.randint(1, 9))]
        for d in range(count)
    ]


def _read(slices):
    return [document for part in slices for document in part.documents()]


@pytest.mark.parametrize("size", [200, 333, 10**6])
@pytest.mark.parametrize(
    "text_format, separator",
    [
        (text.SENTENCES, "\n\n"),
        (text.SENTENCES, "\n \t\n\n\r\n"),
        (text.BOOK, "\n\n\n\n"),
        (text.BOOK, "\n\n \n\u00a0\n\n\n"),
    ],
)
def test_slices_hold_each_document_once(tmp_path, size, text_format, separator):
    documents = _documents(60)
    path = _write(tmp_path / "a", documents, separator)
    whole = list(text.read_documents(path, text_format))
    assert len(whole) == 60
    slices = text_slices.cut([path], text_format, size, 10 * size)
    assert _read(slices) == whole
    assert (len(slices) > 10) == (size < 1000)
    spans = [span for part in slices for span in part.spans]
    assert spans[0].start == 0
    for span, following in itertools.pairwise(spans):
        assert span.end == following.start


def test_small_files_share_slices_and_large_ones_are_cut(tmp_path):
    paths = [
        _write(tmp_path / f"{index}", _documents(count, index), "\n\n")
        for index, count in enumerate((1, 1, 1, 200, 2, 0, 3))
    ]
    slices = text_slices.cut(paths, text.SENTENCES, 2000, 6000)
    assert _read(slices) == [
        document for path in paths for document in text.read_documents(path)
    ]
    assert {span.path for span in slices[0].spans} >= set(paths[:3])
    assert all(part.num_bytes < 2 * 2000 for part in slices)
    pieces = [part.piece for part in slices]
    assert pieces == sorted(pieces) and set(pieces) == set(
        range(max(pieces) + 1)
    )
    for piece in set(pieces):
        size = sum(part.num_bytes for part in slices if part.piece == piece)
        assert 3000 < size < 9000


def test_text_smaller_than_a_piece_is_one(tmp_path):
    path = _write(tmp_path / "a", _documents(100), "\n\n")
    slices = text_slices.cut([path], text.AUTO, 500)
    assert len(slices) > 2 and {part.piece for part in slices} == {0}


@pytest.mark.parametrize("text_format", [text.SENTENCES, text.BOOK])
def test_endless_document_is_cut(tmp_path, caplog, text_format):
    paragraphs = [[f"Paragraph {p} is one line."] for p in range(300)]
    separator = "\n" if text_format == text.SENTENCES else "\n\n"
    path = _write(tmp_path / "a", paragraphs, separator)
    [whole] = text.read_documents(path, text_format)
    slices = text_slices.cut([path], text_format, 1000)
    assert 3 < len(slices) < 10
    assert all(part.num_bytes < 3000 for part in slices)
    # Cut between sentences; none is lost.
    assert sum(_read(slices), []) == whole
    assert f"{path}: the document around byte" in caplog.text


def test_empty_files(tmp_path):
    path = _write(tmp_path / "a", [], "\n")
    slices = text_slices.cut([path, path], text.AUTO)
    assert _read(slices) == [] and slices[0].piece == 0


def test_encoding_error_counts_from_the_start_of_the_file(tmp_path):
    path = tmp_path / "a"
    _write(path, _documents(50), "\n\n")
    good = path.read_bytes()
    path.write_bytes(good + b"\nnext " + b"\xe9\n")
    slices = text_slices.cut([str(path)], text.SENTENCES, 300)
    line = good.count(b"\n") + 2
    with pytest.raises(
        ValueError, match=f"offset {len(good) + 6} \\(line {line}\\)"
    ):
        _read(slices)
