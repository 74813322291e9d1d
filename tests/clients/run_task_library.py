"""Runs files in the TFLite Task Library: see run_mediapipe.py.

Besides {"task": "answer", "model": path, "questions": [[question, text], ...]}:
for each pair the answers as [text, start, end, score], the best first.
"""

import json
import sys

from tflite_support.task import text


def classify(job):
    """Returns {label: score} of each text."""
    client = text.BertNLClassifier.create_from_file(job["model"])
    results = [client.classify(each) for each in job["texts"]]
    return [
        {
            category.category_name: category.score
            for category in result.classifications[0].categories
        }
        for result in results
    ]


def embed(job):
    """Returns the vector of each text."""
    client = text.TextEmbedder.create_from_file(job["model"])
    results = [client.embed(each) for each in job["texts"]]
    return [
        [float(x) for x in result.embeddings[0].feature_vector.value]
        for result in results
    ]


def answer(job):
    """Returns the answers to each question, [text, start, end, score]."""
    client = text.BertQuestionAnswerer.create_from_file(job["model"])
    results = [
        client.answer(context, question)
        for question, context in job["questions"]
    ]
    return [
        [
            [each.text, each.pos.start, each.pos.end, each.pos.logit]
            for each in result.answers
        ]
        for result in results
    ]


def run(job):
    """Returns the answer to a job."""
    tasks = {"classify": classify, "embed": embed, "answer": answer}
    try:
        return {"values": tasks[job["task"]](job)}
    except Exception as error:
        # The client's own reason, whatever class it raises.
        return {"error": " ".join(str(error).split())}


if __name__ == "__main__":
    json.dump([run(job) for job in json.load(sys.stdin)], sys.stdout)
