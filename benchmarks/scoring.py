"""How good forecasts were: forecast against measured, in numbers a user can be told.

In: the metrics. Not in: what to do about a bad one.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from fitcast.history.records import Estimate, Outcome, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How forecasts of fits that succeeded compare with what they cost.

    Shares are of those fits; NaN if there are none.
    """

    fits: int
    total_runtime_s: float  # measured
    total_forecast_s: float
    total_ratio: float  # forecast over measured
    runtime_median_error: float  # half of the fits are off by no more than this share
    runtime_within_p10_p90: float  # 0.8 is right
    runtime_above_p90: float
    memory_median_error: float
    memory_above_p95: float  # 0.05 is right
    memory_slack: float  # P95 over measured, total: what is reserved in vain

    def as_metrics(self) -> dict[str, float]:
        """Return the numbers by name, without those that aren't finite."""
        return {
            f"accuracy_{name}": float(value)
            for name, value in asdict(self).items()
            if math.isfinite(value)
        }

    def __str__(self) -> str:
        return (
            f"{self.fits} fits, {self.total_forecast_s:.1f} s forecast for "
            f"{self.total_runtime_s:.1f} s ({self.total_ratio:.2f}); a fit's runtime off by "
            f"{self.runtime_median_error:.0%}, {self.runtime_within_p10_p90:.0%} within P10 to "
            f"P90; memory off by {self.memory_median_error:.0%}, {self.memory_above_p95:.0%} "
            f"above P95, which is {self.memory_slack:.2f} times what was used"
        )


def judge(pairs: Sequence[tuple[Estimate, Record]]) -> Accuracy:
    """Compare forecasts with records.

    Parameters
    ----------
    pairs
        A forecast and the record of what it forecast; those that didn't succeed don't count,
        their cost isn't known.
    """
    done = [
        (estimate, record)
        for estimate, record in pairs
        if record.outcome is Outcome.SUCCEEDED and record.runtime_s > 0
    ]
    measured = sum(record.undisturbed_s for _, record in done)
    forecast = sum(mean_runtime_s(estimate) for estimate, _ in done)
    with_memory = [(e, r) for e, r in done if r.peak_memory_bytes is not None]
    used = sum(r.peak_memory_bytes for _, r in with_memory)
    return Accuracy(
        fits=len(done),
        total_runtime_s=measured,
        total_forecast_s=forecast,
        total_ratio=forecast / measured if measured > 0 else math.nan,
        runtime_median_error=_median_error([(e.runtime_s_p50, r.undisturbed_s) for e, r in done]),
        runtime_within_p10_p90=_share(
            [e.runtime_s_p10 <= r.undisturbed_s <= e.runtime_s_p90 for e, r in done]
        ),
        runtime_above_p90=_share([r.undisturbed_s > e.runtime_s_p90 for e, r in done]),
        memory_median_error=_median_error(
            [(float(e.peak_memory_bytes_p50), float(r.peak_memory_bytes)) for e, r in with_memory]
        ),
        memory_above_p95=_share(
            [r.peak_memory_bytes > e.peak_memory_bytes_p95 for e, r in with_memory]
        ),
        memory_slack=sum(e.peak_memory_bytes_p95 for e, _ in with_memory) / used
        if used
        else math.nan,
    )


def mean_runtime_s(estimate: Estimate) -> float:
    """Return the expected runtime, which is above the median; sums of it are right.

    The part of the uncertainty that all fits of the algorithm share is left out: it moves the
    total, it doesn't even out in it.
    """
    variance = estimate.runtime_log_sd_candidate**2 + estimate.runtime_log_sd_fit**2
    return estimate.runtime_s_p50 * math.exp(0.5 * min(variance, 1.0))


def _median_error(pairs: Sequence[tuple[float, float]]) -> float:
    errors = sorted(abs(math.log(said / was)) for said, was in pairs)
    if not errors:
        return math.nan
    middle = len(errors) // 2
    median = errors[middle] if len(errors) % 2 else 0.5 * (errors[middle - 1] + errors[middle])
    return math.exp(median) - 1.0


def _share(held: Sequence[bool]) -> float:
    return sum(held) / len(held) if held else math.nan
