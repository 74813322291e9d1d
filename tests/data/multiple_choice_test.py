"""SWAG's layout, damaged files, and features against the tokenizer."""

import csv

import numpy as np
import pytest

from mobilebert_tf.data import glue
from mobilebert_tf.data import multiple_choice

_HEADER = "sent1,sent2,ending0,ending1,label\n"
_SWAG_HEADER = (
    ",video-id,fold-ind,startphrase,sent1,sent2,gold-source,"
    "ending0,ending1,ending2,ending3,label\n"
)


def _write(tmp_path, content):
    if isinstance(content, str):
        content = content.encode()
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.removesuffix("\n"),
        lambda text: text.replace("\n", "\n\n"),
    ],
    ids=["plain", "mark", "crlf", "no_final_newline", "empty_lines"],
)
def test_reads_swag(tmp_path, change):
    text = (
        f"{_SWAG_HEADER}"
        '0,v1,7,"He sat. He",He sat.,He,gold,stood.,"ran, fast.",'
        '"said ""no"".",fell.,2\n'
        "1,v1,8,A B,A.,B,gold,c,d,e,f,0\n"
    )
    path = _write(tmp_path, change(text))
    assert multiple_choice.read_examples(path, has_labels=True) == [
        multiple_choice.Example(
            "He sat.",
            ("He stood.", "He ran, fast.", 'He said "no".', "He fell."),
            2,
        ),
        multiple_choice.Example("A.", ("B c", "B d", "B e", "B f"), 0),
    ]


def test_what_a_csv_writer_wrote(tmp_path):
    """Quotes, commas and line ends inside fields, and two or ten choices."""
    for number in (2, 10):
        path = str(tmp_path / f"{number}.csv")
        choices = tuple(f'e {i}, "x"\n{i}' for i in range(number))
        with open(path, "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            names = [f"ending{i}" for i in range(number)]
            writer.writerow(["label", *names, "sent1"])
            writer.writerow([1, *choices, "a"])
        (example,) = multiple_choice.read_examples(path, has_labels=True)
        assert example == multiple_choice.Example("a", choices, 1)


def test_labels_are_not_read_from_a_test_file(tmp_path):
    path = _write(tmp_path, "sent1,ending0,ending1,label\na,b,c,?\n")
    (example,) = multiple_choice.read_examples(path, has_labels=False)
    assert example == multiple_choice.Example("a", ("b", "c"))


@pytest.mark.parametrize(
    "content, message",
    [
        (f"{_HEADER}a,b,c,d,0\na,b,c\n", ":3: got 3 columns, expected 5"),
        (f"{_HEADER}a,b,c,d,e,0\n", ":2: got 6 columns, expected 5"),
        (f'{_HEADER}a,b,c,d,0\na,b,"c d', ":3: .*unexpected end of data"),
        (f'{_HEADER}a,b,"c" d,e,0\n', ":2: .*no CSV .*expected after"),
        (f"{_HEADER}a,b,c,d,2\n", ":2: got label '2', expected one of 0, 1"),
        (f"{_HEADER}a,b,c,d,\n", ":2: got label '', expected one of 0, 1"),
        (f"{_HEADER}a,b,c,d,-1\n", ":2: got label '-1', expected one of 0, 1"),
        (f"{_HEADER} ,b,c,d,0\n", ":2: got an empty sent1, expected"),
        (f"{_HEADER}a,b,c, ,0\n", ":2: got an empty ending1, expected"),
        (f"{_HEADER}a,b,c,d,0\n".encode() + b"a,b,\xff", ":3: got byte 0xff"),
        ("sentence\tlabel\na\t1\n", ":1: .*expected a column 'sent1'"),
        ("sent1,ending0,label\n", ":1: .*expected a column 'ending1'"),
        ("sent1,ending0,ending2,label\n", ":1: .*a column 'ending1'"),
        ("sent1,ending0,ending1\n", ":1: .*expected a column 'label'"),
        (_HEADER, "got no rows"),
        ("", ":1: got columns none; expected a column 'sent1'"),
    ],
)
def test_damaged_file(tmp_path, content, message):
    path = _write(tmp_path, content)
    with pytest.raises(ValueError, match=message) as error:
        multiple_choice.read_examples(path, has_labels=True)
    assert str(error.value).startswith(path)
    assert "\n" not in str(error.value)


def test_the_line_is_that_of_the_rows_beginning(tmp_path):
    path = _write(tmp_path, f'{_HEADER}"a\na",b,c,d,0\n"a\n\na",b,c,d,9\n')
    with pytest.raises(ValueError, match=":4: got label '9'"):
        multiple_choice.read_examples(path, has_labels=True)


def test_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match="nope.csv: got no such file"):
        multiple_choice.read_examples(f"{tmp_path}/nope.csv", has_labels=True)


@pytest.mark.parametrize("num_choices", [2, 3, 5])
def test_features(tokenizer, num_choices):
    examples = [
        multiple_choice.Example(
            "ba be.", tuple("bo bu " * (i + 1) for i in range(num_choices)), 1
        ),
        multiple_choice.Example("bi", ("ba",) * num_choices),
    ]
    features = multiple_choice.features(examples, tokenizer, 16)
    shape = (2, num_choices, 16)
    for row, example in enumerate(examples):
        for column, choice in enumerate(example.choices):
            first = tokenizer.tokenize([example.context]).to_list()[0]
            second = tokenizer.tokenize([choice]).to_list()[0]
            while len(first) + len(second) > 13:
                (first if len(first) > len(second) else second).pop()
            ids = [tokenizer.cls_id, *first, tokenizer.sep_id]
            types = [0] * len(ids) + [1] * (len(second) + 1)
            ids += [*second, tokenizer.sep_id]
            padding = [0] * (16 - len(ids))
            at = row, column
            assert features["input_word_ids"][at].tolist() == ids + padding
            assert features["input_type_ids"][at].tolist() == types + padding
            mask = [1] * len(ids) + padding
            assert features["input_mask"][at].tolist() == mask
    assert features["label_ids"].tolist() == [1, glue.UNKNOWN_LABEL]
    assert features["input_word_ids"].shape == shape
    assert {value.dtype for value in features.values()} == {np.dtype("int32")}


def test_a_text_of_100_000_characters_is_cut(tokenizer, tmp_path):
    path = _write(tmp_path, f"{_HEADER}{'ba ' * 33_333}x,,bo,bu,0\n")
    examples = multiple_choice.read_examples(path, has_labels=True)
    features = multiple_choice.features(examples, tokenizer, 16)
    assert features["input_mask"].all()
    assert (features["input_word_ids"] == tokenizer.sep_id).sum() == 4
