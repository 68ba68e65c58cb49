"""How far forecasts of the queue were off, and what is told instead of the next one. Pure.

The play takes workflows for fluid (:mod:`fitcast.scheduler.broker.queue_play`): fits that run give
way bit by bit and not one by one, and what is free has no places that a fit may be too large for.
So it is a little early where the cluster is full; and how unsure it is is a guess. What is told
is moved and made wider or narrower by how earlier forecasts turned out, of those made in the same
case: cluster full or not. With few of them it stays as it was.

In: arithmetic on what was forecast and what was taken. Not in: who remembers it
(:mod:`fitcast.scheduler.broker.serving.queue_etas`).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

import numpy as np

from fitcast.scheduler.broker.resources import Resources

MOST_JUDGED = 200
"""Of the latest forecasts so many count."""

FULL = 0.95
"""A cluster is full from so much of a resource on."""

_LIKE_NONE = 10  # forecasts that count as much as the belief that nothing is to be changed
_LEAST_WIDTH = 0.05  # of the logarithm of seconds: nobody is surer than that
_MOST_CHANGE = math.log(10.0)  # and no forecast is moved, or its interval made wider, further

# The belief: a sample of errors that reach P10 and P90 as often as they should.
_BELIEVED = tuple(
    NormalDist().inv_cdf((number + 0.5) / _LIKE_NONE) / NormalDist().inv_cdf(0.9)
    for number in range(_LIKE_NONE)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A forecast of a workflow that has ended.

    Attributes
    ----------
    said_s : tuple of float
        P10, P50 and P90 as played, before any correction, in seconds from submission.
    took_s : float
        From submission to the end.
    was_full : bool
        Whether the cluster was full when it was forecast.
    """

    said_s: tuple[float, float, float]
    took_s: float
    was_full: bool


def is_full(used: Iterable[Resources], capacity: Resources) -> bool:
    """Tell whether next to nothing is left of CPUs, memory or GPUs beside what is used."""
    total = sum(used, Resources())
    return any(
        has >= FULL * there > 0.0
        for has, there in zip(total.amounts(), capacity.amounts(), strict=True)
    )


def corrected(
    said_s: tuple[float, float, float], full: bool, judged: Sequence[Judged]
) -> tuple[float, float, float]:
    """Return what is told instead of a forecast.

    Parameters
    ----------
    said_s : tuple of float
        P10, P50 and P90 as played, in seconds.
    full : bool
        Whether the cluster is full.
    judged : sequence of Judged
        Earlier forecasts of what has ended, the latest last.

    Returns
    -------
    tuple of float
        P10, P50 and P90 in this order; as they were where that isn't finite.
    """
    if not all(math.isfinite(one) and one > 0.0 for one in said_s):
        return said_s
    like = [one for one in judged if one.was_full == full and _is_usable(one)][-MOST_JUDGED:]
    if not like:
        return said_s
    errors = [math.log(one.took_s / one.said_s[1]) for one in like]
    trust = len(like) / (len(like) + _LIKE_NONE)
    moved = float(np.clip(trust * median(errors), -_MOST_CHANGE, _MOST_CHANGE))
    reached = list(_BELIEVED)
    for one, error in zip(like, errors, strict=True):
        below, above = _widths(one.said_s)
        rest = error - moved
        reached.append(rest / (above if rest > 0.0 else below))
    low, high = (float(q) for q in np.quantile(reached, (0.1, 0.9), method="weibull"))
    below, above = _widths(said_s)
    p50_s = said_s[1] * math.exp(moved)
    return (
        p50_s * math.exp(-min(_MOST_CHANGE, below * max(0.0, -low))),
        p50_s,
        p50_s * math.exp(min(_MOST_CHANGE, above * max(0.0, high))),
    )


def _is_usable(one: Judged) -> bool:
    return all(math.isfinite(s) and s > 0.0 for s in (*one.said_s, one.took_s))


def _widths(said_s: tuple[float, float, float]) -> tuple[float, float]:
    """Return how far P10 and P90 are from P50, in logarithms."""
    p10_s, p50_s, p90_s = said_s
    return (
        max(_LEAST_WIDTH, math.log(p50_s / p10_s)),
        max(_LEAST_WIDTH, math.log(p90_s / p50_s)),
    )
