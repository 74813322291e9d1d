"""Learns a WordPiece vocabulary from text."""

from collections.abc import Iterable
from collections.abc import Sequence

import tensorflow as tf
from absl import logging
from tensorflow_text.tools.wordpiece_vocab import bert_vocab_from_dataset

from mobilebert_tf import files
from mobilebert_tf import tokenization

# The special tokens and both forms of each ASCII letter and digit.
MIN_SIZE = 100

_SENTENCES_PER_CALL = 2048


def learn(
    documents: Iterable[Sequence[str]], size: int, lower_case: bool = True
) -> list[str]:
    """Learns a vocabulary with TensorFlow Text's WordPiece learner.

    The text is normalized as `tokenization.WordPieceTokenizer` does it.

    Args:
        documents: sentences of each document.
        size: largest number of tokens; the learner stops within 5 % below.
        lower_case: for uncased models.

    Returns:
        The tokens, special ones first.

    Raises:
        ValueError: if `size` is too small or there is no text.
    """
    if size < MIN_SIZE:
        raise ValueError(
            f"--learn_vocab_size: got {size}, expected at least {MIN_SIZE}"
        )
    sentences = [sentence for document in documents for sentence in document]
    if not sentences:
        raise ValueError("got no text in the input files, expected some words")
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
    return bert_vocab_from_dataset.bert_vocab_from_dataset(
        dataset, size, list(tokenization.SPECIAL_TOKENS)
    )


def write(tokens: Sequence[str], path: str) -> None:
    """Writes one token per line, whole or not at all."""
    files.write_text(path, "".join(f"{token}\n" for token in tokens))
