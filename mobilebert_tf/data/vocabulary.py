"""Learns a WordPiece vocabulary from text."""

from collections.abc import Iterable
from collections.abc import Sequence

import tensorflow as tf
from absl import logging
from tensorflow_text.tools.wordpiece_vocab import (
    wordpiece_tokenizer_learner_lib as learner,
)

from mobilebert_tf import files
from mobilebert_tf import tokenization

# Room for the special tokens and both forms of the letters and digits.
MIN_SIZE = 100

_SENTENCES_PER_CALL = 2048

_NO_TEXT = "got no text in the input files, expected some words"


def learn(
    documents: Iterable[Sequence[str]], size: int, lower_case: bool = True
) -> list[str]:
    """Learns a vocabulary with TensorFlow Text's WordPiece learner.

    The text is normalized and split into words as
    `tokenization.WordPieceTokenizer` does it, some sentences at a time; only
    the counts of the words are kept.

    Args:
        documents: sentences of each document.
        size: largest number of tokens; the learner aims at 5 % below or less.
        lower_case: for uncased models.

    Returns:
        The tokens, special ones first.

    Raises:
        ValueError: if there is no text, or `size` is too small for both forms
            (alone and as a suffix) of each of its characters.
    """
    if size < MIN_SIZE:
        raise ValueError(
            f"--learn_vocab_size: got {size}, expected at least {MIN_SIZE}"
        )
    logging.info("learning a vocabulary of %d tokens", size)
    words = (
        tokenization.split_words(tokenization.normalize(batch, lower_case))
        for batch in _batches(documents)
    )
    try:
        counts = learner.count_words(words)
    except StopIteration:  # the learner's answer to a text without words
        raise ValueError(_NO_TEXT) from None
    logging.info("counted %d different words", len(counts))
    tokens = learner.learn(counts, size, list(tokenization.SPECIAL_TOKENS))
    if len(tokens) > size:
        raise ValueError(
            f"--learn_vocab_size: got {size}, expected at least {len(tokens)} "
            "for the characters of this text"
        )
    return tokens


def _batches(documents):
    """Yields string tensors of some thousand sentences."""
    pending = []
    for sentences in documents:
        pending.extend(sentences)
        if len(pending) >= _SENTENCES_PER_CALL:
            yield tf.constant(pending)
            pending = []
    if pending:
        yield tf.constant(pending)


def write(tokens: Sequence[str], path: str) -> None:
    """Writes one token per line, whole or not at all."""
    files.write_text(path, "".join(f"{token}\n" for token in tokens))
