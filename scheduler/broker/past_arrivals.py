"""Who may come: the submissions of past days, drawn anew for the hours that are to come. Pure.

A forecast of the queue that knows only who is there is too early by day and too late in the
evening. Each hour to come has what the same hour of some past day brought: of a working day for a
working day, of a weekend for a weekend.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fitcast.scheduler.broker.sharers import DAY_S, Waiting

HOUR_S = 3600.0
_THURSDAY = 3  # the first day of 1970, counted from Monday


class PastArrivals:
    """Submissions of the past.

    Parameters
    ----------
    past : sequence of Waiting
        With the time of their submission as `queued_at_s`, in seconds since 1970, and what they
        turned out to need, where that is known.
    since_s, until_s : float
        The time that they were kept in; only whole days of it count.
    """

    def __init__(self, past: Sequence[Waiting], since_s: float, until_s: float) -> None:
        self._past = sorted(past, key=lambda one: (one.queued_at_s, one.workflow_id))
        self._times = [one.queued_at_s for one in self._past]
        whole = range(int(np.ceil(since_s / DAY_S)), int(until_s // DAY_S))
        self._days: dict[bool, list[int]] = {False: [], True: []}
        for day in whole:
            self._days[_is_weekend(day)].append(day)

    def sample(
        self, rng: np.random.Generator, now_s: float, horizon_s: float, most: int
    ) -> list[Waiting]:
        """Return submissions as they may come, up to `most` of them.

        Parameters
        ----------
        rng : Generator
            What they are drawn by.
        now_s : float
            Seconds since 1970.
        horizon_s : float
            How far to look ahead, in seconds.
        most : int
            No more than so many.
        """
        drawn: list[Waiting] = []
        begin_s, end_s = now_s, now_s + horizon_s
        while begin_s < end_s and len(drawn) < most:
            day, of_day_s = divmod(begin_s, DAY_S)
            until_s = min(end_s, begin_s + HOUR_S - of_day_s % HOUR_S)
            days = self._days[_is_weekend(int(day))]
            if days:
                like = days[int(rng.integers(len(days)))]
                earlier_s = (day - like) * DAY_S
                first = bisect_left(self._times, begin_s - earlier_s)
                last = bisect_left(self._times, until_s - earlier_s)
                drawn += (
                    replace(one, queued_at_s=one.queued_at_s + earlier_s)
                    for one in self._past[first:last]
                )
            begin_s = until_s
        return drawn[:most]


def _is_weekend(day: int) -> bool:
    return (day + _THURSDAY) % 7 >= 5
