import itertools

import numpy as np
import pytest

from mobilebert_tf.data import glue
from mobilebert_tf.data import tsv


def _write(tmp_path, name, content):
    if isinstance(content, str):
        content = content.encode()
    (tmp_path / name).write_bytes(content)
    return str(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "sentence\tlabel\nba be\t1\nbi bo\t0\n",
        "\ufeffsentence\tlabel\r\nba be\t1\r\n\r\nbi bo\t0",
        "label\tsentence\n1\tba be\n\n0\tbi bo\n",
    ],
)
def test_reads_header_files(tmp_path, content):
    folder = _write(tmp_path, "train.tsv", content)
    examples = glue.read_examples("sst-2", folder, glue.TRAIN)
    assert [(e.text_a, e.label) for e in examples] == [
        ("ba be", "1"),
        ("bi bo", "0"),
    ]
    assert [e.guid for e in examples] == ["train-0", "train-1"]


def test_reads_files_without_header_and_quotes(tmp_path):
    folder = _write(
        tmp_path,
        "dev.tsv",
        'gj04\t1\t\tHe said "no.\nks08\t0\t*\t"A\u2028 b\x85 c".',
    )
    examples = glue.read_examples("COLA", folder, glue.DEV)
    assert [e.text_a for e in examples] == [
        'He said "no.',
        '"A\u2028 b\x85 c".',
    ]
    assert [e.label for e in examples] == ["1", "0"]


def test_test_split_has_no_labels(tmp_path):
    folder = _write(tmp_path, "test.tsv", "index\tsentence\n0\tba\n1\tbe\n")
    examples = glue.read_examples("SST-2", folder, glue.TEST)
    assert [(e.text_a, e.label) for e in examples] == [
        ("ba", None),
        ("be", None),
    ]


@pytest.mark.parametrize(
    "content, message",
    [
        ("sentence\tlabel\na\t1\nb\n", ":3: got 1 columns, expected 2"),
        ("sentence\tlabel\na\t1\t2\n", ":2: got 3 columns, expected 2"),
        ("text\tlabel\na\t1\n", ":1: .*text, label; .*column 'sentence'"),
        ("sentence\tlabel\na\t2\n", ":2: got label '2', expected one of 0, 1"),
        (b"sentence\tlabel\nx\t1\na\xff\t1\n", ":3: got byte 0xff"),
        ("sentence\tlabel\na\t1\n\n \t1\n", ":4: got an empty text"),
        ("sentence\tlabel\n\n", "got no rows"),
        ("", "expected a header"),
    ],
)
def test_damaged_file(tmp_path, content, message):
    folder = _write(tmp_path, "train.tsv", content)
    with pytest.raises(ValueError, match=message) as error:
        glue.read_examples("SST-2", folder, glue.TRAIN)
    assert f"{folder}/train.tsv" in str(error.value)


_MNLI = "index\tpromptID\tpairID\tgenre\t{}sentence1\tsentence2{}"
_MNLI_PARSES = (
    "sentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
    "sentence2_parse\t"
)
_MNLI_DEV = _MNLI.format(
    _MNLI_PARSES, "\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label"
)
_STSB = (
    "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1"
    "\tsentence2"
)

# Task, split, file, header, row with a, b and label.
_OFFICIAL = [
    (
        "MRPC",
        "train",
        "train.tsv",
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        "1\t7\t8\ta\tb",
        "1",
    ),
    (
        "MRPC",
        "test",
        "test.tsv",
        "index\t#1 ID\t#2 ID\t#1 String\t#2 String",
        "0\t7\t8\ta\tb",
        None,
    ),
    (
        "STS-B",
        "dev",
        "dev.tsv",
        f"{_STSB}\tscore",
        "0\tg\tf\t2012\t1\tn\tn\ta\tb\t3.800",
        "3.800",
    ),
    ("STS-B", "test", "test.tsv", _STSB, "0\tg\tf\ty\t1\tn\tn\ta\tb", None),
    (
        "QQP",
        "dev",
        "dev.tsv",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        "9\t1\t2\ta\tb\t0",
        "0",
    ),
    (
        "QQP",
        "test",
        "test.tsv",
        "id\tquestion1\tquestion2",
        "0\ta\tb",
        None,
    ),
    (
        "MNLI",
        "train",
        "train.tsv",
        _MNLI.format(_MNLI_PARSES, "\tlabel1\tgold_label"),
        "0\t1\t1n\tfiction\tp\tp\tp\tp\ta\tb\tentailment\tneutral",
        "neutral",
    ),
    *(
        (
            "MNLI",
            split,
            f"{split}{ending}.tsv",
            _MNLI_DEV,
            "0\t1\t1n\tg\tp\tp\tp\tp\ta\tb\tx\tx\tx\tx\tx\tcontradiction",
            "contradiction",
        )
        for split, ending in (("dev", "_matched"), ("dev_mismatched", ""))
    ),
    *(
        (
            "MNLI",
            split,
            f"{split}{ending}.tsv",
            _MNLI.format(_MNLI_PARSES, ""),
            "0\t1\t1n\tg\tp\tp\tp\tp\ta\tb",
            None,
        )
        for split, ending in (("test", "_matched"), ("test_mismatched", ""))
    ),
    (
        "QNLI",
        "train",
        "train.tsv",
        "index\tquestion\tsentence\tlabel",
        "0\ta\tb\tnot_entailment",
        "not_entailment",
    ),
    (
        "RTE",
        "dev",
        "dev.tsv",
        "index\tsentence1\tsentence2\tlabel",
        "0\ta\tb\tentailment",
        "entailment",
    ),
    (
        "WNLI",
        "train",
        "train.tsv",
        "index\tsentence1\tsentence2\tlabel",
        "0\ta\tb\t1",
        "1",
    ),
    *(
        (
            "AX",
            "test",
            name,
            "index\tsentence1\tsentence2",
            "0\ta\tb",
            None,
        )
        for name in ("diagnostic.tsv", "AX.tsv")
    ),
]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("task, split, name, header, row, label", _OFFICIAL)
def test_official_layouts(tmp_path, task, split, name, header, row, label, end):
    folder = _write(tmp_path, name, end.join([header, row, row]))
    examples = glue.read_examples(task, folder, split)
    expected = glue.Example(f"{split}-1", "a", "b", label)
    assert examples[1:] == [expected]


