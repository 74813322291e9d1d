"""Runs every trial of a search and keeps the best model by dev score.

The settings with the best mean over the seeds win, and of their trials the
best one is kept. All trials run in this process, one after the other, and each
as it would run alone.

A search that was killed goes on where it was: trials that have ended are not
run again, and one that has not goes on from its own checkpoints.
"""

import gc
import os
from collections.abc import Callable

import tf_keras
from absl import logging

from mobilebert_tf import cli
from mobilebert_tf.experiments import fine_tuning_config
from mobilebert_tf.experiments import search_config
from mobilebert_tf.fine_tuning import course
from mobilebert_tf.fine_tuning import kinds
from mobilebert_tf.fine_tuning import model_selection
from mobilebert_tf.fine_tuning import search_folder
from mobilebert_tf.fine_tuning import search_results
from mobilebert_tf.fine_tuning import search_trials
from mobilebert_tf.training import training_loop

_Experiment = fine_tuning_config.FineTuningExperimentConfig


def run_kind(
    make_kind: Callable[[_Experiment], kinds.Kind],
    params: _Experiment,
    model_dir: str,
    predict_split: str = "",
) -> dict[str, float]:
    """Searches the space of an experiment for a kind of task.

    Args:
        make_kind: experiment to the task.
        params: the experiment.
        model_dir: folder of the search; see search_folder.
        predict_split: what is to be predicted on afterwards, "" for nothing.

    Returns:
        The metric of the model that was kept, by name.

    Raises:
        ValueError: see `run`; also for wrong fields, before the first trial.
    """
    kind = make_kind(params.replace())
    kind.check()
    kind.training_labels()
    if predict_split:
        kind.check_split(predict_split)

    def run_trial(experiment, trial_dir):
        trial_kind = make_kind(experiment)
        trial_kind.share_caches(model_dir)
        course.run(trial_kind, trial_dir, do_train=True, do_eval=True)

    return run(params, model_dir, run_trial, course.selection_metric(kind))


def run(
    params: _Experiment,
    model_dir: str,
    run_trial: Callable[[_Experiment, str], object],
    metric: str,
) -> dict[str, float]:
    """Runs the trials that are still to do, and keeps the best model.

    A trial that diverges (NaN) has failed, and the others go on. Any other
    error ends the search; it goes on when the cause is mended.

    Args:
        params: the experiment; its `search` has the values to try.
        model_dir: folder of the search; see search_folder.
        run_trial: (experiment, folder) fine-tunes with evaluations, or goes
            on; it keeps the best model as model_selection does.
        metric: what decides, of those in the kept evaluation.

    Returns:
        The metric of the model that was kept, by name.

    Raises:
        ValueError: for a wrong space, if model_dir holds another search or a
            run, if all trials failed, or what `run_trial` raises.
    """
    space = search_config.checked(params.search)
    trials = search_trials.trials(params, space)
    if params.runtime.distribution_strategy == "multi_worker_mirrored":
        raise ValueError(
            "runtime.distribution_strategy: expected one worker for a search, "
            "got multi_worker_mirrored; share the space out between machines"
        )
    if not params.task.keep_best:
        raise ValueError("task.keep_best: expected true for a search")
    parts = params.task.gradient_accumulation_steps
    for trial in trials:
        size = trial.settings.global_batch_size
        if size % parts:
            raise ValueError(
                f"search.global_batch_sizes: got {size}, expected multiples "
                f"of task.gradient_accumulation_steps={parts}"
            )
    folder = search_folder.SearchFolder(model_dir, params, metric)
    results = {}
    for trial in trials:
        result = folder.read_result(trial)
        if result is not None:
            results[trial] = result
    outside = folder.names_outside(trials)
    if outside:
        logging.info(
            "%d trials in %s lie outside the space: %s",
            len(outside),
            model_dir,
            ", ".join(outside),
        )

    def end(trial):
        """Runs a trial to its end."""
        experiment = search_trials.experiment_of(params, trial)
        try:
            result = _result_of(
                run_trial, experiment, folder.path(trial), metric
            )
        finally:
            # The next one starts as if it were alone in its process.
            tf_keras.backend.clear_session()
            gc.collect()
        folder.write_result(trial, result)
        results[trial] = result

    folder.write_report(trials, results, best=None)
    folder.drop_weights(_may_win(trials, results, metric))
    for number, trial in enumerate(trials, start=1):
        if trial in results:
            continue
        logging.info("trial %d of %d: %s", number, len(trials), trial)
        end(trial)
        folder.write_report(trials, results, best=None)
        folder.drop_weights(_may_win(trials, results, metric))
        _print_table(trials, results, metric)
    best = _best(trials, results, metric)
    while not folder.has_weights(best):
        # They were dropped when others of an earlier space were better.
        logging.info("again, for its weights: %s", best)
        folder.remove(best)
        end(best)
        best = _best(trials, results, metric)
    folder.keep(best)
    folder.write_report(trials, results, best)
    _print_table(trials, results, metric)
    score = results[best].score
    print(f"best: {best}: {metric} {score:.4f}, kept in {model_dir}")
    return {metric: score}


def _result_of(run_trial, experiment, trial_dir, metric):
    try:
        run_trial(experiment, trial_dir)
    except training_loop.NotFiniteError as error:
        reason = cli.one_line(error)
        logging.warning("the trial failed: %s", reason)
        return search_results.Result(None, reason)
    best = os.path.join(trial_dir, model_selection.BEST)
    score = model_selection.kept_metric(best, kinds.DEV, metric)
    if score is None:
        raise ValueError(f"{trial_dir}: the run has kept no best model")
    return search_results.Result(score)


def _best(trials, results, metric):
    """Returns the best trial of the best settings."""
    first, *_ = search_results.summaries(trials, results, metric)
    best = search_results.best_trial(first, metric)
    if best is None:
        raise ValueError(
            f"all {len(trials)} trials failed, the first of them: "
            f"{results[trials[0]].reason}"
        )
    return best


def _may_win(trials, results, metric):
    """Returns the best trial so far, and that of settings not yet done."""
    found = search_results.summaries(trials, results, metric)
    to_come = {trial.settings for trial in trials if trial not in results}
    best = (
        search_results.best_trial(summary, metric)
        for index, summary in enumerate(found)
        if not index or summary.settings in to_come
    )
    return [trial for trial in best if trial is not None]


def _print_table(trials, results, metric):
    found = search_results.summaries(trials, results, metric)
    lines = search_results.table(found, metric)
    print("\n".join(lines), flush=True)
