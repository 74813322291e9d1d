"""Entity scores against seqeval, the published example, and bad input."""

import random

import pytest
from seqeval import scheme as seqeval_schemes
from seqeval.metrics import sequence_labeling
from seqeval.metrics import v1
from sklearn import metrics as sklearn_metrics

from mobilebert_tf.data import tag_schemes
from mobilebert_tf.evaluation import tagging_metrics

_STRICT = {
    "bio": seqeval_schemes.IOB2,
    "iob1": seqeval_schemes.IOB1,
    "iobes": seqeval_schemes.IOBES,
    "bilou": seqeval_schemes.BILOU,
}
# Scheme and whether strict. seqeval's default mode does not know L and U.
_MODES = [
    (scheme, strict)
    for scheme in _STRICT
    for strict in (False, True)
    if strict or scheme != "bilou"
]


def _labels(scheme, types=("PER", "LOC", "A-B")):
    """All tags of some types, one with a hyphen."""
    prefix = {"iobes": "S", "bilou": "U"}.get(scheme, "I")
    return tag_schemes.label_set([f"{prefix}-{t}" for t in types], scheme)


def _random_sentences(labels, seed, count=400):
    """Any tag after any other; short sentences too."""
    rng = random.Random(seed)
    return [rng.choices(labels, k=rng.randint(1, 9)) for _ in range(count)]


def _predictions(sentences, labels, seed):
    """Half of the tags right."""
    rng = random.Random(seed)
    return [
        [tag if rng.random() < 0.5 else rng.choice(labels) for tag in sentence]
        for sentence in sentences
    ]


def _seqeval(tags, predictions, scheme, strict):
    """(micro-averaged scores, scores by type) of seqeval itself."""
    if strict:
        options = {"scheme": _STRICT[scheme]}
        types = v1.unique_labels(tags, predictions, **options)
        score = v1.precision_recall_fscore_support
    else:
        options = {}
        types = sorted(
            {
                entity[0]
                for each in (tags, predictions)
                for entity in sequence_labeling.get_entities(each)
            }
        )
        score = sequence_labeling.precision_recall_fscore_support
    options["zero_division"] = 0
    by_type = score(tags, predictions, average=None, **options)
    return score(tags, predictions, average="micro", **options), {
        name: tuple(values)
        for name, *values in zip(types, *by_type, strict=True)
    }


def _assert_equal(scores, expected):
    overall, by_type = expected
    assert scores.overall == pytest.approx(tuple(overall), abs=1e-15)
    assert list(scores.by_type) == list(by_type)
    for name, values in by_type.items():
        assert scores.by_type[name] == pytest.approx(values, abs=1e-15)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scheme, strict", _MODES)
def test_equals_seqeval_on_random_tags(scheme, strict, seed):
    labels = _labels(scheme)
    tags = _random_sentences(labels, seed)
    predictions = _predictions(tags, labels, seed + 100)
    scores = tagging_metrics.entity_scores(tags, predictions, scheme, strict)
    assert scores.overall.support > 100
    _assert_equal(scores, _seqeval(tags, predictions, scheme, strict))


@pytest.mark.parametrize("scheme, strict", _MODES)
@pytest.mark.parametrize(
    "true, predicted",
    [("all_o", "all_o"), ("all_o", "some"), ("some", "all_o")],
)
def test_equals_seqeval_without_entities(scheme, strict, true, predicted):
    labels = _labels(scheme)
    entity = [labels[1], *labels[-1:]]
    sentences = {"all_o": [["O", "O"], ["O"]], "some": [entity, ["O"]]}
    tags, predictions = sentences[true], sentences[predicted]
    scores = tagging_metrics.entity_scores(tags, predictions, scheme, strict)
    assert scores.overall[:3] == (0.0, 0.0, 0.0)
    _assert_equal(scores, _seqeval(tags, predictions, scheme, strict))


