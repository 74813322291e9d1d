"""Token classification: files -> sentences -> windows of WordPieces.

Legend: N windows, S sequence, W words of all sentences.
"""

import dataclasses
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np
from absl import logging

from mobilebert_tf import tokenization
from mobilebert_tf.data import columns
from mobilebert_tf.data import tag_schemes

# Stands for the label of a position that is not learned from.
IGNORED_LABEL = -1

# Consecutive windows of a long sentence share this part of their tokens.
_SHARED = 1 / 4


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a file has its words and tags, and how they spell entities.

    Attributes:
        word_column: index of the column; negative ones count from the end.
        tag_column: likewise.
        scheme: one of tag_schemes.SCHEMES.
        check_transitions: whether a tag that the scheme forbids after the one
            before it (bio: I-PER after O) is an error.
    """

    word_column: int = 0
    tag_column: int = -1
    scheme: str = tag_schemes.BIO
    check_transitions: bool = True


@dataclasses.dataclass(frozen=True)
class Sentence:
    """Words in order.

    Attributes:
        source: file and line of the first word.
        words: texts, none empty.
        tags: of each word; none of them if read without.
    """

    source: str
    words: tuple[str, ...]
    tags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Features:
    """Windows of sentences, and where in them each word is.

    Attributes:
        arrays: `input_word_ids`, `input_mask`, `input_type_ids` and
            `label_ids`: int32 [N, S]; `window_ids`: int32 [N], 0 to N - 1.
        windows: int [W]. The window that each word is predicted in.
        positions: int [W]. Its position there, that of its first piece.
        sentence_lengths: list of int, words of each sentence.
    """

    arrays: dict[str, np.ndarray]
    windows: np.ndarray
    positions: np.ndarray
    sentence_lengths: list[int]

    def by_sentence(
        self, values: np.ndarray, labels: Sequence[str]
    ) -> list[list[str]]:
        """Returns the label of each word.

        Args:
            values: int [N, S], ids of labels.
            labels: their names.
        """
        words = values[self.windows, self.positions]  # [W]
        ends = np.cumsum(self.sentence_lengths)
        return [
            [labels[index] for index in part]
            for part in np.split(words, ends[:-1])
        ]


def read_sentences(
    path: str, layout: Layout, labels: Sequence[str] | None = None
) -> list[Sentence]:
    """Reads sentences with tags.

    Args:
        path: file in columns, see data/columns.py.
        layout: what the columns are.
        labels: names that the tags must be among; None allows all.

    Raises:
        ValueError: as columns.read_sentences; also if a column is absent, a
            word is empty, or a tag is not of the scheme, not among `labels`
            or not allowed after the one before it, with file and line.
    """
    tag_schemes.check_scheme(layout.scheme)
    known = None if labels is None else frozenset(labels)
    sentences = []
    rows_of_sentences = columns.read_sentences(path)
    num_columns = len(rows_of_sentences[0][0].fields)
    word_column = _column(path, "word_column", layout.word_column, num_columns)
    tag_column = _column(path, "tag_column", layout.tag_column, num_columns)
    if word_column == tag_column:
        raise ValueError(
            f"{path}: got words and tags both in column {tag_column}, expected "
            f"one column for each; the rows have {num_columns}"
        )
    for rows in rows_of_sentences:
        words = _words(path, rows, word_column)
        tags = tuple(row.fields[tag_column].strip(" ") for row in rows)
        for row, tag in zip(rows, tags, strict=True):
            _check_tag(f"{path}:{row.number}", tag, layout.scheme, known)
        if layout.check_transitions:
            _check_transitions(path, rows, tags, layout.scheme)
        sentences.append(Sentence(f"{path}:{rows[0].number}", words, tags))
    return sentences


def read_words(path: str, word_column: int) -> list[Sentence]:
    """Reads sentences without tags, whether the file has them or not.

    Args:
        path: file in columns, see data/columns.py.
        word_column: index of the words' column.

    Raises:
        ValueError: as columns.read_sentences; also if the column is absent or
            a word is empty, with file and line.
    """
    rows_of_sentences = columns.read_sentences(path)
    num_columns = len(rows_of_sentences[0][0].fields)
    word_column = _column(path, "word_column", word_column, num_columns)
    return [
        Sentence(f"{path}:{rows[0].number}", _words(path, rows, word_column))
        for rows in rows_of_sentences
    ]


def features(
    sentences: Sequence[Sentence],
    tokenizer: tokenization.WordPieceTokenizer,
    max_seq_length: int,
    labels: Sequence[str],
) -> Features:
    """Converts sentences to [CLS] pieces [SEP], in as many windows as needed.

    Every word has a prediction. Its label is on its first piece, the other
    pieces have IGNORED_LABEL. A word without pieces (of control characters,
    say) is [UNK]; one with more pieces than a window holds is cut. The windows
    of a sentence too long overlap; a word in two of them is predicted, and
    learned from, where it is further from the end.

    Args:
        sentences: with or without tags.
        tokenizer: maps words to ids.
        max_seq_length: S.
        labels: names of the labels, by id.

    Raises:
        ValueError: if `max_seq_length` has no room for a piece.
    """
    room = max_seq_length - 2
    if room < 1:
        raise ValueError(
            f"max_seq_length: got {max_seq_length}, expected at least 3"
        )
    sentence_lengths = [len(sentence.words) for sentence in sentences]
    words = [word for sentence in sentences for word in sentence.words]
    pieces, starts = _pieces(tokenizer, words, room)  # starts: [W + 1]

    spans = []  # Of words, of each window.
    windows = np.empty(len(words), np.int64)
    split = []
    first = 0
    for sentence, length in zip(sentences, sentence_lengths, strict=True):
        before = len(spans)
        sentence_starts = starts[first : first + length + 1]
        for begin, end, own_begin, own_end in _windows(sentence_starts, room):
            windows[first + own_begin : first + own_end] = len(spans)
            spans.append((first + begin, first + end))
        if len(spans) > before + 1:
            split.append(sentence.source)
        first += length
    _note_split(split, len(sentences), max_seq_length)

    shape = len(spans), max_seq_length
    ids = np.full(shape, tokenizer.pad_id, np.int32)
    mask = np.zeros(shape, np.int32)
    ids[:, 0] = tokenizer.cls_id
    for row, (begin, end) in enumerate(spans):
        size = starts[end] - starts[begin]
        ids[row, 1 : 1 + size] = pieces[starts[begin] : starts[end]]
        ids[row, 1 + size] = tokenizer.sep_id
        mask[row, : size + 2] = 1
    first_words = np.array([begin for begin, _ in spans], np.int64)
    positions = 1 + starts[:-1] - starts[first_words[windows]]
    label_ids = np.full(shape, IGNORED_LABEL, np.int32)
    by_name = {label: index for index, label in enumerate(labels)}
    tagged = [tag for sentence in sentences for tag in sentence.tags]
    if tagged:
        label_ids[windows, positions] = [by_name[tag] for tag in tagged]
    arrays = {
        "input_word_ids": ids,
        "input_mask": mask,
        "input_type_ids": np.zeros(shape, np.int32),
        "label_ids": label_ids,
        "window_ids": np.arange(len(spans), dtype=np.int32),
    }
    return Features(arrays, windows, positions, sentence_lengths)


def _column(path, name, index, num_columns):
    """Returns `index`, counted from the start."""
    if not -num_columns <= index < num_columns:
        raise ValueError(
            f"{path}: got {num_columns} columns, expected one with index "
            f"{index} ({name})"
        )
    return index % num_columns


def _words(path, rows, column):
    words = tuple(row.fields[column].strip(" ") for row in rows)
    for row, word in zip(rows, words, strict=True):
        if not word:
            raise ValueError(
                f"{path}:{row.number}: got an empty word, expected some text"
            )
    return words


def _check_tag(place, tag, scheme, known):
    try:
        tag_schemes.check_tag(tag, scheme)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    if known is not None and tag not in known:
        raise ValueError(
            f"{place}: got tag {tag!r}, expected one of "
            f"{', '.join(sorted(known))}"
        )


def _check_transitions(path, rows, tags, scheme):
    previous = tag_schemes.OUTSIDE
    for row, tag in zip(rows, tags, strict=True):
        if not tag_schemes.may_follow(previous, tag, scheme):
            raise ValueError(
                f"{path}:{row.number}: got {tag} after {previous}, expected a "
                f"tag that scheme {scheme} allows there (is it another scheme?)"
            )
        previous = tag
    if not tag_schemes.may_follow(previous, tag_schemes.OUTSIDE, scheme):
        raise ValueError(
            f"{path}:{rows[-1].number}: got the end of the sentence after "
            f"{previous}, expected the end of the entity (scheme {scheme})"
        )


def _pieces(tokenizer, words, room):
    """Returns all pieces, 1 to `room` per word, and where words start.

    Returns:
        int32 [P], and int [W + 1], where the last one is P.
    """
    ragged = tokenizer.tokenize(words)
    values = np.append(ragged.flat_values.numpy(), tokenizer.unk_id)
    lengths = ragged.row_lengths().numpy()
    origins = ragged.row_starts().numpy()
    origins = np.where(lengths, origins, len(values) - 1)
    kept = np.clip(lengths, 1, room)
    starts = np.append(0, np.cumsum(kept))
    shifts = np.repeat(origins - starts[:-1], kept)
    return values[np.arange(starts[-1]) + shifts], starts


def _windows(
    starts: np.ndarray, room: int
) -> Iterator[tuple[int, int, int, int]]:
    """Yields windows of words, and the words that are predicted in each.

    Args:
        starts: int [words + 1]. Offset of each word's pieces, and their end.
        room: pieces of a window, at least those of any word.

    Yields:
        begin, end of the words; begin, end of those predicted there. The
        latter follow one another without gap or overlap.
    """
    last = len(starts) - 1
    begin = own_begin = 0
    while True:
        end = np.searchsorted(starts, starts[begin] + room, "right") - 1
        if end == last:
            yield begin, end, own_begin, end
            return
        # The next one goes back a little, but not too far to go on.
        back = max(starts[end] - int(room * _SHARED), starts[end + 1] - room)
        next_begin = np.searchsorted(starts, back)
        middle = (starts[next_begin] + starts[end]) / 2
        own_end = np.searchsorted(starts, middle)
        if own_end > own_begin:
            yield begin, end, own_begin, own_end
        begin, own_begin = next_begin, own_end


def _note_split(sources, num_sentences, max_seq_length):
    if sources:
        logging.warning(
            "%s: longer than max_seq_length=%d; %d of %d sentences were split "
            "into windows, the first one there",
            sources[0],
            max_seq_length,
            len(sources),
            num_sentences,
        )
