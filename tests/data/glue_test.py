import itertools

import numpy as np
import pytest

from mobilebert_tf.data import glue


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


def _stream(batches, **kwargs):
    features = {
        "input_word_ids": np.arange(46, dtype=np.int32).reshape([23, 2]),
        "label_ids": np.arange(23, dtype=np.int32),
    }
    arguments = {"batch_size": 4, "is_training": True, "seed": 1} | kwargs
    dataset = glue.make_dataset(features, **arguments)
    rows = []
    for batch in itertools.islice(dataset, batches):
        labels = batch["label_ids"].numpy()
        words = batch["input_word_ids"].numpy()
        np.testing.assert_array_equal(words[:, 0], 2 * labels)
        rows.append(labels.tolist())
    return rows


def test_one_pass_in_order():
    rows = _stream(None, is_training=False)
    assert sum(rows, []) == list(range(23))
    assert len(_stream(None, is_training=False, drop_remainder=True)) == 5
    assert _stream(None, is_training=False, start_batch=2) == rows[2:]


def test_training_stream_permutes_and_resumes():
    rows = _stream(30)
    flat = sum(rows, [])
    for epoch in range(5):
        part = flat[epoch * 23 : (epoch + 1) * 23]
        assert sorted(part) == list(range(23))
        assert part != list(range(23))
    assert flat[:23] != flat[23:46]
    for start in (1, 5, 6, 23, 27):
        assert _stream(3, start_batch=start) == rows[start : start + 3]
    assert _stream(5, seed=2) != rows[:5]
    assert [len(r) for r in _stream(3, batch_size=50)] == [50, 50, 50]


@pytest.mark.parametrize(
    "task, sizes",
    [("SST-2", (67349, 872, 1821)), ("CoLA", (8551, 1043, 1063))],
)
def test_real_files(real_data, tokenizer, task, sizes):
    folder = str(real_data / "glue" / task)
    for split, size in zip(glue.SPLITS, sizes, strict=True):
        examples = glue.read_examples(task, folder, split)
        assert len(examples) == size
        labels = {example.label for example in examples}
        assert labels == ({None} if split == glue.TEST else {"0", "1"})
