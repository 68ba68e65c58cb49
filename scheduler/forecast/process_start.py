"""What a fit is spared that follows in the process of another, as fits have shown it.

In: learning it from what processes report. Not in: whether fits should follow
(:mod:`fitcast.scheduler.plan.batching`).

A fork costs tens of milliseconds, and no report is as exact. But libraries that can't be forked,
as they start threads, are imported in each process anew, which takes seconds, and first use of
them takes more. The first fit of a process tells how long loading took; those after it how much
shorter than the first they were.
"""

from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from fitcast.history.records import Outcome
from fitcast.trainer.attempt.spec import Measured

LEAST_S = 0.2
"""Loading that takes less is no reason to doubt the forecast."""

LATEST = 5
"""So many processes count, the latest ones: what they have to import may be imported ahead soon."""

CLEARLY = 0.1
"""A share by which it has to differ from what is known."""


class FitSeen(NamedTuple):
    """A fit of a process: what it took, and what it was forecast to take alone."""

    measured: Measured
    forecast_s: float


class StartsSeen:
    """Learns what following in the process of another spares a fit.

    Parameters
    ----------
    forecast_s : float
        What is expected before anything is seen, in seconds.
    """

    def __init__(self, forecast_s: float) -> None:
        self.process_start_s = forecast_s
        self._forecast_s = forecast_s
        self._loading: deque[float] = deque(maxlen=LATEST)
        self._spared: deque[float] = deque(maxlen=LATEST)

    def observe(self, members: Sequence[FitSeen]) -> bool:
        """Take in the fits of a process that ended, in order; tell whether that changed much."""
        succeeded = [one for one in members if one.measured.outcome is Outcome.SUCCEEDED]
        if not succeeded or succeeded[0] is not members[0]:
            return False
        first, followers = succeeded[0], succeeded[1:]
        loading_s = first.measured.loading_s
        self._loading.append(loading_s)
        if followers and loading_s >= LEAST_S:
            spared_s = median(_spared_s(first, one) for one in followers)
            self._spared.append(min(max(spared_s, loading_s), first.measured.runtime_s))
        before_s, self.process_start_s = self.process_start_s, self._seen_s()
        return abs(self.process_start_s - before_s) > CLEARLY * before_s

    def _seen_s(self) -> float:
        loading_s = median(self._loading)
        if loading_s < max(LEAST_S, self._forecast_s):
            return self._forecast_s
        return max(loading_s, median(self._spared)) if self._spared else loading_s


def _spared_s(first: FitSeen, other: FitSeen) -> float:
    """Return what one was quicker by than the first, beyond what was forecast."""
    took_s = other.measured.runtime_s + other.measured.shared_s
    return first.measured.runtime_s - took_s - (first.forecast_s - other.forecast_s)
