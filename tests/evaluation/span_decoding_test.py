"""Answers against the Model Garden's, and by hand."""

import collections
import random

import numpy as np
import pytest
from absl import logging
from official.nlp.data import squad_lib
from official.nlp.tools import tokenization as garden_tokenization

from mobilebert_tf import wordpiece
from mobilebert_tf.data import squad
from mobilebert_tf.data import squad_features
from mobilebert_tf.evaluation import span_decoding

_VOCABULARY = [
    *wordpiece.SPECIAL_TOKENS,
    *". , ( ) - ? ' the of steve smith ba ##ba be ##be 1895 1943".split(),
    *"caf cafe naive ##e ##s s 中 国 ᄒ ##ᅡ ##ᆫ ᄒ i ##i".split(),
]
_WORDS = (
    "the of Ba babe BEBABE (1895-1943). caf\u00e9 cafe\u0301s 中国 \ud55c qqq "
    "na\u00efve \u0130i Steve Smith's ba\u00a0be a\u200bb \U0001f44d"
).split(" ")
_SPACES = [" "] * 6 + ["  ", "\t", "\n", "\u202f", "\u2009", "\u00a0"]
_OPTIONS = squad_features.WindowOptions(24, 6, 7)
_Result = collections.namedtuple("_Result", "unique_id start_logits end_logits")


