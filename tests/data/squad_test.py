"""SQuAD files as they are, as they may be, and damaged."""

import copy
import json
import random

import pytest
from official.nlp.data import squad_lib

from mobilebert_tf.data import squad

_CONTEXT = "John Smith (1895-1943) was born in\u00a0Ba."
_FILE = {
    "version": "1.1",
    "data": [
        {
            "title": "x",
            "paragraphs": [
                {
                    "context": _CONTEXT,
                    "qas": [
                        {
                            "id": "q0",
                            "question": "When?",
                            "answers": [{"text": "1895", "answer_start": 12}],
                        },
                        {
                            "id": "q1",
                            "question": "Who?",
                            "answers": [
                                {"text": "John", "answer_start": 0},
                                {"text": "John Smith", "answer_start": 0},
                            ],
                        },
                    ],
                }
            ],
        }
    ],
}


def _paragraph(content):
    return content["data"][0]["paragraphs"][0]


@pytest.fixture(name="content")
def _content():
    return copy.deepcopy(_FILE)


@pytest.fixture(name="write")
def _write(tmp_path):
    def write(content):
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        path = tmp_path / "squad.json"
        path.write_bytes(content)
        return str(path)

    return write


def test_reads_questions_in_order(write, content):
    examples = squad.read_examples(write(content))
    assert examples == [
        squad.Example("q0", "When?", _CONTEXT, (squad.Answer("1895", 12),)),
        squad.Example(
            "q1",
            "Who?",
            _CONTEXT,
            (squad.Answer("John", 0), squad.Answer("John Smith", 0)),
        ),
    ]
    assert examples[0].context is examples[1].context


def test_accepts_a_byte_order_mark(write, content):
    path = write(b"\xef\xbb\xbf" + json.dumps(content).encode())
    assert len(squad.read_examples(path)) == 2


def test_evaluation_needs_no_answers(write, content):
    del _paragraph(content)["qas"][0]["answers"]
    assert squad.read_examples(write(content))[0].answers == ()


def test_words_are_split_as_by_run_squad():
    assert squad.split_words(" a\u00a0b\tc\r\nd\u202fe\u2009f ") == [
        "a\u00a0b",
        "c",
        "d",
        "e\u2009f",
    ]


@pytest.mark.parametrize(
    "text, words", [("1895", (2, 2)), ("Smith (", (1, 2)), ("was born", (3, 4))]
)
def test_words_of_answers(text, words):
    answer = squad.Answer(text, _CONTEXT.index(text))
    assert squad.answer_words(_CONTEXT, answer) == words


def test_unanswerable_questions(write, content):
    question = _paragraph(content)["qas"][0]
    question |= {"answers": [], "is_impossible": True}
    _paragraph(content)["qas"][1]["is_impossible"] = False
    path = write(content)
    examples = squad.read_examples(path, True, True)
    assert [e.is_impossible for e in examples] == [True, False]
    with pytest.raises(ValueError, match="question q0: got no answer"):
        squad.read_examples(path, True, False)


def test_version_2_training_needs_is_impossible(write, content):
    with pytest.raises(ValueError, match="q0: .* expected a key 'is_imposs"):
        squad.read_examples(write(content), True, True)


@pytest.mark.parametrize("seed", range(5))
def test_training_reads_and_leaves_out_what_the_garden_does(write, seed):
    """Answers anywhere in contexts with all kinds of white space."""
    rng = random.Random(seed)
    questions = []
    spaces = " ", "\u00a0", "\t", "\u202f", "\u2009", "\n"
    context = "".join(
        word + rng.choice(spaces)
        for word in rng.choices(["ba", "(be).", "1895-1943", "中国"], k=40)
    )
    for number in range(60):
        start, end = sorted(rng.sample(range(len(context)), 2))
        text = context[start : end + 1]
        if text[0].isspace() or text[-1].isspace():
            continue
        answers = [{"text": text, "answer_start": start}]
        questions.append({"id": str(number), "question": "?"})
        questions[-1]["answers"] = answers
    paragraph = {"context": context, "qas": questions}
    path = write({"data": [{"paragraphs": [paragraph]}]})
    expected = squad_lib.read_squad_examples(path, True, False)
    examples = squad.read_examples(path, True)
    assert 0 < len(expected) < len(questions)
    assert [e.question_id for e in examples] == [e.qas_id for e in expected]
    for ours, theirs in zip(examples, expected, strict=True):
        assert squad.split_words(ours.context) == theirs.doc_tokens
        assert squad.answer_words(ours.context, ours.answers[0]) == (
            theirs.start_position,
            theirs.end_position,
        )


def _cut(content):
    return json.dumps(content, indent=1).encode()[:300]


