"""WordPiece vocabularies, and tokenization in plain Python.

Imports no TensorFlow: tools start at once. `tokenization.py` does the same as
TensorFlow ops; both have two modes:

- "bert": `tokenization.py` of google-research/bert, with which models are
  pre-trained: clean, lower and strip accents, split on white space,
  punctuation and CJK characters, then greedy longest match.
- "device": what apps with MediaPipe's or Task Library's text clients feed the
  exported model: ASCII is lower-cased, nothing is cleaned or stripped.

docs/tokenization.md shows where they differ.
"""

import dataclasses
import functools
import unicodedata
from collections.abc import Callable
from collections.abc import Sequence

from absl import logging

PAD = "[PAD]"
UNK = "[UNK]"
CLS = "[CLS]"
SEP = "[SEP]"
MASK = "[MASK]"
SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)
SUFFIX_INDICATOR = "##"

BERT = "bert"
DEVICE = "device"
MODES = (BERT, DEVICE)

# Longer words become [UNK].
MAX_CHARACTERS_PER_WORD = 200
MAX_BYTES_PER_DEVICE_WORD = 100

_CJK_RANGES = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)
# RE2's \s: neither the vertical tab nor any white space beyond ASCII.
_DEVICE_WHITE_SPACE = "\t\n\f\r "
_LOWER_ASCII = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_LINES_IN_WARNING = 5


def same_vocabulary(one: bytes, other: bytes) -> bool:
    """Returns whether two files have the same tokens with the same ids.

    Args:
        one: content of a vocabulary file. White space around tokens and at
            the end does not count.
        other: likewise.
    """
    tokens = (
        [line.strip() for line in content.rstrip().split(b"\n")]
        for content in (one, other)
    )
    return next(tokens) == next(tokens)


def load_vocabulary(path: str) -> list[str]:
    """Reads a vocabulary file: one token per line, its id the line's index.

    As in google-research/bert (and the Model Garden), lines are stripped of
    white space, and ids never shift: a repeated token has the id of its last
    line, an empty line takes up an id that no text produces; both are logged
    once. Hugging Face counts likewise but strips line ends only. The loader
    of google-research/mobilebert leaves repeated lines out, so that later ids
    shift: it agrees on vocabularies without repetition, as the published one.

    Args:
        path: a UTF-8 text file.

    Returns:
        The token of every line.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is empty, is not UTF-8 or lacks a special token.
    """
    tokens = [line.strip() for line in _read_lines(path)]
    missing = [token for token in SPECIAL_TOKENS if token not in tokens]
    if missing:
        raise ValueError(
            f"{path}: missing special tokens {' '.join(missing)} "
            f"(got {len(tokens)} tokens)"
        )
    _warn_of_unused_lines(path, tokens)
    return tokens


def ids_by_token(vocabulary: Sequence[str]) -> dict[str, int]:
    """Returns the id of every token; a repeated one has its last id."""
    return {token: index for index, token in enumerate(vocabulary) if token}


class VocabularyTokenizer:
    """What every tokenizer knows, whatever it is computed with.

    Attributes:
        vocabulary: the tokens of the file, by id.
        vocab_size: their number.
        ids: id of each distinct token.
        lower_case: whether the model is uncased.
        mode: "bert" or "device".
        pad_id, unk_id, cls_id, sep_id, mask_id: ids of the special tokens.
    """

    def __init__(
        self, vocab_file: str, lower_case: bool = True, mode: str = BERT
    ):
        """Loads the vocabulary.

        Args:
            vocab_file: see `load_vocabulary`.
            lower_case: for uncased models.
            mode: "bert" or "device".

        Raises:
            OSError, ValueError: as `load_vocabulary`; in device mode also if
                `lower_case` is false (clients always lower-case) or the
                clients would read other ids from the file.
        """
        if mode not in MODES:
            raise ValueError(
                f"tokenizer mode: got {mode!r}, expected {' or '.join(MODES)}"
            )
        if mode == DEVICE and not lower_case:
            raise ValueError(
                "tokenizer mode 'device': got lower_case=False, but on-device "
                "clients lower-case every text"
            )
        self.vocabulary = load_vocabulary(vocab_file)
        self.vocab_size = len(self.vocabulary)
        self.ids = ids_by_token(self.vocabulary)
        self.lower_case = lower_case
        self.mode = mode
        self.pad_id = self.ids[PAD]
        self.unk_id = self.ids[UNK]
        self.cls_id = self.ids[CLS]
        self.sep_id = self.ids[SEP]
        self.mask_id = self.ids[MASK]
        if mode == DEVICE:
            _require_same_ids_on_device(vocab_file, self.ids)


@dataclasses.dataclass(frozen=True)
class Piece:
    """A WordPiece and the characters `text[start:end]` that it stands for."""

    token: str
    start: int
    end: int


