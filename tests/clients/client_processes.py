"""The Pythons that have the client libraries, and jobs for them."""

import json
import os
import pathlib
import subprocess

import pytest

MEDIAPIPE = "mediapipe"
TASK_LIBRARY = "task_library"

_FOLDER = pathlib.Path(__file__).parent
_ROOT = _FOLDER.parent.parent
# Variable that names a Python, and the folder that `make test-clients` makes.
_PYTHONS = {
    MEDIAPIPE: ("MEDIAPIPE_CLIENT_PYTHON", ".venv-mediapipe"),
    TASK_LIBRARY: ("TASK_LIBRARY_CLIENT_PYTHON", ".venv-task-library"),
}
_TIMEOUT_SECONDS = 600


def run(client: str, jobs: list[dict]) -> list[dict]:
    """Returns the answers of a client to jobs; see run_mediapipe.py.

    Skips the test if there is no environment with the client.
    """
    variable, folder = _PYTHONS[client]
    python = os.environ.get(variable) or _ROOT / folder / "bin" / "python"
    if not os.path.isfile(python):
        pytest.skip(f"no {python}: `make test-clients` makes it")
    process = subprocess.run(
        [python, _FOLDER / f"run_{client}.py"],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        # The Python of the client, and only its packages.
        env={
            name: value
            for name, value in os.environ.items()
            if name != "PYTHONPATH"
        },
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)
