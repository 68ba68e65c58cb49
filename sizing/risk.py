"""Estimate → the probability that an attempt fails: out of memory, out of time, or by an error.

In: probabilities at a given limit. Not in: which limit is chosen
(:mod:`fitcast.sizing.allocation`), how the forecast came about
(:mod:`fitcast.sizing.learning.model`).
"""

import math
from dataclasses import dataclass

from scipy.special import ndtr

from fitcast.errors import InvalidInputError
from fitcast.history.records import Estimate

_Z95 = 1.6448536269514722
_LEAST_SD = 1e-4


@dataclass(frozen=True, slots=True)
class Risk:
    """Probabilities that an attempt fails, by cause; each by itself, from 0 to 1."""

    out_of_memory: float
    out_of_time: float
    error: float

    @property
    def any(self) -> float:
        """Probability of at least one of them, assumed to be independent."""
        return 1.0 - (1.0 - self.out_of_memory) * (1.0 - self.out_of_time) * (1.0 - self.error)


def risk_of(
    estimate: Estimate, *, memory_bytes: float = math.inf, deadline_s: float | None = None
) -> Risk:
    """Return the risk of one attempt under limits.

    Parameters
    ----------
    estimate
        The fit's forecast.
    memory_bytes
        What the attempt's process may use.
    deadline_s
        After which it is ended; None for never.

    Raises
    ------
    InvalidInputError
        A limit is NaN or negative.
    """
    return Risk(
        out_of_memory=out_of_memory_probability(estimate, memory_bytes),
        out_of_time=0.0 if deadline_s is None else out_of_time_probability(estimate, deadline_s),
        error=min(max(estimate.failure_probability, 0.0), 1.0),
    )


def out_of_memory_probability(estimate: Estimate, memory_bytes: float) -> float:
    """Return the probability that a fit's peak memory is above a limit, in bytes."""
    median = max(float(estimate.peak_memory_bytes_p50), 1.0)
    upper = max(float(estimate.peak_memory_bytes_p95), median)
    return _above("memory_bytes", memory_bytes, median, math.log(upper / median) / _Z95)


def out_of_time_probability(estimate: Estimate, deadline_s: float) -> float:
    """Return the probability that a fit's runtime is above a limit, in seconds."""
    variance = (
        estimate.runtime_log_sd_algorithm**2
        + estimate.runtime_log_sd_candidate**2
        + estimate.runtime_log_sd_fit**2
    )
    median_s = max(estimate.runtime_s_p50, 1e-9)
    return _above("deadline_s", deadline_s, median_s, math.sqrt(variance))


def _above(name: str, limit: float, median: float, log_sd: float) -> float:
    """Return the probability that a log-normal is above a limit."""
    if not limit >= 0.0:
        raise InvalidInputError(f"{name} is {limit}; give a number that isn't negative")
    if limit == 0.0:
        return 1.0
    if math.isinf(limit):
        return 0.0
    return float(ndtr((math.log(median) - math.log(limit)) / max(log_sd, _LEAST_SD)))
