"""Scores against recorded official ones, the Garden's scripts and by hand."""

import json
import os
import pathlib
import random

import pytest
from absl import logging
from official.nlp.tools import squad_evaluate_v1_1
from official.nlp.tools import squad_evaluate_v2_0

from mobilebert_tf.data import squad
from mobilebert_tf.evaluation import squad_metrics

_WORDS = (
    "The the a an A. An Cat cat's cats, caf\u00e9 cafe\u0301 中国 \u00a0 ' . "
    "“the” theatre \u0130 ß ẞ the-cat 1,000 1000 \u200b \t"
).split(" ")


@pytest.fixture(name="squad_data")
def _squad_data():
    root = pathlib.Path(__file__).parents[2]
    data = os.environ.get("MOBILEBERT_DATA", root / "../shared/data")
    if not os.path.isdir(data):
        pytest.skip(f"MOBILEBERT_DATA: no folder {data}")
    return pathlib.Path(data) / "squad"


@pytest.fixture(autouse=True)
def _quiet():
    """The Garden logs an error for every missing prediction."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    yield
    logging.set_verbosity(verbosity)


def _examples(*answers):
    """Makes a question q0, q1, ... of each list of answers."""
    return [
        squad.Example(
            f"q{number}", "?", "ba", tuple(squad.Answer(t, 0) for t in texts)
        )
        for number, texts in enumerate(answers)
    ]


def _garden_data(examples):
    questions = [
        {"id": e.question_id, "answers": [{"text": a.text} for a in e.answers]}
        for e in examples
    ]
    return [{"paragraphs": [{"qas": questions}]}]


def _text(rng):
    return " ".join(rng.choices(_WORDS, k=rng.choice([0, 1, 1, 2, 3, 5])))


def _random_case(seed, version_2):
    """Makes questions, predictions for most of them, and some too many."""
    rng = random.Random(seed)
    examples = _examples(
        *(
            [_text(rng) for _ in range(rng.randint(not version_2, 3))]
            for _ in range(60)
        )
    )
    predictions = {"other": "cat"}
    for example in rng.sample(examples, 50):
        texts = [answer.text for answer in example.answers]
        predictions[example.question_id] = rng.choice([_text(rng), "", *texts])
    return examples, predictions


@pytest.mark.parametrize("seed", range(50))
def test_version_1_of_the_garden(seed):
    examples, predictions = _random_case(seed, False)
    expected = squad_evaluate_v1_1.evaluate(_garden_data(examples), predictions)
    scores = squad_metrics.evaluate_v1_1(examples, predictions)
    assert scores == pytest.approx(
        {
            "exact_match": 100 * expected["exact_match"],
            "f1": 100 * expected["final_f1"],
        },
        rel=1e-14,
    )


@pytest.mark.parametrize("threshold", [-1.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(20))
def test_version_2_of_the_garden(seed, threshold, monkeypatch):
    """Odds with and without ties; to every digit."""
    examples, predictions = _random_case(seed, True)
    rng = random.Random(seed)
    draw = rng.random if seed % 2 else lambda: float(rng.randint(-2, 2))
    del predictions["other"]
    odds = {question_id: draw() for question_id in predictions}
    apply = squad_evaluate_v2_0._apply_no_ans_threshold
    monkeypatch.setattr(
        squad_evaluate_v2_0,
        "_apply_no_ans_threshold",
        lambda *arguments: apply(*arguments, threshold),
    )
    expected = squad_evaluate_v2_0.evaluate(
        _garden_data(examples), predictions, odds
    )
    names = {
        "best_exact": "final_exact",
        "best_exact_thresh": "final_exact_thresh",
        "best_f1": "final_f1",
        "best_f1_thresh": "final_f1_thresh",
    }
    scores = squad_metrics.evaluate_v2_0(examples, predictions, odds, threshold)
    assert scores == {name: expected[names.get(name, name)] for name in scores}
    assert {name for name in expected if not name.startswith("pr_")} == {
        names.get(name, name) for name in scores
    }


def test_recorded_predictions_of_version_1(squad_data):
    examples = squad.read_examples(str(squad_data / "dev-v1.1.rebuilt.json"))
    path = squad_data / "predictions" / "v1.1-logreg.json"
    scores = squad_metrics.evaluate_v1_1(examples, json.loads(path.read_text()))
    assert {name: round(value, 3) for name, value in scores.items()} == {
        "exact_match": 40.142,
        "f1": 50.982,
    }


def test_recorded_predictions_of_version_2(squad_data):
    examples = squad.read_examples(str(squad_data / "dev-v2.0.rebuilt.json"))
    path = squad_data / "predictions" / "v2.0-bidaf.json"
    scores = squad_metrics.evaluate_v2_0(examples, json.loads(path.read_text()))
    assert {name: round(value, 3) for name, value in scores.items()} == {
        "exact": 65.704,
        "f1": 67.876,
        "total": 11873,
        "HasAns_exact": 61.420,
        "HasAns_f1": 65.772,
        "HasAns_total": 5928,
        "NoAns_exact": 69.975,
        "NoAns_f1": 69.975,
        "NoAns_total": 5945,
    }


@pytest.mark.parametrize(
    "text, normalized",
    [
        ("The  Cat, (an A.)", "cat"),
        ("theatre anthem", "theatre anthem"),
        ("the-cat", "thecat"),
        ("the\u00a0cat", "cat"),
        ("“the”", "“ ”"),
        ("U.S.", "us"),
        ("", ""),
        ("an", ""),
    ],
)
def test_normalization(text, normalized):
    assert squad_metrics.normalize(text) == normalized


def test_f1_by_hand():
    """Two of three words are two of the answer's four; once for each word."""
    examples = _examples(["big cat sat down", "x"], ["cat cat cat"])
    scores = squad_metrics.evaluate_v1_1(
        examples, {"q0": "the big red cat", "q1": "cat"}
    )
    first, second = 2 * 2 / (3 + 4), 2 * 1 / (1 + 3)
    assert scores["f1"] == pytest.approx(50 * (first + second))
    assert scores["exact_match"] == 0


