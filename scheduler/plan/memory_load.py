"""What fits that run together need of a worker's memory: the upper quantile of their sum.

Pure arithmetic on forecasts. Not in: how much a fit alone should get
(:mod:`fitcast.sizing.allocation`), who is ended if the sum is exceeded all the same
(:mod:`fitcast.trainer.attempt.memory_ledger`).

Reserving the worst case of each fit wastes memory: fits that err independently seldom err upwards
together. Folds of one candidate do, so their standard deviations add up; those of different
candidates add up in squares. The sum of log-normals is taken as log-normal with the same mean and
variance (Fenton, IRE Transactions on Communications Systems, 1960).
"""

import math
from collections.abc import Hashable
from typing import NamedTuple

from fitcast.history.records import Estimate
from fitcast.sizing.learning.forecast import Z95

OVERFLOW_PROBABILITY = 0.05
"""How likely the peaks of fits that run together may, at most, exceed their worker at once."""

_Z = Z95  # of 1 − OVERFLOW_PROBABILITY


class MemoryDemand(NamedTuple):
    """A fit's peak memory as far as a sum needs it."""

    mean_bytes: float
    sd_bytes: float
    group: Hashable  # fits of a group err together


def demand_of(estimate: Estimate, group: Hashable) -> MemoryDemand:
    """Return the demand that an estimate's two quantiles of peak memory stand for."""
    median = max(float(estimate.peak_memory_bytes_p50), 1.0)
    log_sd = math.log(max(float(estimate.peak_memory_bytes_p95), median) / median) / Z95
    # A forecast that knows nothing would make the mean of its log-normal meaningless.
    log_sd = min(log_sd, 1.0)
    mean = median * math.exp(0.5 * log_sd * log_sd)
    return MemoryDemand(mean, mean * math.sqrt(math.expm1(log_sd * log_sd)), group)


class MemoryLoad:
    """The sum of the demands on one worker."""

    __slots__ = ("_groups", "_mean", "_variance")

    def __init__(self) -> None:
        self._mean = 0.0
        self._variance = 0.0
        self._groups: dict[Hashable, list[float]] = {}  # standard deviation in sum, members

    def add(self, demand: MemoryDemand) -> None:
        """Count a demand in."""
        self._mean += demand.mean_bytes
        group = self._groups.setdefault(demand.group, [0.0, 0.0])
        self._variance += demand.sd_bytes * (demand.sd_bytes + 2.0 * group[0])
        group[0] += demand.sd_bytes
        group[1] += 1

    def remove(self, demand: MemoryDemand) -> None:
        """Count a demand out that was counted in."""
        group = self._groups[demand.group]
        group[0] -= demand.sd_bytes
        group[1] -= 1
        self._mean -= demand.mean_bytes
        self._variance -= demand.sd_bytes * (demand.sd_bytes + 2.0 * group[0])
        if group[1] == 0:
            del self._groups[demand.group]
        if not self._groups:
            self._mean = self._variance = 0.0  # rounding errors end here

    def mean_bytes(self) -> float:
        """Return the mean of the sum, in bytes."""
        return self._mean

    def upper_bytes(self) -> float:
        """Return what the sum exceeds with `OVERFLOW_PROBABILITY`, in bytes."""
        return _upper(self._mean, self._variance)

    def upper_with(self, demand: MemoryDemand) -> float:
        """Return the same with one more demand."""
        group = self._groups.get(demand.group)
        beside = 0.0 if group is None else group[0]
        variance = self._variance + demand.sd_bytes * (demand.sd_bytes + 2.0 * beside)
        return _upper(self._mean + demand.mean_bytes, variance)

    def copy(self) -> "MemoryLoad":
        """Return an independent copy."""
        other = MemoryLoad()
        other._mean, other._variance = self._mean, self._variance
        other._groups = {group: list(sums) for group, sums in self._groups.items()}
        return other


def _upper(mean: float, variance: float) -> float:
    if variance <= 0.0:
        return max(mean, 0.0)
    log_variance = math.log1p(variance / (mean * mean))
    return mean * math.exp(_Z * math.sqrt(log_variance) - 0.5 * log_variance)
