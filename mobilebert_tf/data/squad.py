"""SQuAD v1.1 and v2.0: JSON files -> examples.

Imports no TensorFlow. `squad_features.py` makes the windows of the examples,
`evaluation/span_decoding.py` the answers, `evaluation/squad_metrics.py` the
scores.
"""

import bisect
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterator
from collections.abc import Sequence

from absl import logging

# What separates the words of a context: BERT's run_squad.py counts neither
# the no-break space nor most other white space of Unicode.
_WORD = re.compile("[^ \t\r\n\u202f]+")

_NAMES_IN_WARNING = 5
_KIND_NAMES = {
    list: "a list",
    str: "a text",
    int: "a number",
    bool: "true or false",
}


@dataclasses.dataclass(frozen=True)
class Answer:
    """A text and the offset of its first character in the context."""

    text: str
    start: int


@dataclasses.dataclass(frozen=True)
class Example:
    """One question.

    Attributes:
        question_id: unique in the file.
        question: its text.
        context: the paragraph; questions on one paragraph share the string.
        answers: what the annotators gave; none for an unanswerable question
            and where the file has none to give.
        is_impossible: whether the file says that the context has no answer.
    """

    question_id: str
    question: str
    context: str
    answers: tuple[Answer, ...] = ()
    is_impossible: bool = False


def split_words(text: str) -> list[str]:
    """Splits on spaces, tabs, line ends and U+202F, as run_squad.py does."""
    return _WORD.findall(text)


def answer_words(context: str, answer: Answer) -> tuple[int, int]:
    """Returns the indices of the first and last word that an answer touches.

    White space counts as part of the word before it, as in run_squad.py.
    """
    starts = [match.start() for match in _WORD.finditer(context)]
    first, last = (
        max(0, bisect.bisect_right(starts, offset) - 1)
        for offset in (answer.start, answer.start + len(answer.text) - 1)
    )
    return first, last


def read_examples(
    path: str,
    is_training: bool = False,
    version_2_with_negative: bool = False,
) -> list[Example]:
    """Reads a file in SQuAD's layout.

    Training uses the first answer, which must be found where the file says.
    As run_squad.py does, it leaves out (with a warning) an answer whose words
    are not those of the context once both are split on white space: Unicode's
    other spaces divide words of the answer, but not of the context.
    Evaluation uses the texts of the answers only, and needs none.

    Args:
        path: a UTF-8 file of JSON.
        is_training: whether answers are needed.
        version_2_with_negative: whether training data has unanswerable
            questions (v2.0), which `is_impossible` marks.

    Returns:
        The questions in file order.

    Raises:
        ValueError: if the file is missing, cut off or not in this layout, or
            a question has no text, id or context, or shares its id; with the
            file and the id of the question or the place in the file.
    """
    examples = []
    ids = set()
    for place, context, question in _questions(path, _load(path)):
        example = _example(path, place, context, question)
        where = f"{path}: question {example.question_id}"
        if example.question_id in ids:
            raise ValueError(f"{where}: got this id twice ({place})")
        ids.add(example.question_id)
        if is_training:
            if version_2_with_negative:
                _require(question, "is_impossible", bool, where)
            else:
                example = dataclasses.replace(example, is_impossible=False)
            _check_answer(where, example)
        examples.append(example)
    if not examples:
        raise ValueError(f"{path}: got no question, expected at least one")
    return _answerable(path, examples) if is_training else examples


def digest(examples: Sequence[Example]) -> str:
    """Returns the SHA-256 of all that examples hold, in hexadecimal digits."""
    hasher = hashlib.sha256()
    context = None
    for example in examples:
        values = dataclasses.asdict(example)
        # The same string for all questions on a paragraph: hashed once.
        if example.context == context:
            del values["context"]
        context = example.context
        hasher.update(json.dumps(values).encode() + b"\n")
    return hasher.hexdigest()


def _load(path):
    if not os.path.isfile(path):
        raise ValueError(f"{path}: got no such file, expected SQuAD's JSON")
    with open(path, "rb") as stream:
        data = stream.read()
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}:{line}: got byte 0x{data[error.start]:02x} at offset "
            f"{error.start}, expected UTF-8 text"
        ) from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}:{error.lineno}: not JSON, or cut off: {error.msg} at "
            f"column {error.colno} ({len(data)} bytes in the file)"
        ) from error
    except RecursionError as error:
        raise ValueError(f"{path}: got JSON nested too deep") from error


