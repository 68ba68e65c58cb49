"""dask-ml's way of sharing work, by hand: a graph in which each prefix is fitted once per fold.

In: the graph and its scores. Not in: who runs it. dask-ml's own search builds such a graph too;
this one is for where dask-ml isn't installed, and to see how much of its time is the graph's.
"""

import time
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.metrics import get_scorer
from sklearn.model_selection import ParameterGrid, check_cv
from sklearn.pipeline import Pipeline

from benchmarks.side_by_side import Told


def shared_graph(
    pipeline: Pipeline, grid: dict[str, list[Any]], X: Any, y: Any, cv: int, scoring: str
) -> Any:
    """Return a delayed list of (score, seconds) per candidate and fold, candidate by candidate.

    Parameters
    ----------
    pipeline : Pipeline
        What is searched; all steps but the last are the prefix.
    grid : dict
        Parameters of steps → values.
    X, y : arrays or delayed arrays
        The data. Delayed ones are sent to workers once.
    cv : int
        Number of folds.
    scoring : str
        A scorer's name.
    """
    folds = [dask.delayed(_fold)(X, y, cv, number) for number in range(cv)]
    last = pipeline.steps[-1][0]
    prefixes: dict[tuple[str, int], Any] = {}
    scores = []
    for params in ParameterGrid(grid):
        ahead = {k: v for k, v in params.items() if not k.startswith(f"{last}__")}
        behind = {k: v for k, v in params.items() if k not in ahead}
        prefix = clone(pipeline[:-1]).set_params(**ahead)
        step = clone(Pipeline([pipeline.steps[-1]])).set_params(**behind)
        for number, fold in enumerate(folds):
            where = (repr(sorted(ahead.items())), number)
            if where not in prefixes:
                prefixes[where] = dask.delayed(_transformed)(prefix, fold)
            scores.append(dask.delayed(_scored)(step, prefixes[where], scoring))
    return dask.delayed(list)(scores)


def told_by_graph(found: list[tuple[float, float]], cv: int) -> Told:
    """Return what the graph's answers tell. Fits' own seconds aren't known: prefixes are shared."""
    scores = np.array([score for score, _ in found]).reshape(-1, cv)
    return Told(fits=len(found), fits_s=float("nan"), scores=scores.mean(axis=1))


def _fold(X: npt.NDArray[Any], y: npt.NDArray[Any], cv: int, number: int) -> Any:
    # Stratified as in GridSearchCV: the workload is a classification.
    train, test = list(check_cv(cv, y, classifier=True).split(X, y))[number]
    return X[train], y[train], X[test], y[test]


def _transformed(prefix: Pipeline, fold: Any) -> Any:
    X_train, y_train, X_test, y_test = fold
    fitted = clone(prefix)
    return fitted.fit_transform(X_train, y_train), y_train, fitted.transform(X_test), y_test


def _scored(step: Pipeline, fold: Any, scoring: str) -> tuple[float, float]:
    X_train, y_train, X_test, y_test = fold
    began_s = time.perf_counter()
    fitted = clone(step).fit(X_train, y_train)
    score = float(get_scorer(scoring)(fitted, X_test, y_test))
    return score, time.perf_counter() - began_s
