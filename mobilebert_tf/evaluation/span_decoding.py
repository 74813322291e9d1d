"""Start and end logits -> answers, as BERT's run_squad.py decodes them.

Legend: N windows, S sequence.
"""

import dataclasses
import functools
import typing
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np
from official.nlp.tools import tokenization as garden_tokenization

from mobilebert_tf import wordpiece
from mobilebert_tf.data import squad
from mobilebert_tf.data import squad_features

# run_squad.py's prediction where there is no candidate (v1.1).
NO_CANDIDATE = "empty"
# Its null score of a question without any window (v2.0).
NO_WINDOW_SCORE = 1_000_000.0

# Distinct words whose basic tokens are remembered.
_REMEMBERED_WORDS = 2**16


@dataclasses.dataclass(frozen=True)
class DecodingOptions:
    """What counts as an answer.

    Attributes:
        n_best_size: starts, and ends, considered of each window; and answers
            kept of each question.
        max_answer_length: in tokens.
        lower_case: whether the tokens are of an uncased model.
        version_2_with_negative: whether there may be no answer; its score is
            that of [CLS], the lowest of all windows.
        null_score_diff_threshold: there is no answer if the null score
            exceeds the best answer's by more than this.
    """

    n_best_size: int = 20
    max_answer_length: int = 30
    lower_case: bool = True
    version_2_with_negative: bool = False
    null_score_diff_threshold: float = 0.0

    def __post_init__(self):
        for name in ("n_best_size", "max_answer_length"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"--{name}: got {getattr(self, name)}, expected at least 1"
                )


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An answer among the n best; the text is empty for "no answer"."""

    text: str
    probability: float
    start_logit: float
    end_logit: float


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The answer to a question.

    Attributes:
        question_id: the question.
        text: the answer; empty for "no answer".
        n_best: candidates, best first (only the appended null candidate of
            v2.0 may be out of order); probabilities sum to 1.
        span_text: the best answer that is not empty, whatever the threshold;
            empty if there is none.
        null_odds: null score minus that of `span_text`, or the null score
            where there is no `span_text`; None for v1.1.
    """

    question_id: str
    text: str
    n_best: tuple[Candidate, ...]
    span_text: str
    null_odds: float | None


class _Span(typing.NamedTuple):
    """Tokens first to last of a window; 0 and 0 for "no answer"."""

    row: int
    first: int
    last: int
    start_logit: float
    end_logit: float


def decode(
    examples: Sequence[squad.Example],
    features: squad_features.Features,
    start_logits: np.ndarray,
    end_logits: np.ndarray,
    vocabulary: Sequence[str],
    options: DecodingOptions,
) -> Iterator[Prediction]:
    """Yields the prediction for each question, in order.

    Ties, rounding and fallbacks are those of run_squad.py; but where it ends
    with an error in v2.0, for want of any answer or any window, the
    prediction is "no answer".

    Args:
        examples: questions.
        features: of their windows, as made for evaluation.
        start_logits: float [N, S], of the windows in that order.
        end_logits: float [N, S].
        vocabulary: tokens by id.
        options: what counts as an answer.

    Raises:
        ValueError: if the logits are not of the shape of the features, or
            not finite.
    """
    if "token_to_word" not in features:
        raise ValueError(
            "got features of training, expected those of evaluation"
        )
    shape = features["input_word_ids"].shape
    for name, logits in (("start", start_logits), ("end", end_logits)):
        if np.shape(logits) != shape:
            raise ValueError(
                f"{name} logits: got shape {np.shape(logits)}, expected that "
                f"of the windows, {shape}"
            )
    bounds = np.searchsorted(
        features["example_index"], np.arange(len(examples) + 1)
    ).tolist()
    texts = _Texts(features, vocabulary, options.lower_case)
    for number, example in enumerate(examples):
        rows = range(bounds[number], bounds[number + 1])
        # 64 bits, like Python's own numbers.
        starts, ends = (
            np.asarray(logits[rows.start : rows.stop], np.float64)
            for logits in (start_logits, end_logits)
        )
        if not (np.isfinite(starts).all() and np.isfinite(ends).all()):
            raise ValueError(
                f"question {example.question_id}: got logits that are not "
                "finite"
            )
        yield _predict(
            example,
            _spans(features, rows, starts, ends, options),
            _null_span(rows, starts, ends),
            texts,
            options,
        )


def recover_text(
    token_text: str,
    words: Sequence[str],
    basic_tokens: Callable[[str], Iterable[str]],
) -> str:
    """Returns the part of the context that normalized text stands for.

    The normalized words are searched for the text. Where they have as many
    characters as the words, but for spaces, characters correspond one to one;
    otherwise (an accent or a control character was dropped, a syllable of
    Hangul taken apart, ...) the answer is all of the words, as in
    run_squad.py.

    Args:
        token_text: of the tokens, joined to words.
        words: of the context that the tokens are of.
        basic_tokens: returns what BERT's basic tokenizer makes of a word.
    """
    whole = " ".join(words)
    normalized = " ".join(
        token for word in words for token in basic_tokens(word)
    )
    start = normalized.find(token_text)
    # Only U+0020: a no-break space inside of a word counts as a character.
    positions = [i for i, char in enumerate(whole) if char != " "]
    if (
        not token_text
        or start < 0
        or len(positions) != _num_characters(normalized)
    ):
        return whole
    first = _num_characters(normalized[:start])
    last = first + _num_characters(token_text) - 1
    return whole[positions[first] : positions[last] + 1]


