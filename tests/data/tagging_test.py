"""CoNLL columns, tag schemes, damaged files, windows of long sentences."""

import random

import numpy as np
import pytest

from mobilebert_tf.data import columns
from mobilebert_tf.data import tag_schemes
from mobilebert_tf.data import tagging

_CONLL = (
    "-DOCSTART- -X- -X- O\n"
    "\n"
    "EU NNP B-NP B-ORG\n"
    "rejects VBZ B-VP O\n"
    "\n"
    "\n"
    "Peter NNP B-NP B-PER\n"
    "Smith NNP I-NP I-PER\n"
)


def _write(tmp_path, content):
    if isinstance(content, str):
        content = content.encode()
    path = tmp_path / "train.txt"
    path.write_bytes(content)
    return str(path)


def _read(tmp_path, content, labels=None, **layout):
    path = _write(tmp_path, content)
    sentences = tagging.read_sentences(path, tagging.Layout(**layout), labels)
    return [(sentence.words, sentence.tags) for sentence in sentences]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.removesuffix("\n"),
        lambda text: text.replace(" ", "   "),
        lambda text: text.replace("\n", " \n"),
        lambda text: text.replace(" ", "\t"),
        lambda text: "# id 1\n" + text.replace(" ", "\t"),
        lambda text: text.replace("-DOCSTART- -X- -X- O", "-DOCSTART-"),
        lambda text: text.replace("\n\n\n", "\n-DOCSTART- -X- -X- O\n"),
    ],
    ids=[
        "plain",
        "mark",
        "crlf",
        "no_final_newline",
        "runs_of_spaces",
        "trailing_spaces",
        "tabs",
        "comment",
        "short_docstart",
        "docstart_between",
    ],
)
def test_reads_columns(tmp_path, change):
    assert _read(tmp_path, change(_CONLL)) == [
        (("EU", "rejects"), ("B-ORG", "O")),
        (("Peter", "Smith"), ("B-PER", "I-PER")),
    ]


def test_reads_the_chosen_columns(tmp_path):
    sentences = _read(
        tmp_path, _CONLL, word_column=1, tag_column=2, scheme="bio"
    )
    assert sentences[0] == (("NNP", "VBZ"), ("B-NP", "B-VP"))
    path = _write(tmp_path, _CONLL)
    assert tagging.read_words(path, -4)[1].words == ("Peter", "Smith")


def test_words_may_hold_spaces_between_tabs_and_odd_characters(tmp_path):
    words = ("New York", "#", "a\u2028b", "\u00a0", '"')
    content = "".join(f"{word}\tO\n" for word in words)
    assert _read(tmp_path, content) == [(words, ("O",) * 5)]


@pytest.mark.parametrize(
    "content, layout, message",
    [
        ("a O\nb\n", {}, ":2: got 1 columns, expected 2"),
        ("a x O\nb x B-P", {}, None),
        ("a x O\n\nb x", {}, ":3: got 2 columns, expected 3"),
        ("a O\nb c O\n", {}, ":2: got 3 columns, expected 2"),
        ("a O\n O\n", {}, ":2: got an empty word"),
        ("a\tO\n\tO\n", {}, ":2: got an empty word"),
        ("a\tO\nb\t\n", {}, ":2: got tag '', expected O or one of B-TYPE"),
        (b"a O\nb\xff O\n", {}, ":2: got byte 0xff, expected UTF-8"),
        ("a O\nb E-X\n", {}, ":2: got tag 'E-X', expected .* .scheme bio"),
        ("a O\nb B-\n", {}, ":2: got tag 'B-'"),
        ("a BX\n", {}, ":1: got tag 'BX'"),
        ("a O\nb B-Y\n", {"labels": ["O", "B-X"]}, ":2: .*one of B-X, O"),
        ("a O\nb I-X\n", {}, ":2: got I-X after O, expected"),
        ("a B-Y\nb I-X\n", {}, ":2: got I-X after B-Y"),
        ("a B-Y\n\nb I-Y\n", {}, ":3: got I-Y after O"),
        ("a O\nb B-X\n", {"scheme": "iob1"}, ":2: got B-X after O"),
        ("a B-X\n\nb O\n", {"scheme": "iobes"}, ":1: .*end of the sentence"),
        ("a B-X\nb L-Y\n", {"scheme": "bilou"}, ":2: got L-Y after B-X"),
        ("a O\n", {"tag_column": 2}, "got 2 columns, .* index 2 .tag_column"),
        ("a O\n", {"word_column": -3}, "index -3 .word_column"),
        ("a\n", {}, "words and tags both in column 0"),
        ("a O\n", {"scheme": "iob2"}, "'iob2', expected one of bio"),
        ("", {}, "got no words"),
        ("\n\n-DOCSTART- O\n", {}, "got no words"),
        ("sentence\tlabel\nba\t1\n", {}, ":1: got tag 'label'"),
    ],
)
def test_damaged_file(tmp_path, content, layout, message):
    if message is None:
        # Cut after some letters of a type: no reader can tell.
        assert _read(tmp_path, content)
        return
    with pytest.raises(ValueError, match=message) as error:
        _read(tmp_path, content, **layout)
    assert "\n" not in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match="nope.txt: got no such file"):
        tagging.read_words(f"{tmp_path}/nope.txt", 0)


