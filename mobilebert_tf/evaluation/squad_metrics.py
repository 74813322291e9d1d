"""The official scores of SQuAD v1.1 and v2.0, in percent.

As evaluate-v1.1.py and evaluate-v2.0.py compute them, under their names.
"""

import collections
import re
import string
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

from absl import logging

from mobilebert_tf.data import squad

# evaluate-v2.0.py's, for probabilities: it changes no prediction.
NO_THRESHOLD = 1.0

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def evaluate_v1_1(
    examples: Sequence[squad.Example], predictions: Mapping[str, str]
) -> dict[str, float]:
    """Scores predictions; a missing one counts 0.

    Args:
        examples: questions with answers.
        predictions: text by question id.

    Returns:
        `exact_match` and `f1`: means over all questions of the best score
        among the question's answers.

    Raises:
        ValueError: if there is no example, a question has no answer, or a
            prediction is no text.
    """
    if not examples:
        raise ValueError("no examples to score predictions of")
    _log_differences(examples, predictions, "count 0")
    exact = f1 = 0
    for example in examples:
        if example.question_id not in predictions:
            continue
        if not example.answers:
            raise ValueError(
                f"question {example.question_id}: got no answer, expected one "
                "(a file of v2.0?)"
            )
        prediction = _prediction(predictions, example)
        answers = [answer.text for answer in example.answers]
        exact += max(_exact(answer, prediction) for answer in answers)
        f1 += max(_f1(answer, prediction) for answer in answers)
    return {
        "exact_match": 100.0 * exact / len(examples),
        "f1": 100.0 * f1 / len(examples),
    }


def evaluate_v2_0(
    examples: Sequence[squad.Example],
    predictions: Mapping[str, str],
    null_odds: Mapping[str, float] | None = None,
    null_threshold: float = NO_THRESHOLD,
) -> dict[str, float]:
    """Scores predictions; a question without one is left out.

    Args:
        examples: questions; those without answers are unanswerable.
        predictions: text by question id, empty for "no answer".
        null_odds: by question id, the higher the more likely there is no
            answer: probabilities, or the odds of `span_decoding`.
        null_threshold: where the odds exceed it, the prediction counts as
            "no answer".

    Returns:
        `exact`, `f1`, `total`; the same with the prefixes `HasAns_` and
        `NoAns_` where there are such questions; with `null_odds` also
        `best_exact`, `best_exact_thresh`, `best_f1`, `best_f1_thresh`, as of
        `best_threshold`.

    Raises:
        ValueError: if no question has a prediction, a prediction is no text,
            or one has no odds.
    """
    _log_differences(examples, predictions, "are left out")
    examples = [e for e in examples if e.question_id in predictions]
    if not examples:
        raise ValueError("no question has a prediction to score")
    exact = _raw_scores(examples, predictions, _exact)
    f1 = _raw_scores(examples, predictions, _f1_or_agreement)
    result = {}
    if null_odds is not None:
        for example in examples:
            if example.question_id not in null_odds:
                raise ValueError(
                    f"question {example.question_id}: got a prediction, but "
                    "no null odds"
                )
        for name, scores in (("exact", exact), ("f1", f1)):
            best, threshold = best_threshold(
                examples, predictions, scores, null_odds
            )
            result[f"best_{name}"] = best
            result[f"best_{name}_thresh"] = threshold
            _apply_threshold(examples, scores, null_odds, null_threshold)
    has_answer = [e for e in examples if e.answers]
    no_answer = [e for e in examples if not e.answers]
    return (
        _means(examples, exact, f1, "")
        | _means(has_answer, exact, f1, "HasAns_")
        | _means(no_answer, exact, f1, "NoAns_")
        | result
    )