def json_files(
    predictions: Iterable[Prediction],
) -> tuple[dict[str, str], dict[str, list[dict]], dict[str, float]]:
    """Returns what run_squad.py writes, by question.

    Returns:
        Contents of predictions.json, nbest_predictions.json and (empty for
        v1.1) null_odds.json.
    """
    texts, n_best, null_odds = {}, {}, {}
    for prediction in predictions:
        texts[prediction.question_id] = prediction.text
        n_best[prediction.question_id] = [
            dataclasses.asdict(candidate) for candidate in prediction.n_best
        ]
        if prediction.null_odds is not None:
            null_odds[prediction.question_id] = prediction.null_odds
    return texts, n_best, null_odds


class _Texts:
    """What spans stand for in the contexts."""

    def __init__(self, features, vocabulary, lower_case):
        self._features = features
        self._vocabulary = vocabulary
        tokenizer = garden_tokenization.BasicTokenizer(lower_case)
        self._basic_tokens = functools.lru_cache(_REMEMBERED_WORDS)(
            tokenizer.tokenize
        )

    def of(self, span, words):
        """Returns the text of a span; `words` are those of its context."""
        if not span.first:
            return ""
        tokens = slice(span.first, span.last + 1)
        ids = self._features["input_word_ids"][span.row][tokens].tolist()
        text = " ".join([self._vocabulary[i] for i in ids])
        text = text.replace(f" {wordpiece.SUFFIX_INDICATOR}", "")
        # A span may begin inside of a word.
        text = text.replace(wordpiece.SUFFIX_INDICATOR, "")
        touched = self._features["token_to_word"][span.row][tokens]
        return recover_text(
            text, words[touched[0] : touched[-1] + 1], self._basic_tokens
        )


def _predict(example, spans, null_span, texts, options):
    words = squad.split_words(example.context)
    if options.version_2_with_negative:
        spans.append(null_span)
    # Stable: of equal ones the earlier, and "no answer" last.
    spans.sort(key=_score, reverse=True)
    chosen = {}
    for span in spans:
        if len(chosen) == options.n_best_size:
            break
        chosen.setdefault(texts.of(span, words), span)
    if options.version_2_with_negative:
        chosen.setdefault("", null_span)
    if not chosen:
        chosen[NO_CANDIDATE] = _Span(0, 0, 0, 0.0, 0.0)
    n_best = tuple(
        Candidate(text, probability, span.start_logit, span.end_logit)
        for (text, span), probability in zip(
            chosen.items(), _softmax(map(_score, chosen.values())), strict=True
        )
    )
    best = next((c for c in n_best if c.text), None)
    if not options.version_2_with_negative:
        text = n_best[0].text
        return Prediction(example.question_id, text, n_best, best.text, None)
    null_odds = _score(null_span)
    if best is None:
        return Prediction(example.question_id, "", n_best, "", null_odds)
    null_odds = null_odds - best.start_logit - best.end_logit
    is_null = null_odds > options.null_score_diff_threshold
    return Prediction(
        example.question_id,
        "" if is_null else best.text,
        n_best,
        best.text,
        null_odds,
    )


def _spans(features, rows, start_logits, end_logits, options):
    """Returns the answers that may be, in run_squad.py's order."""
    spans = []
    for row, starts, ends in zip(rows, start_logits, end_logits, strict=True):
        first = _best(starts, options.n_best_size)[:, np.newaxis]
        last = _best(ends, options.n_best_size)[np.newaxis]
        in_context = features["token_to_word"][row] != squad_features.NO_WORD
        is_allowed = (
            features["token_is_max_context"][row][first]  # hence in_context
            & in_context[last]
            & (first <= last)
            & (last - first < options.max_answer_length)
        )
        for i, j in zip(*np.nonzero(is_allowed), strict=True):
            spans.append(
                _Span(
                    row,
                    first[i, 0].item(),
                    last[0, j].item(),
                    starts[first[i, 0]].item(),
                    ends[last[0, j]].item(),
                )
            )
    return spans


def _null_span(rows, start_logits, end_logits):
    """Returns "no answer" of the window where its score is lowest."""
    if not rows:
        return _Span(0, 0, 0, NO_WINDOW_SCORE, 0.0)
    window = np.argmin(start_logits[:, 0] + end_logits[:, 0])
    return _Span(
        rows[window],
        0,
        0,
        start_logits[window, 0].item(),
        end_logits[window, 0].item(),
    )


def _best(logits, size):
    """Returns the positions of the largest logits, of equal ones the first."""
    return np.argsort(-logits, kind="stable")[:size]


def _score(span):
    return span.start_logit + span.end_logit


def _num_characters(text):
    return len(text) - text.count(" ")


def _softmax(scores):
    scores = np.array(list(scores))
    exponentials = np.exp(scores - scores.max())
    return (exponentials / exponentials.sum()).tolist()
