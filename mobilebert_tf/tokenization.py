"""WordPiece tokenization as TensorFlow ops (eager and inside tf.data).

The two modes are those of `wordpiece.py`, which does the same in plain
Python and owns the vocabulary.
"""

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as text

from mobilebert_tf import wordpiece

PAD = wordpiece.PAD
UNK = wordpiece.UNK
CLS = wordpiece.CLS
SEP = wordpiece.SEP
MASK = wordpiece.MASK
SPECIAL_TOKENS = wordpiece.SPECIAL_TOKENS
SUFFIX_INDICATOR = wordpiece.SUFFIX_INDICATOR
load_vocabulary = wordpiece.load_vocabulary

# text.FastWordpieceTokenizer counts bytes; BERT counts characters.
_MAX_BYTES_PER_CHARACTER = 4
# Stands for a word that is too long. No token holds a space.
_UNKNOWN_WORD = " "

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
# RE2's \s, as in the clients' own expression. The longest NUL-free prefix is
# what a client written in C sees.
_DEVICE_DELIMITER = rf"\s+|{_KEPT_DELIMITER}"
_NUL_AND_REST = r"(?s)\x00.*"


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


class WordPieceTokenizer(wordpiece.VocabularyTokenizer):
    """Maps texts to WordPiece ids.

    Example:

        tokenizer = tokenization.WordPieceTokenizer("vocab.txt")
        ids = tokenizer.tokenize(["unaffable people"])  # int32 [1, (tokens)]
    """

    def __init__(
        self,
        vocab_file: str,
        lower_case: bool = True,
        mode: str = wordpiece.BERT,
    ):
        """Loads the vocabulary; see `wordpiece.VocabularyTokenizer`."""
        super().__init__(vocab_file, lower_case, mode)
        if mode == wordpiece.DEVICE:
            max_bytes_per_word = wordpiece.MAX_BYTES_PER_DEVICE_WORD
        else:
            max_bytes_per_word = (
                wordpiece.MAX_CHARACTERS_PER_WORD * _MAX_BYTES_PER_CHARACTER
            )
        # Same pieces as text.WordpieceTokenizer, ten times as fast.
        self._word_pieces = text.FastWordpieceTokenizer(
            self._distinct_tokens(),
            suffix_indicator=SUFFIX_INDICATOR,
            max_bytes_per_word=max_bytes_per_word,
            unknown_token=UNK,
            no_pretokenization=True,
        )

    def _distinct_tokens(self):
        """Returns the vocabulary with unused lines as what no word equals.

        No word holds NUL either, and the op's trie would end there.
        """
        return [
            token
            if self.ids.get(token) == index and "\0" not in token
            else f" {index}"
            for index, token in enumerate(self.vocabulary)
        ]

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
        if self.mode == wordpiece.DEVICE:
            words = _device_words(texts)
        else:
            words = self._bert_words(texts)
        pieces = self._word_pieces.tokenize(words)  # [N, (words), (pieces)]
        return tf.cast(pieces.merge_dims(1, 2), tf.int32)

    def _bert_words(self, texts):
        words = split_words(normalize(texts, self.lower_case))
        too_long = (
            tf.strings.length(words.flat_values, unit="UTF8_CHAR")
            > wordpiece.MAX_CHARACTERS_PER_WORD
        )
        return words.with_flat_values(
            tf.where(too_long, _UNKNOWN_WORD, words.flat_values)
        )


def _device_words(texts):
    texts = tf.strings.regex_replace(texts, _NUL_AND_REST, "")
    # Without an encoding only ASCII letters are lower-cased.
    texts = tf.strings.lower(texts)
    return text.regex_split(texts, _DEVICE_DELIMITER, _KEPT_DELIMITER)
