"""How well risks are forecast: Brier scores, reliability, a picture of it.

In: the events (a fit's peak above a size, its runtime above a deadline, an error of its own), each
with the probability that was forecast for it. Not in: which fits (:mod:`benchmarks.bench_sizing`).

The Brier score is the mean square of forecast probability less what happened (Brier, 1950); beside
it that of always saying how often it happens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import failing
from benchmarks.judging import Forecasts, Row
from fitcast.sizing.risk import out_of_memory_probability, out_of_time_probability

SIZES = (-1.5, -1.0, -0.5, -0.2, 0.0, 0.2, 0.5, 1.0, 1.5)
"""Memory limits of each fit, from the median forecast for it in steps from there to its P95."""

DEADLINES = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""Deadlines likewise."""

EDGES = (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1.0)

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Events:
    """Events of one kind: what was forecast of each, and whether it happened."""

    name: str
    probability: Array
    happened: Array

    @classmethod
    def of(cls, name: str, pairs: Sequence[tuple[float, bool]]) -> "Events":
        """Return the events of pairs: forecast probability, happened."""
        both = np.array([(p, float(h)) for p, h in pairs]).reshape(-1, 2)
        return cls(name, both[:, 0], both[:, 1])


def events_of(forecasts: Forecasts) -> list[Events]:
    """Return what would have happened to fits at sizes and deadlines around their forecasts."""
    memory: list[tuple[float, bool]] = []
    time: list[tuple[float, bool]] = []
    for estimate, record in zip(forecasts.estimates, forecasts.records, strict=True):
        for factor in SIZES:
            width = estimate.peak_memory_bytes_p95 / estimate.peak_memory_bytes_p50
            size = estimate.peak_memory_bytes_p50 * width**factor
            memory.append(
                (out_of_memory_probability(estimate, size), record.peak_memory_bytes > size)
            )
        for factor in DEADLINES:
            deadline_s = factor * estimate.runtime_s_p50
            time.append(
                (out_of_time_probability(estimate, deadline_s), record.runtime_s > deadline_s)
            )
    stream = failing.stream()
    errors = list(zip(*failing.forecast_online(stream), strict=True))
    return [
        Events.of("out of memory", memory),
        Events.of("out of time", time),
        Events.of("error of its own", errors),
    ]


def brier_rows(several: Sequence[Events]) -> list[Row]:
    """Return a row for each kind of event."""
    rows: list[Row] = []
    for events in several:
        rate = float(events.happened.mean())
        score = float(np.mean((events.probability - events.happened) ** 2))
        rows.append(
            {
                "": events.name,
                "events": len(events.happened),
                "happened": rate,
                "Brier score": score,
                "of the rate": rate * (1.0 - rate),
            }
        )
    return rows


def reliability_rows(several: Sequence[Events]) -> list[Row]:
    """Return a row for each range of forecast probabilities: how often it then happened."""
    rows: list[Row] = []
    for low, high in pairwise(EDGES):
        row: Row = {"": f"forecast {low:.0%} to {high:.0%}"}
        for events in several:
            row[f"{events.name}: forecast"], row[f"{events.name}: happened"] = _within(
                events, low, high
            )
        rows.append(row)
    return rows


def plot(several: Sequence[Events], path: Path) -> None:
    """Draw reliability: on the diagonal, what is forecast happens as often as forecast."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "fitcast", "font.size": 9}):
        figure, axes = plt.subplots(1, len(several), figsize=(9.0, 3.3), sharey=True)
        for axis, events in zip(axes, several, strict=True):
            axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
            _draw(axis, events)
            axis.set(title=events.name, xlabel="forecast", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        axes[0].set_ylabel("happened")
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _draw(axis: Any, events: Events) -> None:
    pairs = list(pairwise(EDGES))
    points = np.array([_within(events, low, high) for low, high in pairs])
    counts = np.array([_chosen(events, low, high).sum() for low, high in pairs])
    shown = counts >= 10
    # Twice the standard error of a share.
    error = 2.0 * np.sqrt(points[:, 1] * (1.0 - points[:, 1]) / np.maximum(counts, 1))
    axis.errorbar(
        points[shown, 0], points[shown, 1], error[shown], fmt="o-", markersize=4, capsize=2
    )


def _within(events: Events, low: float, high: float) -> tuple[float, float]:
    chosen = _chosen(events, low, high)
    if not chosen.any():
        return float("nan"), float("nan")
    return float(events.probability[chosen].mean()), float(events.happened[chosen].mean())


def _chosen(events: Events, low: float, high: float) -> npt.NDArray[np.bool_]:
    upper = events.probability <= high if high == 1.0 else events.probability < high
    return (events.probability >= low) & upper
