"""Loading a teacher, and what sets it apart from a student."""

import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf import model_directory
from mobilebert_tf import tokenization
from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.experiments import task_distillation_config
from mobilebert_tf.fine_tuning import model_selection
from mobilebert_tf.fine_tuning import teachers
from mobilebert_tf.modeling import config as config_lib

_NETWORK = config_lib.micro(
    vocab_size=8,
    hidden_size=16,
    embedding_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    max_position_embeddings=16,
)
_INFO = model_directory.ModelInfo(
    head=model_directory.SEQUENCE_CLASSIFICATION,
    max_seq_length=16,
    task_name="sst-2",
    labels=("0", "1"),
)


def _write_vocabulary(path, *words):
    path.write_text("\n".join([*tokenization.SPECIAL_TOKENS, *words]) + "\n")
    return str(path)


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    return tmp_path_factory.mktemp("teacher")


@pytest.fixture(scope="module", name="vocab_file")
def _vocab_file(folder):
    return _write_vocabulary(folder / "words.txt", "a", "b", "c")


def _save(folder, vocab_file, info=_INFO):
    model_directory.write(folder, _NETWORK, info, vocab_file)
    model = model_directory.make_model(_NETWORK, info)
    model.build_weights()
    tf.train.CheckpointManager(
        tf.train.Checkpoint(model=model),
        folder,
        max_to_keep=1,
        checkpoint_name="ckpt",
    ).save(checkpoint_number=1)
    return model


@pytest.fixture(scope="module", name="teacher")
def _teacher(folder, vocab_file):
    path = str(folder / "run")
    _save(path, vocab_file)
    return path


def _load(teacher, vocab_file, **info):
    return teachers.load(
        task_distillation_config.TaskDistillationConfig(teacher_dir=teacher),
        dataclasses.replace(_INFO, **info),
        _NETWORK,
        vocab_file,
    )


def test_without_a_teacher(vocab_file):
    assert _load("", vocab_file) is None


def test_the_best_model_teaches(tmp_path, vocab_file):
    """Its logits, not those of the run's last step."""
    folder = tmp_path / "run"
    _save(str(folder), vocab_file)
    best = _save(str(folder / model_selection.BEST), vocab_file)
    inputs = {
        "input_word_ids": np.array([[2, 5, 6, 3]], np.int32),
        "input_mask": np.ones([1, 4], np.int32),
        "input_type_ids": np.zeros([1, 4], np.int32),
    }
    logits = _load(str(folder), vocab_file).teacher_logits(
        rows_lib.ArrayRows(inputs)
    )
    expected = best(inputs)["logits"].numpy()
    assert logits["teacher_logits"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "info, message",
    [
        (
            {"head": model_directory.QUESTION_ANSWERING, "labels": ()},
            "with head question_answering, as the student, got sequence_",
        ),
        ({"labels": ("1", "0")}, "teacher 0, 1, student 1, 0"),
        ({"labels": ("0", "1", "2")}, "teacher 0, 1, student 0, 1, 2"),
        ({"task_name": "cola"}, "a teacher of cola, as the student, got one"),
        ({"lower_case": False}, "True of the teacher, False of the student"),
        ({"max_seq_length": 17}, "max_position_embeddings=16, got 17"),
    ],
)
def test_a_teacher_of_something_else(teacher, vocab_file, info, message):
    with pytest.raises(ValueError, match=message):
        _load(teacher, vocab_file, **info)


def test_a_task_without_name_may_be_any(teacher, vocab_file):
    assert _load(teacher, vocab_file, task_name="") is not None


def test_a_teacher_of_other_tokens(teacher, tmp_path):
    vocab_file = _write_vocabulary(tmp_path / "other.txt", "a", "c", "b")
    with pytest.raises(ValueError, match="must read the same tokens"):
        _load(teacher, vocab_file)


def test_a_folder_without_model(tmp_path, vocab_file):
    with pytest.raises(ValueError, match="not a model folder"):
        _load(str(tmp_path), vocab_file)
    with pytest.raises(ValueError, match="teacher_dir"):
        _load(str(tmp_path / "nowhere"), vocab_file)


def test_a_folder_without_checkpoint(tmp_path, vocab_file):
    folder = str(tmp_path / "run")
    model_directory.write(folder, _NETWORK, _INFO, vocab_file)
    with pytest.raises(ValueError, match="no checkpoint"):
        _load(folder, vocab_file)
    assert pathlib.Path(folder, model_directory.VOCAB_FILE).exists()
