"""GLUE through tensorflow-datasets, prepared from small official files."""

import urllib.error
import urllib.request

import pytest
import tensorflow_datasets as tfds

from mobilebert_tf.data import classification_sources as sources
from mobilebert_tf.data import glue
from mobilebert_tf.data import glue_tasks
from mobilebert_tf.data import glue_tfds

_PAIR = "index\tsentence1\tsentence2\tlabel"
_MNLI = "index\tsentence1\tsentence2\tgold_label"
_NUM_ROWS = 7


def _rows(header, row, labels):
    """Returns a file of some rows: {i} and {label} are filled in."""
    lines = [header] if header else []
    for index in range(_NUM_ROWS):
        label = labels[index % len(labels)]
        lines.append(row.format(i=index, label=label))
    return "\n".join(lines) + "\n"


def _pair_files(labels, header=_PAIR):
    row = "{i}\ta {i} é\tb {i}\t{label}"
    files = {
        f"{split}.tsv": _rows(header, row, labels) for split in ("train", "dev")
    }
    test_header = header.rpartition("\t")[0]
    files["test.tsv"] = _rows(test_header, row.rpartition("\t")[0], labels)
    return files


def _single_files(labels):
    row = "a {i} é\t{label}"
    return {
        "train.tsv": _rows("sentence\tlabel", row, labels),
        "dev.tsv": _rows("sentence\tlabel", row, labels),
        "test.tsv": _rows("index\tsentence", "{i}\ta {i}", labels),
    }


def _cola_files(labels):
    row = "gj04\t{label}\t*\ta {i} é"
    return {
        "train.tsv": _rows("", row, labels),
        "dev.tsv": _rows("", row, labels),
        "test.tsv": _rows("index\tsentence", "{i}\ta {i}", labels),
    }


def _mnli_files(labels):
    files = _pair_files(labels, _MNLI)
    for split in ("dev", "test"):
        content = files.pop(f"{split}.tsv")
        files[f"{split}_matched.tsv"] = content
        files[f"{split}_mismatched.tsv"] = content.replace("a ", "aa ")
    return files


_BINARY = ("1", "0", "1")
_INFERENCE = ("neutral", "contradiction", "entailment")
_ENTAILMENT = ("not_entailment", "entailment")
# Task to the folder in the archive and the files there. MRPC comes from
# Microsoft's files, and AX is one file.
_ARCHIVES = {
    "CoLA": ("CoLA", _cola_files(_BINARY)),
    "SST-2": ("SST-2", _single_files(_BINARY)),
    "STS-B": (
        "STS-B",
        _pair_files(
            ("3.8", "0.0", "5.0", "2.667"), "index\tsentence1\tsentence2\tscore"
        ),
    ),
    "QQP": (
        "QQP",
        _pair_files(_BINARY, "id\tquestion1\tquestion2\tis_duplicate"),
    ),
    "MNLI": ("MNLI", _mnli_files(_INFERENCE)),
    "QNLI": (
        "QNLI",
        _pair_files(_ENTAILMENT, "index\tquestion\tsentence\tlabel"),
    ),
    "RTE": ("RTE", _pair_files(_ENTAILMENT)),
    "WNLI": ("WNLI", _pair_files(_BINARY)),
}
_IDS = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"
_MRPC = _rows(_IDS, "{label}\t{i}\t9{i}\ta {i}\tb {i}", _BINARY)


@pytest.fixture(name="download")
def _download(monkeypatch):
    """Sets what the next download of a dataset's files gives."""
    # Imported when a dataset is written.
    pytest.importorskip("importlib_resources")

    def download(result):
        for name in ("download", "download_and_extract"):
            monkeypatch.setattr(
                tfds.download.DownloadManager, name, lambda self, url: result
            )
        monkeypatch.setattr(glue_tfds, "_check_network", lambda builder: None)

    return download


def _write_archive(tmp_path, name):
    """Returns what an archive is unpacked to, and the task's folder there."""
    folder, files = _ARCHIVES[name]
    target = tmp_path / "archive" / folder
    target.mkdir(parents=True)
    for file_name, content in files.items():
        (target / file_name).write_text(content, encoding="utf-8")
    return target.parent, target


