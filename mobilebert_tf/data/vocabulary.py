"""Learns a WordPiece vocabulary from text."""

from collections.abc import Iterable
from collections.abc import Sequence

import tensorflow as tf
from absl import logging
from tensorflow_text.tools.wordpiece_vocab import bert_vocab_from_dataset

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

    The text is normalized as `tokenization.WordPieceTokenizer` does it.

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
    sentences = [sentence for document in documents for sentence in document]
    if not sentences:
        raise ValueError(_NO_TEXT)
    dataset = (
        tf.data.Dataset.from_tensor_slices(sentences)
        .batch(_SENTENCES_PER_CALL)
        .map(lambda texts: tokenization.normalize(texts, lower_case))
    )
    logging.info(
        "learning a vocabulary of %d tokens from %d sentences",
        size,
        len(sentences),
    )
    try:
        tokens = bert_vocab_from_dataset.bert_vocab_from_dataset(
            dataset, size, list(tokenization.SPECIAL_TOKENS)
        )
    except StopIteration:  # the learner's answer to a text without words
        raise ValueError(_NO_TEXT) from None
    if len(tokens) > size:
        raise ValueError(
            f"--learn_vocab_size: got {size}, expected at least {len(tokens)} "
            "for the characters of this text"
        )
    return tokens


def write(tokens: Sequence[str], path: str) -> None:
    """Writes one token per line, whole or not at all."""
    files.write_text(path, "".join(f"{token}\n" for token in tokens))
