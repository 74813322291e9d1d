"""What a training run tells: progress lines, metrics.jsonl, TensorBoard."""

import json
import os
import time
from collections.abc import Mapping

import orbit
from absl import logging

METRICS_FILE = "metrics.jsonl"


class Progress:
    """Orbit action: after each loop, a line on the log and a row of numbers.

    The examples per second and, where parts of the model have rates of their
    own, their learning rates join the trainer's outputs, which Orbit writes
    to TensorBoard after its actions.

    Args:
        trainer: base_trainer.Trainer.
        stage: schedule.Stage that is trained.
        total_steps: int. Global step at which the run ends.
        batch_size: int. Examples per step.
        model_dir: folder of metrics.jsonl.
    """

    def __init__(self, trainer, stage, total_steps, batch_size, model_dir):
        self._trainer = trainer
        self._stage = stage
        self._total_steps = total_steps
        self._batch_size = batch_size
        self._model_dir = model_dir
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leaves time spent outside training out of the rate."""
        self._time = time.monotonic()
        self._step = int(self._trainer.global_step.numpy())

    def __call__(self, outputs):
        step = int(self._trainer.global_step.numpy())
        elapsed = time.monotonic() - self._time
        rate = (step - self._step) / max(elapsed, 1e-9)
        self.restart_clock()
        outputs["examples_per_second"] = rate * self._batch_size
        for part, factor in _part_rates(self._stage):
            outputs[f"learning_rate/{part}"] = outputs["learning_rate"] * factor
        values = {
            name: float(orbit.utils.get_value(value))
            for name, value in outputs.items()
        }
        _append(
            self._model_dir,
            {
                "kind": "train",
                "stage": self._stage.name,
                "step": step,
                **values,
            },
        )
        logging.info(
            "step %d/%d  stage %s  %s  %.0f examples/s  %s left",
            step,
            self._total_steps,
            self._stage.name,
            _terms(values),
            values["examples_per_second"],
            _duration((self._total_steps - step) / max(rate, 1e-9)),
        )


def write_validation(
    model_dir: str, stage_name: str, step: int, metrics: Mapping[str, float]
) -> None:
    """Logs the results of an evaluation and appends them to metrics.jsonl."""
    _append(
        model_dir,
        {"kind": "validation", "stage": stage_name, "step": step, **metrics},
    )
    shown = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    logging.info("validation at step %d: %s", step, shown)


def read_metrics(model_dir: str) -> list[dict]:
    """Returns the rows of metrics.jsonl in the order of their steps.

    A run that was killed and continued has logged some steps twice; the later
    row counts. A row cut off by the kill is passed over.
    """
    path = os.path.join(model_dir, METRICS_FILE)
    rows = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as stream:
            for line in stream:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                rows[(row["step"], row["kind"])] = row
    return [rows[key] for key in sorted(rows)]


def _append(model_dir, row):
    path = os.path.join(model_dir, METRICS_FILE)
    # A kill may have cut the last line: the row begins a line of its own.
    torn = os.path.exists(path) and not _ends_with_newline(path)
    with open(path, "a", encoding="utf-8") as stream:
        stream.write("\n" * torn + json.dumps(row) + "\n")


def _ends_with_newline(path):
    with open(path, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(size - 1, 0))
        return not size or stream.read(1) == b"\n"


def _part_rates(stage):
    """Yields the parts that learn at a rate of their own, and its factor."""
    if stage.block_rates is None:
        return
    rates = {
        "embeddings": stage.embeddings_rate,
        **{f"block_{i}": rate for i, rate in enumerate(stage.block_rates)},
    }
    for part, rate in rates.items():
        if rate:
            yield part, rate


def _terms(values):
    """The loss terms; those of single blocks are left to the files."""
    return "  ".join(
        f"{name} {value:.4g}"
        for name, value in values.items()
        if "/" not in name
        and name not in ("learning_rate", "examples_per_second")
    )


def _duration(seconds):
    hours, rest = divmod(int(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s"
