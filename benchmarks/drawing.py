"""Drawing hyper-parameters from sensible grids, for the models that are measured."""

from typing import Any

import numpy as np

from benchmarks.campaign_data import DataPlan

Rng = np.random.Generator


def one(rng: Rng, *values: Any) -> Any:
    """Return one of some values."""
    return values[int(rng.integers(len(values)))]


def log(rng: Rng, least: float, most: float) -> float:
    """Return a number of three digits, evenly drawn by its logarithm."""
    return float(f"{10 ** rng.uniform(np.log10(least), np.log10(most)):.3g}")


def whole(rng: Rng, least: float, most: float) -> int:
    """Return a whole number, drawn likewise."""
    return round(log(rng, least, most))


def kind(plan: DataPlan, classifier: Any, regressor: Any) -> Any:
    """Return the one of two that takes a plan's target."""
    return regressor if plan.target == "regression" else classifier
