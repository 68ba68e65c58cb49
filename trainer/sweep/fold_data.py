"""Which fits of a sweep learn from rows that hold something: a hole, a fraction, one class only.

In: what the data of all candidates has in common, looked at fold by fold, each thing once. Not in:
whom it matters to (:mod:`fitcast.trainer.sweep.fitness`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from fitcast.trainer.sweep.containers import Look
from fitcast.trainer.sweep.missing import Holes, Rows, holes, is_infinite, is_missing
from fitcast.trainer.sweep.requests import Shape
from fitcast.trainer.sweep.splits import Splits


@dataclass(frozen=True)
class Failing:
    """Which fits of a candidate are known to fail."""

    folds: tuple[int, ...]
    hopeless: bool  # all, or the one on all rows

    def __bool__(self) -> bool:
        return bool(self.folds) or self.hopeless


@dataclass(frozen=True)
class FoldData:
    """What the fits have in common; each is found out once, for all candidates."""

    X: Look
    y: Look
    shape: Shape
    splits: Splits | None  # None: there are none, so all is taken for one fold
    is_refitted: bool

    @cached_property
    def holes(self) -> tuple[Holes | None, Holes | None]:
        """The first missing and the first infinite value of X, with the rows that have any."""
        return holes(self.X)

    @cached_property
    def missing(self) -> Failing | None:
        """The fits that learn from rows with missing values."""
        return None if self.holes[0] is None else self._by_rows(self.holes[0].rows)

    @cached_property
    def infinite(self) -> Failing | None:
        """The fits that learn from rows with infinite values."""
        return None if self.holes[1] is None else self._by_rows(self.holes[1].rows)

    @cached_property
    def all(self) -> Failing:
        """All fits."""
        return Failing(tuple(range(1 if self.splits is None else len(self.splits))), True)

    @cached_property
    def is_of_floats(self) -> bool:
        """Whether the target is of floating-point numbers."""
        y = self.y.plain
        return (y if sp.issparse(y) else np.asarray(y)).dtype.kind == "f"

    @cached_property
    def missing_targets(self) -> tuple[Rows, Failing] | None:
        """Rows without a target, and the fits that learn from any."""
        return self._targets(is_missing(self.y))

    @cached_property
    def infinite_targets(self) -> tuple[Rows, Failing] | None:
        """Rows with an infinite target, and the fits that learn from any."""
        return self._targets(is_infinite(self.y))

    @cached_property
    def fractions(self) -> tuple[float, Failing] | None:
        """A fraction in a target of numbers, and the fits that learn from any."""
        if not self.shape.target_type.startswith("continuous") or sp.issparse(self.y.plain):
            return None
        values = np.asarray(self.y.plain, dtype=float).reshape(self.y.rows, -1)
        fractions = values != np.floor(values)
        if not fractions.any():
            return None
        return float(values[fractions][0]), self._by_rows(fractions.any(axis=1))

    @cached_property
    def has_texts(self) -> bool:
        """Whether there is text in the target."""
        return bool(self._texts)

    @cached_property
    def has_words(self) -> bool:
        """Whether there is text in the target that is no number."""
        return not all(map(_is_number, self._texts))

    @cached_property
    def _texts(self) -> list[str]:
        values = np.asarray(self.y.plain)
        if values.dtype.kind not in "USO":
            return []
        return [v for v in values.ravel()[:1000].tolist() if isinstance(v, str)]

    @cached_property
    def classes(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]] | None:
        """The classes, and the number of that of each row."""
        if self.shape.target_type not in ("binary", "multiclass"):
            return None
        values = self.y.given if self.y.plain is None else self.y.plain
        try:
            classes, codes = np.unique(np.asarray(values).ravel(), return_inverse=True)
        except TypeError:  # classes that can't be ordered
            return None
        return (classes, codes) if len(codes) == self.X.rows else None

    @cached_property
    def of_one_class(self) -> Failing | None:
        """The fits whose training rows are of one class."""
        if self.classes is None:
            return None
        codes = self.classes[1]
        return self._failing(lambda train: bool((codes[train] == codes[train[0]]).all()))

    @cached_property
    def unnumbered(self) -> Failing | None:
        """The fits whose classes aren't numbered from 0."""
        if self.classes is None:
            return None
        classes, codes = self.classes
        is_number = classes.dtype.kind in "biuf"

        def fails(train: npt.NDArray[np.intp]) -> bool:
            trained = classes[np.unique(codes[train])]
            return not is_number or not bool((trained == np.arange(len(trained))).all())

        return self._failing(fails)

    def _targets(self, rows: Rows) -> tuple[Rows, Failing] | None:
        return (rows, self._by_rows(rows)) if rows.any() else None

    def _by_rows(self, rows: Rows) -> Failing:
        return self._failing(lambda train: bool(rows[train].any()))

    def _failing(self, fails: Callable[[npt.NDArray[np.intp]], bool]) -> Failing:
        every = np.arange(self.X.rows)
        trained = [every] if self.splits is None else [train for train, _ in self.splits]
        folds = tuple(fold for fold, train in enumerate(trained) if fails(train))
        return Failing(folds, len(folds) == len(trained) or (self.is_refitted and fails(every)))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
