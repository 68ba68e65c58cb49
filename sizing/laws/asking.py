"""What a wrapper's rule may ask: its parameters, its parts' cost on other data.

In: a wrapper on data, and counts that aren't known. Not in: any rule
(:mod:`fitcast.sizing.laws.wrappers`, :mod:`fitcast.sizing.laws.searches`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fitcast.history.parts import EstimatorPart
from fitcast.sizing.laws.bills import Bill, sized, together
from fitcast.sizing.laws.features import Described, Params
from fitcast.sizing.laws.law import Constants, between

UNKNOWN_COUNT = 0.9  # standard deviation of the logarithm of a count that isn't known before
GUESSED_COUNT = 0.6  # of one that a parameter suggests


class Costing(Protocol):
    """What rules ask: a part's cost on other data."""

    c: Constants

    def fit(self, part: EstimatorPart, data: Described) -> Bill:
        """Return the cost of fitting a part on the rows that train, and predicting the others."""

    @property
    def points(self) -> int:
        """At how many points a long path is looked at."""


@dataclass(frozen=True, slots=True)
class WrapperOnData:
    """A wrapper, on data."""

    costing: Costing
    part: EstimatorPart
    params: Params
    data: Described
    name: str

    def inner(self, *roles: str) -> list[EstimatorPart]:
        """Return the parts that some parameters hold; all estimators if none are named."""
        return [part for part in self.part.parts if not roles or part.role in roles]

    def number(self, name: str, default: float, most: float = 1e12) -> float:
        """Return a count that a parameter says."""
        return between(self.params.number(name, default=default), 0.0, most)

    def share_of(self, name: str, whole: float, default: float) -> float:
        """Return a number of things, told as a number or a share of all; shares are floats."""
        value = self.params.number(name, default=default)
        if value <= 0.0:
            value = default
        raw = dict(self.part.params).get(name)
        # 1.0 is all of them, 1 is one of them.
        is_share = isinstance(raw, float) and value <= 1.0
        return between(value * whole if is_share else value, 1.0, whole)

    def folds(self, name: str = "cv", default: float = 5.0) -> tuple[float, float]:
        """Return how many folds there are, and how unsure that is."""
        told = self.params.numbers.get(name)
        if told is not None and told >= 2.0:
            return between(told, 2.0, 1e9), 0.0
        splitter = self.params.word(name)
        if splitter == "LeaveOneOut":
            return self.data.rows_train, 0.0
        return default, 0.0 if splitter in ("None", "") else GUESSED_COUNT

    def fold(self, folds: float, *, also: float = 0.0, columns: float | None = None) -> Described:
        """Return the data of one fold: the rows that train it, and those that it is scored on."""
        tested = self.data.rows_train / folds
        return sized(
            self.data, rows=self.data.rows_train - tested, tests=tested + also, columns=columns
        )

    def whole(
        self, *, columns: float | None = None, classes: float | None = None, tested: bool = True
    ) -> Described:
        """Return all rows."""
        tests = self.data.rows_test if tested else 0.0
        return sized(self.data, tests=tests, columns=columns, classes=classes)

    def fit(self, part: EstimatorPart, data: Described) -> Bill:
        """Return the cost of one inner fit."""
        return self.costing.fit(part, data)

    def mean(self, parts: list[EstimatorPart], data: Described) -> Bill:
        """Return the mean cost of parts that stand for many, as a search's settings."""
        counts = [max(1, part.count) for part in parts]
        whole = sum(counts)
        bills = [
            self.fit(part, data).times(count / whole)
            for part, count in zip(parts, counts, strict=True)
        ]
        return together(bills)

    def each(self, parts: list[EstimatorPart], data: Described, *, kept: bool = True) -> Bill:
        """Return the cost of fitting each, with those that aren't listed."""
        bill = together(self.fit(part, data).times(max(1, part.count), kept=kept) for part in parts)
        listed = sum(max(1, part.count) for part in parts)
        if self.part.unlisted and listed:
            bill = bill.times(1.0 + self.part.unlisted / listed, kept=kept).more(unsure=0.3)
        return bill

    @property
    def score_s(self) -> float:
        """Seconds that one scoring takes."""
        return self.costing.c["score_s"]


Rule = Callable[[WrapperOnData], Bill]


def told(count: float, bill: Bill) -> str:
    """Return how many fits of what, in words."""
    return f"{count:,.0f} {'fit' if count == 1.0 else 'fits'} of {bill.text}"
