"""GLUE by name, through tensorflow-datasets: the examples of data/glue.py.

The dataset "glue" (version 2) of tensorflow-datasets is made of the official
files. It names their columns and labels anew, numbers the labels, and writes
the rows in an order of its own with their number in the file beside them; all
of this is undone here. Only a score's text is lost: 3.8, where the file of
STS-B has 3.800.
"""

import dataclasses
import os
import urllib.error
import urllib.request
from collections.abc import Mapping

import tensorflow_datasets as tfds
from absl import logging

from mobilebert_tf import cli
from mobilebert_tf.data import glue
from mobilebert_tf.data import glue_tasks

# Serves the files of all tasks but AX.
_SERVER = "https://dl.fbaipublicfiles.com"
_SECONDS = 20


@dataclasses.dataclass(frozen=True)
class _Dataset:
    """What the dataset of a task is like.

    Attributes:
        name: of the builder's config.
        columns: names of the texts.
        labels: of a label's name, its text in the official files; in the
            order of the numbers. None of a regression.
        splits: its splits by those of glue_tasks.
    """

    name: str
    columns: tuple[str, ...]
    labels: Mapping[str, str] | None
    splits: Mapping[str, str]


_SPLITS = {
    glue.TRAIN: "train",
    glue.DEV: "validation",
    glue.TEST: "test",
}
_MNLI_SPLITS = {
    glue.TRAIN: "train",
    glue.DEV: "validation_matched",
    glue_tasks.DEV_MISMATCHED: "validation_mismatched",
    glue.TEST: "test_matched",
    glue_tasks.TEST_MISMATCHED: "test_mismatched",
}
_SENTENCES = ("sentence1", "sentence2")
_PREMISE = ("premise", "hypothesis")
_ENTAILMENT = {
    "entailment": "entailment",
    "not_entailment": "not_entailment",
}
_INFERENCE = {
    "entailment": "entailment",
    "neutral": "neutral",
    "contradiction": "contradiction",
}

_DATASETS = {
    "CoLA": _Dataset(
        "cola", ("sentence",), {"unacceptable": "0", "acceptable": "1"}, _SPLITS
    ),
    "SST-2": _Dataset(
        "sst2", ("sentence",), {"negative": "0", "positive": "1"}, _SPLITS
    ),
    "MRPC": _Dataset(
        "mrpc", _SENTENCES, {"not_equivalent": "0", "equivalent": "1"}, _SPLITS
    ),
    "STS-B": _Dataset("stsb", _SENTENCES, None, _SPLITS),
    "QQP": _Dataset(
        "qqp",
        ("question1", "question2"),
        {"not_duplicate": "0", "duplicate": "1"},
        _SPLITS,
    ),
    "MNLI": _Dataset("mnli", _PREMISE, _INFERENCE, _MNLI_SPLITS),
    "QNLI": _Dataset("qnli", ("question", "sentence"), _ENTAILMENT, _SPLITS),
    "RTE": _Dataset("rte", _SENTENCES, _ENTAILMENT, _SPLITS),
    "WNLI": _Dataset(
        "wnli", _SENTENCES, {"not_entailment": "0", "entailment": "1"}, _SPLITS
    ),
    "AX": _Dataset("ax", _PREMISE, _INFERENCE, {glue.TEST: "test"}),
}


def read_examples(
    task: str, split: str, tfds_data_dir: str = ""
) -> list[glue.Example]:
    """Reads one split of a task; downloads the task the first time.

    Args:
        task: name of a task, in any case.
        split: one that the task has.
        tfds_data_dir: folder of prepared datasets; "" is the default one of
            tensorflow-datasets, TFDS_DATA_DIR or ~/tensorflow_datasets.

    Returns:
        The examples in the order of the official file.

    Raises:
        ValueError: if the task or split is unknown, if the dataset is not
            there and cannot be downloaded, or if it is not as described here.
    """
    task = glue.get_task(task)
    dataset = _DATASETS[task.name]
    if split not in dataset.splits:
        raise ValueError(
            f"split of {task.name}: got {split!r}, expected one of "
            f"{', '.join(dataset.splits)}"
        )
    builder = _prepared(dataset, tfds_data_dir)
    _check_features(builder, dataset)
    place = f"{builder.info.full_name}/{dataset.splits[split]}"
    rows = list(tfds.as_numpy(builder.as_dataset(split=dataset.splits[split])))
    rows.sort(key=lambda row: int(row["idx"]))
    files = task.files[split]
    columns = dict(zip(("text_a", "text_b"), dataset.columns, strict=False))
    examples = []
    for row in rows:
        row_place = f"{place}, idx {row['idx']}"
        example = glue.Example(
            guid=f"{split}-{len(examples)}",
            label=None
            if files.label is None
            else _label(row["label"], dataset.labels),
            **{
                field: row[column].decode("utf-8")
                for field, column in columns.items()
            },
        )
        if not files.has_empty_texts:
            glue.check_texts(example, columns, row_place)
        if example.label is not None:
            glue.check_label(
                example.label, task.labels, row_place, task.value_range
            )
        examples.append(example)
    if not examples:
        raise ValueError(f"{place}: got no rows")
    return examples


def _label(value, labels):
    """Returns the official text; that of an unlabelled row is unknown."""
    if labels is None:
        return str(value)
    texts = list(labels.values())
    return texts[value] if 0 <= value < len(texts) else str(value)


def _prepared(dataset, tfds_data_dir):
    """Returns the builder of a dataset that is on disk."""
    try:
        builder = tfds.builder(
            f"glue/{dataset.name}", data_dir=tfds_data_dir or None
        )
        if not os.path.exists(
            os.path.join(builder.data_path, "dataset_info.json")
        ):
            _check_network(builder)
            logging.info(
                "downloading %s to %s",
                builder.info.full_name,
                builder.data_path,
            )
            builder.download_and_prepare()
        return builder
    # Whatever its many parts raise.
    except Exception as error:  # pylint: disable=broad-except
        raise ValueError(
            f"tensorflow-datasets: no glue/{dataset.name}: "
            f"{cli.one_line(error)}; give --data_dir with the official files"
        ) from error


def _check_network(builder):
    """Raises OSError at once where a download would retry for minutes."""
    url = builder.builder_config.data_url or _SERVER
    request = urllib.request.Request(url, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_SECONDS).close()
    except urllib.error.HTTPError:
        return  # Somebody answered.
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise OSError(
            f"not in {builder.data_dir}, and {url} cannot be reached ({reason})"
        ) from error


def _check_features(builder, dataset):
    """Raises ValueError unless columns and labels are those expected."""
    features = builder.info.features
    expected = sorted((*dataset.columns, "label", "idx"))
    if sorted(features) != expected:
        raise ValueError(
            f"{builder.data_path}: got columns {', '.join(sorted(features))}, "
            f"expected {', '.join(expected)}"
        )
    names = getattr(features["label"], "names", None)
    wanted = None if dataset.labels is None else list(dataset.labels)
    if names != wanted:
        raise ValueError(
            f"{builder.data_path}: got labels {names}, expected {wanted}"
        )
