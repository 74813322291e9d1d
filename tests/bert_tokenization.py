"""BERT's tokenization in plain Python, written from its description.

Independent of the package: the tests' reference, with the hard cases.
"""

import unicodedata

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_PIECES = (
    "un want ##want ##ed runn ##ing , . ! $ ' [ ] # ß strasse stra ##ß ##e e"
    " cafe naive a b c x ##x ##xx i ##i the dog s ' ’ 中 国 ##中 привет"
    " ##привет и ##и σ ας hello world 1 ##2 ² unk mask ǆ 👍 ᄒ ##ᅡ ##ᆫ ` ^"
    " — of ##ﬁ fi ﬁ"
).split()
VOCABULARY = list(dict.fromkeys(SPECIAL + _PIECES))

HARD_CASES = [
    "",
    " ",
    "\t\n\r",
    "unwanted running",
    "UNWANTED,running!",
    "Straße STRASSE ẞ",
    "café naïve CAFÉ cafe\u0301",
    "İI ıi",
    "ΑΣ Σ ας",
    "Ǆ ﬁ ²12",
    "don't “the” dog’s",
    "a\u00adb a\u200bb a\u200db \ufeffa",
    "a\x00b\x01c a\x7fb",
    "a\u00a0b\u3000c\u2009x\u2028x\u2029x\u0085x",
    "中国ab中国 \U00020000 \uf900",
    "한 привет Привет",
    "the… …a the...a",
    "ｅ１ Ⅷ ½ e\u0301 e\u0327\u0301 \u0301 a\u0301b",
    "\u302e\U0001d165a \U0001d165\u302e ᾏ \u1fef \u037e",
    "👍 👍👍 🤷\u200d♀\ufe0f",
    "[MASK] [CLS] # ## a##b",
    "$^`— a_b a-b",
    "x" * 200,
    "x" * 201,
    "и" * 200,
    "и" * 201,
    "\ufffd a\ufffdb",
    "zzz the qqq",
    "a" * 199 + "\u0301" * 5,
]

_CJK = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def _clean(text):
    cleaned = []
    for char in text:
        category = unicodedata.category(char)
        if char in " \t\n\r" or category == "Zs":
            cleaned.append(" ")
        elif char != "\ufffd" and category not in ("Cc", "Cf"):
            is_cjk = any(low <= ord(char) <= high for low, high in _CJK)
            cleaned.append(f" {char} " if is_cjk else char)
    return "".join(cleaned)


def _is_punctuation(char):
    code = ord(char)
    return (
        33 <= code <= 47
        or 58 <= code <= 64
        or 91 <= code <= 96
        or 123 <= code <= 126
        or unicodedata.category(char).startswith("P")
    )


def words(text, lower_case=True):
    """Returns the words of `text`, before they are split into pieces."""
    result = []
    for word in _clean(text).split():
        if lower_case:
            word = unicodedata.normalize("NFD", word.lower())
            word = "".join(c for c in word if unicodedata.category(c) != "Mn")
        spaced = "".join(f" {c} " if _is_punctuation(c) else c for c in word)
        result.extend(spaced.split())
    return result


def _pieces(word, vocabulary):
    if len(word) > 200:
        return ["[UNK]"]
    pieces = []
    start = 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                pieces.append(piece)
                start = end
                break
        else:
            return ["[UNK]"]
    return pieces


def tokenize(text, vocabulary, lower_case=True):
    """Returns the WordPieces of `text`."""
    return [
        piece
        for word in words(text, lower_case)
        for piece in _pieces(word, vocabulary)
    ]
