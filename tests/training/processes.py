"""Runs in processes of their own, and what they leave."""

import os
import pathlib
import re
import socket
import subprocess
import sys

import tensorflow as tf

from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.training import training_log

_ROOT = str(pathlib.Path(__file__).parents[2])
_SECONDS = 900


def start(params, model_dir, log, **environment):
    """Starts run_pretraining on an experiment; its output goes to `log`."""
    folder = f"{log}.params"
    os.makedirs(folder, exist_ok=True)
    experiment_builder.write_params(params, folder)
    with open(log, "w", encoding="utf-8") as stream:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "mobilebert_tf.run_pretraining",
                f"--config_file={folder}/{experiment_builder.PARAMS_FILE}",
                f"--model_dir={model_dir}",
            ],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": _ROOT, **environment},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )


def finish(process, log):
    """Waits for the end, which must be a success."""
    process.wait(timeout=_SECONDS)
    assert process.returncode == 0, pathlib.Path(log).read_text()[-3000:]


def free_ports(count):
    """Returns TCP ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def losses(model_dir):
    """Returns {(kind, step): loss terms} of metrics.jsonl."""
    return {
        (row["kind"], row["step"]): {
            name: value
            for name, value in row.items()
            if name.endswith(("_loss", "accuracy"))
        }
        for row in training_log.read_metrics(model_dir)
    }


def variables(model_dir):
    """Returns {name: value} of the model in the newest checkpoint."""
    checkpoint = tf.train.latest_checkpoint(model_dir)
    return {
        re.sub("/.ATTRIBUTES.*", "", name): tf.train.load_variable(
            checkpoint, name
        )
        for name, _ in tf.train.list_variables(checkpoint)
        if name.startswith("model/") and "OPTIMIZER_SLOT" not in name
    }
