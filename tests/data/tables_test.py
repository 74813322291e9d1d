"""A user's own TSV, CSV and JSONL files."""

import csv
import json

import pytest

from mobilebert_tf.data import classification_sources
from mobilebert_tf.data import tables
from mobilebert_tf.experiments import classification_config

_TEXTS = ['He said "no", twice.', "one, two", "na\u00efve \u2028 text", "x" * 5]
_LABELS = ["10", "2", "b", "a"]


def _write(tmp_path, name, content):
    if isinstance(content, str):
        content = content.encode()
    (tmp_path / name).write_bytes(content)
    return str(tmp_path / name)


def _read(path, text="text", text_b="", label="label"):
    return tables.read_examples(path, tables.Columns(text, text_b, label))


def _content(suffix, rows):
    """Returns rows of (text, label) as the libraries write them."""
    if suffix == "tsv":
        lines = ["text\tother\tlabel", *(f"{t}\t-\t{y}" for t, y in rows)]
        return "\n".join(lines)
    return "\n".join(
        json.dumps({"text": t, "other": None, "label": y}) for t, y in rows
    )


@pytest.mark.parametrize("suffix", ["tsv", "jsonl"])
@pytest.mark.parametrize("begin, end", [("", "\n"), ("\ufeff", "\r\n")])
def test_reads_named_columns(tmp_path, suffix, begin, end):
    rows = list(zip(_TEXTS, _LABELS, strict=True))
    content = begin + _content(suffix, rows).replace("\n", end)
    path = _write(tmp_path, f"train.{suffix}", content)
    examples = _read(path)
    assert [(e.text_a, e.label) for e in examples] == rows
    first = 1 if suffix == "jsonl" else 2
    assert examples[2].guid == f"{path}:{first + 2}"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_as_pythons_csv_module_writes_it(tmp_path, end):
    path = str(tmp_path / "train.CSV")
    texts = [*_TEXTS, "two\nlines", "last"]
    with open(path, "w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream, lineterminator=end)
        writer.writerow(["label", "text"])
        writer.writerows([y, t] for t, y in zip(texts, "abcdef", strict=True))
    examples = _read(path)
    assert [e.text_a for e in examples] == texts
    assert [e.label for e in examples] == list("abcdef")
    assert [e.guid for e in examples[-2:]] == [f"{path}:6", f"{path}:8"]


def test_pairs_and_no_labels(tmp_path):
    path = _write(tmp_path, "test.tsv", "b\ta\nbe\tba\n")
    (example,) = _read(path, "a", "b", "")
    assert (example.text_a, example.text_b, example.label) == ("ba", "be", None)


@pytest.mark.parametrize(
    "label, expected",
    [(1, "1"), (True, "true"), (2.5, "2.5"), ("x", "x")],
)
def test_json_values_are_labels(tmp_path, label, expected):
    path = _write(
        tmp_path, "t.jsonl", json.dumps({"text": "ba", "label": label})
    )
    assert _read(path)[0].label == expected


@pytest.mark.parametrize("suffix", ["tsv", "jsonl"])
def test_a_long_text_is_read(tmp_path, suffix):
    text = "ba " * 33_333 + "b"
    path = _write(tmp_path, f"t.{suffix}", _content(suffix, [(text, "0")]))
    assert _read(path)[0].text_a == text


def test_a_long_text_of_csv_is_read(tmp_path):
    path = _write(tmp_path, "t.csv", f"text,label\n{'b' * 200_000},0\n")
    assert len(_read(path)[0].text_a) == 200_000


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("t.txt", "text\tlabel\n", "got the suffix '.txt', expected one of"),
        ("t.tsv", "text\tx\nba\t1\n", ":1: got columns text, x; .*'label'"),
        ("t.csv", "text,x\nba,1\n", ":1: got columns text, x; .*'label'"),
        ("t.csv", "text,label,text\nba,1,b\n", ":1: .*'text', once"),
        ("t.jsonl", '{"text": "ba"}\n', ":1: got keys text; .*'label'"),
        ("t.tsv", "text\tlabel\n \t1\n", ":2: got an empty text"),
        ("t.csv", 'text,label\na,0\n"",1\n', ":3: got an empty text"),
        ("t.jsonl", '{"text": "", "label": 1}', ":1: got an empty text"),
        ("t.tsv", "text\tlabel\nba\t\n", ":2: got an empty label"),
        ("t.csv", "text,label\nba,\n", ":2: got an empty label"),
        ("t.jsonl", '{"text": "b", "label": null}', ":1: label: got null"),
        ("t.jsonl", '{"text": ["b"], "label": 1}', ":1: text: got"),
        ("t.jsonl", '{"text": "\\ud800", "label": 1}', ":1: text: got half"),
        ("t.tsv", b"text\tlabel\nb\xe9\t1\n", ":2: got byte 0xe9"),
        ("t.csv", b"text,label\nb,1\nb\xe9,1\n", ":3: got byte 0xe9"),
        ("t.jsonl", b'{"text": "b\xe9", "label": 1}', ":1: got byte 0xe9"),
        ("t.tsv", "text\tlabel\nba\t1\nbo", ":3: got 1 columns, expected 2"),
        ("t.csv", "text,label\nba,1\nbo", ":3: got 1 columns, expected 2"),
        ("t.csv", 'text,label\nba,1\n"bo', ":3: not CSV: unexpected end"),
        ("t.jsonl", '{"text": "ba", "la', ":1: not JSON: Unterminated"),
        ("t.jsonl", "[1]", ":1: got list, expected a JSON object"),
        ("t.tsv", "", "got an empty file"),
        ("t.csv", "", "got an empty file"),
        ("t.jsonl", "\n", "got no rows"),
        ("t.csv", "text,label\n", "got no rows"),
    ],
)
def test_damaged_files(tmp_path, name, content, message):
    path = _write(tmp_path, name, content)
    with pytest.raises(ValueError, match=message) as error:
        _read(path)
    assert path in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", ["tsv", "csv", "jsonl"])
