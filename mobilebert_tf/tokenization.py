"""BERT WordPiece tokenization as TensorFlow ops (eager and inside tf.data).

The steps are those of `tokenization.py` in google-research/bert: clean, lower
and strip accents, split on white space, punctuation and CJK characters, then
greedy longest match against the vocabulary.
"""

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as text

PAD = "[PAD]"
UNK = "[UNK]"
CLS = "[CLS]"
SEP = "[SEP]"
MASK = "[MASK]"
SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)
SUFFIX_INDICATOR = "##"

# Longer words become [UNK]. Characters, not bytes: text.BertTokenizer's limit
# counts bytes, which would cut off half as many Cyrillic characters.
_MAX_CHARACTERS_PER_WORD = 200
_MAX_BYTES_PER_CHARACTER = 4
# No word matches it: cleaning removes U+FFFD from every text.
_UNKNOWN_WORD = "\ufffd"

# Texts tokenized at once outside tf.data, to bound the memory of
# intermediate results.
_TEXTS_PER_CALL = 8192

_WHITE_SPACE = r"[\t\n\r\p{Z}]"
_REMOVED = r"[\p{Cc}\p{Cf}\x{FFFD}]"
_ACCENT = r"\p{Mn}"
# Every ASCII character that is no letter, digit or space counts as
# punctuation ("$" and "^" too), as in BERT.
_PUNCTUATION = r"[!-/:-@\[-`{-~\p{P}]"
_CJK = (
    r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}"
    r"\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}"
    r"\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}]"
)
_KEPT_DELIMITER = f"{_PUNCTUATION}|{_CJK}"
_DELIMITER = f" +|{_KEPT_DELIMITER}"


def load_vocabulary(path: str) -> list[str]:
    """Reads a vocabulary file: one token per line, its id the line's index.

    Args:
        path: a UTF-8 text file.

    Returns:
        The tokens in order.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is empty, is not UTF-8, has an empty or repeated
            line (ids would shift or be ambiguous), or lacks a special token.
    """
    with open(path, "rb") as stream:
        data = stream.read()
    lines = data.removesuffix(b"\n").split(b"\n") if data.strip() else []
    if not lines:
        raise ValueError(f"{path}: got an empty file, expected a vocabulary")
    tokens = {}
    for number, line in enumerate(lines, 1):
        try:
            token = line.decode("utf-8").strip("\r")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}:{number}: got byte 0x{line[error.start]:02x}, "
                "expected UTF-8 text"
            ) from error
        if not token:
            raise ValueError(
                f"{path}:{number}: got an empty line, expected a token"
            )
        if token in tokens:
            raise ValueError(
                f"{path}:{number}: token {token!r} was already on line "
                f"{tokens[token]}; expected every token once"
            )
        tokens[token] = number
    missing = [token for token in SPECIAL_TOKENS if token not in tokens]
    if missing:
        raise ValueError(
            f"{path}: missing special tokens {' '.join(missing)} "
            f"(got {len(tokens)} tokens)"
        )
    return list(tokens)


def normalize(texts: tf.Tensor, lower_case: bool = True) -> tf.Tensor:
    """Cleans texts as BERT does before it splits them into words.

    Invalid UTF-8, control and format characters and U+FFFD disappear; every
    kind of white space becomes one space character. With `lower_case`, letters
    are lower-cased and their accents stripped.

    Args:
        texts: string tensor of any shape, UTF-8.
        lower_case: for uncased models.

    Returns:
        A string tensor of the same shape.
    """
    texts = tf.strings.unicode_transcode(
        texts, "UTF-8", "UTF-8", errors="replace"
    )
    texts = tf.strings.regex_replace(texts, _WHITE_SPACE, " ")
    texts = tf.strings.regex_replace(texts, _REMOVED, "")
    if lower_case:
        # ASCII first: the UTF-8 form follows the machine's locale, where
        # Turkish would make a dotless i of "I". It is not case folding
        # (text.case_fold_utf8), which would make "ss" of a sharp s.
        texts = tf.strings.lower(texts)
        texts = tf.strings.lower(texts, encoding="utf-8")
        texts = text.normalize_utf8(texts, "NFD")
        texts = tf.strings.regex_replace(texts, _ACCENT, "")
    return texts


def split_words(texts: tf.Tensor) -> tf.RaggedTensor:
    """Splits normalized texts on spaces, punctuation and CJK characters.

    Args:
        texts: string [N], from `normalize`.

    Returns:
        string [N, (words)]; punctuation and CJK characters are words of one
        character, spaces are dropped.
    """
    return text.regex_split(texts, _DELIMITER, _KEPT_DELIMITER)


class WordPieceTokenizer:
    """Maps texts to WordPiece ids.

    Example:

        tokenizer = tokenization.WordPieceTokenizer("vocab.txt")
        ids = tokenizer.tokenize(["unaffable people"])  # int32 [1, (tokens)]

    Attributes:
        vocabulary: the tokens, by id.
        vocab_size: their number.
        pad_id, unk_id, cls_id, sep_id, mask_id: ids of the special tokens.
    """

    def __init__(self, vocab_file: str, lower_case: bool = True):
        """Loads the vocabulary; raises what `load_vocabulary` raises."""
        self.vocabulary = load_vocabulary(vocab_file)
        self.vocab_size = len(self.vocabulary)
        self.lower_case = lower_case
        ids = {token: index for index, token in enumerate(self.vocabulary)}
        self.pad_id = ids[PAD]
        self.unk_id = ids[UNK]
        self.cls_id = ids[CLS]
        self.sep_id = ids[SEP]
        self.mask_id = ids[MASK]
        # Same pieces as text.WordpieceTokenizer, ten times as fast.
        self._word_pieces = text.FastWordpieceTokenizer(
            self.vocabulary,
            suffix_indicator=SUFFIX_INDICATOR,
            max_bytes_per_word=(
                _MAX_CHARACTERS_PER_WORD * _MAX_BYTES_PER_CHARACTER
            ),
            unknown_token=UNK,
            no_pretokenization=True,
        )

    def tokenize(self, texts: tf.Tensor | Sequence[str]) -> tf.RaggedTensor:
        """Tokenizes a batch of texts, without [CLS] and [SEP].

        Args:
            texts: string [N], UTF-8.

        Returns:
            int32 [N, (tokens)].
        """
        texts = tf.convert_to_tensor(texts, tf.string)
        if not tf.executing_eagerly() or len(texts) <= _TEXTS_PER_CALL:
            return self._tokenize(texts)
        return tf.concat(
            [
                self._tokenize(texts[start : start + _TEXTS_PER_CALL])
                for start in range(0, len(texts), _TEXTS_PER_CALL)
            ],
            axis=0,
        )

    def _tokenize(self, texts):
        words = split_words(normalize(texts, self.lower_case))
        too_long = (
            tf.strings.length(words.flat_values, unit="UTF8_CHAR")
            > _MAX_CHARACTERS_PER_WORD
        )
        words = words.with_flat_values(
            tf.where(too_long, _UNKNOWN_WORD, words.flat_values)
        )
        pieces = self._word_pieces.tokenize(words)  # [N, (words), (pieces)]
        return tf.cast(pieces.merge_dims(1, 2), tf.int32)