class PythonTokenizer(VocabularyTokenizer):
    """Maps a text to WordPieces, one text at a time.

    Example:

        tokenizer = wordpiece.PythonTokenizer("vocab.txt")
        tokenizer.tokenize("Unaffable")  # ["una", "##ffa", "##ble"]
    """

    def words(self, text: str) -> list[list[Piece]]:
        """Returns the pieces of each word of `text`, without [CLS] and [SEP].

        Offsets are in characters of `text`. Combining marks that are
        stripped after the last letter of a piece are not part of it.
        """
        if self.mode == DEVICE:
            words = _device_words(text)
        else:
            words = _bert_words(text, self.lower_case)
        return [
            [
                Piece(token, origins[start], origins[end - 1] + 1)
                for token, start, end in self._match(word)
            ]
            for word, origins in words
        ]

    def pieces(self, text: str) -> list[Piece]:
        """Returns the pieces of `text` in one list."""
        return [piece for word in self.words(text) for piece in word]

    def tokenize(self, text: str) -> list[str]:
        """Returns the tokens of `text`, without [CLS] and [SEP]."""
        return [piece.token for piece in self.pieces(text)]

    def encode(self, text: str) -> list[int]:
        """Returns the ids of `tokenize`."""
        return [self.ids[token] for token in self.tokenize(text)]

    def _match(self, word):
        """Returns (token, start, end) of each longest match, from the left."""
        unknown = [(UNK, 0, len(word))]
        if self._is_too_long(word):
            return unknown
        matches = []
        start = 0
        while start < len(word):
            prefix = SUFFIX_INDICATOR if start else ""
            for end in range(len(word), start, -1):
                token = prefix + word[start:end]
                if token in self.ids:
                    break
            else:
                return unknown
            matches.append((token, start, end))
            start = end
        return matches

    def _is_too_long(self, word):
        if self.mode == DEVICE:
            size = len(word.encode("utf-8", "surrogatepass"))
            return size > MAX_BYTES_PER_DEVICE_WORD
        return len(word) > MAX_CHARACTERS_PER_WORD


def _bert_words(text, lower_case):
    """Returns each word and, per character of it, its index in `text`."""
    kept = [i for i, char in enumerate(text) if not _is_removed(char)]
    words = []
    for word, origins in _split(
        [text[i] for i in kept], kept, _is_white_space, _is_cjk
    ):
        if lower_case:
            word, origins = _lower_and_strip_accents(word, origins)
        words.extend(_split(word, origins, None, _is_punctuation))
    return words


def _lower_and_strip_accents(word, origins):
    # The whole word at once: a final sigma is lower-cased differently, and
    # NFD reorders marks. The parts, of the same length, give the origins.
    normalized = _without_accents(word.lower())
    parts = (_without_accents(char.lower()) for char in word)
    return normalized, [
        origin
        for part, origin in zip(parts, origins, strict=True)
        for _ in part
    ]


def _without_accents(text):
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(c for c in decomposed if unicodedata.category(c) != "Mn")


def _device_words(text):
    """As `_bert_words`. A NUL ends a text for clients written in C."""
    text = text.partition("\0")[0].translate(_LOWER_ASCII)
    return _split(
        text,
        range(len(text)),
        _DEVICE_WHITE_SPACE.__contains__,
        lambda char: _is_punctuation(char) or _is_cjk(char),
    )


def _split(
    characters: Sequence[str],
    origins: Sequence[int],
    is_white_space: Callable[[str], bool] | None,
    is_own_word: Callable[[str], bool],
) -> list[tuple[str, list[int]]]:
    """Splits on white space and around characters that are words themselves."""
    words = []
    continues = False
    for char, origin in zip(characters, origins, strict=True):
        if is_white_space and is_white_space(char):
            continues = False
            continue
        alone = is_own_word(char)
        if continues and not alone:
            words[-1][0].append(char)
            words[-1][1].append(origin)
        else:
            words.append(([char], [origin]))
        continues = not alone
    return [("".join(chars), indices) for chars, indices in words]


@functools.cache
def _is_white_space(char):
    # BERT's last step, str.split, makes white space of Zl and Zp as well.
    return char in "\t\n\r" or unicodedata.category(char)[0] == "Z"


@functools.cache
def _is_removed(char):
    if char in "\t\n\r":
        return False
    return char == "\ufffd" or unicodedata.category(char) in ("Cc", "Cf")


@functools.cache
def _is_punctuation(char):
    # Every ASCII character that is no letter, digit or space counts ("$" and
    # "^" too), as in BERT.
    if "!" <= char <= "~":
        return not char.isalnum()
    return unicodedata.category(char)[0] == "P"


@functools.cache
def _is_cjk(char):
    return any(low <= ord(char) <= high for low, high in _CJK_RANGES)


def _read_lines(path):
    with open(path, "rb") as stream:
        data = stream.read()
    if not data.strip():
        raise ValueError(f"{path}: got an empty file, expected a vocabulary")
    lines = []
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), 1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}:{number}: got byte 0x{line[error.start]:02x}, "
                "expected UTF-8 text"
            ) from error
    return lines


def _warn_of_unused_lines(path, tokens):
    ids = ids_by_token(tokens)
    unused = [
        f"{index + 1} ({token!r}, also {ids[token] + 1})"
        if token
        else f"{index + 1} (empty)"
        for index, token in enumerate(tokens)
        if ids.get(token) != index
    ]
    if unused:
        more = ", ..." if len(unused) > _LINES_IN_WARNING else ""
        _warn_once(
            f"{path}: {len(unused)} unused ids, as in BERT; on lines "
            f"{', '.join(unused[:_LINES_IN_WARNING])}{more}"
        )


@functools.cache
def _warn_once(message):
    logging.warning("%s", message)


def _require_same_ids_on_device(path, ids):
    """Clients skip empty lines and strip a carriage return only."""
    lines = [line.removesuffix("\r") for line in _read_lines(path) if line]
    on_device = ids_by_token(lines)
    for token in {**ids, **on_device}:
        if ids.get(token) != on_device.get(token):
            raise ValueError(
                f"{path}: token {token!r} has id {ids.get(token)}, but id "
                f"{on_device.get(token)} for on-device clients; expected "
                "neither empty lines nor white space around tokens"
            )
