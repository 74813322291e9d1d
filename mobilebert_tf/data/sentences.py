"""Splits paragraphs of prose into sentences. Does not need TensorFlow."""

import re

# Characters that may follow a full stop, or precede a capital letter.
CLOSING = "[\"'”’»)\\]_*]"
_OPENING = "[\"'“‘«(\\[_*—-]"

_BOUNDARY = re.compile(
    f"(?P<mark>[.!?…]+){CLOSING}*\\s+(?={_OPENING}*[A-ZÀ-ÖØ-Þ0-9])"
)
_LAST_WORD = re.compile(r"[\w.]+$")
_ABBREVIATIONS = frozenset(
    "mr mrs ms messrs mme mlle dr st prof rev revd hon esq gen col maj capt"
    " lieut lt sgt sir jr sr vs viz etc cf no nos vol ch chap fig p pp ed"
    " i.e e.g vid ver".split()
)
_WORD_CHARACTER = re.compile(r"\w")


def split(paragraph: str) -> list[str]:
    """Splits a paragraph after `.`, `!`, `?` or `…` before a capital or digit.

    Quotes and brackets may stand on either side of the white space. No split
    after a known abbreviation ("Mr."), a single letter ("J. Smith") or inside
    a quotation that goes on in lower case. Pieces without any letter or digit
    ("* * *") are dropped.
    """
    pieces = []
    start = 0
    for boundary in _BOUNDARY.finditer(paragraph):
        if boundary["mark"] == "." and _is_abbreviation(
            paragraph, boundary.start()
        ):
            continue
        pieces.append(paragraph[start : boundary.end()].strip())
        start = boundary.end()
    pieces.append(paragraph[start:].strip())
    return [piece for piece in pieces if _WORD_CHARACTER.search(piece)]


def _is_abbreviation(paragraph, end):
    word = _LAST_WORD.search(paragraph, max(0, end - 20), end)
    if word is None:
        return False
    word = word.group().strip("_").lower()
    if len(word) == 1:
        return word.isalpha() and word != "i"
    return word in _ABBREVIATIONS