@pytest.mark.parametrize("task", ["MRPC", "STS-B", "QQP", "MNLI", "QNLI"])
def test_another_tasks_file(tmp_path, task):
    rows = "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n"
    folder = _write(tmp_path, "train.tsv", rows)
    with pytest.raises(
        ValueError, match="train.tsv:1: got columns index, .*expected a column"
    ):
        glue.read_examples(task, folder, glue.TRAIN)


@pytest.mark.parametrize("value", ["5.1", "-0.1", "nan", "inf", "high", ""])
def test_a_score_out_of_its_range(tmp_path, value):
    rows = f"sentence1\tsentence2\tscore\na\tb\t0\na\tb\t{value}\n"
    folder = _write(tmp_path, "train.tsv", rows)
    with pytest.raises(
        ValueError, match=f":3: got '{value}', expected a number from 0 to 5"
    ):
        glue.read_examples("STS-B", folder, glue.TRAIN)


def _qqp(num_torn):
    """200 rows and some that a line end within a question tore apart."""
    lines = ["id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"]
    lines += [f"{i}\t1\t2\ta\tb{i}\t1" for i in range(200)]
    for _ in range(num_torn):
        lines.insert(50, "?\tb\t0")
    return "\n".join(lines) + "\n"


def test_torn_rows_of_qqp_are_passed_over(tmp_path, caplog):
    folder = _write(tmp_path, "train.tsv", _qqp(2))
    examples = glue.read_examples("QQP", folder, glue.TRAIN)
    assert [e.text_b for e in examples] == [f"b{i}" for i in range(200)]
    assert "passed over 2 of 202 rows" in caplog.text


def test_many_torn_rows_are_a_wrong_file(tmp_path):
    folder = _write(tmp_path, "train.tsv", _qqp(5))
    with pytest.raises(ValueError, match=":51: got 3 columns, expected 6"):
        glue.read_examples("QQP", folder, glue.TRAIN)


def test_torn_rows_of_a_dev_file_are_not_passed_over(tmp_path):
    folder = _write(tmp_path, "dev.tsv", _qqp(1))
    with pytest.raises(ValueError, match=":51: got 3 columns, expected 6"):
        glue.read_examples("QQP", folder, glue.DEV)


def test_an_empty_question_of_qqp_is_kept(tmp_path, tokenizer):
    rows = "id\tquestion1\tquestion2\n0\tba be\t\n1\t\tba\n"
    folder = _write(tmp_path, "test.tsv", rows)
    examples = glue.read_examples("QQP", folder, glue.TEST)
    features = glue.features(examples, tokenizer, 12, ("0", "1"))
    separators = features["input_word_ids"] == tokenizer.sep_id
    assert separators.sum(axis=1).tolist() == [2, 2]
    assert features["input_word_ids"][1, 1] == tokenizer.sep_id


def test_features_of_a_regression(tokenizer):
    examples = [
        glue.Example("x", "ba", "be", "3.8"),
        glue.Example("y", "ba", "be"),
    ]
    features = glue.features(examples, tokenizer, 8, ("score",))
    assert "label_ids" not in features
    values = features["label_values"]
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, np.float32([3.8, np.nan]))


def test_wrong_names(tmp_path):
    with pytest.raises(ValueError, match="'nope', expected one of CoLA, SST-2"):
        glue.read_examples("nope", str(tmp_path), glue.TRAIN)
    with pytest.raises(ValueError, match="split of SST-2: got 'x'"):
        glue.read_examples("SST-2", str(tmp_path), "x")
    with pytest.raises(ValueError, match="train.tsv: got no such file"):
        glue.read_examples("SST-2", str(tmp_path), glue.TRAIN)