@pytest.mark.parametrize(("end", "warnings"), [("\n", 0), ("", 1)])
def test_a_last_line_without_end_may_be_cut(tmp_path, caplog, end, warnings):
    path = tmp_path / "words.txt"
    path.write_text(f"one\tO\ntwo\tB-PE{end}")
    assert columns.read_sentences(str(path))[0][1].fields == ["two", "B-PE"]
    assert caplog.text.count(f"{path}:2: the last line has no end") == warnings


def test_transitions_may_be_let_pass(tmp_path):
    sentences = _read(tmp_path, "a O\nb I-X\n", check_transitions=False)
    assert sentences == [(("a", "b"), ("O", "I-X"))]


def _spell(spans, length, scheme):
    """The tags of entities, written down from the schemes' definitions."""
    tags = ["O"] * length
    previous = None
    for start, end, name in spans:
        for i in range(start, end):
            first, last = i == start, i == end - 1
            if scheme == "bio":
                prefix = "B" if first else "I"
            elif scheme == "iob1":
                touches = previous == (start, name)
                prefix = "B" if first and touches else "I"
            else:
                begin, end_, single = "BES" if scheme == "iobes" else "BLU"
                prefix = "I"
                if first or last:
                    prefix = begin if first else end_
                if first and last:
                    prefix = single
            tags[i] = f"{prefix}-{name}"
        previous = (end, name)
    return tags


@pytest.mark.parametrize("scheme", ["bio", "iob1", "iobes", "bilou"])
def test_every_spelling_of_entities_is_allowed(scheme):
    rng = random.Random(1)
    for _ in range(300):
        spans, position = [], 0
        while position < 12:
            position += rng.choice([0, 0, 1, 2])
            end = position + rng.randint(1, 3)
            spans.append((position, end, rng.choice("XY")))
            position = end
        tags = _spell(spans, position + 1, scheme)
        for previous, tag in zip(["O", *tags], [*tags, "O"], strict=True):
            assert tag_schemes.may_follow(previous, tag, scheme)


@pytest.mark.parametrize(
    "scheme, expected",
    [
        ("bio", ("O", "B-A", "I-A", "B-B", "I-B")),
        ("iob1", ("O", "B-A", "I-A", "B-B", "I-B")),
        (
            "iobes",
            ("O", "B-A", "I-A", "E-A", "S-A", *"B-B I-B E-B S-B".split()),
        ),
        (
            "bilou",
            ("O", "B-A", "I-A", "L-A", "U-A", *"B-B I-B L-B U-B".split()),
        ),
        ("none", ("B-B", "I-A", "O")),
    ],
)
def test_label_set_is_closed(scheme, expected):
    assert tag_schemes.label_set(["I-A", "O", "B-B", "I-A"], scheme) == expected


