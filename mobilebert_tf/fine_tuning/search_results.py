"""What the trials of a search have come to, and which settings are best."""

import dataclasses
import statistics
from collections.abc import Mapping
from collections.abc import Sequence
from typing import NamedTuple

from mobilebert_tf import text_table
from mobilebert_tf.evaluation import metrics as metrics_lib
from mobilebert_tf.fine_tuning import search_trials

_DIGITS = 4


@dataclasses.dataclass(frozen=True)
class Result:
    """What a trial has come to.

    Attributes:
        score: best dev evaluation; None of a trial that failed.
        reason: why it failed, in one line.
    """

    score: float | None
    reason: str = ""


class Summary(NamedTuple):
    """The trials of some settings.

    Attributes:
        settings: theirs.
        results: by seed, of the trials that have ended.
        is_complete: whether all have ended, none of them in failure.
        mean: of the scores; None without one.
        deviation: their sample standard deviation; None of fewer than two.
    """

    settings: search_trials.Settings
    results: dict[int, Result]
    is_complete: bool
    mean: float | None
    deviation: float | None

    @property
    def scores(self) -> dict[int, float]:
        """Scores by seed."""
        return {
            seed: result.score
            for seed, result in self.results.items()
            if result.score is not None
        }


def summaries(
    trials: Sequence[search_trials.Trial],
    results: Mapping[search_trials.Trial, Result],
    metric: str,
) -> list[Summary]:
    """Returns what is known of each settings, the best first.

    Settings of which a seed failed, or is still to come, are after those that
    are complete: the mean over the seeds that happened to go well would
    flatter them. Of equals the first is first.

    Args:
        trials: of the search.
        results: of those that have ended.
        metric: whose scores they are.
    """
    by_settings = {}
    for trial in trials:
        by_settings.setdefault(trial.settings, []).append(trial)
    found = []
    for settings, group in by_settings.items():
        ended = {
            trial.seed: results[trial] for trial in group if trial in results
        }
        scores = [r.score for r in ended.values() if r.score is not None]
        found.append(
            Summary(
                settings,
                ended,
                is_complete=len(scores) == len(group),
                mean=statistics.fmean(scores) if scores else None,
                deviation=statistics.stdev(scores) if scores[1:] else None,
            )
        )
    sign = 1.0 if metrics_lib.is_better(metric, 0.0, 1.0) else -1.0
    return sorted(
        found,
        key=lambda each: (
            not each.is_complete,
            each.mean is None,
            sign * (each.mean or 0.0),
        ),
    )


def best_trial(summary: Summary, metric: str) -> search_trials.Trial | None:
    """Returns the best trial of some settings, None if none has a score."""
    best = None
    for seed, score in summary.scores.items():
        if best is None or metrics_lib.is_better(
            metric, score, summary.scores[best]
        ):
            best = seed
    return None if best is None else search_trials.Trial(summary.settings, best)


def table(found: Sequence[Summary], metric: str) -> list[str]:
    """Returns the lines of a table: a row per settings that was tried.

    Args:
        found: of `summaries`.
        metric: whose scores they are.
    """
    tried = [summary for summary in found if summary.results]
    seeds = sorted({seed for summary in tried for seed in summary.results})
    rows = [
        [
            "batch",
            "rate",
            "epochs",
            *(f"seed {seed}" for seed in seeds),
            "mean",
            "std",
            "n",
        ]
    ]
    for summary in tried:
        rows.append(
            [
                *map(search_trials.short, summary.settings),
                *(_cell(summary.results.get(seed)) for seed in seeds),
                _number(summary.mean),
                _number(summary.deviation),
                str(len(summary.scores)),
            ]
        )
    return [f"{metric} on the dev set", *text_table.lines(rows)]


def _cell(result):
    if result is None:
        return "-"
    return "failed" if result.score is None else _number(result.score)


def _number(value):
    return "-" if value is None else f"{value:.{_DIGITS}f}"