def _foreign(content):
    del content
    return ["no SQuAD"]


def _not_utf8(content):
    data = json.dumps(content, indent=1).encode()
    return data.replace(b"When", b"Wh\xe9n")


def _set(key, value):
    def change(content):
        _paragraph(content)["qas"][1][key] = value
        return content

    return change


def _without(*path):
    def change(content):
        value = content
        for key in path[:-1]:
            value = value[key]
        del value[path[-1]]
        return content

    return change


def _context(text):
    def change(content):
        _paragraph(content)["context"] = text
        return content

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (_cut, r":\d+: not JSON, or cut off: .* column \d+ \(300 bytes"),
        (lambda _: b"", ":1: not JSON, or cut off"),
        (lambda _: b"[" * 100_000, "nested too deep"),
        (_foreign, "got JSON of type list, expected .*'data'"),
        (_not_utf8, r":12: got byte 0xe9 at offset \d+, expected UTF-8"),
        (_without("data"), ": got keys version; expected a key 'data'"),
        (lambda _: {"data": []}, "got no question"),
        (lambda _: {"data": {}}, "data: got dict, expected a list"),
        (lambda _: {"data": [1]}, r"data\[0\]: got int, expected an object"),
        (
            _without("data", 0, "paragraphs", 0, "context"),
            r"data\[0\].paragraphs\[0\]: got keys qas; .*'context'",
        ),
        (
            _without("data", 0, "paragraphs", 0, "qas", 1, "id"),
            r"data\[0\].paragraphs\[0\].qas\[1\]: .* expected a key 'id'",
        ),
        (
            _without("data", 0, "paragraphs", 0, "qas", 1, "question"),
            "question q1: got keys answers, id; expected a key 'question'",
        ),
        (
            _without(
                "data", 0, "paragraphs", 0, "qas", 1, "answers", 1, "text"
            ),
            r"question q1: answers\[1\]: .* expected a key 'text'",
        ),
        (_set("question", " \t"), "question q1: question: got no text"),
        (_set("question", 7), "question q1: question: got int, expected a tex"),
        (_set("question", "a\ud800"), "q1: question: got half a surr.*D800"),
        (_set("id", "q0"), r"question q0: got this id twice .*qas\[1\]"),
        (_context(" \n"), r"paragraphs\[0\]: context: got no text"),
    ],
)
def test_damaged_file(write, content, change, message):
    path = write(change(content))
    with pytest.raises(ValueError, match=message) as error:
        squad.read_examples(path)
    assert str(error.value).startswith(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "answers, message",
    [
        (
            [{"text": "Smith", "answer_start": 4}],
            "got ' Smit' at character 4 .* expected the answer 'Smith'",
        ),
        ([{"text": "J", "answer_start": -38}], "got '' at character -38"),
        ([{"text": "John", "answer_start": 999}], "got '' at character 999"),
        ([{"text": " ", "answer_start": 4}], "got an empty answer"),
        ([], "got no answer"),
    ],
)
def test_training_without_an_answer_that_can_be_learned(
    write, content, answers, message
):
    path = write(_set("answers", answers)(content))
    with pytest.raises(ValueError, match=message) as error:
        squad.read_examples(path, is_training=True)
    assert str(error.value).startswith(f"{path}: question q1: ")
    squad.read_examples(path)  # Evaluation does not use answer_start.


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match="nope.json: got no such file"):
        squad.read_examples(str(tmp_path / "nope.json"))


def test_digest_tells_every_field_apart(write, content):
    examples = squad.read_examples(write(content))
    digests = {squad.digest(examples), squad.digest(examples[:1])}
    for key, value in (("question", "Why?"), ("id", "q2"), ("answers", [])):
        changed = _set(key, value)(copy.deepcopy(content))
        digests.add(squad.digest(squad.read_examples(write(changed))))
    changed = _context("a" + _CONTEXT)(content)
    digests.add(squad.digest(squad.read_examples(write(changed))))
    assert len(digests) == 6


@pytest.mark.parametrize(
    "name, questions, unanswerable",
    [
        ("dev-v1.1.rebuilt", 10570, 0),
        ("dev-v2.0.rebuilt", 11873, 5945),
        ("cs224n-dev-v2.0", 6078, 3168),
    ],
)
def test_real_files(real_data, name, questions, unanswerable):
    path = str(real_data / "squad" / f"{name}.json")
    examples = squad.read_examples(path)
    assert len(examples) == questions
    assert sum(e.is_impossible for e in examples) == unanswerable


def test_real_training_file(real_data):
    path = str(real_data / "squad" / "cs224n-dev-v2.0.json")
    examples = squad.read_examples(path, True, True)
    assert len(examples) == 6078