@pytest.mark.parametrize(
    "labels, message",
    [(["O", "X"], "labels: got tag 'X'"), (["O", "B-X", "O"], "'O' twice")],
)
def test_wrong_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        tag_schemes.check_labels(labels, "bio")


def _sentence(words, tags=()):
    return tagging.Sentence("x:1", tuple(words), tuple(tags))


def test_features_of_sentences_that_fit(tokenizer):
    sentences = [
        _sentence(["ba", "be.", "bi,bo"], ["O", "B-X", "I-X"]),
        _sentence(["bu"], ["O"]),
    ]
    labels = ("O", "B-X", "I-X")
    features = tagging.features(sentences, tokenizer, 14, labels)
    for row, sentence in enumerate(sentences):
        ids, expected = [tokenizer.cls_id], [-1]
        for word, tag in zip(sentence.words, sentence.tags, strict=True):
            pieces = tokenizer.tokenize([word]).to_list()[0]
            ids += pieces
            expected += [labels.index(tag)] + [-1] * (len(pieces) - 1)
        ids.append(tokenizer.sep_id)
        expected.append(-1)
        padding = 14 - len(ids)
        arrays = {name: each[row] for name, each in features.arrays.items()}
        assert arrays["input_word_ids"].tolist() == ids + [0] * padding
        assert arrays["label_ids"].tolist() == expected + [-1] * padding
        mask = [1] * len(ids) + [0] * padding
        assert arrays["input_mask"].tolist() == mask
        assert not arrays["input_type_ids"].any()
    assert features.arrays["window_ids"].tolist() == [0, 1]
    dtypes = {value.dtype for value in features.arrays.values()}
    assert dtypes == {np.dtype("int32")}
    tags = features.by_sentence(features.arrays["label_ids"], labels)
    assert tags == [["O", "B-X", "I-X"], ["O"]]


@pytest.mark.parametrize("max_seq_length", [3, 4, 5, 7, 10, 16, 40])
def test_every_word_is_in_one_place_and_has_context(tokenizer, max_seq_length):
    """Random sentences of words of one, two and many pieces."""
    rng = random.Random(max_seq_length)
    words = ["ba", "be", "bi", "bo.", "ba,be,bi,bo"]
    labels = [str(i) for i in range(50)]
    sentences = []
    for _ in range(60):
        length = rng.randint(1, 40)
        sentences.append(
            _sentence(
                rng.choices(words, k=length), rng.choices(labels, k=length)
            )
        )
    features = tagging.features(sentences, tokenizer, max_seq_length, labels)
    ids = features.arrays["input_word_ids"]
    label_ids = features.arrays["label_ids"]
    num_words = sum(len(sentence.words) for sentence in sentences)
    assert (label_ids >= 0).sum() == num_words
    tags = features.by_sentence(label_ids, labels)
    assert tags == [list(sentence.tags) for sentence in sentences]
    flat = [word for sentence in sentences for word in sentence.words]
    firsts = [pieces[0] for pieces in tokenizer.tokenize(flat).to_list()]
    assert ids[features.windows, features.positions].tolist() == firsts
    # Every window predicts something, and windows do not mix sentences.
    assert set(features.windows) == set(range(len(ids)))
    owners = np.repeat(
        np.arange(len(sentences)), [len(s.words) for s in sentences]
    )
    for window in range(len(ids)):
        assert len(set(owners[features.windows == window])) == 1


def test_windows_overlap_and_words_lie_away_from_their_ends(tokenizer):
    words = ["ba"] * 1000
    pieces = len(tokenizer.tokenize(["ba"]).to_list()[0])
    features = tagging.features([_sentence(words)], tokenizer, 42, ())
    assert pieces * 1000 / 40 < len(features.arrays["input_mask"])
    sizes = features.arrays["input_mask"].sum(axis=1)
    inner = (features.windows > 0) & (features.windows < len(sizes) - 1)
    assert (features.positions[inner] >= 5).all()
    assert (features.positions[inner] < 42 - 5).all()


def test_a_word_without_pieces_is_unknown(tokenizer):
    features = tagging.features(
        [_sentence(["ba", "\u200b", "be"])], tokenizer, 12, ()
    )
    ids = features.arrays["input_word_ids"]
    found = ids[features.windows, features.positions]
    assert found[1] == tokenizer.unk_id
    assert len(features.positions) == 3


