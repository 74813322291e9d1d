"""MLPerf Inference's single-stream scenario: its figure and its conditions.

The figure is the 90th percentile of at least 1024 latencies over at least
60 s, and must be found again within 5 %. benchmark_model does not report that
percentile: on a device its 95th is given instead, which is never smaller.
"""

import dataclasses
from collections.abc import Sequence

from android_benchmark import results

_MOST_SPREAD = 0.05
_LEAST_ROUNDS = 2


def judge(
    aggregate: results.Result, rounds: Sequence[results.Result]
) -> results.Result:
    """Returns the aggregate, marked if the conditions are not met.

    Args:
        aggregate: of the rounds.
        rounds: each of at least 1024 runs and 60 s, which the configuration
            sees to.
    """
    measured = [r.measurement.latency for r in rounds if r.measurement]
    if not measured:
        return aggregate
    notes = list(aggregate.notes)
    name, figures = "p90", [latency.p90_us for latency in measured]
    if None in figures:
        name, figures = "p95", [latency.p95_us for latency in measured]
        notes.append(
            "single stream: benchmark_model reports no p90; p95 is an upper "
            "bound of it"
        )
    if None in figures:
        notes.append("single stream: this benchmark_model reports neither")
    elif len(figures) < _LEAST_ROUNDS:
        notes.append(
            "single stream: one round cannot show that the figure is found "
            "again; use --rounds=2 or more"
        )
    else:
        spread = max(figures) / min(figures) - 1
        if spread > _MOST_SPREAD:
            notes.append(
                f"single stream: {name} differs by {spread:.1%} between the "
                f"rounds, more than {_MOST_SPREAD:.0%}"
            )
    status = aggregate.status
    if status == results.OK and len(notes) > len(aggregate.notes):
        status = results.MARKED
    return dataclasses.replace(aggregate, status=status, notes=tuple(notes))
