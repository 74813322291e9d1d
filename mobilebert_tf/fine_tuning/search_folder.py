"""The folder of a search, whole after a kill at any moment.

    model_dir/
      search.json        experiment, space and results
      search.tsv         a row per trial
      trials/NAME/       a run's folder, as it would be without a search
        trial.json       its score, written last
      best/, ...         a model's folder: what is kept of the best trial

A trial that has ended needs its checkpoints no more, and its best model only
while it can still win.
"""

import glob
import json
import os
import shutil
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence

import tensorflow as tf

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import fine_tuning_config
from mobilebert_tf.fine_tuning import model_selection
from mobilebert_tf.fine_tuning import search_results
from mobilebert_tf.fine_tuning import search_trials
from mobilebert_tf.training import run_checkpoints

REPORT_FILE = "search.json"
TABLE_FILE = "search.tsv"
TRIAL_FILE = "trial.json"
TRIALS = "trials"

_COLUMNS = (
    "trial",
    "batch",
    "rate",
    "epochs",
    "seed",
    "status",
    "score",
    "reason",
)
# Of a trial's folder, what makes the search's a model's folder.
_MODEL_FILES = (
    model_directory.INFO_FILE,
    model_directory.VOCAB_FILE,
    experiment_builder.PARAMS_FILE,
    model_directory.CONFIG_FILE,
)
_PRECISION = "mixed_precision_dtype"
# What may differ when a search goes on: no score depends on it.
_MAY_CHANGE = (
    "task.test_file",
    "task.table.test_file",
    "trainer.checkpoint_interval",
    "trainer.max_to_keep",
    "trainer.steps_per_loop",
)


def check_holds_none(model_dir: str) -> None:
    """Raises ValueError if `model_dir` is the folder of a search."""
    if os.path.exists(os.path.join(model_dir, REPORT_FILE)):
        raise ValueError(
            f"{model_dir} holds a search, got --do_train: give --search to go "
            "on with it, or choose another --model_dir"
        )