def test_a_word_longer_than_a_window_is_cut(tokenizer):
    features = tagging.features(
        [_sentence(["ba", ",".join(["be"] * 50), "bi"], "OOO")],
        tokenizer,
        10,
        ("O",),
    )
    assert features.by_sentence(features.arrays["label_ids"], ("O",)) == [
        ["O", "O", "O"]
    ]


@pytest.mark.parametrize("word", ["ba ", "a", "ba,"])
def test_a_sentence_of_100_000_characters(tokenizer, tmp_path, word, caplog):
    """As 33,333 words, or as one."""
    length = 100_000 // len(word)
    if word.endswith(" "):
        content = "be O\n\n" + "ba O\n" * length
    else:
        content = f"be O\n\n{word * length} O\n"
    path = _write(tmp_path, content)
    sentences = tagging.read_sentences(path, tagging.Layout())
    features = tagging.features(sentences, tokenizer, 64, ("O",))
    tags = features.by_sentence(features.arrays["label_ids"], ("O",))
    assert [len(each) for each in tags] == [len(s.words) for s in sentences]
    if word.endswith(" "):
        assert f"{path}:3: longer than max_seq_length=64; 1 of 2" in caplog.text


def test_too_short_length(tokenizer):
    with pytest.raises(ValueError, match="got 2, expected at least 3"):
        tagging.features([_sentence(["ba"])], tokenizer, 2, ())


@pytest.mark.parametrize(
    "content, expected",
    [
        (
            b"-DOCSTART- -X- O\n\na x O\nb  x O \n\n\nc x B-P",
            b"-DOCSTART- -X- O O\n\na x O T1\nb  x O  T2\n\n\nc x B-P T3",
        ),
        (
            b"\xef\xbb\xbfa\tO\r\n\r\nb\tO\r\nc\tO\r\n",
            b"\xef\xbb\xbfa\tO\tT1\r\n\r\nb\tO\tT2\r\nc\tO\tT3\r\n",
        ),
        (b"-DOCSTART-\n# a\tO\n#b\nb\tO\n \nc\tO\n", None),
        (b"a\nb\n\nc\n", b"a T1\nb T2\n\nc T3\n"),
    ],
    ids=["spaces", "tabs_crlf_mark", "comment", "words_only"],
)
def test_appends_a_column(tmp_path, content, expected):
    path = _write(tmp_path, content)
    target = str(tmp_path / "out.txt")
    columns.append_column(path, target, ["T1", "T2", "T3"])
    with open(target, "rb") as stream:
        written = stream.read()
    if expected is None:
        expected = b"-DOCSTART-\n# a\tO\tT1\n#b\nb\tO\tT2\n \nc\tO\tT3\n"
    assert written == expected


def test_appending_leaves_random_bytes_alone(tmp_path):
    """Whatever characters words hold: without the column, the same bytes."""
    rng = random.Random(4)
    characters = "ab\u00a0\u2028\x85\u3000\x0b\x0c\x1c#-.\u200b\U0001f600"
    lines = []
    for _ in range(300):
        word = "w" + "".join(rng.choices(characters, k=rng.randint(0, 4)))
        lines.append("" if rng.random() < 0.2 else f"{word} O")
    content = "\n".join(["w O", *lines]).encode()
    path = _write(tmp_path, content)
    words = [w for s in tagging.read_words(path, 0) for w in s.words]
    target = str(tmp_path / "out.txt")
    columns.append_column(path, target, ["<tag>"] * len(words))
    with open(target, "rb") as stream:
        assert stream.read().replace(b" <tag>", b"") == content
    again = [w for s in tagging.read_words(target, 0) for w in s.words]
    assert again == words


def test_appending_to_a_changed_file(tmp_path):
    path = _write(tmp_path, "a O\nb O\n")
    target = tmp_path / "out.txt"
    with pytest.raises(ValueError, match="got 2 words, expected 1"):
        columns.append_column(path, str(target), ["O"])
    assert not target.exists()
