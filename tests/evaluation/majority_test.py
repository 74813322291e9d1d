"""What a model is worth that always says the same."""

import numpy as np
import pytest
from scipy import stats
from sklearn import dummy
from sklearn import metrics as sklearn_metrics

from mobilebert_tf.data import rows
from mobilebert_tf.data import squad
from mobilebert_tf.data import tagging
from mobilebert_tf.evaluation import classification_set
from mobilebert_tf.evaluation import span_decoding
from mobilebert_tf.evaluation import span_set
from mobilebert_tf.evaluation import tagging_set

_IDS = np.array([1, 0, 1, 2, 1, 0], np.int32)


def _features(shape, **targets):
    inputs = {name: np.zeros(shape, np.int32) for name in rows.INPUT_NAMES}
    return {**inputs, **targets}


def test_of_classes_it_is_scikit_learns_dummy():
    each = classification_set.ClassificationSet(
        "dev",
        _features([6, 4], label_ids=_IDS),
        ("no", "yes", "perhaps"),
        ("accuracy", "macro_f1"),
        ["text"] * 6,
    )
    metrics = each.measure(each.majority_outputs()).metrics
    judge = dummy.DummyClassifier(strategy="prior").fit(_IDS, _IDS)
    assert metrics["accuracy"] == judge.score(_IDS, _IDS)
    assert metrics["macro_f1"] == sklearn_metrics.f1_score(
        _IDS, judge.predict(_IDS), average="macro"
    )
    shares = np.bincount(_IDS) / len(_IDS)
    assert metrics["validation_loss"] == pytest.approx(stats.entropy(shares))


def test_of_values_it_is_the_mean():
    values = np.array([1.0, 2.0, 6.0], np.float32)
    each = classification_set.RegressionSet(
        "dev",
        _features([3, 4], label_values=values),
        ("pearson", "mean_squared_error"),
        ["text"] * 3,
    )
    metrics = each.measure(each.majority_outputs()).metrics
    assert metrics["pearson"] == 0.0
    assert metrics["mean_squared_error"] == pytest.approx(values.var())


def test_of_tags_it_is_the_most_frequent():
    sentences = [tagging.Sentence("f:1", ("a", "b", "c"), ("O", "B-X", "O"))]
    label_ids = np.array([[-1, 0, 1, 0]], np.int32)
    features = tagging.Features(
        _features([1, 4], label_ids=label_ids),
        windows=np.zeros(3, np.int64),
        positions=np.array([1, 2, 3]),
        sentence_lengths=[3],
    )
    each = tagging_set.TaggingSet(
        "dev", sentences, features, ("O", "B-X", "I-X"), "bio"
    )
    metrics = each.measure(each.majority_outputs()).metrics
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["f1"] == 0.0


def test_of_choices_there_is_none():
    each = classification_set.MultipleChoiceSet(
        "dev",
        _features([6, 3, 4], label_ids=_IDS),
        ["text"] * 6,
    )
    assert each.majority_outputs() is None


@pytest.mark.parametrize("version_2, expected", [(True, 50.0), (False, None)])
def test_of_questions_it_is_no_answer(version_2, expected):
    answer = squad.Answer("word", 0)
    questions = span_set.Questions(
        "dev.json",
        [
            squad.Example("1", "which", "word here", (answer,)),
            squad.Example("2", "why", "word here", (), is_impossible=True),
        ],
        {
            "input_word_ids": np.array([[2, 7, 3, 8, 9, 3]] * 2, np.int32),
            "context_start": np.array([3, 3], np.int32),
            "context_length": np.array([2, 2], np.int32),
            "example_index": np.array([0, 1], np.int32),
            "token_to_word": np.array([[-1, -1, -1, 0, 1, -1]] * 2, np.int32),
            "token_is_max_context": np.array([[0, 0, 0, 1, 1, 0]] * 2, bool),
        },
        [f"token{i}" for i in range(10)],
    )
    options = span_decoding.DecodingOptions(version_2_with_negative=version_2)
    each = span_set.SpanSet("dev", questions, options)
    outputs = each.majority_outputs()
    if expected is None:
        assert outputs is None
    else:
        assert each.measure(outputs).metrics["f1"] == expected
