"""What becomes of a text in an app, compared with what the model learnt.

Imports no TensorFlow. The unit of comparison is a word: the shortest stretch
of the text that neither tokenization crosses the ends of.
"""

import collections
import dataclasses
from collections.abc import Iterable
from collections.abc import Iterator

from mobilebert_tf import text_table
from mobilebert_tf import wordpiece

_FREQUENT_WORDS = 20
_LONGEST_CELL = 40


@dataclasses.dataclass(frozen=True)
class Word:
    """A stretch of a text and its tokens in both modes.

    Attributes:
        text: the stretch.
        bert: its tokens in BERT mode; empty if cleaning removes it.
        device: its tokens in device mode.
    """

    text: str
    bert: tuple[str, ...]
    device: tuple[str, ...]

    @property
    def differs(self) -> bool:
        return self.bert != self.device


class Comparison:
    """Compares texts one by one and keeps totals.

    Attributes:
        texts, different_texts: numbers of texts.
        words, different_words: numbers of words.
        bert_tokens, device_tokens: numbers of tokens in either mode.
        affected_tokens: BERT tokens of words that differ.
        bert_unknown, device_unknown: numbers of [UNK] in either mode.
        frequency: how often each differing `Word` was seen.
    """

    def __init__(self, vocab_file: str, lower_case: bool = True):
        """Loads the vocabulary for both modes.

        Args:
            vocab_file: see `wordpiece.load_vocabulary`.
            lower_case: of BERT mode; clients always lower-case.

        Raises:
            OSError, ValueError: as `wordpiece.VocabularyTokenizer`.
        """
        self._bert = wordpiece.PythonTokenizer(
            vocab_file, lower_case, wordpiece.BERT
        )
        self._device = wordpiece.PythonTokenizer(
            vocab_file, mode=wordpiece.DEVICE
        )
        self.texts = self.different_texts = 0
        self.words = self.different_words = 0
        self.bert_tokens = self.device_tokens = self.affected_tokens = 0
        self.bert_unknown = self.device_unknown = 0
        self.frequency = collections.Counter()

    def add(self, text: str) -> list[Word]:
        """Counts `text`; returns its words in order."""
        words = _words(text, self._bert.words(text), self._device.words(text))
        different = [word for word in words if word.differs]
        self.texts += 1
        self.different_texts += bool(different)
        self.words += len(words)
        self.different_words += len(different)
        self.frequency.update(different)
        for word in words:
            self.bert_tokens += len(word.bert)
            self.device_tokens += len(word.device)
            self.affected_tokens += len(word.bert) if word.differs else 0
            self.bert_unknown += word.bert.count(wordpiece.UNK)
            self.device_unknown += word.device.count(wordpiece.UNK)
        return words


def report_lines(
    vocab_file: str,
    texts: Iterable[str],
    max_examples: int,
    lower_case: bool = True,
) -> Iterator[str]:
    """Yields differing texts, then totals, as lines for a terminal.

    Args:
        vocab_file: of the model.
        texts: one by one, may be endless.
        max_examples: texts to show.
        lower_case: of BERT mode.

    Raises:
        OSError, ValueError: as `Comparison`.
    """
    comparison = Comparison(vocab_file, lower_case)
    shown = 0
    for number, text in enumerate(texts, 1):
        words = comparison.add(text)
        if shown < max_examples and any(word.differs for word in words):
            shown += 1
            yield f"text {number}: {_printable(text)}"
            yield f"  bert    {_marked(words, 'bert')}"
            yield f"  device  {_marked(words, 'device')}"
            yield ""
    yield from _total_lines(comparison)


def read_texts(path: str) -> Iterator[str]:
    """Yields the lines of a file, without their line feeds.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if a line is not UTF-8.
    """
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                yield line.removesuffix(b"\n").decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}:{number}: got byte 0x{line[error.start]:02x}, "
                    "expected UTF-8 text"
                ) from error


def _words(text, bert, device):
    """Returns the words of a text from the pieces of each mode's words."""
    spans = [("bert", pieces) for pieces in bert]
    spans += [("device", pieces) for pieces in device]
    spans.sort(key=lambda span: span[1][0].start)
    stretches = []  # [start, end, tokens by mode]
    for mode, pieces in spans:
        start, end = pieces[0].start, pieces[-1].end
        if not stretches or start >= stretches[-1][1]:
            stretches.append([start, end, {"bert": [], "device": []}])
        stretches[-1][1] = max(end, stretches[-1][1])
        stretches[-1][2][mode] += [piece.token for piece in pieces]
    return [
        Word(text[start:end], tuple(tokens["bert"]), tuple(tokens["device"]))
        for start, end, tokens in stretches
    ]


def _marked(words, mode):
    parts = []
    for word in words:
        tokens = " ".join(map(_printable, getattr(word, mode)))
        parts.append(f"«{tokens}»" if word.differs else tokens)
    return " ".join(parts)


def _printable(text):
    """Escapes what a terminal would not show, such as zero-width spaces."""
    return "".join(
        char
        if char.isprintable()
        else char.encode("unicode_escape", "surrogatepass").decode("ascii")
        for char in text
    )


def _total_lines(totals):
    yield from text_table.lines(
        [
            ("", "number", "differ", "share"),
            _row("texts", totals.texts, totals.different_texts),
            _row("words", totals.words, totals.different_words),
            _row("BERT tokens", totals.bert_tokens, totals.affected_tokens),
        ]
    )
    yield ""
    yield from text_table.lines(
        [
            ("", "tokens", wordpiece.UNK),
            ("bert", str(totals.bert_tokens), str(totals.bert_unknown)),
            ("device", str(totals.device_tokens), str(totals.device_unknown)),
        ]
    )
    if totals.frequency:
        yield ""
        yield from text_table.lines(
            [("most frequent differing words", "count", "bert", "device")]
            + [
                (
                    _cell(word.text),
                    str(count),
                    _cell(" ".join(word.bert)),
                    _cell(" ".join(word.device)),
                )
                for word, count in totals.frequency.most_common(_FREQUENT_WORDS)
            ]
        )


def _row(name, number, differ):
    share = f"{100 * differ / number:.2f} %" if number else "-"
    return name, str(number), str(differ), share


def _cell(text):
    text = _printable(text)
    return text if len(text) <= _LONGEST_CELL else text[:_LONGEST_CELL] + "..."