@pytest.mark.parametrize("name", list(_ARCHIVES))
def test_examples_are_those_of_the_files(tmp_path, download, name):
    """The readers of both see the same files, official but for their size."""
    archive, folder = _write_archive(tmp_path, name)
    download(str(archive))
    for split in glue.get_task(name).files:
        expected = glue.read_examples(name, str(folder), split)
        found = glue_tfds.read_examples(name, split, str(tmp_path / "tfds"))
        assert found == expected
        assert len(found) == _NUM_ROWS


def test_the_source_of_a_task_without_files(tmp_path, download):
    archive, folder = _write_archive(tmp_path, "MNLI")
    download(str(archive))
    task = glue.get_task("MNLI")
    of_files = sources.GlueSource(task, str(folder))
    by_name = sources.GlueSource(task, "", str(tmp_path / "tfds"))
    for split in by_name.splits_of(glue.DEV):
        assert by_name.read(split) == of_files.read(split)


def test_mrpc(tmp_path, download):
    dev_ids = "#1 ID\t#2 ID\n2\t92\n5\t95\n"
    paths = {}
    for name, content in (
        ("dev_ids", dev_ids),
        ("train", "\ufeff" + _MRPC),
        ("test", _MRPC),
    ):
        path = tmp_path / f"{name}.txt"
        path.write_text(content, encoding="utf-8")
        paths[name] = str(path)
    download(paths)
    examples = {
        split: [
            (example.text_a, example.text_b, example.label)
            for example in glue_tfds.read_examples(
                "mrpc", split, str(tmp_path / "tfds")
            )
        ]
        for split in glue.SPLITS
    }
    rows = [(f"a {i}", f"b {i}", _BINARY[i % 3]) for i in range(_NUM_ROWS)]
    assert examples["train"] == [rows[i] for i in (0, 1, 3, 4, 6)]
    assert examples["dev"] == [rows[i] for i in (2, 5)]
    assert examples["test"] == [(a, b, None) for a, b, _ in rows]


def test_ax(tmp_path, download):
    path = tmp_path / "diagnostic.tsv"
    path.write_text(_pair_files(_INFERENCE)["test.tsv"], encoding="utf-8")
    download(str(path))
    found = glue_tfds.read_examples("AX", glue.TEST, str(tmp_path / "tfds"))
    assert found == glue.read_examples("AX", str(tmp_path), glue.TEST)


@pytest.mark.parametrize(
    "name", [task.name for task in glue_tasks.TASKS.values()]
)
def test_labels_are_those_of_the_task(name):
    """Of the builder's own names, all have an official text."""
    task = glue.get_task(name)
    dataset = glue_tfds._DATASETS[name]
    assert set(dataset.splits) == set(task.files)
    features = tfds.builder(f"glue/{dataset.name}").info.features
    if dataset.labels is None:
        assert task.value_range == (0.0, 5.0)
        return
    assert list(dataset.labels) == features["label"].names
    assert sorted(dataset.labels.values()) == sorted(task.labels)


def test_another_order_of_labels(tmp_path, download, monkeypatch):
    archive, _ = _write_archive(tmp_path, "WNLI")
    download(str(archive))
    (config,) = [
        each
        for each in tfds.builder_cls("glue").BUILDER_CONFIGS
        if each.name == "wnli"
    ]
    monkeypatch.setattr(
        config, "label_classes", ["entailment", "not_entailment"]
    )
    with pytest.raises(
        ValueError,
        match=r"wnli.*: got labels \['entailment', .*expected \['not_entail",
    ):
        glue_tfds.read_examples("WNLI", glue.TRAIN, str(tmp_path / "tfds"))


def test_without_network(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with pytest.raises(
        ValueError,
        match="no glue/rte: not in .*RTE.zip cannot be reached .Name or .*; "
        "give --data_dir with the official files",
    ) as error:
        glue_tfds.read_examples("RTE", glue.TRAIN, str(tmp_path))
    assert "\n" not in str(error.value)


def test_wrong_names(tmp_path):
    with pytest.raises(ValueError, match="'nope', expected one of CoLA"):
        glue_tfds.read_examples("nope", glue.TRAIN, str(tmp_path))
    with pytest.raises(ValueError, match="split of AX: got 'train', .* test"):
        glue_tfds.read_examples("AX", glue.TRAIN, str(tmp_path))
