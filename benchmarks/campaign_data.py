"""What the campaign measures on: datasets of many shapes and contents, drawn from a seed.

In: a number → the plan of a dataset, and its arrays. Not in: the models fitted on them
(:mod:`benchmarks.campaign_models`), the measuring (:mod:`benchmarks.campaign`).
"""

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn import datasets

from fitcast.flights import FEATURES, load_flights

MAX_CELLS = 12_000_000
"""Rows × columns of the largest dataset: 96 MB of float64."""

MAX_LARGE_CELLS = 100_000_000
"""The same of a collection of large fits: 800 MB."""

COLLECTION_SIZE = 10_000
"""More datasets than any collection has."""

_FLIGHTS = 327_346
_SYNTHETIC = {
    "informative": 0.3,  # independent normals, a target that a model can learn
    "noise": 0.13,  # a target that has nothing to do with the columns
    "correlated": 0.2,  # few factors behind all columns
    "counts": 0.15,  # small whole numbers, most of them zero
    "categories": 0.14,  # whole numbers that stand for categories
    "sparse": 0.08,  # a CSR matrix
}
_REAL = {"flights": 0.6, "digits": 0.13, "breast_cancer": 0.09, "wine": 0.06, "diabetes": 0.12}
_REAL_SHARE = 0.25
_OFFSET = 1_000_003  # keeps the seeds of plans and of arrays apart


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlan:
    """One dataset, not yet made."""

    index: int
    kind: str
    rows: int
    columns: int
    target: str  # binary | multiclass | regression
    classes: int  # 0 for regression
    dtype: str
    test_share: float
    strength: float  # of the signal against the noise
    cardinality: int  # values of a column of categories
    collection: int = 0  # datasets of different collections have the same indices

    @property
    def name(self) -> str:
        """What records call the dataset; up to the colon, what must not be split in judging."""
        number = self.collection * COLLECTION_SIZE + self.index
        source = self.kind if self.kind in _REAL else f"{self.kind}-{number}"
        return f"{source}:{number}"


