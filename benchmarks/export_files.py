"""The files that export_latency.py compares: made, or found where they are."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence

from absl import logging

from mobilebert_tf import files

_FOLDER = os.path.dirname(os.path.abspath(__file__))
OURS = "ours"
_HUGGINGFACE = "huggingface"
# In the order in which they are made.
FILES = {
    OURS: ("float32", "dynamic", "int8", "classifier_int8", "questions_int8"),
    "garden": ("float32", "dynamic", "int8_padded", "int8_unpadded"),
    _HUGGINGFACE: ("float32", "dynamic"),
    "bert_base": ("float32",),
    "roof": ("float32", "int8"),
}
# What the peers' files depend on, beside their length.
_SOURCES = (
    "export_huggingface.py",
    "export_peers.py",
    "export_weights.py",
    "pretraining_distillation.py",
)


def content_key(paths: Sequence[str]) -> str:
    """Returns 12 hexadecimal digits of the content of files."""
    digest = hashlib.sha256()
    for path in paths:
        content = files.read_bytes(path)
        digest.update(b"%d:" % len(content) + content)
    return digest.hexdigest()[:12]


def make(
    network: str, length: int, work_dir: str, huggingface_python: str | None
) -> list[str]:
    """Makes the files of a network, or finds them in `work_dir`.

    Files of others are kept by the content of what makes them. Ours are made
    anew: they are what is being worked on.

    Args:
        network: of FILES.
        length: tokens of the input.
        work_dir: folder of folders of files.
        huggingface_python: interpreter with transformers and TensorFlow.

    Returns:
        Their paths; none if there is no interpreter to make them with.

    Raises:
        ValueError: if the process that makes them fails.
    """
    python, script = sys.executable, "export_peers.py"
    arguments = [f"--peer={network}"]
    if network == OURS:
        script, arguments = "export_ours.py", []
    elif network == _HUGGINGFACE:
        python, script = huggingface_python, "export_huggingface.py"
        arguments = []
        if not python:
            logging.warning(
                "Hugging Face's files are left out, and so are the bars that "
                "need them: --huggingface_python is not given"
            )
            return []
    key = content_key([os.path.join(_FOLDER, name) for name in _SOURCES])
    folder = os.path.join(work_dir, f"{network}-{length}-{key}")
    paths = [
        os.path.join(folder, f"{network}_{variant}.tflite")
        for variant in FILES[network]
    ]
    if network == OURS or not all(map(os.path.exists, paths)):
        logging.info("making %s", network)
        os.makedirs(folder, exist_ok=True)
        run(
            [
                python,
                os.path.join(_FOLDER, script),
                *arguments,
                f"--length={length}",
                f"--folder={folder}",
            ]
        )
    return paths


def run(command: Sequence[str]) -> str:
    """Runs a command; returns what it prints to stdout.

    Raises:
        ValueError: if it fails, with its last line.
    """
    environment = dict(os.environ, PYTHONPATH=os.path.dirname(_FOLDER))
    result = subprocess.run(
        command, capture_output=True, text=True, env=environment
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no message"]
        raise ValueError(f"{' '.join(command)}: {lines[-1]}")
    return result.stdout
