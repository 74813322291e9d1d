"""metrics.jsonl, the progress line, and runs that become NaN."""

import logging as python_logging
import types

import pytest
import tensorflow as tf
from absl import logging

from mobilebert_tf.distillation import schedule
from mobilebert_tf.training import training_log
from tests.training import conftest

_STAGE = schedule.Stage(
    "transfer_1",
    10,
    20,
    pretraining=False,
    blocks=(1,),
    block_rates=(0.25, 1.0, 0.0),
)


@pytest.fixture(name="lines")
def _lines():
    """Returns the messages that absl logs during a test."""
    messages = []
    handler = python_logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.get_absl_logger()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(python_logging.INFO)
    yield messages
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_a_loop_leaves_a_row_and_a_line(tmp_path, lines, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(training_log.time, "monotonic", lambda: clock[0])
    trainer = types.SimpleNamespace(global_step=tf.Variable(10))
    progress = training_log.Progress(trainer, _STAGE, 3700, 8, str(tmp_path))
    trainer.global_step.assign(14)
    clock[0] += 8.0
    outputs = {
        "attention_loss": tf.constant(0.5),
        "attention_loss/block_1": tf.constant(0.5),
        "learning_rate": tf.constant(0.125),
    }
    progress(outputs)
    (row,) = conftest.read_jsonl(tmp_path / "metrics.jsonl")
    assert row == {
        "kind": "train",
        "stage": "transfer_1",
        "step": 14,
        "attention_loss": 0.5,
        "attention_loss/block_1": 0.5,
        "learning_rate": 0.125,
        "learning_rate/block_0": 0.03125,
        "learning_rate/block_1": 0.125,
        "examples_per_second": 4.0,
    }
    # What Orbit hands on to TensorBoard.
    assert {name: float(value) for name, value in outputs.items()} == {
        name: value for name, value in row.items() if isinstance(value, float)
    }
    # 3686 steps at 2 seconds each.
    assert lines == [
        "step 14/3700  stage transfer_1  attention_loss 0.5  4 examples/s  "
        "2 h 02 min left"
    ]


def test_a_torn_row_is_passed_over_and_the_later_row_counts(tmp_path):
    folder = str(tmp_path)
    training_log.write_validation(folder, "pretraining", 4, {"loss": 3.0})
    training_log.write_validation(folder, "pretraining", 2, {"loss": 5.0})
    with open(tmp_path / "metrics.jsonl", "a") as stream:
        stream.write('{"kind": "validation", "st')
    training_log.write_validation(folder, "pretraining", 4, {"loss": 2.0})
    rows = training_log.read_metrics(folder)
    assert [(row["step"], row["loss"]) for row in rows] == [(2, 5.0), (4, 2.0)]
    assert training_log.read_metrics(str(tmp_path / "absent")) == []