def _questions(path, content) -> Iterator[tuple[str, str, dict]]:
    """Yields place, context and JSON object of each question."""
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: got JSON of type {type(content).__name__}, expected an "
            "object with the key 'data'"
        )
    articles = _require(content, "data", list, path)
    for a, article in enumerate(articles):
        place = f"data[{a}]"
        paragraphs = _require(article, "paragraphs", list, f"{path}: {place}")
        for p, paragraph in enumerate(paragraphs):
            place = f"data[{a}].paragraphs[{p}]"
            where = f"{path}: {place}"
            context = _require_text(paragraph, "context", where)
            questions = _require(paragraph, "qas", list, where)
            for q, question in enumerate(questions):
                yield f"{place}.qas[{q}]", context, question


def _example(path, place, context, question):
    question_id = _require(question, "id", str, f"{path}: {place}")
    where = f"{path}: question {question_id}"
    answers = ()
    if "answers" in question:
        answers = tuple(
            Answer(
                _require(answer, "text", str, f"{where}: answers[{index}]"),
                _require(
                    answer, "answer_start", int, f"{where}: answers[{index}]"
                ),
            )
            for index, answer in enumerate(
                _require(question, "answers", list, where)
            )
        )
    return Example(
        question_id=question_id,
        question=_require_text(question, "question", where),
        context=context,
        answers=answers,
        is_impossible=bool(question.get("is_impossible", False)),
    )


def _require(mapping, key, kind, where):
    """Returns mapping[key] if it is there and of a type."""
    if not isinstance(mapping, dict):
        raise ValueError(
            f"{where}: got {type(mapping).__name__}, expected an object with "
            f"the key {key!r}"
        )
    if key not in mapping:
        raise ValueError(
            f"{where}: got keys {', '.join(sorted(mapping)) or 'none'}; "
            f"expected a key {key!r}"
        )
    value = mapping[key]
    if not isinstance(value, kind):
        raise ValueError(
            f"{where}: {key}: got {type(value).__name__}, expected "
            f"{_KIND_NAMES[kind]}"
        )
    return value


def _require_text(mapping, key, where):
    value = _require(mapping, key, str, where)
    if not split_words(value):
        raise ValueError(f"{where}: {key}: got no text, expected some words")
    # JSON can spell half of a surrogate pair, which is no character.
    lone = re.search("[\ud800-\udfff]", value)
    if lone:
        raise ValueError(
            f"{where}: {key}: got half a surrogate pair "
            f"(U+{ord(lone[0]):04X}) at character {lone.start()}, expected "
            "Unicode text"
        )
    return value


def _check_answer(where, example):
    """Raises ValueError unless training has an answer to learn."""
    if example.is_impossible:
        return
    if not example.answers:
        raise ValueError(
            f"{where}: got no answer, expected one for training (questions "
            "without need is_impossible and --version_2_with_negative)"
        )
    answer = example.answers[0]
    found = ""
    if answer.start >= 0:  # Negative ones would count from the end.
        end = answer.start + len(answer.text)
        found = example.context[answer.start : end]
    if not split_words(answer.text):
        raise ValueError(f"{where}: got an empty answer, expected some words")
    if found != answer.text:
        raise ValueError(
            f"{where}: got {found!r} at character {answer.start} of the "
            f"context, expected the answer {answer.text!r}"
        )


def _answerable(path, examples: Sequence[Example]) -> list[Example]:
    """Leaves out what run_squad.py cannot find word by word."""
    kept = [e for e in examples if e.is_impossible or _is_recoverable(e)]
    if len(kept) < len(examples):
        kept_ids = {example.question_id for example in kept}
        lost = [
            example.question_id
            for example in examples
            if example.question_id not in kept_ids
        ]
        more = ", ..." if len(lost) > _NAMES_IN_WARNING else ""
        logging.warning(
            "%s: left out %d questions whose answer is not whole words of "
            "the context (unusual white space): %s%s",
            path,
            len(lost),
            ", ".join(lost[:_NAMES_IN_WARNING]),
            more,
        )
    return kept


def _is_recoverable(example):
    answer = example.answers[0]
    words = answer.text.split()
    if words == split_words(answer.text):
        return True
    first, last = answer_words(example.context, answer)
    touched = split_words(example.context)[first : last + 1]
    return " ".join(words) in " ".join(touched)
