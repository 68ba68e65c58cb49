"""The probability that the user's own code fails, estimated from earlier fits of the algorithm.

In: how similar earlier fits are to a new one, and their weights. Not in: memory and time
that run out, which follow from their forecasts (:mod:`fitcast.sizing.risk`).
"""

import math
from collections import Counter
from collections.abc import Mapping
from itertools import islice

import numpy as np

from fitcast.sizing.laws.features import Params, scaled

_RATE = 0.01  # of settings that fail, before any was seen
_RATE_FITS = 20.0  # as if that many had been seen to fail at that rate
_LIKE_FITS = 0.5  # as if that many like fits had failed at the algorithm's own rate
_WORD = 3.0  # exponent by which a different category lowers a fit's weight
_DECADE = 1.0  # the same per decade between numbers, at most two decades
_MOST_SETTINGS = 400  # that are compared; the latest
_ABSENT = "~"


class Failures:
    """Counts of failed and succeeded fits of one algorithm, by hyper-parameters."""

    def __init__(self) -> None:
        self.seen: Counter[int] = Counter()
        self.failed: Counter[int] = Counter()
        self._params: dict[int, Params] = {}
        self._known: dict[int, float] = {}
        self._table: _Table | None = None

    def copy(self) -> "Failures":
        """Return an independent copy."""
        new = Failures()
        new.seen, new.failed, new._params = self.seen.copy(), self.failed.copy(), dict(self._params)
        return new

    def see(self, params: Params, *, failed: bool) -> None:
        """Count one more fit."""
        self.seen[params.key] += 1
        self.failed[params.key] += int(failed)
        self._params[params.key] = self._params.pop(params.key, params)  # the latest stand last
        self._known, self._table = {}, None

    def probability(self, params: Params) -> float:
        """Return the chance that a fit with these hyper-parameters fails.

        The mean of a Beta posterior. Its prior is the failure rate of similar fits, weighted by
        similarity, and theirs is the rate of all fits of the algorithm. What failed once usually
        fails again with the same hyper-parameters: all other fits together count as one.
        """
        known = self._known.get(params.key)
        if known is None:
            failed, seen = self.failed[params.key], self.seen[params.key]
            known = self._known[params.key] = (failed + self._like(params)) / (seen + 1.0)
        return known

    def _like(self, params: Params) -> float:
        if not self.failed.total():
            return _RATE_FITS * _RATE / (len(self.seen) + _RATE_FITS)
        if self._table is None:
            latest = islice(reversed(self._params.items()), _MOST_SETTINGS)
            self._table = _Table(dict(latest), self.seen, self.failed)
        rate = (self._table.failed + _RATE_FITS * _RATE) / (self._table.settings + _RATE_FITS)
        like_seen, like_failed = self._table.weighted(params)
        return (like_failed + _LIKE_FITS * rate) / (like_seen + _LIKE_FITS)


class _Table:
    """Observed settings as matrices of the hyper-parameters that vary."""

    def __init__(
        self, settings: Mapping[int, Params], seen: Mapping[int, int], failed: Mapping[int, int]
    ) -> None:
        several = list(settings.values())
        self._names = sorted(
            name
            for name in {name for params in several for name in (*params.words, *params.numbers)}
            if len({_text(params, name) for params in several}) > 1
        )
        texts = [[_text(params, name) for name in self._names] for params in several]
        self._codes: dict[str, int] = {}
        for text in (text for row in texts for text in row):
            self._codes.setdefault(text, len(self._codes))
        self._coded = np.array([[self._codes[text] for text in row] for row in texts])
        self._decades = np.array([self._decades_of(params) for params in several])
        # Each setting counts once, however many folds of it were seen: they fail together.
        self._failed = np.array([failed[key] / seen[key] for key in settings])
        self.settings = len(settings)
        self.failed = float(self._failed.sum())

    def weighted(self, params: Params) -> tuple[float, float]:
        """Return the total weight of similar fits, and the weight of those that failed."""
        if not self._names:
            return float(self.settings), self.failed
        texts = [self._codes.get(_text(params, name), -1) for name in self._names]
        apart = self._coded != np.array(texts)
        decades = np.abs(self._decades - np.array(self._decades_of(params)))
        # A number away from a number is near or far; all else is simply different.
        off = np.where(np.isfinite(decades), _DECADE * np.minimum(decades, 2.0), _WORD)
        weight = np.exp(-(off * apart).sum(axis=1))
        return float(weight.sum()), float(weight @ self._failed)

    def _decades_of(self, params: Params) -> list[float]:
        numbers = (params.numbers.get(name) for name in self._names)
        return [math.nan if number is None else scaled(number) for number in numbers]


def _text(params: Params, name: str) -> str:
    number = params.numbers.get(name)
    return repr(number) if number is not None else params.words.get(name, _ABSENT)