def best_threshold(
    examples: Iterable[squad.Example],
    predictions: Mapping[str, str],
    scores: Mapping[str, float],
    null_odds: Mapping[str, float],
) -> tuple[float, float]:
    """Returns the best score of any threshold, in percent, and the threshold.

    As evaluate-v2.0.py searches: questions keep their predictions up to the
    threshold, in order of the odds (equal odds in the order of `null_odds`),
    and the first best is taken. If answering nothing is best, that is 0.0,
    which suits probabilities. To tune the threshold of decoding, give the
    predictions that ignore it, `span_text` of `span_decoding.Prediction`.

    Args:
        examples: questions; those without answers are unanswerable.
        predictions: text by question id.
        scores: by question id, in [0, 1]; others are left out.
        null_odds: by question id.
    """
    has_answer = {e.question_id: bool(e.answers) for e in examples}
    best = current = sum(not answerable for answerable in has_answer.values())
    threshold = 0.0
    for question_id in sorted(null_odds, key=null_odds.get):
        if question_id not in scores:
            continue
        if has_answer[question_id]:
            current += scores[question_id]
        elif predictions[question_id]:
            current -= 1
        if current > best:
            best, threshold = current, null_odds[question_id]
    return 100.0 * best / len(scores), threshold


def normalize(text: str) -> str:
    """Returns lower-case words without punctuation (ASCII's) and articles."""
    text = text.lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", text).split())


def best_f1(example: squad.Example, prediction: str) -> float:
    """Returns v2.0's F1 of a prediction, in [0, 1]: the best of the answers.

    Args:
        example: a question; without answers, "" is the answer.
        prediction: text.
    """
    return float(_best_score(example, prediction, _f1_or_agreement))


def _exact(answer, prediction):
    return int(normalize(answer) == normalize(prediction))


def _f1(answer, prediction):
    """Returns the F1 score of the words, as a bag; 0 where one has none."""
    answer = normalize(answer).split()
    prediction = normalize(prediction).split()
    common = collections.Counter(answer) & collections.Counter(prediction)
    num_common = sum(common.values())
    if not num_common:
        return 0
    # Not the shorter 2 * common / (sum of lengths): to the last digit.
    precision = num_common / len(prediction)
    recall = num_common / len(answer)
    return (2 * precision * recall) / (precision + recall)


def _f1_or_agreement(answer, prediction):
    """Returns v2.0's F1: that of two texts without words is 1."""
    if not normalize(answer) or not normalize(prediction):
        return _exact(answer, prediction)
    return _f1(answer, prediction)


def _raw_scores(
    examples, predictions, score: Callable[[str, str], float]
) -> dict[str, float]:
    """Returns the best score among the answers, by question id.

    Answers of nothing but punctuation and articles do not count; of an
    unanswerable question "" is the answer.
    """
    return {
        example.question_id: _best_score(
            example, _prediction(predictions, example), score
        )
        for example in examples
    }


def _best_score(example, prediction, score):
    answers = [a.text for a in example.answers if normalize(a.text)]
    return max(score(answer, prediction) for answer in answers or [""])


def _apply_threshold(examples, scores, null_odds, threshold):
    for example in examples:
        if null_odds[example.question_id] > threshold:
            scores[example.question_id] = float(not example.answers)


def _means(examples, exact, f1, prefix):
    """Returns the mean scores and the number of some examples, if any."""
    if not examples:
        return {}
    ids = [example.question_id for example in examples]
    return {
        f"{prefix}exact": 100.0 * sum(exact[i] for i in ids) / len(ids),
        f"{prefix}f1": 100.0 * sum(f1[i] for i in ids) / len(ids),
        f"{prefix}total": len(ids),
    }


def _prediction(predictions, example):
    prediction = predictions[example.question_id]
    if not isinstance(prediction, str):
        raise ValueError(
            f"question {example.question_id}: got the prediction "
            f"{prediction!r}, expected a text"
        )
    return prediction


def _log_differences(examples, predictions, consequence):
    ids = {example.question_id for example in examples}
    missing = len(ids - predictions.keys())
    if missing:
        logging.warning(
            "%d of %d questions have no prediction and %s",
            missing,
            len(ids),
            consequence,
        )
    unknown = len(predictions.keys() - ids)
    if unknown:
        logging.warning("%d predictions are for other questions", unknown)
