"""Means and variances of logarithms → the estimate that users get.

In: quantiles, the explanation, the probability of failing. Not in: where the means come from.
"""

import math
from dataclasses import dataclass

from fitcast.history.records import Estimate
from fitcast.sizing.laws.features import Described
from fitcast.sizing.laws.prior import MAX_LOG, MAX_LOG_S, FitCost

Z90 = 1.2815515655446004
Z95 = 1.6448536269514722
_LEAST_S = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Normal:
    """A forecast of a logarithm, its variance split into components."""

    mean: float
    shared: float  # variance shared by all fits of the algorithm
    own: float  # variance shared by the folds of the candidate alone
    chance: float  # variance of one fit alone

    @property
    def variance(self) -> float:
        """The total variance."""
        return self.shared + self.own + self.chance


def estimate_of(
    fit: Described,
    *,
    runtime: Normal,
    memory: Normal,
    base_memory_bytes: float,
    failure: float,
    like_records: int,
    cost: FitCost,
) -> Estimate:
    """Put the forecast for one fit together."""
    mean = min(max(runtime.mean, -12.0), MAX_LOG_S)
    sd = min(math.sqrt(max(runtime.variance, 1e-8)), 4.0)
    median = max(math.exp(mean), _LEAST_S)
    spread = math.exp(Z90 * sd)
    memory_mean = min(max(memory.mean, 9.0), MAX_LOG)
    memory_sd = min(math.sqrt(max(memory.variance, 1e-8)), 3.0)
    peak = base_memory_bytes + math.exp(memory_mean)
    peak_95 = base_memory_bytes + math.exp(min(memory_mean + Z95 * memory_sd, MAX_LOG + 4.0))
    shape = f"{fit.rows_train:,.0f} × {fit.columns:,.0f}"
    width = f"±{100 * (spread - 1):.0f} %" if spread < 2.0 else f"a factor of {spread:.1f}"
    rests_on = (
        f"{like_records:,} like {'fit' if like_records == 1 else 'fits'} seen"
        if like_records
        else "no like fit seen yet"
    )
    return Estimate(
        threads=fit.threads,
        runtime_s_p10=median / spread,
        runtime_s_p50=median,
        runtime_s_p90=median * spread,
        peak_memory_bytes_p50=int(peak),
        peak_memory_bytes_p95=max(int(peak_95), int(peak * 1.02)),
        failure_probability=failure,
        runtime_log_sd_algorithm=math.sqrt(max(runtime.shared, 0.0)),
        runtime_log_sd_candidate=math.sqrt(max(runtime.own, 0.0)),
        runtime_log_sd_fit=math.sqrt(max(runtime.chance, 0.0)),
        parallel_fraction=cost.effective_fraction(fit.threads),
        like_records=like_records,
        why=f"{_duration(median)}: {cost.text}, {shape}; {width}: {rests_on}",
    )


def _duration(seconds: float) -> str:
    if seconds < 1.0:
        return f"{seconds:.2f} s"
    if seconds < 120.0:
        return f"{seconds:.1f} s"
    if seconds < 7200.0:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"
