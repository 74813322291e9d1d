"""Scores of entities as seqeval computes them, the measure that papers report.

An entity is found if all its words and its type are right. What an entity is
depends on the mode:

    default   whatever could be one, such as I-PER after O; so counts CoNLL's
              own script, conlleval
    strict    only what is spelt as the scheme says

seqeval itself takes 8 (strict: 17) times as long, seconds in every evaluation.
In default mode it knows no L and U and merges entities that follow one
another; here the scheme bilou is scored as the same entities in iobes.
"""

import collections
from collections.abc import Iterator
from collections.abc import Sequence
from typing import NamedTuple

from mobilebert_tf import text_table
from mobilebert_tf.data import tag_schemes

Tags = Sequence[Sequence[str]]


class Entity(NamedTuple):
    """A part of a sentence.

    Attributes:
        type: of the entity, what follows the prefix of its tags.
        start: index of the first word.
        end: index after the last word.
    """

    type: str
    start: int
    end: int


class Scores(NamedTuple):
    """Of the entities of one type, or of all.

    Attributes:
        precision: float in [0, 1]; 0 if nothing is predicted.
        recall: float in [0, 1]; 0 if there are no entities.
        f1: float in [0, 1]; 0 if both are 0.
        support: int. True entities.
    """

    precision: float
    recall: float
    f1: float
    support: int


class EntityScores(NamedTuple):
    """Of all entities (micro average), and by type in alphabetical order."""

    overall: Scores
    by_type: dict[str, Scores]


def entities(
    tags: Sequence[str], scheme: str, strict: bool = False
) -> list[Entity]:
    """Returns the entities of a sentence, in order.

    Args:
        tags: of the form of `scheme`.
        scheme: of tag_schemes.SCHEMES, not none.
        strict: bool. The mode.
    """
    if scheme == tag_schemes.BILOU:
        tags = [tag_schemes.bilou_to_iobes(tag) for tag in tags]
    runs = list(_runs(tags))
    if not strict:
        return runs
    if scheme == tag_schemes.IOB1:
        return list(_strict_iob1(tags, runs))
    if scheme == tag_schemes.BIO:
        return [run for run in runs if tags[run.start][0] == "B"]
    ends = {("B", "E"), ("S", "S")}
    return [
        run
        for run in runs
        if (tags[run.start][0], tags[run.end - 1][0]) in ends
    ]


def accuracy(tags: Tags, predictions: Tags) -> float:
    """Returns the share of words with the right tag, in [0, 1].

    Raises:
        ValueError: for no words, or sentences of unequal lengths.
    """
    _check_lengths(tags, predictions)
    pairs = [
        pair
        for true, predicted in zip(tags, predictions, strict=True)
        for pair in zip(true, predicted, strict=True)
    ]
    return sum(true == predicted for true, predicted in pairs) / len(pairs)


def entity_scores(
    tags: Tags, predictions: Tags, scheme: str, strict: bool = False
) -> EntityScores:
    """Computes precision, recall and F1 of entities.

    Args:
        tags: true tags of the words of each sentence.
        predictions: predicted ones, of the same sentences.
        scheme: of tag_schemes.SCHEMES, not none.
        strict: bool. The mode.

    Raises:
        ValueError: for no words, sentences of unequal lengths, a scheme
            without entities, or a tag that is not of the scheme.
    """
    _check_lengths(tags, predictions)
    if tag_schemes.check_scheme(scheme) == tag_schemes.NONE:
        raise ValueError(f"scheme: got {scheme!r}, expected one with entities")
    for tag in {tag for each in (*tags, *predictions) for tag in each}:
        tag_schemes.check_tag(tag, scheme)
    true, predicted, found = (collections.Counter() for _ in range(3))
    for true_tags, predicted_tags in zip(tags, predictions, strict=True):
        true_entities = set(entities(true_tags, scheme, strict))
        predicted_entities = set(entities(predicted_tags, scheme, strict))
        true.update(entity.type for entity in true_entities)
        predicted.update(entity.type for entity in predicted_entities)
        found.update(
            entity.type for entity in true_entities & predicted_entities
        )
    return EntityScores(
        _scores(found.total(), predicted.total(), true.total()),
        {
            name: _scores(found[name], predicted[name], true[name])
            for name in sorted(true.keys() | predicted.keys())
        },
    )


