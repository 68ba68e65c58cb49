"""A column transformer's selections → what each holds of the data.

In: names, numbers, slices, masks and scikit-learn's own selectors. Not in: a selection by the
user's own function, which isn't called; what was counted (:mod:`fitcast.trainer.sweep.contents`).
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
from sklearn.compose import make_column_selector

from fitcast.history.parts import Selected
from fitcast.trainer.sweep.contents import Contents

_MOST_SELECTED: Final = 4096  # columns, by which a selection is known again


class Selections:
    """Tells what selections of a dataset's columns hold; equal ones are looked at once.

    Parameters
    ----------
    sample
        A few rows of the data; None if there are none.
    contents
        What was counted of the data.
    """

    def __init__(self, sample: Any, contents: Contents) -> None:
        self._sample = sample
        self._contents = contents
        self._known: dict[tuple[Any, ...], Selected | None] = {}

    def of(self, columns: Any, *, whole: bool) -> Selected | None:
        """Return what a selection holds, None if it can't be told.

        Parameters
        ----------
        columns
            As a column transformer takes it.
        whole
            Whether it is one of the data's own columns, not of what an earlier step made of them.
        """
        try:
            key = (whole, *_key(columns))
            if key not in self._known:
                sample = self._sample if whole else None
                self._known[key] = _selection(columns, sample, self._contents)
            return self._known[key]
        except Exception:  # columns that aren't there: the fit will say so
            return None

    def beyond(self, taken: Sequence[Selected | None]) -> Selected | None:
        """Return what is left of the data's columns, None if that can't be told."""
        if self._sample is None or any(one is None for one in taken):
            return None
        columns = self._sample.shape[1] - sum(one.columns for one in taken if one is not None)
        return Selected(columns=max(0, int(columns)))


def _key(columns: Any) -> tuple[Any, ...]:
    """Return what is equal for equal selections."""
    if isinstance(columns, make_column_selector):
        told = (columns.pattern, repr(columns.dtype_include), repr(columns.dtype_exclude))
        return ("selector", *told)
    if callable(columns):
        return ("own code",)
    if isinstance(columns, slice):
        return ("slice", repr(columns))
    if isinstance(columns, str | int | np.integer):
        return ("one", columns)
    few = tuple(islice(columns, _MOST_SELECTED))
    return ("several", len(columns), len(few) and type(few[0]), *few)  # 1 is equal to True


def _selection(columns: Any, sample: Any, contents: Contents) -> Selected | None:
    if isinstance(columns, make_column_selector):
        columns = columns(sample)
    if callable(columns):
        return None
    if sample is not None:
        return contents.of_columns(_positions(sample, columns))
    if isinstance(columns, str | int | np.integer):
        return Selected(columns=1)
    if isinstance(columns, slice):
        return None
    if len(columns) and isinstance(columns[0], bool | np.bool_):
        return Selected(columns=int(np.sum(columns)))
    return Selected(columns=len(columns))


def _positions(sample: Any, columns: Any) -> list[int]:
    """Return the numbers of the columns that a selection takes."""
    count = int(sample.shape[1])
    names = list(getattr(sample, "columns", ()))
    if isinstance(columns, slice):
        ends = [columns.start, columns.stop]
        if any(isinstance(end, str) for end in ends):
            start, stop = (None if end is None else names.index(end) for end in ends)
            # Labels name the last column that belongs to it.
            columns = slice(start, None if stop is None else stop + 1, columns.step)
        return list(range(*columns.indices(count)))
    if isinstance(columns, str | int | np.integer):
        columns = [columns]
    chosen = list(islice(columns, count))
    if chosen and all(isinstance(one, bool | np.bool_) for one in chosen):
        return [number for number, taken in enumerate(chosen) if taken]
    places = {name: number for number, name in enumerate(names)}
    return [places[one] if isinstance(one, str) else int(one) % count for one in chosen]
