"""The splits of a sweep, materialised once, exactly as GridSearchCV makes them.

In: turning ``cv`` into row numbers, and refusing what can't be split. Not in: whether the classes
in each fold suffice (:mod:`fitcast.trainer.sweep.validation`).
"""

import warnings
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import KFold, StratifiedKFold, TimeSeriesSplit, check_cv

from fitcast.errors import InvalidSweepError
from fitcast.trainer.sweep.missing import is_missing

Splits = list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]


def make_splits(cv: Any, X: Any, y: Any, groups: Any, *, classifier: bool, rows: int) -> Splits:
    """Return (training rows, test rows) of every fold.

    Raises
    ------
    InvalidSweepError
        If ``cv`` is no splitter, needs what isn't there, or gives rows that don't exist.
    """
    if isinstance(cv, bool) or not (
        cv is None or isinstance(cv, Integral) or hasattr(cv, "split") or hasattr(cv, "__iter__")
    ):
        raise InvalidSweepError(
            f"cv must be a number of folds, a splitter or a list of (train, test) rows, not {cv!r}."
        )
    if isinstance(cv, str):
        raise InvalidSweepError(f"cv={cv!r}: give a number of folds or a splitter, not its name.")
    folds = 5 if cv is None else int(cv) if isinstance(cv, Integral) else None
    if folds is not None:
        if folds < 2:
            raise InvalidSweepError(f"cv={folds}: cross-validation needs at least 2 folds.")
        if folds > rows:
            raise InvalidSweepError(
                f"cv={folds} makes more folds than there are rows ({rows}). Give at most cv={rows}."
            )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("default", message="The least populated class")
            if folds is None and not hasattr(cv, "split"):
                given = list(cv)  # the rows themselves
            else:
                given = list(check_cv(cv, y, classifier=classifier).split(X, y, groups))
    except Exception as error:
        raise InvalidSweepError(_cannot_split(cv, groups, error)) from error
    if not given:
        raise InvalidSweepError(f"{_name(cv)} gives no folds. Give at least one.")
    splits = []
    for fold, pair in enumerate(given):
        try:
            train, test = pair
        except (TypeError, ValueError) as error:
            raise InvalidSweepError(
                f"Fold {fold} of cv is no pair of (train, test) rows: {pair!r}."
            ) from error
        parts = _rows(train, rows, fold, "training"), _rows(test, rows, fold, "test")
        # Rows that the user gave stay theirs: they may be changed while the sweep runs.
        splits.append(parts if folds is not None else (parts[0].copy(), parts[1].copy()))
    return splits


def advice_on_classes(cv: Any) -> str:
    """Say what to do where a fold has rows of one class, by what splits them."""
    if cv is None or isinstance(cv, Integral) or type(cv) in (KFold, StratifiedKFold):
        return (
            "If the order of the rows means nothing, give cv=StratifiedKFold(5, shuffle=True, "
            "random_state=0); if it is time, let training begin with more rows."
        )
    if "Group" in type(cv).__name__:
        return "StratifiedGroupKFold spreads classes as evenly as groups allow."
    if isinstance(cv, TimeSeriesSplit):
        return "Use fewer folds: the first then trains on more rows."
    return "Change cv so that each fold holds rows of all classes."


def _rows(given: Any, rows: int, fold: int, which: str) -> npt.NDArray[np.intp]:
    chosen = np.asarray(given)
    if chosen.dtype == bool and chosen.shape == (rows,):
        chosen = np.flatnonzero(chosen)
    if chosen.ndim != 1 or chosen.size == 0:
        raise InvalidSweepError(
            f"Fold {fold} has no {which} rows. Every fold needs rows to train on and rows to "
            "test on; change cv."
        )
    if chosen.dtype.kind not in "iu" or chosen.min() < -rows or chosen.max() >= rows:
        raise InvalidSweepError(
            f"Fold {fold} names {which} rows that don't exist: row numbers must be integers from "
            f"0 to {rows - 1}."
        )
    return chosen.astype(np.intp, copy=False)


def _cannot_split(cv: Any, groups: Any, error: Exception) -> str:
    if groups is None and "group" in str(error).lower():
        return f"{_name(cv)} splits by groups, but there are none. Give Sweep(..., groups=…)."
    if groups is not None and (missing := is_missing(groups)).any():
        return (
            f"{_name(cv)} splits by groups, but groups has no value in row "
            f"{int(np.argmax(missing))}. Give every row a group."
        )
    return f"{_name(cv)} can't split this data: {str(error).rstrip('.')}. Change cv or the data."


def _name(cv: Any) -> str:
    return f"cv={cv}" if cv is None or isinstance(cv, Integral) else type(cv).__name__
