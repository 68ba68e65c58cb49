"""Which of two sizing models forecasts better, and whether one may be used at all.

In: the loss of a model on records that it didn't learn from, and the verdict. Not in: numbers for
people (:mod:`benchmarks.scoring`), what follows from a verdict
(:mod:`fitcast.scheduler.session.learning`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fitcast.history.records import Estimate, Outcome, Record
from fitcast.sizing.learning.model import SizingModel

HELD_OUT_SHARE = 0.3
"""Share of the new records, the newest of them, that a challenger is judged on."""

MOST_HELD_OUT = 1_000
_WORST = 12.0  # of a logarithm: a factor of 160,000; beyond, a forecast is simply wrong
_NO_WORSE = 0.2  # by which a challenger's mean loss may exceed the champion's if that may be chance
_POISONED = 0.7  # how much worse than the laws alone a stored model may be, in logarithms


@dataclass(frozen=True, slots=True)
class ForecastLoss:
    """A model's mean pinball loss, in natural logarithms; smaller is better.

    Averaged over fits and quantiles. It is smallest for the true quantiles, so it rewards both
    accuracy and calibration (Koenker and Bassett, 1978).
    """

    fits: int
    runtime: float
    memory: float
    each: tuple[float, ...] = ()  # runtime and memory together, fit by fit

    @property
    def total(self) -> float:
        """Sum of both."""
        return self.runtime + self.memory


def held_out(new: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Split new records by time: the older to learn from, the newest to be judged on."""
    in_order = sorted(new, key=lambda r: (r.ended_at, r.record_id))
    count = min(MOST_HELD_OUT, max(1, round(HELD_OUT_SHARE * len(in_order))))
    return in_order[:-count], in_order[-count:]


def loss(model: SizingModel, records: Sequence[Record]) -> ForecastLoss:
    """Return a model's loss on fits that succeeded; zero fits, zero loss.

    Parameters
    ----------
    model
        Should not have seen the records.
    records
        Of any workflows.
    """
    done = [r for r in records if r.outcome is Outcome.SUCCEEDED and r.runtime_s > 0]
    by_place: dict[tuple[str, float], list[Record]] = {}
    for record in done:
        by_place.setdefault((record.dataset, record.machine_speed), []).append(record)
    runtime = memory = 0.0
    each = []
    for (dataset, speed), of_one in by_place.items():
        there = model.for_machine(speed)
        estimates = there.estimate([record.request for record in of_one], dataset=dataset)
        for estimate, record in zip(estimates, of_one, strict=True):
            of_runtime, of_memory = _runtime_loss(estimate, record), _memory_loss(estimate, record)
            runtime, memory = runtime + of_runtime, memory + of_memory
            each.append(of_runtime + of_memory)
    count = max(1, len(done))
    return ForecastLoss(len(done), runtime / count, memory / count, tuple(each))


def may_take_over(challenger: ForecastLoss, champion: ForecastLoss) -> bool:
    """Return whether a challenger should take over: unless it is significantly worse.

    It has more evidence than the champion, so it is preferred unless it is significantly worse:
    by a mean difference, fit by fit, above its standard error (a z-score of 1).

    Parameters
    ----------
    challenger, champion
        Losses on the same records, which neither has seen.
    """
    if challenger.fits == 0:
        return True
    if not math.isfinite(challenger.total):
        return False
    worse_by = challenger.total - champion.total
    squares = sum((a - b) ** 2 for a, b in zip(challenger.each, champion.each, strict=True))
    error = math.sqrt(squares) / challenger.fits
    return worse_by <= min(error, _NO_WORSE)


def is_poisoned(model: SizingModel, records: Sequence[Record]) -> bool:
    """Return whether a model forecasts its own evidence far worse than the laws alone do.

    Parameters
    ----------
    model
        The model in question.
    records
        The evidence it was trained on; the newest count.
    """
    newest = list(records)[-200:]
    own, laws = loss(model, newest), loss(SizingModel.prior(), newest)
    return not math.isfinite(own.total) or own.total > laws.total + _POISONED


def _runtime_loss(estimate: Estimate, record: Record) -> float:
    measured = math.log(record.undisturbed_s)
    quantiles = (
        (0.1, estimate.runtime_s_p10),
        (0.5, estimate.runtime_s_p50),
        (0.9, estimate.runtime_s_p90),
    )
    return sum(_pinball(level, value, measured) for level, value in quantiles) / len(quantiles)


def _memory_loss(estimate: Estimate, record: Record) -> float:
    if record.peak_memory_bytes is None:
        return 0.0
    measured = math.log(record.peak_memory_bytes)
    quantiles = (
        (0.5, float(estimate.peak_memory_bytes_p50)),
        (0.95, float(estimate.peak_memory_bytes_p95)),
    )
    return sum(_pinball(level, value, measured) for level, value in quantiles) / len(quantiles)


def _pinball(level: float, forecast: float, measured_log: float) -> float:
    if not math.isfinite(forecast) or forecast <= 0:
        return math.inf
    off = min(max(measured_log - math.log(forecast), -_WORST), _WORST)
    return max(level * off, (level - 1.0) * off)
