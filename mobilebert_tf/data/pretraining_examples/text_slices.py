"""Cuts text files of any size into slices, and groups slices into pieces.

A slice is what one process tokenizes at once: runs of documents of one or
more files. A piece is a run of slices: the part of the text from which the
random next segments of its documents are drawn. BERT's script draws them from
the whole text, which it holds in memory; a text smaller than a piece and a
half is one piece, so that both are the same.

Where the text is cut depends on the files only, and little is read to find
it: the end of a document is looked for from about where the cut should be.
"""

import dataclasses
import itertools
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

import tensorflow as tf
from absl import logging

from mobilebert_tf.data import text

SLICE_BYTES = 4 * 2**20
PIECE_BYTES = 32 * 2**20


@dataclasses.dataclass(frozen=True)
class Span:
    """Whole lines of a file, from byte `start` to before byte `end`.

    Attributes:
        path: the file.
        text_format: text.BOOK or text.SENTENCES.
        start: offset of the first line, which begins a document.
        end: offset after the last line.
    """

    path: str
    text_format: str
    start: int
    end: int

    def documents(self) -> Iterator[list[str]]:
        """Yields the sentences of each document, as text.read_documents."""
        return text.read_documents(
            self.path, self.text_format, self.start, self.end
        )


@dataclasses.dataclass(frozen=True)
class Slice:
    """Text that is tokenized at once.

    Attributes:
        spans: in the order of the text.
        piece: index of the piece that the slice belongs to.
    """

    spans: tuple[Span, ...]
    piece: int

    @property
    def num_bytes(self) -> int:
        return sum(span.end - span.start for span in self.spans)

    def documents(self) -> Iterator[list[str]]:
        """Yields the sentences of each document."""
        return itertools.chain.from_iterable(
            span.documents() for span in self.spans
        )


def cut(
    paths: Iterable[str],
    text_format: str,
    slice_bytes: int = SLICE_BYTES,
    piece_bytes: int = PIECE_BYTES,
) -> list[Slice]:
    """Cuts files into slices of about the same size.

    Args:
        paths: of the files, in the order of the text.
        text_format: one of text.FORMATS, for all files.
        slice_bytes: wanted size of a slice. Slices begin where a document
            does; a document that goes on for so many bytes after the place
            where it should be cut is cut into two documents, with a warning.
        piece_bytes: wanted size of a piece; pieces differ from it by less
            than half, or there is only one.

    Returns:
        The slices, in the order of the text.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if a file whose format is looked for is not UTF-8.
    """
    spans = []
    for path in paths:
        spans.extend(
            _cut_file(path, text.find_format(path, text_format), slice_bytes)
        )
    groups = [[]]
    size = 0
    for span in spans:
        size += span.end - span.start
        if groups[-1] and size > 1.5 * slice_bytes:
            groups.append([])
            size = span.end - span.start
        groups[-1].append(span)
    sizes = [sum(span.end - span.start for span in group) for group in groups]
    pieces = _pieces(sizes, piece_bytes)
    return [
        Slice(tuple(group), piece)
        for group, piece in zip(groups, pieces, strict=True)
    ]


def _pieces(sizes: Sequence[int], piece_bytes: int) -> list[int]:
    """Returns the piece of each slice: runs of about the same size."""
    total = sum(sizes)
    count = max(1, round(total / piece_bytes))
    starts = itertools.accumulate(sizes, initial=0)
    # The middle of the slice decides.
    return [
        min(count - 1, (2 * start + size) * count // (2 * total))
        if total
        else 0
        for start, size in zip(starts, sizes, strict=False)
    ]


def _cut_file(path, text_format, slice_bytes):
    size = tf.io.gfile.stat(path).length
    count = max(1, round(size / slice_bytes))
    cuts = [0]
    for index in range(1, count):
        target = max(size * index // count, cuts[-1] + 1)
        limit = min(size, target + slice_bytes)
        cuts.append(_next_document(path, target, limit, text_format))
    cuts = [place for place in cuts if place < size]
    return [
        Span(path, text_format, start, end)
        for start, end in itertools.pairwise([*cuts, size])
    ]


def _next_document(path, start, limit, text_format):
    """Returns where the first document after `start` begins.

    The end of the file is `limit` or later. If no document begins before
    `limit`, a paragraph after it does, or any line.
    """
    separator = text.EMPTY_LINES_BETWEEN_DOCUMENTS[text_format]
    lines = text.raw_lines(path, start)
    offset = start + len(next(lines, b""))  # it may begin before `start`
    empty_lines = 0
    paragraph = None
    for line in lines:
        is_empty = not line.decode("utf-8", "replace").strip()
        if not is_empty and empty_lines >= separator:
            return offset
        if not is_empty and empty_lines and paragraph is None:
            paragraph = offset
        empty_lines = empty_lines + 1 if is_empty else 0
        if offset >= limit:
            break
        offset += len(line)
    else:
        return offset
    logging.warning(
        "%s: the document around byte %d is larger than %d MB: it is cut in "
        "two (%s separates documents)",
        path,
        start,
        (limit - start) // 10**6,
        "an empty line" if separator == 1 else f"{separator} empty lines",
    )
    return offset if paragraph is None else paragraph
