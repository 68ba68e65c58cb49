"""What the laws of all families have in common: a law's result, and reading a request for it.

In: helpers of :mod:`fitcast.sizing.laws.tree`, :mod:`fitcast.sizing.laws.linear` and
:mod:`fitcast.sizing.laws.point`. Not in: any family's law.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fitcast.sizing.laws.features import Described

Constants = Mapping[str, float]
"""Constants of one law by name. Those that end in ``_power`` are exponents, ``_cap`` fixed limits;
all others are positive scales (seconds, bytes, passes, shares)."""


@dataclass(frozen=True, slots=True)
class Work:
    """The cost of one fit with one thread, by a law."""

    serial_s: float
    parallel_s: float  # seconds of work that threads divide
    memory_bytes: float  # above the process's own and the data's
    text: str  # "forest of 200 trees, depth 12"
    threading_s: float = 0.0  # what several threads cost, however few: waking, waiting
    rounds_log_sd: float = 0.0  # of the number of rounds, where a fit stops by itself
    rounds_bytes: float = 0.0  # of the memory, what grows with the rounds


def between(value: float, least: float, most: float) -> float:
    """Clip a value to bounds; one that isn't finite becomes a bound."""
    if not math.isfinite(value):
        return most if value > 0 else least
    return min(max(value, least), most)


def at_most(passes: float, most: float) -> float:
    """Return how many passes there will be if they end at the latest after ``most``.

    A soft minimum: near the end some have converged before, others haven't.
    """
    return between((between(passes, 1.0, 1e9) ** -2.0 + most**-2.0) ** -0.5, 0.5, most)


def log2(value: float) -> float:
    """Return the logarithm to base 2, at least 1."""
    return math.log2(max(2.0, value))


def outputs(fit: Described) -> float:
    """Return how many models one model of several classes is."""
    return between(fit.classes, 1.0, 1e5) if fit.classes > 2.0 else 1.0


def is_regression(fit: Described) -> bool:
    """Return whether the target isn't classes."""
    return fit.classes < 1.0


def cells_test(fit: Described) -> float:
    """Return the values of the rows that are predicted, without zeros of sparse data."""
    return fit.rows_test * fit.nonzeros / fit.rows_train


def item_bytes(fit: Described) -> float:
    """Return the bytes of one value of the data: 4 for float32, 8 for float64."""
    if is_sparse(fit):
        return 8.0
    rows = fit.rows_train + fit.rows_test
    return between(fit.data_bytes / (rows * fit.columns), 1.0, 16.0)


def is_sparse(fit: Described) -> bool:
    """Return whether the data holds its non-zeros only."""
    return fit.nonzeros < 0.5 * fit.rows_train * fit.columns


def numbers_in(text: str) -> list[float]:
    """Return the whole numbers in a text, as those of ``"(100, 50)"``."""
    found = "".join(ch if ch.isdecimal() else " " for ch in text).split()
    return [float(number[:9]) for number in found[:32]]
