"""What is kept of a run's evaluations: their counts, and the best model.

    model_dir/
      evaluation_SET.json   metrics, confusion matrix and scores per class of
                            the newest evaluation
      evaluation_SET.html   the same as a page, with the worst errors; of the
                            evaluation that a run ended with
      best/                 a model's folder with the weights of the best
                            evaluation, and that evaluation

SET is the split: "dev", and of MNLI "dev_mismatched" as well.
"""

import json
import os
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

import tensorflow as tf
import tf_keras
from absl import logging

from mobilebert_tf import files
from mobilebert_tf.evaluation import error_report
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.evaluation import metrics as metrics_lib
from mobilebert_tf.training import run_checkpoints

BEST = "best"


class EvaluationRecord:
    """Writes each evaluation, and the model that is better than all before.

    A run that was killed goes on with the best so far: it is read from its
    folder, where the evaluation is written last.

    Args:
        output_dir: folder to write to.
        labels: names of the labels, none for a task without.
        metric: name of the metric that selects, or "validation_loss".
        write_model: called with a folder, writes all of a model's folder but
            the checkpoint; None keeps no best model.
    """

    def __init__(
        self,
        output_dir: str,
        labels: Sequence[str],
        metric: str,
        write_model: Callable[[str], None] | None = None,
    ):
        self._output_dir = output_dir
        self._labels = list(labels)
        self._metric = metric
        self._write_model = write_model
        # Path of a page to its title and what it shows.
        self._pages = {}

    def __call__(
        self,
        model: tf_keras.Model,
        step: int,
        metrics: Mapping[str, float],
        evaluated: Sequence[evaluation_set.Evaluated],
    ) -> None:
        """Records an evaluation.

        Args:
            model: as evaluated.
            step: global step.
            metrics: name to value, of all sets.
            evaluated: the sets, that of the metric which selects first.
        """
        reports = {
            each.set.name: {
                "step": step,
                "metrics": each.measurement.metrics,
                **({"labels": self._labels} if self._labels else {}),
                **each.measurement.counts,
            }
            for each in evaluated
        }
        _write(reports, self._output_dir)
        self._note_pages(self._output_dir, step, evaluated)
        if self._write_model is not None and self._keep_if_best(
            model, step, metrics[self._metric], reports
        ):
            folder = os.path.join(self._output_dir, BEST)
            self._note_pages(folder, step, evaluated)

    def write_pages(self) -> None:
        """Writes the pages of the newest evaluation and of the best one.

        They take longer than the rest, and are for people: only the last ones
        are written, when a run ends.
        """
        for path, (title, models) in self._pages.items():
            error_report.write(path, title, models)
        self._pages = {}

    def _note_pages(self, folder, step, evaluated):
        for each in evaluated:
            path = _path(folder, each.set.name, "html")
            title = f"{each.set.name} at step {step}"
            self._pages[path] = title, {f"step {step}": each}

    def _keep_if_best(self, model, step, value, reports):
        """Returns whether it is the best."""
        folder = os.path.join(self._output_dir, BEST)
        best = kept_metric(folder, next(iter(reports)), self._metric)
        if best is not None and not metrics_lib.is_better(
            self._metric, value, best
        ):
            return False
        self._write_model(folder)
        checkpoint = tf.train.Checkpoint(
            model=model, global_step=tf.Variable(step, dtype=tf.int64)
        )
        tf.train.CheckpointManager(
            checkpoint,
            folder,
            max_to_keep=1,
            checkpoint_name=run_checkpoints.NAME,
        ).save(checkpoint_number=step)
        _write(reports, folder)
        logging.info(
            "step %d is the best so far: %s %.4f, kept in %s",
            step,
            self._metric,
            value,
            folder,
        )
        return True


def has_stalled(
    rows: Sequence[Mapping[str, object]], metric: str, patience: int
) -> bool:
    """Whether the last `patience` evaluations were not better than before.

    Args:
        rows: of metrics.jsonl, in order.
        metric: name of the metric that selects.
        patience: int >= 1.
    """
    best, since = None, 0
    for row in rows:
        if row["kind"] != "validation":
            continue
        since += 1
        value = row[metric]
        if best is None or metrics_lib.is_better(metric, value, best):
            best, since = value, 0
    return since >= patience


def kept_metric(folder: str, name: str, metric: str) -> float | None:
    """Returns a metric of the evaluation kept in a folder, None without one.

    Args:
        folder: of a run, or of its best model.
        name: of the set.
        metric: name of the metric.

    Raises:
        ValueError: if the evaluation is damaged or lacks the metric.
    """
    path = _path(folder, name)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as stream:
        try:
            return float(json.load(stream)["metrics"][metric])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path}: expected JSON with metrics.{metric}, got "
                f"{type(error).__name__}: {error}"
            ) from error


def best_or_newest(model_dir: str) -> str:
    """Returns the folder of the best model of a run, else the run's own."""
    best = os.path.join(model_dir, BEST)
    if tf.train.latest_checkpoint(best) is None:
        return model_dir
    logging.info("using the best model of %s, in %s", model_dir, best)
    return best


def _write(reports, folder):
    # The first set, whose metric selects, last: it marks the folder complete.
    for name, report in reversed(reports.items()):
        text = json.dumps(report, indent=2, allow_nan=False)
        files.write_text(_path(folder, name), text + "\n")


def _path(folder, name, ending="json"):
    return os.path.join(folder, f"evaluation_{name}.{ending}")