def test_missing_predictions():
    """v1.1 counts them 0, v2.0 leaves them out, as the official scripts do."""
    examples = _examples(["cat"], ["dog"])
    one = {"q0": "cat"}
    assert squad_metrics.evaluate_v1_1(examples, one)["f1"] == 50
    scores = squad_metrics.evaluate_v2_0(examples, one)
    assert scores["f1"] == 100
    assert scores["total"] == 1


def test_texts_without_words():
    """Two such agree; F1 of v1.1 is 0 nevertheless."""
    examples = _examples(["the"])
    assert squad_metrics.evaluate_v1_1(examples, {"q0": ""}) == {
        "exact_match": 100.0,
        "f1": 0.0,
    }
    scores = squad_metrics.evaluate_v2_0(examples, {"q0": ""})
    assert (scores["HasAns_exact"], scores["HasAns_f1"]) == (100, 100)


def test_threshold_by_hand():
    """Up to 2.0 two answers are gained; then an unanswerable one is lost."""
    examples = _examples(["cat"], ["dog"], [], ["cow"])
    predictions = {"q0": "cat", "q1": "dog", "q2": "ox", "q3": "cow"}
    odds = {"q0": -3.0, "q1": 2.0, "q2": 3.0, "q3": 4.0}
    scores = squad_metrics.evaluate_v2_0(examples, predictions, odds, 2.5)
    assert scores["best_exact"] == scores["best_f1"] == 75
    assert scores["best_exact_thresh"] == scores["best_f1_thresh"] == 2.0
    assert scores["exact"] == 75
    assert scores["NoAns_exact"] == 100


def test_only_one_kind_of_question():
    predictions = {"q0": "cat"}
    names = squad_metrics.evaluate_v2_0(_examples(["cat"]), predictions)
    assert not any(name.startswith("NoAns") for name in names)
    names = squad_metrics.evaluate_v2_0(_examples([]), predictions)
    assert not any(name.startswith("HasAns") for name in names)


@pytest.mark.parametrize(
    "evaluate", [squad_metrics.evaluate_v1_1, squad_metrics.evaluate_v2_0]
)
@pytest.mark.parametrize(
    "examples, predictions, message",
    [
        (_examples(["a"]), {"q0": None}, "question q0: got .* None, expected"),
        (_examples(["a"]), {"q0": ["a"]}, r"question q0: got .* \['a'\]"),
        ([], {}, "^no (examples|question)"),
    ],
)
def test_impossible_inputs(evaluate, examples, predictions, message):
    with pytest.raises(ValueError, match=message):
        evaluate(examples, predictions)


def test_version_1_of_a_question_without_answers():
    with pytest.raises(ValueError, match="question q0: got no answer"):
        squad_metrics.evaluate_v1_1(_examples([]), {"q0": ""})


def test_predictions_without_odds():
    with pytest.raises(ValueError, match="question q0: .* no null odds"):
        squad_metrics.evaluate_v2_0(_examples(["a"]), {"q0": "a"}, {"q1": 0.0})
