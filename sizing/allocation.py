"""How much memory each attempt gets: the sequence of least expected waste, with failed attempts.

In: scenarios of the demand, where they come from if the forecast is log-normal, and the policy that
turns them into attempts. Pure; it sizes fits and retries, and is evaluated on public traces.
Not in: forecasting the demand (:mod:`benchmarks.online`, :mod:`fitcast.sizing.learning.model`).

An attempt that gets less memory than is needed fails, and what it held is lost; one that gets more
wastes the difference. With attempts ``a1 < a2 < …`` and scenarios ``y`` of weight ``w``, every
attempt is paid for by all scenarios that it or a later one has to hold, so the expected cost is the
sum over attempts of ``a[k]`` times the weight above ``a[k - 1]``. That is a sum over steps, and the
best steps among the scenarios' own values are found from the last one backwards.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from fitcast.errors import InvalidInputError
from fitcast.history.records import Estimate
from fitcast.sizing.learning.forecast import Z95

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

FAILURE_OVERHEAD = 0.1
"""What a failed attempt costs on top of the memory that it held, as a share of that: it waits in
the queue again, and its start is paid twice."""

FIRST_STEP = 0.1
"""Beyond the largest scenario attempts grow by this share, then by twice that step, and so on."""

MOST_STEPS = 40  # beyond the largest scenario; the last is 10¹¹ times as large
_BODY, _PER_HALVING = 64, 4  # groups of merged scenarios
_FAR_TAIL = 6  # quantile scenarios of a log-normal beyond the evenly spaced ones


@dataclass(frozen=True, slots=True, eq=False)
class Scenarios:
    """Possible peak memories of a fit or task, with their probabilities.

    Make them with :meth:`of` or :func:`lognormal_scenarios`.
    """

    peak_memory_bytes: Array  # (scenarios,), ascending
    weight: Array  # (scenarios,), positive, of sum 1: probability × relative runtime

    @classmethod
    def of(
        cls,
        peak_memory_bytes: npt.ArrayLike,
        probability: npt.ArrayLike | None = None,
        runtime_s: npt.ArrayLike | None = None,
    ) -> "Scenarios":
        """Put scenarios in order.

        Parameters
        ----------
        peak_memory_bytes : array_like, shape (scenarios,)
            Positive and finite, in any order.
        probability : array_like, shape (scenarios,), optional
            Not negative, not all zero, of any sum; equal if not given.
        runtime_s : array_like, shape (scenarios,), optional
            Memory held in vain counts by the time it is held for; equal if not given.

        Raises
        ------
        InvalidInputError
            If there is none, or a number can't be used.
        """
        peaks = np.array(peak_memory_bytes, dtype=float).reshape(-1)
        weight = np.ones_like(peaks)
        for given, name in ((probability, "probability"), (runtime_s, "runtime_s")):
            if given is None:
                continue
            factor = np.array(given, dtype=float).reshape(-1)
            if factor.shape != peaks.shape:
                raise InvalidInputError(
                    f"{name} has {factor.size} numbers for {peaks.size} scenarios; give one each"
                )
            if not (np.isfinite(factor).all() and (factor >= 0.0).all()):
                raise InvalidInputError(f"{name} must be finite and not negative")
            largest = factor.max(initial=0.0)
            weight = weight * (factor / largest if largest > 0.0 else factor)
        if not (np.isfinite(peaks).all() and (peaks > 0.0).all()):
            raise InvalidInputError("peak_memory_bytes must be finite and positive")
        used = weight > 0.0
        if not used.any():
            raise InvalidInputError("there is no scenario of positive weight; give at least one")
        peaks, weight = peaks[used], weight[used]
        order = np.argsort(peaks, kind="stable")
        return cls(peaks[order], weight[order] / weight.sum())

    def merged(self) -> "Scenarios":
        """Return fewer scenarios that ask for no less memory.

        Neighbours become one, as large as the largest of them: of the body those that lie within
        the same 1/64 of the weight, of the tail those within the same quarter of a halving, so
        that the far tail keeps its shape. At most about 200 remain.
        """
        if self.weight.size <= _BODY:
            return self
        below = np.cumsum(self.weight) - self.weight
        above = np.maximum(1.0 - below, 1e-9)  # itself included
        body = np.minimum((below * _BODY).astype(np.int64), _BODY - 2)
        tail = (_PER_HALVING * np.log2(np.maximum(1.0 / (_BODY * above), 1.0))).astype(np.int64)
        group = np.where(above > 1.0 / _BODY, body, _BODY - 1 + tail)
        last = np.append(np.flatnonzero(np.diff(group)), group.size - 1)
        first = np.append(0, last[:-1] + 1)
        return Scenarios(self.peak_memory_bytes[last], np.add.reduceat(self.weight, first))


@dataclass(frozen=True, slots=True)
class Attempts:
    """The memory of the first attempt, of the second if the first runs out of memory, and so on."""

    memory_bytes: tuple[float, ...]  # ascending; empty if nothing within the bounds is left to try
    expected_cost_bytes: float  # memory held, all attempts, per scenario
    expected_waste_bytes: float  # of that, what was not needed


def plan_attempts(
    scenarios: Scenarios,
    *,
    least_bytes: float = 0.0,
    most_bytes: float = math.inf,
    failure_overhead: float = FAILURE_OVERHEAD,
) -> Attempts:
    """Choose the attempts of least expected waste.

    Parameters
    ----------
    scenarios
        Of the demand, as it was forecast before the first attempt.
    least_bytes
        Memory that an attempt has proved to be too little: every attempt gets more, and scenarios
        up to it are ruled out.
    most_bytes
        The largest that can be given: every attempt gets at most this, whatever is forecast.
    failure_overhead
        What a failed attempt costs on top of its memory, as a share of that.

    Returns
    -------
    Attempts
        Whose last holds the largest scenario or is `most_bytes`; empty if `least_bytes` is not
        below `most_bytes`. If `least_bytes` is beyond all scenarios, attempts grow from there,
        carefully at first: most misses are near.

    Raises
    ------
    InvalidInputError
        If a bound or the overhead is NaN, or negative.
    """
    for name, value in (
        ("least_bytes", least_bytes),
        ("most_bytes", most_bytes),
        ("failure_overhead", failure_overhead),
    ):
        if not value >= 0.0:
            raise InvalidInputError(f"{name} is {value}; give a number that isn't negative")
    if least_bytes >= most_bytes:
        return Attempts((), 0.0, 0.0)
    left = int(np.searchsorted(scenarios.peak_memory_bytes, least_bytes, side="right"))
    if left == scenarios.weight.size:
        return _beyond(least_bytes, most_bytes)
    values = np.minimum(scenarios.peak_memory_bytes[left:], most_bytes)
    weight = scenarios.weight[left:] / scenarios.weight[left:].sum()
    cost, following = best_steps(values[None], weight[None], failure_overhead)
    return Attempts(
        memory_bytes=tuple(_steps(values, following[0])),
        expected_cost_bytes=float(cost[0]),
        expected_waste_bytes=max(0.0, float(cost[0] - values @ weight)),
    )


def best_steps(
    values: Array, weight: Array, failure_overhead: float = FAILURE_OVERHEAD
) -> tuple[Array, Places]:
    """Solve the choice of attempts for many sets of scenarios at once.

    Parameters
    ----------
    values : ndarray, shape (sets, scenarios)
        Memory in bytes, ascending in each set.
    weight : ndarray, shape (sets, scenarios)
        Not negative.
    failure_overhead
        What a failed attempt costs on top of its memory, as a share of that.

    Returns
    -------
    cost : ndarray, shape (sets,)
        Expected memory held by all attempts, in bytes × weight.
    following : ndarray, shape (sets, scenarios)
        The scenario that the next attempt should hold if all before this one are ruled out.
    """
    sets, scenarios = values.shape
    above = np.zeros((sets, scenarios + 1))
    above[:, :-1] = np.cumsum(weight[:, ::-1], axis=1)[:, ::-1]
    cost = np.zeros((sets, scenarios + 1))
    lost = values * above[:, 1:] * failure_overhead
    following = np.zeros((sets, scenarios), dtype=np.int64)
    rows = np.arange(sets)
    for first in range(scenarios - 1, -1, -1):
        options = values[:, first:] * above[:, first, None] + lost[:, first:] + cost[:, first + 1 :]
        best = options.argmin(axis=1)
        cost[:, first] = options[rows, best]
        following[:, first] = best + first
    return cost[:, 0], following


def lognormal_scenarios(
    median_bytes: float, log_sd: float, *, base_bytes: float = 0.0, count: int = 64
) -> Scenarios:
    """Return a log-normal forecast as scenarios: its quantiles.

    Parameters
    ----------
    median_bytes
        Of the whole peak, base included.
    log_sd
        Standard deviation of the logarithm of what is above the base.
    base_bytes
        What the process holds before the fit begins; known, so it doesn't vary.
    count
        How many scenarios; the last few halve the far tail again and again.

    Raises
    ------
    InvalidInputError
        If the forecast is no distribution, or the count is below 8.
    """
    above = median_bytes - base_bytes
    if not (math.isfinite(median_bytes) and base_bytes >= 0.0 and above > 0.0):
        raise InvalidInputError("median_bytes must be finite and above base_bytes")
    if not (math.isfinite(log_sd) and log_sd >= 0.0) or count < 2 + _FAR_TAIL:
        raise InvalidInputError("log_sd must be finite and not negative, count at least 8")
    body = count - _FAR_TAIL
    edges = np.concatenate(
        [np.arange(body + 1) / (body + 1), 1.0 - 0.5 ** np.arange(1, _FAR_TAIL) / (body + 1), [1.0]]
    )
    middle = 0.5 * (edges[1:] + edges[:-1])
    peaks = base_bytes + above * np.exp(log_sd * ndtri(middle))
    return Scenarios.of(peaks, np.diff(edges))


def estimate_scenarios(estimate: Estimate, *, count: int = 64) -> Scenarios:
    """Return the scenarios of a fit's peak memory from its estimate's two quantiles."""
    median = max(float(estimate.peak_memory_bytes_p50), 1.0)
    upper = max(float(estimate.peak_memory_bytes_p95), median)
    return lognormal_scenarios(median, math.log(upper / median) / Z95, count=count)


def attempt_bytes(estimate: Estimate, least_bytes: int = 0, failures: int = 0) -> int:
    """Return the memory for the next attempt of a fit, in bytes.

    Parameters
    ----------
    estimate
        The fit's forecast.
    least_bytes
        Memory that an attempt has proved to be too little; 0 if none was made.
    failures
        How many attempts ran out of memory: beyond all that was forecast, steps get longer.
    """
    median = max(float(estimate.peak_memory_bytes_p50), 1.0)
    upper = max(float(estimate.peak_memory_bytes_p95), median)
    log_sd = math.log(upper / median) / Z95
    if least_bytes <= 0:
        # Attempts scale with the median, so the width alone decides: few distinct answers.
        return max(1, round(median * _first_factor(round(100.0 * log_sd))))
    scenarios = lognormal_scenarios(median, log_sd)
    steps = plan_attempts(scenarios, least_bytes=float(least_bytes)).memory_bytes
    beyond = least_bytes >= scenarios.peak_memory_bytes[-1]
    step = min(max(failures, 1), len(steps)) - 1 if beyond else 0
    return max(least_bytes + 1, round(steps[step]))


@lru_cache(maxsize=1024)
def _first_factor(log_sd_hundredths: int) -> float:
    scenarios = lognormal_scenarios(1.0, log_sd_hundredths / 100.0)
    return plan_attempts(scenarios).memory_bytes[0]


def _steps(values: Array, following: Places) -> list[float]:
    """Read the attempts off the table of what follows what."""
    steps: list[float] = []
    at = 0
    while at < len(values):
        at = int(following[at])
        value = float(values[at])
        # Scenarios cut down to the upper bound are equal: one attempt holds them all.
        if not steps or value > steps[-1]:
            steps.append(value)
        at += 1
    return steps


def _beyond(least_bytes: float, most_bytes: float) -> Attempts:
    growth = 1.0 + FIRST_STEP * (2.0 ** np.arange(1, MOST_STEPS + 1) - 1.0)
    steps = [float(step) for step in least_bytes * growth if step < most_bytes]
    if math.isfinite(most_bytes):
        steps.append(float(most_bytes))
    # Nothing is known of what is needed but that the first of them may do.
    return Attempts(tuple(steps), steps[0], 0.0)