class SearchFolder:
    """Reads and writes the folder of one search.

    Args:
        model_dir: the folder.
        params: the experiment that the trials vary.
        metric: what decides.

    Raises:
        ValueError: if the folder holds a run, or a search of another
            experiment or by another metric.
    """

    def __init__(
        self,
        model_dir: str,
        params: fine_tuning_config.FineTuningExperimentConfig,
        metric: str,
    ):
        self._model_dir = model_dir
        self._removed = os.path.join(model_dir, f".{TRIALS}.removed")
        self._record = {"metric": metric, "experiment": _plain(params)}
        self._check_same_search()

    def path(self, trial: search_trials.Trial) -> str:
        """Returns the folder of a trial."""
        return os.path.join(self._model_dir, TRIALS, trial.name)

    def read_result(
        self, trial: search_trials.Trial
    ) -> search_results.Result | None:
        """Returns what a trial has come to, None if it has not ended.

        Raises:
            ValueError: if the record is damaged.
        """
        path = os.path.join(self.path(trial), TRIAL_FILE)
        if not os.path.exists(path):
            return None
        values = _read_json(path, ("score", "reason"))
        return search_results.Result(values["score"], values["reason"])

    def write_result(
        self, trial: search_trials.Trial, result: search_results.Result
    ) -> None:
        """Records that a trial has ended."""
        _write_json(
            os.path.join(self.path(trial), TRIAL_FILE),
            {"score": result.score, "reason": result.reason},
        )

    def names_outside(
        self, trials: Collection[search_trials.Trial]
    ) -> list[str]:
        """Returns names of trials of an earlier search with another space."""
        folders = glob.glob(
            os.path.join(glob.escape(self._model_dir), TRIALS, "*")
        )
        inside = {trial.name for trial in trials}
        return sorted({os.path.basename(path) for path in folders} - inside)

    def has_weights(self, trial: search_trials.Trial) -> bool:
        """Returns whether the best model of a trial is there."""
        best = os.path.join(self.path(trial), model_selection.BEST)
        return tf.train.latest_checkpoint(best) is not None

    def drop_weights(self, keep: Collection[search_trials.Trial]) -> None:
        """Removes checkpoints of the trials that have ended.

        Args:
            keep: trials whose best models stay.
        """
        shutil.rmtree(self._removed, ignore_errors=True)
        kept = {self.path(trial) for trial in keep}
        pattern = os.path.join(
            glob.escape(self._model_dir), TRIALS, "*", TRIAL_FILE
        )
        for path in glob.glob(pattern):
            folder = os.path.dirname(path)
            _remove_checkpoints(folder)
            if folder not in kept:
                best = os.path.join(folder, model_selection.BEST)
                _remove_checkpoints(best)
                shutil.rmtree(best, ignore_errors=True)

    def remove(self, trial: search_trials.Trial) -> None:
        """Removes a trial; a kill leaves it whole or not at all."""
        shutil.rmtree(self._removed, ignore_errors=True)
        os.rename(self.path(trial), self._removed)
        shutil.rmtree(self._removed)

    def keep(self, trial: search_trials.Trial) -> None:
        """Makes the folder that of a trial's best model."""
        source = os.path.join(self.path(trial), model_selection.BEST)
        target = os.path.join(self._model_dir, model_selection.BEST)
        copied = os.path.join(self._model_dir, f".{model_selection.BEST}.new")
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(source, copied)
        shutil.rmtree(target, ignore_errors=True)
        os.rename(copied, target)
        for name in _MODEL_FILES:
            files.copy(
                os.path.join(self.path(trial), name),
                os.path.join(self._model_dir, name),
            )

    def write_report(
        self,
        trials: Sequence[search_trials.Trial],
        results: Mapping[search_trials.Trial, search_results.Result],
        best: search_trials.Trial | None,
    ) -> None:
        """Writes search.json and search.tsv.

        Args:
            trials: of the search.
            results: of those that have ended.
            best: the trial whose model is kept, None before the end.
        """
        rows = [_row(trial, results.get(trial)) for trial in trials]
        found = search_results.summaries(
            trials, results, self._record["metric"]
        )
        _write_json(
            os.path.join(self._model_dir, REPORT_FILE),
            {
                "metric": self._record["metric"],
                "best": best and best.name,
                "settings": [
                    {
                        **summary.settings._asdict(),
                        "mean": summary.mean,
                        "standard_deviation": summary.deviation,
                        "num_scores": len(summary.scores),
                    }
                    for summary in found
                    if summary.results
                ],
                "trials": rows,
                "outside": self.names_outside(trials),
                "experiment": self._record["experiment"],
            },
        )
        lines = [_COLUMNS]
        for row in rows:
            cells = ("" if cell is None else cell for cell in row.values())
            lines.append(tuple(map(str, cells)))
        files.write_text(
            os.path.join(self._model_dir, TABLE_FILE),
            "".join("\t".join(line) + "\n" for line in lines),
        )

    def _check_same_search(self):
        path = os.path.join(self._model_dir, REPORT_FILE)
        if not os.path.exists(path):
            for name in (model_directory.CONFIG_FILE, TRIALS):
                if os.path.exists(os.path.join(self._model_dir, name)):
                    raise ValueError(
                        f"{self._model_dir}: {name} is there but no "
                        f"{REPORT_FILE}: no folder of a search; choose another "
                        "--model_dir"
                    )
            return
        before = _read_json(path, self._record)
        if not os.path.exists(os.path.join(self._model_dir, TRIALS)):
            return  # None has got as far as to train.
        difference = _first_difference(before, self._record)
        if difference:
            key, old, new = difference
            raise ValueError(
                f"{key.removeprefix('experiment.')} is {old!r} in {path}, this "
                f"search has {new!r}; choose another --model_dir"
            )


def _plain(params):
    """Returns what scores depend on as dicts, lists and scalars."""
    values = json.loads(json.dumps(params.as_dict()))
    values.pop("search")
    values["runtime"] = {_PRECISION: values["runtime"][_PRECISION]}
    return values


def _first_difference(before, now, prefix=""):
    """Returns (key, old, new) of what differs and may not, or None.

    A field that only one of them has is of another version of this project.
    """
    for name in sorted(before.keys() & now.keys()):
        key, old, new = f"{prefix}{name}", before[name], now[name]
        if isinstance(old, dict) and isinstance(new, dict):
            difference = _first_difference(old, new, f"{key}.")
            if difference:
                return difference
        elif old != new and key.removeprefix("experiment.") not in _MAY_CHANGE:
            return key, old, new
    return None


def _row(trial, result):
    """Returns the values of _COLUMNS by name."""
    status, score, reason = "to come", None, ""
    if result is not None:
        status = "failed" if result.score is None else "finished"
        score, reason = result.score, result.reason
    values = (trial.name, *trial.settings, trial.seed, status, score, reason)
    return dict(zip(_COLUMNS, values, strict=True))


def _remove_checkpoints(folder):
    """Removes checkpoints, first the file that says they are there."""
    for pattern in ("checkpoint", f"{run_checkpoints.NAME}-*"):
        for path in glob.glob(os.path.join(glob.escape(folder), pattern)):
            if os.path.isdir(path):
                shutil.rmtree(path)
            else:
                os.remove(path)


def _write_json(path, values):
    files.write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")


def _read_json(path, names):
    """Returns an object that has these names at least."""
    with open(path, encoding="utf-8") as stream:
        try:
            values = json.load(stream)
            for name in names:
                values[name]
        except (ValueError, TypeError, LookupError) as error:
            raise ValueError(
                f"{path}: expected JSON with {', '.join(names)}, got "
                f"{type(error).__name__}: {error}"
            ) from error
    return values
