"""Scores of decoded predictions, and the best threshold on null odds."""

import pytest

from mobilebert_tf.data import squad
from mobilebert_tf.evaluation import span_decoding
from mobilebert_tf.evaluation import span_scoring


def _example(question_id, answer):
    answers = (squad.Answer(answer, 0),) if answer else ()
    return squad.Example(question_id, "?", "one two", answers, not answer)


def _prediction(question_id, span_text, null_odds, threshold=0.0):
    text = "" if null_odds > threshold else span_text
    return span_decoding.Prediction(question_id, text, (), span_text, null_odds)


def _score_by_hand(examples, predictions, threshold):
    """Exact matches in percent, by definition."""
    hits = [
        (p.span_text if p.null_odds <= threshold else "")
        == "".join(a.text for a in e.answers)
        for e, p in zip(examples, predictions, strict=True)
    ]
    return 100.0 * sum(hits) / len(hits)


_EXAMPLES = [
    _example(f"q{i}", text) for i, text in enumerate(["one", "", "two", ""])
]


def test_the_best_threshold_is_the_best_of_all():
    predictions = [
        _prediction(f"q{i}", "one" if i < 2 else "two", odds)
        for i, odds in enumerate([3.0, 4.5, 4.0, -1.0])
    ]
    scores = span_scoring.score(_EXAMPLES, predictions, True)
    tried = {
        odds: _score_by_hand(_EXAMPLES, predictions, odds)
        for odds in (-2.0, -1.0, 3.0, 4.0, 4.5)
    }
    assert scores["exact"] == _score_by_hand(_EXAMPLES, predictions, 0.0)
    assert scores["best_exact"] == max(tried.values())
    assert tried[scores["best_exact_thresh"]] == max(tried.values())


def test_odds_above_one_are_no_probabilities():
    """The official script's threshold of 1 would turn this answer down."""
    examples = [_example("q0", "one")]
    predictions = [_prediction("q0", "one", 3.0, threshold=5.0)]
    scores = span_scoring.score(examples, predictions, True)
    assert scores["exact"] == scores["f1"] == 100.0


@pytest.mark.parametrize("odds", [-7.0, 0.0, 7.0])
def test_where_nothing_should_be_answered_no_odds_are_below(odds):
    examples = [_example("q0", ""), _example("q1", "one")]
    predictions = [
        _prediction("q0", "two", odds),
        _prediction("q1", "two", odds + 1),
    ]
    scores = span_scoring.score(examples, predictions, True)
    assert scores["best_exact"] == 50.0
    assert scores["best_exact_thresh"] < odds


def test_without_candidate_there_is_a_score():
    examples = [_example("q0", ""), _example("q1", "one")]
    predictions = [
        span_decoding.Prediction("q0", "", (), "", 1e6),
        _prediction("q1", "one", -2.0),
    ]
    scores = span_scoring.score(examples, predictions, True)
    assert scores["exact"] == scores["best_exact"] == 100.0
    assert scores["best_exact_thresh"] == -2.0


def test_v1_scores_texts():
    examples = [_example("q0", "one"), _example("q1", "two")]
    predictions = [
        span_decoding.Prediction("q0", "the one", (), "the one", None),
        span_decoding.Prediction("q1", "one", (), "one", None),
    ]
    scores = span_scoring.score(examples, predictions, False)
    assert scores == {"exact_match": 50.0, "f1": 50.0}


@pytest.mark.parametrize(
    "answers, version_2, expected",
    [
        (["one", "two"], False, True),
        (["one", ""], True, True),
        (["", ""], True, True),
    ],
)
def test_a_file_with_answers_is_scorable(answers, version_2, expected):
    examples = [_example(f"q{i}", text) for i, text in enumerate(answers)]
    scorable = span_scoring.is_scorable("dev.json", examples, version_2)
    assert scorable is expected


@pytest.mark.parametrize("version_2", [False, True])
def test_a_file_without_answers_is_not(version_2):
    examples = [squad.Example("q0", "?", "one")]
    assert not span_scoring.is_scorable("dev.json", examples, version_2)


def test_a_file_of_both_kinds_is_named():
    examples = [_example("q0", "one"), squad.Example("q1", "?", "one")]
    with pytest.raises(ValueError, match="dev.json: question q1: got no answ"):
        span_scoring.is_scorable("dev.json", examples, False)