def test_features_of_single_texts(tokenizer):
    texts = ["ba be bi.", "bo", "\u200b", "ba " * 20]
    examples = [
        glue.Example(f"dev-{i}", text, label=label)
        for i, (text, label) in enumerate(zip(texts, "01 1", strict=True))
    ]
    examples[2] = glue.Example("dev-2", texts[2])
    features = glue.features(examples, tokenizer, 10, ("0", "1"))
    for row, text in enumerate(texts):
        ids = tokenizer.tokenize([text]).to_list()[0][:8]
        ids = [tokenizer.cls_id, *ids, tokenizer.sep_id]
        padding = [0] * (10 - len(ids))
        assert features["input_word_ids"][row].tolist() == ids + padding
        mask = [1] * len(ids) + padding
        assert features["input_mask"][row].tolist() == mask
    assert not features["input_type_ids"].any()
    assert features["label_ids"].tolist() == [0, 1, glue.UNKNOWN_LABEL, 1]
    assert {value.dtype for value in features.values()} == {np.dtype("int32")}


def test_features_of_pairs(tokenizer):
    for a, b in itertools.product(range(1, 14), repeat=2):
        example = glue.Example("x", "bo " * a, "be " * b)
        features = glue.features([example], tokenizer, 12, ())
        first = tokenizer.tokenize([example.text_a]).to_list()[0]
        second = tokenizer.tokenize([example.text_b]).to_list()[0]
        while len(first) + len(second) > 9:
            (first if len(first) > len(second) else second).pop()
        ids = [2, *first, 3, *second, 3]
        types = [0] * (len(first) + 2) + [1] * (len(second) + 1)
        padding = [0] * (12 - len(ids))
        assert features["input_word_ids"][0].tolist() == ids + padding
        assert features["input_type_ids"][0].tolist() == types + padding


def test_too_short_length(tokenizer):
    with pytest.raises(ValueError, match="got 2, expected at least 3"):
        glue.features([glue.Example("x", "ba")], tokenizer, 2, ())
    with pytest.raises(ValueError, match="got 4, expected at least 5"):
        glue.features([glue.Example("x", "ba", "be")], tokenizer, 4, ())


_SIZES = {
    "CoLA": (8551, 1043, 1063),
    "SST-2": (67349, 872, 1821),
    "MRPC": (3668, 408, 1725),
    "STS-B": (5749, 1500, 1379),
    "RTE": (2490, 277, 3000),
    "WNLI": (635, 71, 146),
    "QNLI": (10475, 5463, 5463),
}


@pytest.mark.parametrize("name", _SIZES)
def test_real_files(real_data, tmp_path, name):
    """Sizes and labels; test rows are numbered as submissions number them."""
    task = glue.get_task(name)
    folder = real_data / "glue" / name
    if name == "QNLI":
        # Of its training file a tenth is there, under another name.
        for split in (glue.DEV, glue.TEST):
            (tmp_path / f"{split}.tsv").symlink_to(folder / f"{split}.tsv")
        train = folder / "train-10pct.tsv"
        (tmp_path / "train.tsv").symlink_to(train)
        folder = tmp_path
    for split, size in zip(glue.SPLITS, _SIZES[name], strict=True):
        examples = glue.read_examples(name, str(folder), split)
        assert len(examples) == size
        is_pair = task.files[split].text_b is not None
        assert all((e.text_b is not None) == is_pair for e in examples)
        labels = {example.label for example in examples}
        if split == glue.TEST:
            assert labels == {None}
            path = str(folder / "test.tsv")
            rows = tsv.read_columns(path, ["index"], has_header=True)
            assert [v for _, (v,) in rows] == [str(i) for i in range(size)]
        elif name == "STS-B":
            values = [float(label) for label in labels]
            assert (min(values), max(values)) == (0.0, 5.0)
        else:
            assert labels == set(task.labels)


@pytest.mark.parametrize("end, is_warned_of", [("\n", False), ("", True)])
def test_a_last_line_without_end_is_warned_of(
    tmp_path, caplog, end, is_warned_of
):
    folder = _write(tmp_path, "test.tsv", f"index\tsentence\n0\tba be{end}")
    assert len(glue.read_examples("SST-2", folder, glue.TEST)) == 1
    warning = "test.tsv:2: the last line has no end"
    assert (warning in caplog.text) == is_warned_of


def test_real_files_without_their_end(real_data, tmp_path):
    """Cut within the last row of the columns before the label."""
    content = (real_data / "glue/MRPC/train.tsv").read_bytes().rstrip(b"\n")
    folder = _write(tmp_path, "train.tsv", content[: content.rindex(b"\t")])
    with pytest.raises(ValueError, match=":3669: got 4 columns, expected 5"):
        glue.read_examples("MRPC", folder, glue.TRAIN)