def test_a_missing_file(tmp_path, suffix):
    with pytest.raises(ValueError, match=f"no.{suffix}: got no such file"):
        _read(str(tmp_path / f"no.{suffix}"))


def _source(tmp_path, train, dev="", labels=None, **options):
    table = classification_config.TableConfig(
        train_file=_write(tmp_path, "train.csv", f"text,label\n{train}"),
        dev_file=_write(tmp_path, "dev.csv", f"text,label\n{dev}"),
        **options,
    )
    return classification_sources.TableSource(table, labels)


def test_labels_are_those_of_the_training_file_sorted(tmp_path):
    source = _source(tmp_path, "x,good\nx,bad\nx,so so\nx,bad\n")
    assert source.labels == ("bad", "good", "so so")


def test_one_label_is_nothing_to_learn(tmp_path):
    with pytest.raises(ValueError, match="train.csv: got the label 1 alone"):
        _source(tmp_path, "x,1\ny,1\n")


def test_a_label_that_training_did_not_have(tmp_path):
    source = _source(tmp_path, "x,a\nx,b\n", "x,a\nx,c\n")
    with pytest.raises(
        ValueError, match="dev.csv:3: got label 'c', expected one of a, b"
    ):
        source.read("dev")


def test_the_models_labels_count_not_the_files(tmp_path):
    source = _source(tmp_path, "", "x,c\n", labels=("b", "c"))
    assert [e.label for e in source.read("dev")] == ["c"]


def test_a_regression_has_one_value(tmp_path):
    source = _source(tmp_path, "x,1.5\ny,-2\n", regression=True)
    assert source.labels == ("label",)
    assert [e.label for e in source.read("train")] == ["1.5", "-2"]


def test_a_regression_needs_numbers(tmp_path):
    source = _source(tmp_path, "x,1\ny,many\n", regression=True)
    with pytest.raises(
        ValueError, match="train.csv:3: got 'many', expected a number"
    ):
        source.read("train")


def test_a_file_that_is_needed_is_asked_for_by_its_flag(tmp_path):
    source = _source(tmp_path, "x,1\ny,2\n")
    with pytest.raises(ValueError, match="--test_file is required"):
        source.read("test")


@pytest.mark.parametrize("label", ['"a\nb"', '"a\tb"', '"a\u2028b"'])
def test_labels_are_of_one_line(tmp_path, label):
    """They are lines of labels.txt and fields of predictions."""
    path = _write(tmp_path, "t.csv", f"text,label\nba,{label}\n")
    with pytest.raises(ValueError, match="t.csv:2: got 'a.*without tabs"):
        _read(path)


def test_spaces_around_labels_do_not_count(tmp_path):
    path = _write(tmp_path, "t.csv", "text,label\nba,1 \nbe,1\nbi, 1\n")
    assert [example.label for example in _read(path)] == ["1", "1", "1"]


def test_json_that_is_nested_too_deep(tmp_path):
    line = "[" * 100_000
    path = _write(tmp_path, "t.jsonl", f'{{"text": "a", "label": {line}\n')
    with pytest.raises(ValueError, match="t.jsonl:1: not JSON"):
        _read(path)
