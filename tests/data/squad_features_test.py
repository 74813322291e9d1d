"""Windows against the Model Garden's, recorded features and by hand."""

import functools
import hashlib
import json
import random

import numpy as np
import pytest
import tensorflow as tf
from official.nlp.data import squad_lib
from official.nlp.tools import tokenization as garden_tokenization

from mobilebert_tf import wordpiece
from mobilebert_tf.data import feature_cache
from mobilebert_tf.data import squad
from mobilebert_tf.data import squad_features

_VOCABULARY = [
    *wordpiece.SPECIAL_TOKENS,
    *". , ( ) - ? ' the of ba ##ba be ##be bi 1895 1943 18 ##95".split(),
    *"caf cafe naive ##e ##s 中 国 ᄒ ##ᅡ ##ᆫ i ##i".split(),
]
_WORDS = (
    "the of Ba babe BEBABE (1895-1943). 1895, caf\u00e9 cafe\u0301s 中国 "
    "\ud55c na\u00efve qqq \u0130i \u200b \u0301 bi's ba\u00a0be ''- \U0001f44d"
).split(" ")
_SPACES = [" "] * 6 + ["  ", "\t", "\n", "\u202f", "\u2009", "\u00a0"]


@pytest.fixture(scope="module", name="squad_vocab")
def _squad_vocab(tmp_path_factory):
    path = tmp_path_factory.mktemp("squad") / "vocab.txt"
    path.write_text("\n".join(_VOCABULARY) + "\n", encoding="utf-8")
    return str(path)


def _text(rng, low, high):
    """Returns words and spaces of every kind, letters at both ends."""
    words = rng.choices(_WORDS, k=rng.randint(low, high))
    return "ba " + "".join(w + rng.choice(_SPACES) for w in words) + "be"


def _examples(seed, size=40):
    """Makes questions, each third unanswerable, one to three to a context."""
    rng = random.Random(seed)
    examples = []
    while len(examples) < size:
        context = _text(rng, 0, rng.choice([10, 100]))
        for _ in range(rng.randint(1, 3)):
            start, end = sorted(rng.choices(range(len(context)), k=2))
            text = context[start : end + 1].strip()
            answer = squad.Answer(text, context.index(text))
            # The Garden's end of an answer without tokens is before its start.
            is_impossible = rng.random() < 0.3 or not any(
                char.isalnum() and char.isascii() for char in text
            )
            examples.append(
                squad.Example(
                    question_id=f"q{len(examples)}",
                    question=_text(rng, 0, 8),
                    context=context,
                    answers=() if is_impossible else (answer,),
                    is_impossible=is_impossible,
                )
            )
    return examples


def _garden_examples(examples, is_training):
    converted = []
    for example in examples:
        kwargs = {}
        if is_training:
            first = last = -1
            if not example.is_impossible:
                first, last = squad.answer_words(
                    example.context, example.answers[0]
                )
            kwargs = {
                "orig_answer_text": "".join(a.text for a in example.answers),
                "start_position": first,
                "end_position": last,
                "is_impossible": example.is_impossible,
            }
        converted.append(
            squad_lib.SquadExample(
                example.question_id,
                example.question,
                squad.split_words(example.context),
                **kwargs,
            )
        )
    return converted


def _garden_features(garden_examples, vocab_file, options):
    made = []

    def keep(feature, is_padding=False):
        if not is_padding:
            made.append(feature)

    squad_lib.convert_examples_to_features(
        garden_examples,
        garden_tokenization.FullTokenizer(vocab_file),
        options.max_seq_length,
        options.doc_stride,
        options.max_query_length,
        options.is_training,
        keep,
        batch_size=1,
    )
    return made


def _tokens(features, row):
    """Returns the positions of a window's context."""
    start = int(features["context_start"][row])
    return range(start, start + int(features["context_length"][row]))


def _assert_same(left, right):
    assert list(left) == list(right)
    for name in left:
        assert left[name].dtype == right[name].dtype
        np.testing.assert_array_equal(left[name], right[name], name)


