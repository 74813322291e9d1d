"""Files of small models, and what each client says of them.

A client's process takes seconds to start: one runs all its jobs.
"""

import types

import client_models
import client_processes
import numpy as np
import pytest
import small_models

from export import metadata

TEXTS = [
    "word1 word2 word3",
    "WORD4 Word5, word6! (word7)",
    "wörd8 word9 naïve",
    "unknown words only",
    "",
    " ".join(f"word{i}" for i in range(35)),  # Longer than the model takes.
    *(
        " ".join(np.random.default_rng(seed).choice(client_models.WORDS, 8))
        for seed in range(24)
    ),
]
QUESTIONS = [
    [
        " ".join(np.random.default_rng(seed).choice(client_models.WORDS, 4)),
        " ".join(
            np.random.default_rng(seed + 99).choice(client_models.WORDS, size)
        ),
    ]
    # Almost all of the model's tokens, and more. Random networks choose
    # padding as well, which has no answer.
    for seed, size in enumerate((340, 350, 360, 370, 376, 377, 378, 400))
]


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Paths by (model, variant), and the vocabulary's."""
    folder = tmp_path_factory.mktemp("clients")
    vocab_file = folder / "vocab.txt"
    vocab_file.write_text("\n".join(client_models.VOCABULARY) + "\n")
    embedder = small_models.MAKERS["embedding_mean"](
        client_models.config(client_models.LENGTH)
    )
    answerer = small_models.MAKERS["question_answering"](
        client_models.config(client_models.QUESTION_LENGTH)
    )
    short, long = client_models.LENGTH, client_models.QUESTION_LENGTH
    paths = {}
    for name, model, length, labels in (
        ("classifier", client_models.classifier(), short, client_models.LABELS),
        ("embedder", embedder, short, ()),
        ("answerer", answerer, long, ()),
    ):
        contents = client_models.contents(model, length)
        for variant, content in contents.items():
            packed = metadata.pack(content, client_models.description(labels))
            path = folder / f"{name}_{variant}.tflite"
            paths[name, variant] = client_models.write(path, packed)
        plain = contents["float32"]
        other = client_models.description(labels, clients_tokenize=False)
        path = folder / f"{name}_no_tokenizer.tflite"
        paths[name, "no_tokenizer"] = client_models.write(
            path, metadata.pack(plain, other)
        )
        path = folder / f"{name}_no_metadata.tflite"
        paths[name, "no_metadata"] = client_models.write(path, plain)
    paths["classifier", "misstamped"] = client_models.write(
        folder / "misstamped.tflite",
        client_models.misstamp(paths["classifier", "dynamic"]),
    )
    return types.SimpleNamespace(paths=paths, vocab_file=str(vocab_file))


@pytest.fixture(scope="session")
def mediapipe(files):
    """MediaPipe's answers by (model, variant); it has no question answerer."""
    tasks = {"classifier": "classify", "embedder": "embed"}
    return _answers(client_processes.MEDIAPIPE, files, tasks)


@pytest.fixture(scope="session")
def task_library(files):
    """The Task Library's answers by (model, variant)."""
    tasks = {
        "classifier": "classify",
        "embedder": "embed",
        "answerer": "answer",
    }
    return _answers(client_processes.TASK_LIBRARY, files, tasks)


def _answers(client, files, tasks):
    keys = [key for key in files.paths if key[0] in tasks]
    jobs = [
        {
            "task": tasks[key[0]],
            "model": files.paths[key],
            "texts": TEXTS,
            "questions": QUESTIONS,
        }
        for key in keys
    ]
    return dict(zip(keys, client_processes.run(client, jobs), strict=True))
