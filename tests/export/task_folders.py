"""Folders of small models of each head, with the data of their tasks."""

import csv
import json
import os
import pathlib

import numpy as np
import small_models
import tensorflow as tf

from mobilebert_tf import model_directory
from mobilebert_tf import tokenization
from mobilebert_tf.data import glue
from mobilebert_tf.experiments import classification_config
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import multiple_choice_config
from mobilebert_tf.experiments import question_answering_config
from mobilebert_tf.experiments import tagging_config

CHOICES = 3
COUNT = 40
TAGS = ("O", "B-A", "I-A", "B-B", "I-B")

_CONFIG = small_models.CONFIGS["mobilebert"]
_LENGTH = small_models.SEQUENCE_LENGTH
_WORDS = [f"word{i}" for i in range(35)]


def write(folder: pathlib.Path, head: str) -> str:
    """Writes a randomised model and the task that it was "trained" on.

    Args:
        folder: to write to.
        head: of small_models.MAKERS, one with a task.

    Returns:
        The folder of the model.
    """
    model = small_models.MAKERS[head](_CONFIG)
    model_dir = folder / "model"
    model_dir.mkdir(parents=True)
    vocab_file = model_dir / model_directory.VOCAB_FILE
    vocabulary = [*tokenization.SPECIAL_TOKENS, *_WORDS]
    vocab_file.write_text("".join(f"{token}\n" for token in vocabulary))
    tokenizer = tokenization.WordPieceTokenizer(str(vocab_file))
    info, defaults, values = _TASKS[head](folder, model, tokenizer)
    model_directory.write(str(model_dir), _CONFIG, info, str(vocab_file))
    params = experiment_builder.build(defaults, [], "", values)
    experiment_builder.write_params(params, str(model_dir))
    checkpoint = tf.train.Checkpoint(model=model)
    manager = tf.train.CheckpointManager(checkpoint, str(model_dir), 1)
    manager.save()
    return str(model_dir)


def _text(generator, longest):
    return " ".join(generator.choice(_WORDS, generator.integers(2, longest)))


def _regression(folder, model, tokenizer):
    """Pairs in CSV with the value that the model itself gives them."""
    generator = np.random.default_rng(3)
    files = {}
    for split in ("train", "dev"):
        pairs = [
            (_text(generator, 6), _text(generator, 6)) for _ in range(COUNT)
        ]
        examples = [glue.Example("", *pair) for pair in pairs]
        inputs = glue.features(examples, tokenizer, _LENGTH, labels=())
        values = model(inputs)["logits"].numpy()[:, 0]
        files[split] = str(folder / f"{split}.csv")
        with open(files[split], "w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["left", "right", "value"])
            writer.writerows(
                (*pair, value)
                for pair, value in zip(pairs, values, strict=True)
            )
    info = model_directory.ModelInfo(
        model_directory.SEQUENCE_CLASSIFICATION, _LENGTH, labels=("value",)
    )
    values = {
        "task.table.train_file": files["train"],
        "task.table.dev_file": files["dev"],
        "task.table.text_column": "left",
        "task.table.text_b_column": "right",
        "task.table.label_column": "value",
        "task.table.regression": True,
    }
    return info, classification_config.classification(), values


def _question_answering(folder, model, tokenizer):
    """SQuAD v1.1 with answers anywhere, in windows of the model's length."""
    del model, tokenizer
    generator = np.random.default_rng(4)
    files = {}
    for split in ("train", "dev"):
        paragraphs = []
        for number in range(COUNT // 2):
            words = generator.choice(_WORDS, 14).tolist()
            first = int(generator.integers(0, 12))
            answer = {
                "text": " ".join(words[first : first + 2]),
                "answer_start": len(" ".join(words[:first])) + (first > 0),
            }
            question = {
                "id": f"{split}{number}",
                "question": _text(generator, 4),
                "answers": [answer],
            }
            paragraphs.append({"context": " ".join(words), "qas": [question]})
        files[split] = folder / f"{split}.json"
        content = {"version": "1.1", "data": [{"paragraphs": paragraphs}]}
        files[split].write_text(json.dumps(content))
    info = model_directory.ModelInfo(
        model_directory.QUESTION_ANSWERING, _LENGTH
    )
    values = {
        "task.train_data.input_path": str(files["train"]),
        "task.validation_data.input_path": str(files["dev"]),
        "task.max_seq_length": _LENGTH,
        "task.max_query_length": 4,
        "task.doc_stride": 4,
    }
    return info, question_answering_config.question_answering(), values


def _token_classification(folder, model, tokenizer):
    """Columns with tags at random."""
    del model, tokenizer
    generator = np.random.default_rng(5)
    for split in ("train", "dev"):
        lines = []
        for _ in range(COUNT):
            for word in _text(generator, 20).split():
                tag = generator.choice(["O", "B-A", "B-B"])
                lines.append(f"{word} {tag}\n")
            lines.append("\n")
        (folder / f"{split}.txt").write_text("".join(lines))
    info = model_directory.ModelInfo(
        model_directory.TOKEN_CLASSIFICATION,
        _LENGTH,
        labels=TAGS,
        data_dir=str(folder),
    )
    return info, tagging_config.tagging(), {"task.data_dir": "moved since"}


def _multiple_choice(folder, model, tokenizer):
    """SWAG's layout; the right choice is the first."""
    del model, tokenizer
    generator = np.random.default_rng(6)
    endings = [f"ending{i}" for i in range(CHOICES)]
    for name in ("train", "val"):
        with open(folder / f"{name}.csv", "w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["sent1", "sent2", *endings, "label"])
            for _ in range(COUNT):
                texts = [_text(generator, 5) for _ in range(1 + CHOICES)]
                writer.writerow([texts[0], "", *texts[1:], 0])
    info = model_directory.ModelInfo(
        model_directory.MULTIPLE_CHOICE, _LENGTH, data_dir=str(folder)
    )
    return info, multiple_choice_config.multiple_choice(), {}


_TASKS = {
    "regression": _regression,
    "question_answering": _question_answering,
    "token_classification": _token_classification,
    "multiple_choice": _multiple_choice,
}
HEADS = tuple(_TASKS)


def dev_file(model_dir: str, name: str) -> str:
    """Returns the path of a file beside the model's folder."""
    return os.path.join(os.path.dirname(model_dir), name)