@pytest.fixture(scope="module", name="squad_vocab")
def _squad_vocab(tmp_path_factory):
    path = tmp_path_factory.mktemp("squad") / "vocab.txt"
    lines = "\n".join(dict.fromkeys(_VOCABULARY)) + "\n"
    path.write_text(lines, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module", name="maker")
def _maker(squad_vocab):
    return squad_features.WindowMaker(squad_vocab, _OPTIONS)


@pytest.fixture(autouse=True)
def _quiet():
    """The Garden logs a warning for every question without a span."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    yield
    logging.set_verbosity(verbosity)


def _example(context, question="Ba?", question_id="q"):
    return squad.Example(question_id, question, context)


def _random_examples(rng, size):
    return [
        _example(
            "".join(
                word + rng.choice(_SPACES)
                for word in ["Ba", *rng.choices(_WORDS, k=rng.randint(0, 30))]
            ),
            " ".join(rng.choices(_WORDS, k=3)),
            f"q{number}",
        )
        for number in range(size)
    ]


def _garden(examples, vocab_file, logits, options):
    """Returns predictions, n best and null odds of the Garden."""
    garden_examples = [
        squad_lib.SquadExample(
            e.question_id, e.question, squad.split_words(e.context)
        )
        for e in examples
    ]
    windows = []
    squad_lib.convert_examples_to_features(
        garden_examples,
        garden_tokenization.FullTokenizer(vocab_file),
        _OPTIONS.max_seq_length,
        _OPTIONS.doc_stride,
        _OPTIONS.max_query_length,
        False,
        lambda f, is_padding: None if is_padding else windows.append(f),
        batch_size=1,
    )
    results = [
        _Result(window.unique_id, *(values[row].tolist() for values in logits))
        for row, window in enumerate(windows)
    ]
    return squad_lib.postprocess_output(
        garden_examples,
        windows,
        results,
        options.n_best_size,
        options.max_answer_length,
        options.lower_case,
        options.version_2_with_negative,
        options.null_score_diff_threshold,
    )


def _decode(examples, maker, logits, options):
    features = maker.features(examples)
    return list(
        span_decoding.decode(
            examples, features, *logits, maker.tokenizer.vocabulary, options
        )
    )


def _logits(rng, windows, has_ties):
    """Returns float32 [2, N, S]."""
    shape = 2, windows, _OPTIONS.max_seq_length
    if has_ties:
        return rng.integers(-2, 3, shape).astype(np.float32)
    return rng.normal(0, 3, shape).astype(np.float32)


@pytest.mark.parametrize("has_ties", [False, True])
@pytest.mark.parametrize("n_best_size, max_answer_length", [(20, 30), (3, 2)])
@pytest.mark.parametrize("version_2, threshold", [(0, 0.0), (1, 0.0), (1, 3.0)])
def test_answers_of_the_garden(
    maker,
    squad_vocab,
    version_2,
    threshold,
    n_best_size,
    max_answer_length,
    has_ties,
):
    options = span_decoding.DecodingOptions(
        n_best_size=n_best_size,
        max_answer_length=max_answer_length,
        version_2_with_negative=bool(version_2),
        null_score_diff_threshold=threshold,
    )
    examples = _random_examples(random.Random(n_best_size), 20)
    windows = len(maker.features(examples)["unique_ids"])
    logits = _logits(np.random.default_rng(1), windows, has_ties)
    texts, n_best, odds = _garden(examples, squad_vocab, logits, options)
    predictions = _decode(examples, maker, logits, options)
    our_texts, our_n_best, our_odds = span_decoding.json_files(predictions)
    assert our_texts == texts
    assert our_odds == odds
    assert list(our_n_best) == list(n_best)
    for question_id, expected in n_best.items():
        candidates = our_n_best[question_id]
        assert [list(c) for c in candidates] == [list(c) for c in expected]
        for candidate, other in zip(candidates, expected, strict=True):
            assert candidate.pop("probability") == pytest.approx(
                other.pop("probability"), rel=1e-12
            )
            assert candidate == other


def test_all_texts_of_all_spans(maker, squad_vocab):
    """Every span of every context, so that each fallback occurs."""
    examples = _random_examples(random.Random(3), 12)
    options = span_decoding.DecodingOptions(100, 100)
    windows = len(maker.features(examples)["unique_ids"])
    logits = _logits(np.random.default_rng(2), windows, False)
    _, n_best, _ = _garden(examples, squad_vocab, logits, options)
    ours = _decode(examples, maker, logits, options)
    for prediction in ours:
        assert [c.text for c in prediction.n_best] == [
            c["text"] for c in n_best[prediction.question_id]
        ]


def _peak(maker, example, tokens, options=None, null=0.0):
    """Decodes logits that are 9 at the first and last of some tokens."""
    features = maker.features([example])
    shape = features["input_word_ids"].shape
    assert shape[0] == 1
    start_logits, end_logits = np.zeros(shape), np.zeros(shape)
    vocabulary = maker.tokenizer.vocabulary
    row = [vocabulary[i] for i in features["input_word_ids"][0]]
    context = int(features["context_start"][0])
    start_logits[0, row.index(tokens[0], context)] = 9
    end_logits[0, row.index(tokens[-1], context)] = 9
    start_logits[0, 0] = end_logits[0, 0] = null
    options = options or span_decoding.DecodingOptions()
    [prediction] = span_decoding.decode(
        [example], features, start_logits, end_logits, vocabulary, options
    )
    return prediction


@pytest.mark.parametrize(
    "context, tokens, text",
    [
        ("Of Steve  Smith's.", ["steve", "smith"], "Steve Smith"),
        ("Ba (1895-1943).", ["1895"], "1895"),
        ("Ba (1895-1943).", ["1895", "1943"], "1895-1943"),
        ("The BEBABE, of", ["be", "##ba"], "BEBA"),
        ("The BEBABE, of", ["##ba", "##be"], "BABE"),
        ("caf\u00e9, of", ["cafe"], "caf\u00e9"),  # one character: aligned
        ("cafe\u0301, of", ["cafe"], "cafe\u0301,"),  # two: the whole word
        ("ba 中国, of", ["国"], "国"),
        ("ba\tbe\nthe", ["ba", "be"], "ba be"),
        ("ba\u00a0be, the", ["be"], "ba\u00a0be,"),  # not aligned
        ("ba\u2009be the", ["be"], "ba\u2009be"),
        ("of b\u200ba, the", ["ba"], "b\u200ba,"),
        ("\ud55c, the", ["ᄒ"], "\ud55c,"),  # letters are taken apart
        ("Steve qqq's of", ["[UNK]"], "qqq's"),
    ],
)
def test_recovered_text(maker, context, tokens, text):
    assert _peak(maker, _example(context), tokens).text == text


def test_recovered_text_of_a_cased_model():
    def basic_tokens(word):
        return [word]

    words = ["Steve", "Smith's"]
    recover = span_decoding.recover_text
    assert recover("Steve Smith", words, basic_tokens) == "Steve Smith"
    assert recover("steve", words, basic_tokens) == "Steve Smith's"
    assert recover("", words, basic_tokens) == "Steve Smith's"


def test_length_limit(maker):
    example = _example("ba be of the")
    for limit, text in ((4, "ba be of the"), (3, "ba")):
        options = span_decoding.DecodingOptions(max_answer_length=limit)
        prediction = _peak(maker, example, ["ba", "the"], options)
        assert prediction.text.startswith(text)
        assert (prediction.text == "ba be of the") == (limit == 4)


def test_probabilities_sum_to_one_and_fall(maker):
    n_best = _peak(maker, _example("ba be of the"), ["be"]).n_best
    probabilities = [candidate.probability for candidate in n_best]
    assert sum(probabilities) == pytest.approx(1)
    assert probabilities == sorted(probabilities, reverse=True)
    assert n_best[0].probability / n_best[1].probability == pytest.approx(
        np.exp(9)
    )


@pytest.mark.parametrize("threshold, text", [(1.0, "be"), (-5.0, "")])
def test_null_threshold(maker, threshold, text):
    """The answer scores 18, "no answer" 14: odds of -4."""
    options = span_decoding.DecodingOptions(
        version_2_with_negative=True, null_score_diff_threshold=threshold
    )
    prediction = _peak(maker, _example("ba be of"), ["be"], options, null=7)
    assert prediction.null_odds == -4
    assert prediction.text == text
    assert prediction.span_text == "be"
    assert "" in [candidate.text for candidate in prediction.n_best]


def test_null_score_is_the_lowest_of_all_windows(maker):
    example = _example("ba be of the " * 10)
    features = maker.features([example])
    shape = features["input_word_ids"].shape
    logits = np.zeros(shape)
    logits[:, 0] = np.arange(shape[0], 0, -1) * 3
    [prediction] = _decode(
        [example],
        maker,
        (logits, logits),
        span_decoding.DecodingOptions(version_2_with_negative=True),
    )
    assert shape[0] > 2
    assert prediction.null_odds == 6


@pytest.mark.parametrize("version_2", [False, True])
@pytest.mark.parametrize("context", ["\u200b", "ba be"])
def test_no_candidate(maker, context, version_2):
    """No window, or starts and ends only where none may be."""
    example = _example(context)
    shape = maker.features([example])["input_word_ids"].shape
    logits = np.zeros(shape)
    logits[:, :3] = 5
    logits[:, 0] = 6
    options = span_decoding.DecodingOptions(2, 30, True, version_2)
    [prediction] = _decode([example], maker, (logits, logits), options)
    assert prediction.text == ("" if version_2 else span_decoding.NO_CANDIDATE)
    assert len(prediction.n_best) == 1
    assert prediction.n_best[0].probability == 1
    if version_2:
        assert prediction.null_odds == (
            12 if shape[0] else span_decoding.NO_WINDOW_SCORE
        )
        assert prediction.span_text == ""
    else:
        assert prediction.null_odds is None


def test_questions_without_windows_among_others(maker):
    examples = [
        _example(context, question_id=context)
        for context in ("\u200b", "ba be", "\u200b\u200b", "of the")
    ]
    logits = np.zeros([2, 2, _OPTIONS.max_seq_length])
    predictions = _decode(
        examples, maker, logits, span_decoding.DecodingOptions()
    )
    assert [p.text for p in predictions] == ["empty", "ba", "empty", "of"]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda x: x[:, :-1], r"end logits: got shape \(1, 23\).*\(1, 24\)"),
        (lambda x: np.full_like(x, np.nan), "question q: got logits .* finite"),
        (lambda x: np.full_like(x, -np.inf), "question q: got logits"),
    ],
)
def test_impossible_logits(maker, change, message):
    logits = np.zeros([1, _OPTIONS.max_seq_length])
    with pytest.raises(ValueError, match=message):
        _decode(
            [_example("ba")],
            maker,
            (logits, change(logits)),
            span_decoding.DecodingOptions(),
        )


def test_features_of_training(squad_vocab):
    maker = squad_features.WindowMaker(
        squad_vocab, squad_features.WindowOptions(is_training=True)
    )
    example = squad.Example("q", "ba", "be", (squad.Answer("be", 0),))
    logits = np.zeros([1, 384])
    with pytest.raises(ValueError, match="got features of training"):
        _decode(
            [example], maker, (logits,) * 2, span_decoding.DecodingOptions()
        )


@pytest.mark.parametrize("name", ["n_best_size", "max_answer_length"])
def test_impossible_options(name):
    with pytest.raises(ValueError, match=f"--{name}: got 0, expected at least"):
        span_decoding.DecodingOptions(**{name: 0})