def _assert_is_gardens(features, expected, options):
    """Compares all fields of all windows."""
    inputs = squad_features.model_inputs(features)
    assert len(expected) == len(features["unique_ids"])
    for row, feature in enumerate(expected):
        for name, value in (
            ("input_word_ids", feature.input_ids),
            ("input_mask", feature.input_mask),
            ("input_type_ids", feature.segment_ids),
        ):
            assert inputs[name].dtype == np.int32
            assert inputs[name][row].tolist() == value
        assert features["unique_ids"][row] == feature.unique_id
        assert features["example_index"][row] == feature.example_index
        places = _tokens(features, row)
        assert list(places) == list(feature.token_to_orig_map)
        if options.is_training:
            for name, value in (
                ("start_positions", feature.start_position),
                ("end_positions", feature.end_position),
                ("is_impossible", feature.is_impossible),
            ):
                assert features[name][row] == value
        else:
            words = features["token_to_word"][row]
            is_best = features["token_is_max_context"][row]
            assert feature.token_to_orig_map == {
                place: words[place] for place in places
            }
            assert feature.token_is_max_context == {
                place: is_best[place] for place in places
            }
            outside = np.ones(options.max_seq_length, bool)
            outside[places] = False
            assert (words[outside] == squad_features.NO_WORD).all()
            assert not is_best[outside].any()


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize(
    "max_seq_length, max_query_length, doc_stride",
    [(64, 16, 20), (24, 8, 3), (24, 8, 100), (12, 8, 1), (384, 64, 128)],
)
def test_windows_of_the_garden(
    squad_vocab, max_seq_length, max_query_length, doc_stride, is_training
):
    options = squad_features.WindowOptions(
        max_seq_length, max_query_length, doc_stride, is_training
    )
    maker = squad_features.WindowMaker(squad_vocab, options)
    examples = _examples(seed=doc_stride)
    features = squad_features.all_features(examples, maker)
    expected = _garden_features(
        _garden_examples(examples, is_training), squad_vocab, options
    )
    _assert_is_gardens(features, expected, options)


def test_every_answer_is_in_a_window_if_windows_are_long(squad_vocab):
    examples = _examples(seed=1)
    maker = squad_features.WindowMaker(
        squad_vocab, squad_features.WindowOptions(512, is_training=True)
    )
    features = squad_features.all_features(examples, maker)
    by_example = features["example_index"]
    for index, example in enumerate(examples):
        is_found = ~features["is_impossible"][by_example == index]
        assert is_found.any() != example.is_impossible


def test_window_by_hand(squad_vocab):
    """The answer is one piece of the third word."""
    example = squad.Example(
        "x",
        "The ba? of",
        "Be the (1895-1943). bebabe",
        (squad.Answer("1943", 13),),
    )
    options = squad_features.WindowOptions(13, 3, 2, is_training=True)
    maker = squad_features.WindowMaker(squad_vocab, options)
    features = maker.features([example])
    pieces = "be the ( 1895 - 1943 ) . be ##ba ##be".split()
    rows = [
        ["[CLS]", "the", "ba", "?", "[SEP]", *pieces[first:end], "[SEP]"]
        for first, end in ((0, 7), (2, 9), (4, 11))
    ]
    assert [
        [_VOCABULARY[i] for i in row] for row in features["input_word_ids"]
    ] == rows
    assert features["start_positions"].tolist() == [10, 8, 6]
    assert features["end_positions"].tolist() == [10, 8, 6]
    evaluation = squad_features.WindowMaker(
        squad_vocab, squad_features.WindowOptions(13, 3, 2)
    ).features([example])
    assert evaluation["token_to_word"][1].tolist() == [
        *[squad_features.NO_WORD] * 5,
        *[2, 2, 2, 2, 2, 2, 3],
        squad_features.NO_WORD,
    ]
    # Pieces 0 to 4 have most context in the first window (the fifth as much
    # as in the second), 5 and 6 in the second, the others in the third.
    assert [
        np.flatnonzero(row).tolist()
        for row in evaluation["token_is_max_context"]
    ] == [[5, 6, 7, 8, 9], [8, 9], [8, 9, 10, 11]]


def test_context_without_tokens_has_no_window(squad_vocab):
    maker = squad_features.WindowMaker(
        squad_vocab, squad_features.WindowOptions()
    )
    examples = [
        squad.Example("a", "ba", "\u200b"),
        squad.Example("b", "ba", "be"),
    ]
    features = squad_features.all_features(examples, maker)
    assert features["example_index"].tolist() == [1]