def compute(tags: Tags, predictions: Tags, scheme: str) -> dict[str, float]:
    """Computes all metrics of a tagger.

    Args:
        tags: true tags of the words of each sentence.
        predictions: predicted ones, of the same sentences.
        scheme: one of tag_schemes.SCHEMES.

    Returns:
        f1, precision and recall of entities; the same in strict mode as
        strict_f1 and so on; f1/TYPE for each type; and accuracy of words.
        Accuracy alone if the scheme is none.

    Raises:
        ValueError: as accuracy and entity_scores.
    """
    metrics = {}
    if scheme != tag_schemes.NONE:
        scores = entity_scores(tags, predictions, scheme)
        strict = entity_scores(tags, predictions, scheme, strict=True)
        for prefix, each in (("", scores.overall), ("strict_", strict.overall)):
            for name in ("f1", "precision", "recall"):
                metrics[prefix + name] = getattr(each, name)
        for entity_type, each in scores.by_type.items():
            metrics[f"f1/{entity_type}"] = each.f1
    return {**metrics, "accuracy": accuracy(tags, predictions)}


def table(scores: EntityScores) -> list[str]:
    """Returns the lines of a table of scores by type and of all."""
    rows = [("entities", "precision", "recall", "f1", "support")]
    for name, each in (*scores.by_type.items(), ("all", scores.overall)):
        figures = (f"{value:.4f}" for value in each[:3])
        rows.append((name, *figures, str(each.support)))
    return text_table.lines(rows)


def _check_lengths(tags, predictions):
    true = [len(sentence) for sentence in tags]
    predicted = [len(sentence) for sentence in predictions]
    if true != predicted:
        raise ValueError(
            f"got predictions of {sum(predicted)} words in {len(predicted)} "
            f"sentences, expected {sum(true)} words in {len(true)} sentences "
            "of the same lengths"
        )
    if not sum(true):
        raise ValueError("no words to compute metrics of")


def _runs(tags) -> Iterator[Entity]:
    """Yields the runs of words that go on with one another."""
    start = None
    # The end of the sentence ends the last run.
    for index, tag in enumerate([*tags, tag_schemes.OUTSIDE]):
        goes_on = (
            start is not None
            and tag[0] in "IE"
            and tags[index - 1][0] in "BI"
            and tag[2:] == tags[index - 1][2:]
        )
        if goes_on:
            continue
        if start is not None:
            yield Entity(tags[start][2:], start, index)
        start = None if tag == tag_schemes.OUTSIDE else index


def _strict_iob1(tags, runs) -> Iterator[Entity]:
    """Yields what of the runs seqeval accepts in IOB1.

    B is wrong but after an entity of the same type: it is passed over, not
    the rest of the run. A right B alone that a B of another type follows is
    no entity either.
    """
    for run in runs:
        if tags[run.start][0] == "I":
            yield run
            continue
        before = tags[run.start - 1] if run.start else tag_schemes.OUTSIDE
        if not tag_schemes.may_follow(
            before, tags[run.start], tag_schemes.IOB1
        ):
            if run.start + 1 < run.end:
                yield run._replace(start=run.start + 1)
            continue
        is_single = run.start + 1 == run.end
        after = tags[run.end] if run.end < len(tags) else tag_schemes.OUTSIDE
        if not (is_single and after[0] == "B" and after[2:] != run.type):
            yield run


def _scores(found, predicted, true):
    """Scores from the numbers of entities; a ratio of nothing is 0."""
    precision = found / predicted if predicted else 0.0
    recall = found / true if true else 0.0
    both = precision + recall
    # In this order, to agree with seqeval in the last digit.
    f1 = 2 * precision * recall / both if both else 0.0
    return Scores(precision, recall, f1, true)
