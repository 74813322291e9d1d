"""Lines about how far a long run is."""

import time

from absl import logging

_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Logs what is done of a stage, how fast, and how long the rest takes.

    A line comes every five seconds at most, and one at the end.
    """

    def __init__(self, stage: str, unit: str, total: int, finished: int = 0):
        """Starts the clock.

        Args:
            stage: what is done, for the log.
            unit: what `add` counts, in the plural.
            total: number of steps of the stage.
            finished: steps that an earlier run has done.
        """
        self._stage = stage
        self._unit = unit
        self._total = total
        self._finished = self._before = finished
        self._count = 0
        self._start = self._last = time.monotonic()
        if finished:
            logging.info(
                "%s: %d of %d parts were done before", stage, finished, total
            )

    def add(self, count: int) -> None:
        """Notes that a step is done, which made `count` units."""
        self._finished += 1
        self._count += count
        now = time.monotonic()
        if (
            now - self._last < _SECONDS_BETWEEN_LINES
            and self._finished < self._total
        ):
            return
        self._last = now
        seconds = max(now - self._start, 1e-3)
        done = self._finished - self._before
        left = seconds * (self._total - self._finished) / done
        logging.info(
            "%s: %d of %d parts, %s %s, %s/s, %d:%02d:%02d left",
            self._stage,
            self._finished,
            self._total,
            f"{self._count:,}",
            self._unit,
            f"{self._count / seconds:,.0f}",
            *_hours(left),
        )


def _hours(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    return *divmod(minutes, 60), seconds