@pytest.mark.parametrize("scheme, strict", _MODES)
def test_equals_seqeval_on_constant_predictions(scheme, strict):
    labels = _labels(scheme)
    tags = _random_sentences(labels, seed=1, count=60)
    for label in labels:
        predictions = [[label] * len(sentence) for sentence in tags]
        scores = tagging_metrics.entity_scores(
            tags, predictions, scheme, strict
        )
        _assert_equal(scores, _seqeval(tags, predictions, scheme, strict))


def test_bilou_in_default_mode_is_iobes():
    """Two entities of a word each, which seqeval takes for one of two."""
    tags = [["U-PER", "U-PER", "B-LOC", "L-LOC"]]
    found = tagging_metrics.entities(tags[0], "bilou")
    assert found == [("PER", 0, 1), ("PER", 1, 2), ("LOC", 2, 4)]
    labels = _labels("bilou")
    tags = _random_sentences(labels, seed=2)
    predictions = _predictions(tags, labels, seed=3)
    renamed = [
        [
            [tag.replace("L-", "E-").replace("U-", "S-") for tag in sentence]
            for sentence in each
        ]
        for each in (tags, predictions)
    ]
    scores = tagging_metrics.entity_scores(tags, predictions, "bilou")
    _assert_equal(scores, _seqeval(*renamed, "iobes", strict=False))


def test_modes_differ_on_an_entity_that_begins_with_i():
    tags = [["O", "I-PER", "I-PER"]]
    assert tagging_metrics.entities(tags[0], "bio") == [("PER", 1, 3)]
    assert tagging_metrics.entities(tags[0], "bio", strict=True) == []
    assert tagging_metrics.entities(tags[0], "iob1", strict=True) == [
        ("PER", 1, 3)
    ]


def test_published_example():
    """That of seqeval's README: F1 0.50, MISC 0, PER 1."""
    tags = [
        ["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"],
        ["B-PER", "I-PER", "O"],
    ]
    predictions = [
        ["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"],
        ["B-PER", "I-PER", "O"],
    ]
    values = tagging_metrics.compute(tags, predictions, "bio")
    assert values == {
        "f1": 0.5,
        "precision": 0.5,
        "recall": 0.5,
        "strict_f1": 0.5,
        "strict_precision": 0.5,
        "strict_recall": 0.5,
        "f1/MISC": 0.0,
        "f1/PER": 1.0,
        "accuracy": 0.8,
    }


def test_accuracy_equals_scikit_learn():
    labels = ["NN", "VB", "DT", "."]
    tags = _random_sentences(labels, seed=5)
    predictions = _predictions(tags, labels, seed=6)
    assert tagging_metrics.compute(tags, predictions, "none") == {
        "accuracy": sklearn_metrics.accuracy_score(
            sum(tags, []), sum(predictions, [])
        )
    }


def test_table_has_a_row_per_type():
    scores = tagging_metrics.entity_scores(
        [["B-PER", "O", "B-LOC"]], [["B-PER", "O", "O"]], "bio"
    )
    rows = [line.split() for line in tagging_metrics.table(scores)]
    assert rows == [
        ["entities", "precision", "recall", "f1", "support"],
        ["LOC", "0.0000", "0.0000", "0.0000", "1"],
        ["PER", "1.0000", "1.0000", "1.0000", "1"],
        ["all", "1.0000", "0.5000", "0.6667", "2"],
    ]


@pytest.mark.parametrize(
    "tags, predictions, scheme, message",
    [
        ([], [], "bio", "no words"),
        ([[]], [[]], "bio", "no words"),
        ([["O"]], [["O", "O"]], "bio", "2 words in 1 sent.*expected 1 words"),
        ([["O"], ["O"]], [["O", "O"]], "bio", "in 1 sent.* in 2 sentences"),
        ([["E-X"]], [["O"]], "bio", "'E-X', expected O or one of B-TYPE"),
        ([["O"]], [["X"]], "iobes", "'X', expected O or one of B-TYPE"),
        ([["O"]], [["O"]], "none", "'none', expected one with entities"),
        ([["O"]], [["O"]], "iob", "'iob', expected one of bio, iob1"),
    ],
)
def test_impossible_inputs(tags, predictions, scheme, message):
    with pytest.raises(ValueError, match=message):
        tagging_metrics.entity_scores(tags, predictions, scheme)
