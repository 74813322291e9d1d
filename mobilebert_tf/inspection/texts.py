"""Texts to run a model on: from a flag or a file to features."""

import numpy as np

from mobilebert_tf import files
from mobilebert_tf import tokenization
from mobilebert_tf.data import glue

_MAX_TEXTS_OF_A_PAIR = 2


def read(path: str, num_texts: int) -> list[glue.Example]:
    """Reads one text, or two separated by a tab, per line.

    Empty lines are skipped.

    Args:
        path: a UTF-8 text file.
        num_texts: how many to read at most, from the beginning.

    Raises:
        ValueError: naming file and line, if a line is not UTF-8, has more
            texts than two or an empty one, or if some lines are pairs and
            some are not; or if the file is absent or has no text.
    """
    files.require_file(path, "text_file")
    examples = []
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            if len(examples) == num_texts:
                break
            place = f"{path}:{number}"
            try:
                text = line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{place}: got byte 0x{line[error.start]:02x}, expected "
                    "UTF-8 text"
                ) from error
            if text.strip():
                examples.append(parse(text, place))
                _check_same_kind(examples, place)
    if not examples:
        raise ValueError(f"{path}: got no text, expected one per line")
    return examples


def parse(text: str, place: str) -> glue.Example:
    """Returns a text, or two separated by a tab, as an example.

    Args:
        text: what the user gave.
        place: where it comes from, for messages.

    Raises:
        ValueError: for more than two texts, or an empty one.
    """
    parts = text.split("\t")
    if len(parts) > _MAX_TEXTS_OF_A_PAIR or not all(map(str.strip, parts)):
        raise ValueError(
            f"{place}: expected a text, or two separated by a tab, got {text!r}"
        )
    return glue.Example(place, *parts)


def features(
    examples: list[glue.Example],
    tokenizer: tokenization.WordPieceTokenizer,
    seq_length: int,
) -> dict[str, np.ndarray]:
    """Returns input_word_ids, input_mask, input_type_ids: int32 [N, S].

    Raises:
        ValueError: if `seq_length` has no room for a token of each text.
    """
    arrays = glue.features(examples, tokenizer, seq_length, labels=())
    return {
        name: arrays[name]
        for name in ("input_word_ids", "input_mask", "input_type_ids")
    }


def _check_same_kind(examples, place):
    first, last = examples[0], examples[-1]
    if _count(first) != _count(last):
        raise ValueError(
            f"{place}: got {_count(last)}, expected {_count(first)} as in "
            f"{first.guid}"
        )


def _count(example):
    return "one text" if example.text_b is None else "two texts"
