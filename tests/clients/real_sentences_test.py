"""A fine-tuned classifier in the clients, on real sentences.

MOBILEBERT_EXPORTED names the folder of an export of SST-2 (model_*.tflite,
vocab.txt, labels.txt), MOBILEBERT_DATA that of glue/SST-2.
"""

import os
import pathlib

import client_models
import client_processes
import numpy as np
import pytest

from export import metadata
from mobilebert_tf import tokenization
from mobilebert_tf.data import tsv

_DATA = pathlib.Path(os.environ.get("MOBILEBERT_DATA", "../shared/data"))
_DEV = _DATA / "glue" / "SST-2" / "dev.tsv"
_EXPORTED = os.environ.get("MOBILEBERT_EXPORTED", "")
_CLIENTS = (client_processes.MEDIAPIPE, client_processes.TASK_LIBRARY)
# Task Library's runtime rounds integers in other places than LiteRT 2.3.
_MIN_SAME_LABELS = {"float32": 1.0, "int8": 0.99}

pytestmark = [
    pytest.mark.skipif(
        not _EXPORTED, reason="MOBILEBERT_EXPORTED names no folder"
    ),
    pytest.mark.skipif(not _DEV.is_file(), reason=f"no {_DEV}"),
]


@pytest.fixture(scope="module", name="sentences")
def _sentences():
    rows = tsv.read_columns(str(_DEV), ["sentence", "label"], has_header=True)
    texts, labels = zip(*(values for _, values in rows), strict=True)
    return list(texts), np.array([int(label) for label in labels])


@pytest.fixture(scope="module", name="packed")
def _packed(tmp_path_factory):
    """Paths by variant; packed here if the export did not."""
    folder = pathlib.Path(_EXPORTED)
    vocabulary = tokenization.load_vocabulary(str(folder / "vocab.txt"))
    labels = (folder / "labels.txt").read_text().split()
    paths = {}
    for variant in _MIN_SAME_LABELS:
        content = (folder / f"model_{variant}.tflite").read_bytes()
        path = tmp_path_factory.mktemp("packed") / f"{variant}.tflite"
        description = metadata.Description("SST-2", vocabulary, labels)
        path.write_bytes(metadata.pack(content, description))
        paths[variant] = str(path)
    return paths, vocabulary, labels


@pytest.mark.parametrize("client", _CLIENTS)
def test_labels_of_sst2_are_ours(client, sentences, packed, capsys):
    paths, vocabulary, labels = packed
    texts, gold = sentences
    jobs = [
        {"task": "classify", "model": path, "texts": texts}
        for path in paths.values()
    ]
    answers = client_processes.run(client, jobs)
    tokens = client_models.device_ids(
        texts, str(pathlib.Path(_EXPORTED) / "vocab.txt")
    )
    for variant, answer in zip(paths, answers, strict=True):
        actual = np.array(
            [[row[label] for label in labels] for row in answer["values"]]
        )
        (expected,) = client_models.run(
            paths[variant],
            [[text] for text in tokens],
            length=client_models.length_of(paths[variant]),
            vocabulary=vocabulary,
        ).values()
        same = (actual.argmax(1) == expected.argmax(1)).mean()
        with capsys.disabled():
            print(
                f"\n{client} {variant}: accuracy "
                f"{np.mean(actual.argmax(1) == gold):.4f}, ours "
                f"{np.mean(expected.argmax(1) == gold):.4f}, same label "
                f"{same:.4f}, largest difference "
                f"{np.abs(actual - expected).max():.2g}"
            )
        assert same >= _MIN_SAME_LABELS[variant]
