"""Scores of the answers to questions whose answers are known."""

from collections.abc import Sequence

import numpy as np

from mobilebert_tf.data import squad
from mobilebert_tf.evaluation import span_decoding
from mobilebert_tf.evaluation import squad_metrics


def is_scorable(
    path: str, examples: Sequence[squad.Example], version_2_with_negative: bool
) -> bool:
    """Returns whether a file says what the answers are.

    Args:
        path: of the file, for messages.
        examples: its questions.
        version_2_with_negative: whether there may be no answer.

    Raises:
        ValueError: for a file of v2.0 where there must be an answer, or if
            some questions have answers and others have not.
    """
    if version_2_with_negative:
        return any(e.answers or e.is_impossible for e in examples)
    for example in examples:
        if example.is_impossible:
            raise ValueError(
                f"{path}: question {example.question_id}: got one without "
                "answer (is_impossible): a file of v2.0 needs "
                "--version_2_with_negative"
            )
    with_answers = [e for e in examples if e.answers]
    if with_answers and len(with_answers) < len(examples):
        example = next(e for e in examples if not e.answers)
        raise ValueError(
            f"{path}: question {example.question_id}: got no answer, but "
            f"{len(with_answers)} of {len(examples)} questions have one"
        )
    return bool(with_answers)


def score(
    examples: Sequence[squad.Example],
    predictions: Sequence[span_decoding.Prediction],
    version_2_with_negative: bool,
) -> dict[str, float]:
    """Returns the official scores of decoded predictions, in percent.

    Args:
        examples: questions whose answers are known.
        predictions: one for each.
        version_2_with_negative: whether there may be no answer.

    Returns:
        v1.1: `exact_match`, `f1`. v2.0: what squad_metrics.evaluate_v2_0
        scores of the predictions as they are, and the `best_exact` and
        `best_f1` that any threshold on the null odds gives, with the
        thresholds `best_exact_thresh` and `best_f1_thresh`; one below all
        odds where it is best to answer nothing.
    """
    texts = {p.question_id: p.text for p in predictions}
    if not version_2_with_negative:
        return squad_metrics.evaluate_v1_1(examples, texts)
    scores = squad_metrics.evaluate_v2_0(examples, texts)
    # Odds are no probabilities: no threshold is applied here, and 0 is not
    # below all of them.
    null_odds = {p.question_id: p.null_odds for p in predictions}
    tuned = squad_metrics.evaluate_v2_0(
        examples,
        {p.question_id: p.span_text for p in predictions},
        null_odds,
        null_threshold=np.inf,
    )
    unanswerable = sum(not example.answers for example in examples)
    for name in ("exact", "f1"):
        best = tuned[f"best_{name}"]
        threshold = tuned[f"best_{name}_thresh"]
        if best <= 100.0 * unanswerable / len(examples):
            threshold = min(null_odds.values()) - 1.0
        scores[f"best_{name}"] = best
        scores[f"best_{name}_thresh"] = threshold
    return {name: float(value) for name, value in scores.items()}