def draw(seed: int, index: int) -> DataPlan:
    """Return the plan of the dataset with a number; plans of any first numbers are a fair sample.

    Parameters
    ----------
    seed
        Of the campaign.
    index
        Number of the dataset, from 0.
    """
    rng = np.random.default_rng((seed, index))
    kinds = _REAL if rng.random() < _REAL_SHARE else _SYNTHETIC
    weights = np.array(list(kinds.values()))
    kind = str(rng.choice(list(kinds), p=weights / weights.sum()))
    rows = round(10 ** rng.uniform(2.0, 6.0))
    columns = round(10 ** rng.uniform(0.0, 3.0))
    if kind == "sparse":
        columns = max(50, columns)
    elif rows * columns > MAX_CELLS:
        # Drawn anew on the line of the largest: large rows go with few columns and vice versa.
        rows = round(10 ** rng.uniform(math.log10(MAX_CELLS) - 3.0, 6.0))
        columns = max(1, MAX_CELLS // rows)
    target = str(rng.choice(["binary", "multiclass", "regression"], p=[0.4, 0.2, 0.4]))
    classes = {"binary": 2, "multiclass": int(rng.integers(3, 11)), "regression": 0}[target]
    if kind in _REAL:
        most_rows, most_columns, target, classes = _real_shape(kind)
        least = min(100, most_rows // 2)
        rows = round(math.exp(rng.uniform(math.log(least), math.log(most_rows))))
        columns = round(math.exp(rng.uniform(math.log(3), math.log(most_columns))))
    return DataPlan(
        index=index,
        kind=kind,
        rows=rows,
        columns=columns,
        target=target,
        classes=classes,
        dtype=str(rng.choice(["float64", "float32"], p=[0.75, 0.25])),
        test_share=float(rng.choice([0.1, 0.2, 0.33, 0.5])),
        strength=float(10 ** rng.uniform(-0.5, 1.0)),
        cardinality=round(10 ** rng.uniform(0.5, 2.0)),
    )


def draw_small(seed: int, index: int) -> DataPlan:
    """Return a plan as :func:`draw` does, of at most 30,000 rows and 200 columns.

    For algorithms that compare all rows or all columns with each other.
    """
    plan = draw(seed, index)
    rng = np.random.default_rng((seed, index, 1))
    rows, columns = round(10 ** rng.uniform(2.0, 4.5)), round(10 ** rng.uniform(0.3, 2.3))
    return replace(
        plan, rows=min(plan.rows, rows), columns=min(plan.columns, columns), collection=1
    )


def draw_wrapped(seed: int, index: int) -> DataPlan:
    """Return a plan as :func:`draw_small` does, of at most 12,000 rows: models are fitted often."""
    plan = draw_small(seed, index)
    rng = np.random.default_rng((seed, index, 3))
    rows = min(plan.rows, round(10 ** rng.uniform(2.3, 4.1)))
    return replace(plan, rows=rows, columns=min(plan.columns, 60), collection=3)


def draw_large(seed: int, index: int) -> DataPlan:
    """Return a plan as :func:`draw` does, of 100,000 to 2,000,000 rows, up to 800 MB of float64.

    Of the real datasets, the flights alone have as many.
    """
    plan = draw(seed, index)
    rng = np.random.default_rng((seed, index, 2))
    if plan.kind in _REAL:
        plan = replace(plan, kind="flights", target="binary", classes=2)
        rows, columns = int(rng.integers(150_000, _FLIGHTS)), len(FEATURES)
    else:
        rows = round(10 ** rng.uniform(5.0, 6.3))
        columns = min(round(10 ** rng.uniform(0.7, 2.7)), MAX_LARGE_CELLS // rows)
    return replace(plan, rows=rows, columns=max(3, columns), collection=2)


def make(plan: DataPlan, seed: int) -> tuple[Any, npt.NDArray[Any]]:
    """Return the arrays of a plan: X, dense or CSR, and y."""
    rng = np.random.default_rng((seed, _OFFSET + plan.index))
    if plan.kind in _REAL:
        return _real(plan, rng)
    X, signal = _columns(plan, rng)
    if plan.kind == "noise":
        signal = rng.standard_normal(plan.rows)
    signal = (signal - signal.mean()) / (signal.std() + 1e-12)
    noisy = plan.strength * signal + rng.standard_normal(plan.rows)
    if plan.target == "regression":
        return X, noisy
    # By ranks, so that every class has its rows.
    ranks = np.argsort(np.argsort(noisy))
    return X, (ranks * plan.classes // plan.rows).astype(np.int64)


def _columns(plan: DataPlan, rng: np.random.Generator) -> tuple[Any, npt.NDArray[np.float64]]:
    rows, columns = plan.rows, plan.columns
    weights = rng.standard_normal(columns) * (rng.random(columns) < max(0.2, 3.0 / columns))
    weights[0] = 1.0
    X: Any
    if plan.kind == "sparse":
        share = float(np.clip(MAX_CELLS / 4 / (rows * columns), 1e-3, 0.05))
        X = sparse.random(rows, columns, share, format="csr", random_state=rng, dtype=plan.dtype)
        return X, np.asarray(X @ weights).ravel()
    if plan.kind == "correlated":
        factors = max(1, columns // 8)
        X = rng.standard_normal((rows, factors)) @ rng.standard_normal((factors, columns))
        X += 0.3 * rng.standard_normal((rows, columns))
    elif plan.kind == "counts":
        X = rng.poisson(rng.gamma(0.4, 1.0, columns), (rows, columns))
    elif plan.kind == "categories":
        X = np.floor(plan.cardinality * rng.random((rows, columns)) ** 2)
    else:
        X = rng.standard_normal((rows, columns))
    X = X.astype(plan.dtype)
    bent = np.sin(2.0 * X[:, : min(3, columns)].astype(np.float64)).sum(axis=1)
    return X, np.asarray(X @ weights.astype(plan.dtype), dtype=np.float64) + bent


def _real(plan: DataPlan, rng: np.random.Generator) -> tuple[Any, npt.NDArray[Any]]:
    X, y = _loaded(plan.kind)
    rows = rng.permutation(len(y))
    if plan.target != "regression":
        # One of each class first: a small sample must still hold all.
        firsts = [rows[y[rows] == label][:4] for label in np.unique(y)]
        rows = np.unique(np.concatenate(firsts)).tolist() + rows.tolist()
        rows = np.array(list(dict.fromkeys(rows)))
    rows = rng.permutation(rows[: plan.rows])
    columns = np.sort(rng.permutation(X.shape[1])[: plan.columns])
    return np.ascontiguousarray(X[np.ix_(rows, columns)]).astype(plan.dtype), y[rows]


def _real_shape(kind: str) -> tuple[int, int, str, int]:
    if kind == "flights":
        return _FLIGHTS, len(FEATURES), "binary", 2
    X, y = _loaded(kind)
    if kind == "diabetes":
        return *X.shape, "regression", 0
    classes = len(np.unique(y))
    return *X.shape, "binary" if classes == 2 else "multiclass", classes


@cache
def _loaded(kind: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[Any]]:
    if kind == "flights":
        return load_flights(_FLIGHTS)
    X, y = getattr(datasets, f"load_{kind}")(return_X_y=True)
    return X, y
