"""An export can be judged by the tokens that clients make."""

import json
import pathlib

import numpy as np
import pytest
import small_models
import task_folders

from export import task_data
from mobilebert_tf import model_directory

# BERT strips the accent, clients keep it and find no such word.
_TEXT = "wörd1 word2"
_MODES = ("bert", "device")


def _word_ids(model_dir, mode, cache_dir):
    """Returns the ids of the last row to verify on."""
    info = model_directory.read_info(model_dir)
    data = task_data.TaskData(
        model_dir,
        model_dir,
        info,
        small_models.SEQUENCE_LENGTH,
        {},
        "",
        str(cache_dir),
        mode,
    )
    (dev,) = data.evaluation_sets()
    return dev.inputs(np.array([len(dev) - 1]))["input_word_ids"][0].tolist()


def _ids(*words):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary += [f"word{i}" for i in range(35)]
    ids = [vocabulary.index(word) for word in words]
    return ids + [0] * (small_models.SEQUENCE_LENGTH - len(ids))


@pytest.mark.parametrize("mode", _MODES)
def test_classifier(mode, tmp_path):
    model_dir = small_models.write_model_directory(str(tmp_path / "model"))
    with open(
        pathlib.Path(model_dir) / "task" / "dev.tsv", "a", encoding="utf-8"
    ) as stream:
        stream.write(f"{_TEXT}\t1\n")
    first = {"bert": "word1", "device": "[UNK]"}[mode]
    assert _word_ids(model_dir, mode, tmp_path) == _ids(
        "[CLS]", first, "word2", "[SEP]"
    )


@pytest.mark.parametrize("mode", _MODES)
def test_questions(mode, tmp_path):
    model_dir = task_folders.write(tmp_path, "question_answering")
    path = tmp_path / "dev.json"
    content = json.loads(path.read_text())
    answer = {"text": "word2", "answer_start": len("wörd1 ")}
    question = {"id": "last", "question": "word3", "answers": [answer]}
    content["data"][0]["paragraphs"].append(
        {"context": _TEXT, "qas": [question]}
    )
    path.write_text(json.dumps(content))
    first = {"bert": "word1", "device": "[UNK]"}[mode]
    assert _word_ids(model_dir, mode, tmp_path / "cache") == _ids(
        "[CLS]", "word3", "[SEP]", first, "word2", "[SEP]"
    )
