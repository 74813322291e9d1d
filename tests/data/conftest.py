"""Small vocabularies and corpora shared by the data tests."""

import os
import pathlib
import random

import pytest

from mobilebert_tf import tokenization

_WORDS = [
    first + second for first in "bcdfghklmnprst" for second in "aeiou"
] + [
    first + second + third
    for first in ("ba", "ke", "lo", "mi", "nu", "so")
    for second in "rstln"
    for third in ("", "a", "en", "ing")
]


@pytest.fixture(scope="session", name="vocab_file")
def _vocab_file(tmp_path_factory):
    """Half of the words are whole, the others two pieces."""
    pieces = list(tokenization.SPECIAL_TOKENS) + [".", ","]
    for index, word in enumerate(_WORDS):
        pieces += [word] if index % 2 else [word[:1], f"##{word[1:]}"]
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(dict.fromkeys(pieces)) + "\n")
    return str(path)


@pytest.fixture(scope="session", name="tokenizer")
def _tokenizer(vocab_file):
    return tokenization.WordPieceTokenizer(vocab_file)


@pytest.fixture(scope="session", name="documents")
def _documents():
    """150 documents of 2 to 40 sentences of 3 to 30 words."""
    rng = random.Random(7)
    weights = [1 / (rank + 1) for rank in range(len(_WORDS))]
    return [
        [
            " ".join(rng.choices(_WORDS, weights, k=rng.randint(3, 30))) + "."
            for _ in range(rng.randint(2, 40))
        ]
        for _ in range(150)
    ]


@pytest.fixture(scope="session", name="text_file")
def _text_file(tmp_path_factory, documents):
    """The documents, one sentence per line."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n\n".join("\n".join(d) for d in documents) + "\n")
    return str(path)


@pytest.fixture(scope="session", name="real_data")
def _real_data():
    """The folder of real data sets, which the project does not contain."""
    root = pathlib.Path(__file__).parents[2]
    folder = os.environ.get("MOBILEBERT_DATA", root / "../shared/data")
    if not os.path.isdir(folder):
        pytest.skip(f"MOBILEBERT_DATA: no folder {folder}")
    return pathlib.Path(folder)