def test_no_examples(squad_vocab):
    maker = squad_features.WindowMaker(
        squad_vocab, squad_features.WindowOptions()
    )
    features = squad_features.all_features([], maker)
    assert features["input_word_ids"].shape == (0, 384)
    assert squad_features.model_inputs(features)["input_mask"].shape == (0, 384)


def test_very_long_context(squad_vocab):
    """100,000 characters; every token is best in exactly one window."""
    context = "ba be, " * 14_286
    maker = squad_features.WindowMaker(
        squad_vocab, squad_features.WindowOptions()
    )
    example = squad.Example("x", "ba", context)
    features = maker.features([example])
    num_pieces = 3 * 14_286
    assert len(features["unique_ids"]) == -(-(num_pieces - 380) // 128) + 1
    assert features["token_is_max_context"].sum() == num_pieces
    assert features["token_to_word"].max() == 2 * 14_286 - 1


@pytest.mark.parametrize("is_training", [False, True])
def test_chunks_and_forgetting_change_nothing(
    squad_vocab, monkeypatch, is_training
):
    options = squad_features.WindowOptions(32, 8, 8, is_training)
    make = functools.partial(squad_features.WindowMaker, squad_vocab, options)
    examples = _examples(seed=2)
    whole = make().features(examples)
    monkeypatch.setattr(squad_features, "_QUESTIONS_PER_CHUNK", 3)
    monkeypatch.setattr(squad_features, "_CHUNKS_PER_WORKER", 2)
    monkeypatch.setattr(squad_features, "_REMEMBERED_WORDS", 5)
    parts = list(squad_features.batches(examples, make()))
    assert len(parts) > 5
    _assert_same(
        {name: np.concatenate([p[name] for p in parts]) for name in whole},
        whole,
    )


def test_workers_start_for_enough_work_only(monkeypatch):
    monkeypatch.setattr(
        squad_features.worker_processes, "available_cores", lambda: 4
    )
    workers = [
        squad_features.default_workers(size)
        for size in (0, 10_570, 60_000, 88_000, 10**6)
    ]
    assert workers == [1, 1, 2, 3, 4]


@pytest.mark.slow
def test_any_number_of_workers_makes_the_same(squad_vocab, monkeypatch):
    monkeypatch.setattr(squad_features, "_QUESTIONS_PER_CHUNK", 7)
    maker = squad_features.WindowMaker(
        squad_vocab, squad_features.WindowOptions(32, 8, 8)
    )
    examples = _examples(seed=3, size=200)
    expected = squad_features.all_features(examples, maker)
    for num_workers in (2, 3):
        _assert_same(
            squad_features.all_features(examples, maker, num_workers), expected
        )


@pytest.mark.parametrize(
    "lengths, message",
    [
        ((67, 64, 128), "--max_seq_length: got 67, expected at least 68"),
        ((384, 0, 128), "--max_query_length: got 0, expected at least 1"),
        ((384, 64, 0), "--doc_stride: got 0, expected at least 1"),
    ],
)
def test_impossible_lengths(lengths, message):
    with pytest.raises(ValueError, match=message):
        squad_features.WindowOptions(*lengths)


def test_cache_is_used_for_the_same_features_only(
    squad_vocab, tmp_path, monkeypatch
):
    path = str(tmp_path / "squad.features")
    examples = _examples(seed=4)
    options = squad_features.WindowOptions(32, 8, 8)
    made = []
    batches = squad_features.batches

    def counting(*arguments):
        made.append(arguments)
        return batches(*arguments)

    monkeypatch.setattr(squad_features, "batches", counting)

    def features(examples, options, **kwargs):
        maker = squad_features.WindowMaker(squad_vocab, options, **kwargs)
        cached = squad_features.cached_features(examples, maker, path)
        _assert_same(cached, maker.features(examples))

    features(examples, options)
    features(examples, options)
    assert len(made) == 1
    features(examples[1:], options)
    assert len(made) == 2
    features(examples[1:], squad_features.WindowOptions(32, 8, 9))
    assert len(made) == 3
    features(examples[1:], squad_features.WindowOptions(32, 8, 9, True))
    assert len(made) == 4
    features(examples[1:], options, lower_case=False)
    assert len(made) == 5
    features(examples[1:], options, mode=wordpiece.DEVICE)
    assert len(made) == 6
    monkeypatch.setattr(squad_features, "FORMAT_VERSION", 99)
    features(examples[1:], options, mode=wordpiece.DEVICE)
    assert len(made) == 7


def test_cache_follows_the_content_of_the_vocabulary(squad_vocab, tmp_path):
    options = squad_features.WindowOptions()
    other = tmp_path / "vocab.txt"
    key = squad_features.WindowMaker(squad_vocab, options).cache_key()
    other.write_text("\n".join(_VOCABULARY) + "\n", encoding="utf-8")
    same = squad_features.WindowMaker(str(other), options)
    assert same.cache_key() == key
    other.write_text("\n".join([*_VOCABULARY, "x"]), encoding="utf-8")
    assert feature_cache.digest(str(other)) != key["vocabulary"]


@pytest.mark.parametrize("name, size", [("tiny", 10), ("mini", 100)])
def test_recorded_features(real_data, name, size):
    """Features of another pipeline, in every field."""
    folder = real_data / "squad"
    examples = squad.read_examples(str(folder / "dev-v1.1.rebuilt.json"))
    maker = squad_features.WindowMaker(
        str(real_data / "vocab" / "vocab.txt"), squad_features.WindowOptions()
    )
    features = maker.features(examples[:size])
    inputs = squad_features.model_inputs(features)
    records = tf.data.TFRecordDataset(
        str(folder / "features" / f"squad_eval_{name}.tfrecord"),
        compression_type="ZLIB",
    )
    rows = 0
    for row, record in enumerate(records.as_numpy_iterator()):
        places = _tokens(features, row)
        length = places.stop + 1
        expected = {
            "input_ids": inputs["input_word_ids"][row].tolist(),
            "input_mask": inputs["input_mask"][row].tolist(),
            "segment_ids": inputs["input_type_ids"][row].tolist(),
            "unique_ids": [features["unique_ids"][row]],
            "token_to_orig_map": features["token_to_word"][row][
                places
            ].tolist(),
            "token_is_max_context": features["token_is_max_context"][row][
                places
            ].tolist(),
            "tokens": [
                maker.tokenizer.vocabulary[i].encode()
                for i in inputs["input_word_ids"][row][:length]
            ],
            "qas_id": [
                examples[features["example_index"][row]].question_id.encode()
            ],
        }
        recorded = tf.train.Example.FromString(record).features.feature
        assert set(recorded) == set(expected)
        for field, values in expected.items():
            kind = recorded[field].WhichOneof("kind")
            assert list(getattr(recorded[field], kind).value) == values, field
        rows += 1
    assert rows == size


@pytest.mark.slow
def test_training_windows_of_real_questions(real_data, tmp_path):
    """From the file to the windows; the Garden takes one answer only."""
    path = real_data / "squad" / "cs224n-dev-v2.0.json"
    content = json.loads(path.read_text())
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                del question["answers"][1:]
    path = tmp_path / "train.json"
    path.write_text(json.dumps(content))
    vocab_file = str(real_data / "vocab" / "vocab.txt")
    options = squad_features.WindowOptions(is_training=True)
    features = squad_features.all_features(
        squad.read_examples(str(path), True, True),
        squad_features.WindowMaker(vocab_file, options),
    )
    expected = _garden_features(
        squad_lib.read_squad_examples(str(path), True, True),
        vocab_file,
        options,
    )
    _assert_is_gardens(features, expected, options)


def test_format_version_tells_these_features_apart(squad_vocab):
    """Whoever changes the features must change FORMAT_VERSION too."""
    hasher = hashlib.sha256()
    for is_training in (False, True):
        options = squad_features.WindowOptions(13, 3, 2, is_training)
        maker = squad_features.WindowMaker(squad_vocab, options)
        answer = squad.Answer("1943", 13)
        features = maker.features(
            [squad.Example("x", "The ba? of", "Be the (1895-1943).", (answer,))]
        )
        for name, values in features.items():
            hasher.update(f"{name} {values.dtype.str}".encode())
            hasher.update(values.tobytes())
    assert (squad_features.FORMAT_VERSION, hasher.hexdigest()[:16]) == (
        1,
        "929e723d240d2948",
    )
