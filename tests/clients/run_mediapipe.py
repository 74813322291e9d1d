"""Runs files in MediaPipe Tasks: JSON jobs on stdin, JSON answers on stdout.

Runs in an environment of its own and imports nothing of the project. A job is
{"task": "classify" or "embed", "model": path, "texts": [...]}; its answer
{"values": [...]}, for each text {label: score} or the embedding, or {"error":
one line} if the client refuses the file.
"""

import json
import sys

from mediapipe.tasks.python import text
from mediapipe.tasks.python.core import base_options


def classify(job):
    """Returns {label: score} of each text."""
    options = text.TextClassifierOptions(base_options.BaseOptions(job["model"]))
    with text.TextClassifier.create_from_options(options) as client:
        results = [client.classify(each) for each in job["texts"]]
    return [
        {
            category.category_name or str(category.index): category.score
            for category in result.classifications[0].categories
        }
        for result in results
    ]


def embed(job):
    """Returns the vector of each text."""
    options = text.TextEmbedderOptions(base_options.BaseOptions(job["model"]))
    with text.TextEmbedder.create_from_options(options) as client:
        results = [client.embed(each) for each in job["texts"]]
    return [
        [float(x) for x in result.embeddings[0].embedding] for result in results
    ]


def run(job):
    """Returns the answer to a job."""
    try:
        return {
            "values": {"classify": classify, "embed": embed}[job["task"]](job)
        }
    except Exception as error:
        # The client's own reason, whatever class it raises.
        return {"error": " ".join(str(error).split())}


if __name__ == "__main__":
    json.dump([run(job) for job in json.load(sys.stdin)], sys.stdout)
