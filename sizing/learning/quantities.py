"""The two quantities that are forecast, runtime and memory: law, scales, noise.

In: for each, the logarithm of the law and its uncertainty. Not in: how that is
learned (:mod:`fitcast.sizing.learning.gaussian_process`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from fitcast.sizing.laws.features import Described
from fitcast.sizing.laws.prior import FitCost, own_memory_bytes, spread_of
from fitcast.sizing.learning.gaussian_process import Scales
from fitcast.sizing.learning.points import Array, Places, Points

KNOWN_MACHINE_SD = 0.15
"""Uncertainty left if a machine's speed was measured, in natural logarithms: the four kernels
of the measurement differ by more than that between machines, but fits are mixes of them."""

CLOCK_S = 0.004  # by which a runtime varies however short it is


class Quantity(StrEnum):
    """What is forecast."""

    RUNTIME = "runtime"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Law:
    """The family's law for one fit and one quantity."""

    log_mean: float
    share: float
    stopping: float  # standard deviation by rounds that the fit itself decides


def law_of(quantity: Quantity, fit: Described, cost: FitCost) -> Law:
    """Return the logarithm of the law, in seconds or bytes, and the share of the fit's own work."""
    if quantity is Quantity.RUNTIME:
        total = cost.runtime_s(fit.threads)
        share = max(1e-3, 1.0 - cost.process_s / total)
        return Law(math.log(total), share, cost.rounds_log_sd)
    own = own_memory_bytes()
    total = max(cost.memory_bytes, own)
    return Law(math.log(total), max(0.0, 1.0 - own / total), cost.rounds_memory_log_sd)


def scales_of(quantity: Quantity, fit: Described) -> Scales:
    """Return the uncertainty of a fit's law."""
    spread = spread_of(fit, quantity)
    if quantity is Quantity.RUNTIME:
        return Scales(
            machine=0.35,
            algorithm=spread.algorithm,
            process=0.4,
            rows=spread.slope,
            columns=1.5 * spread.slope,
            classes=0.1 + spread.slope,
            content=0.5 * spread.smooth,
            number=0.5 * spread.smooth,
            word=0.5 * spread.smooth,
            smooth=spread.smooth,
            dataset=spread.dataset,
            run=0.12,
            candidate=0.05,
            fit=0.08,
        )
    return Scales(
        machine=0.1,
        algorithm=spread.algorithm,
        process=0.4,
        rows=spread.slope,
        columns=1.5 * spread.slope,
        classes=0.1 + spread.slope,
        content=0.5 * spread.smooth,
        number=0.5 * spread.smooth,
        word=0.5 * spread.smooth,
        smooth=spread.smooth,
        dataset=spread.dataset,
        run=0.03,
        candidate=0.04,
        fit=0.05,
    )


def chance_variance(quantity: Quantity, fit_sd: float, log_mean: float) -> float:
    """Return the noise variance of one fit's logarithm."""
    if quantity is Quantity.MEMORY:
        return fit_sd**2
    return fit_sd**2 + min(1.0, (CLOCK_S * math.exp(-min(max(log_mean, -7.0), 20.0))) ** 2)


def points_at(
    quantity: Quantity,
    fits: Sequence[Described],
    costs: Sequence[FitCost],
    places: Places,
    *,
    shift: float = 0.0,
) -> Points:
    """Return fits of one algorithm as points of a quantity.

    Parameters
    ----------
    fits, costs
        The fits, and the cost of each by its law.
    places
        Their features.
    shift
        Added to the law's logarithm: this machine's shift, estimated from other algorithms.
    """
    laws = [law_of(quantity, fit, cost) for fit, cost in zip(fits, costs, strict=True)]
    log_mean: Array = np.array([law.log_mean for law in laws]) + shift
    shares, stopping = (np.array([getattr(law, n) for law in laws]) for n in ("share", "stopping"))
    return places.points(log_mean, shares, stopping)
