"""The demo's corpus and task, made from this environment's packages."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from mobilebert_tf.data import glue
from mobilebert_tf.data import text

_ROOT = pathlib.Path(__file__).parents[2]

_DOCSTRING = """Return the size of the array in bytes.

    This is a paragraph of prose that goes on
    for two lines with ``code`` in it. See :func:`~a.b.size` for the other one.

    Parameters
    ----------
    x : array_like
        The input of the function that is to be measured.

    >>> This is the output of a call to the function.

    name    The column is aligned and so it is a table.

    - The first item of the list is a full sentence.
    - not one, it is a fragment

    Set x_y = 1 to make the value of the result larger.
    Too short.
    """


@pytest.fixture(scope="module", name="output")
def _output(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("demo"))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "demo.corpus",
            f"--output_dir={folder}",
            "--max_megabytes=3",
        ],
        check=True,
        cwd=_ROOT,
        capture_output=True,
    )
    return folder


def test_prose_of_a_docstring():
    # In a process of its own: the module defines flags.
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "import json, sys; from demo import corpus; "
            "print(json.dumps(corpus.prose_sentences(sys.stdin.read())))",
        ],
        input=_DOCSTRING,
        check=True,
        cwd=_ROOT,
        capture_output=True,
        text=True,
    )
    assert json.loads(result.stdout) == [
        "Return the size of the array in bytes.",
        "This is a paragraph of prose that goes on for two lines with code in "
        "it.",
        "See size for the other one.",
        "The input of the function that is to be measured.",
        "The first item of the list is a full sentence.",
    ]


def test_text_is_sentences_by_document(output):
    paths = text.expand([f"{output}/text/*.txt"])
    names = {os.path.basename(path) for path in paths}
    assert {"python_library.txt", "numpy.txt", "sklearn.txt"} <= names
    every = []
    for path in paths:
        with open(path, encoding="utf-8") as stream:
            assert text.guess_format(map(str.strip, stream))[0] == (
                text.SENTENCES
            )
        documents = list(text.read_documents(path))
        assert len(documents) > 20
        every += [s for document in documents for s in document]
    assert len(every) == len(set(every)) > 20_000


def test_task_is_balanced_without_overlap(output):
    splits = {}
    for split in glue.SPLITS:
        examples = glue.read_examples("SST-2", f"{output}/task", split)
        splits[split] = {example.text_a for example in examples}
        assert len(splits[split]) == len(examples)
        if split != glue.TEST:
            labels = [example.label for example in examples]
            assert labels.count("0") == labels.count("1")
            # Mixed: no long run of one label at the beginning.
            assert 35 < labels[:100].count("1") < 65
    assert len(splits[glue.TRAIN]) >= 6000
    assert len(splits[glue.DEV]) == 800
    assert not splits[glue.TRAIN] & (splits[glue.DEV] | splits[glue.TEST])
