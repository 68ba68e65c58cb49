"""Drawn combinations of estimator, rows, target, scorer, splitter: GridSearchCV's scores or none.

Each of them goes through the block of memory that workers map. FITCAST_DIFFERENTIAL sets how many
are drawn (``make test-differential``).
"""

import itertools
import os
import random
import warnings
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from fitcast.trainer.shared_memory import freeze, map_object, new_block, write_object
from fitcast.trainer.sweep.jobs import weight_keyword
from fitcast.trainer.sweep.prepared import Sweep
from fitcast.trainer.sweep.results import tabulate
from tests.trainer.sweep.test_sweep_against_sklearn import run_in_process

RNG = np.random.default_rng(0)
ROWS = 24
X = RNG.normal(size=(ROWS, 3))
Y = (X[:, 0] + 0.3 * RNG.normal(size=ROWS) > 0).astype(int)
FRAME = pd.DataFrame(X, columns=list("abc"))


def told(thing):
    """What an estimator can see of what it gets."""
    if isinstance(thing, np.ma.MaskedArray):
        return f"masked {thing.shape} {thing.mask.sum()} {thing.sum():.6g}"
    if sp.issparse(thing):
        return f"{type(thing).__name__} {thing.shape} {thing.sum():.6g}"
    if thing is None:
        return "none"
    rows = thing.shape[0] if hasattr(thing, "shape") else len(thing)
    first = thing.iloc[0] if hasattr(thing, "iloc") else thing[0]
    return f"{type(thing).__name__} {rows} {type(first).__name__} {first}"


def seen_score(estimator, X, y=None):
    return float(zlib.crc32(f"{estimator.seen_} {told(X)} {told(y)}".encode()))


class Witness(BaseEstimator):
    """Its score says what it was given, in fit and afterwards."""

    def __init__(self, size=1):
        self.size = size

    def fit(self, X, y=None):
        self.seen_ = f"{told(X)} {told(y)}"
        return self

    score = seen_score


class WitnessOfClasses(ClassifierMixin, Witness):
    def predict(self, X):
        return np.zeros(X.shape[0] if hasattr(X, "shape") else len(X), dtype=int)

    score = seen_score


class Lazy:
    """Rows that are read when asked for."""

    def __len__(self):
        return ROWS

    def __getitem__(self, row):
        return X[row]


class Marked(np.ndarray):
    """An array of the user's own kind."""


def first_column(X):
    return np.asarray(X)[:, :1]


HOLEY = np.where(np.arange(X.size).reshape(X.shape) % 11 == 0, np.nan, X)
STEPS = [LogisticRegression(), DecisionTreeClassifier(max_depth=1, random_state=0)]
ESTIMATORS = {
    "witness": (Witness(), {"size": [1, 2]}),
    "witness of classes": (WitnessOfClasses(), {}),
    "linear": (LogisticRegression(), {"C": [0.1, 1.0]}),
    "numbers": (Ridge(), {"alpha": [0.1, 1.0]}),
    "tree": (DecisionTreeClassifier(random_state=0), {"max_depth": [1, 3]}),
    "baseline": (DummyClassifier(), {"strategy": ["prior", "most_frequent"]}),
    "pipeline": (make_pipeline(FunctionTransformer(first_column), LogisticRegression()), {}),
    "step": (make_pipeline(LogisticRegression()), {"logisticregression": STEPS}),
}  # fmt: skip
CONTAINERS = {
    "array": X,
    "column-major": np.asfortranarray(X),
    "frame": FRAME,
    "frame with words": FRAME.assign(city=["Bern", "Oslo"] * (ROWS // 2)),
    "sparse": sp.coo_matrix(X),
    "sparse array": sp.csc_array(X),
    "lists": X.tolist(),
    "tuples": list(map(tuple, X.tolist())),
    "tuple": tuple(map(tuple, X.tolist())),
    "masked": np.ma.masked_array(X, mask=X > 1),
    "matrix": np.asmatrix(X),
    "own kind": X.view(Marked),
    "records": np.rec.fromarrays(X.T, names="a,b,c"),
    "arrow": pa.table({name: X[:, i] for i, name in enumerate("abc")}),
    "arrow with nulls": pa.table({"a": [None, *X[1:, 0]], "b": X[:, 1]}),
    "lazy": Lazy(),
    "sequences": [[float(i)] * (1 + i % 3) for i in range(ROWS)],
    "sentences": [[{"word": i}] * (1 + i % 3) for i in range(ROWS)],
    "pictures": [np.full((2 + i % 2, 3), i) for i in range(ROWS)],
    "frames": [FRAME.iloc[:2]] * ROWS,
    "texts": [f"word{i % 5}" for i in range(ROWS)],
    "row numbers": np.arange(ROWS),
    "range": range(ROWS),
    "holes": HOLEY,
    "holes at the end": np.where(np.arange(ROWS)[:, None] == ROWS - 1, np.nan, X),
    "infinite": np.where(np.isnan(HOLEY), np.inf, X),
    "no columns": X[:, :0],
    "dates": pd.DataFrame({"day": pd.date_range("2024-01-01", periods=ROWS), "a": X[:, 0]}),
    "three dimensions": X.reshape(ROWS, 3, 1),
}
TARGETS = {
    "classes": Y,
    "list": Y.tolist(),
    "tuple": tuple(Y.tolist()),
    "words": ["no" if y else "yes" for y in Y],
    "series": pd.Series(Y, index=range(100, 100 + ROWS)),
    "categories": pd.Series(np.array(["a", "b"])[Y], dtype="category"),
    "arrow": pa.array(Y),
    "numbers": X[:, 1],
    "in order": np.sort(Y),
    "one class": np.zeros(ROWS, dtype=int),
    "missing": np.where(np.arange(ROWS) == 20, np.nan, Y),
    "infinite": np.where(np.arange(ROWS) == 20, np.inf, X[:, 1]),
    "records": np.array([(bool(y), 1.0) for y in Y], dtype=[("event", "?"), ("time", "f8")]),
    "several": np.c_[X[:, 1], X[:, 2]],
    "labels": np.c_[Y, 1 - Y],
    "sparse labels": sp.csr_matrix(np.c_[Y, 1 - Y]),
    "masks": np.zeros((ROWS, 2, 2), dtype=int),
    "sets": [{int(y)} for y in Y],
    "label lists": [["B"] * (1 + i % 3) for i in range(ROWS)],
    "objects": np.array([None, *Y[1:]], dtype=object),
    "none": None,
}
SCORERS = {
    "own": None,
    "accuracy": "accuracy",
    "roc_auc": "roc_auc",
    "r2": "r2",
    "callable": lambda estimator, X, y=None: float(len(told(X))),
    "several": ["accuracy", "neg_log_loss"],
}
SPLITTERS = {
    "three": 3,
    "folds": KFold(3),
    "shuffled": KFold(3, shuffle=True, random_state=0),
    "time": TimeSeriesSplit(3),
    "listed": [(list(range(12)), list(range(12, 24))), (np.arange(24) > 11, np.arange(24) < 12)],
}
WEIGHTS = {"none": None, "weights": np.linspace(0.5, 2.0, ROWS)}
REFIT = {"refit": True, "no refit": False}
PARTS = (ESTIMATORS, CONTAINERS, TARGETS, SCORERS, SPLITTERS, WEIGHTS, REFIT)


def drawn(count):
    """Combinations: with each container and target, and as many of the others as are asked for."""
    draw = random.Random(0)
    pairs = [
        ("witness", container, "list", "own", "folds", "none", "no refit")
        for container in CONTAINERS
    ]
    pairs += [("witness", "array", y, "own", "folds", "none", "no refit") for y in TARGETS]
    usual = ("array", "frame", "lists", "arrow", "holes", "holes at the end")
    pairs += itertools.product(("linear", "tree", "baseline", "step"), usual,
                               ("classes", "in order", "one class"), ("own", "roc_auc"),
                               ("three", "time"), ("none",), ("refit",))  # fmt: skip
    while len(pairs) < count:
        pairs.append(tuple(draw.choice(list(part)) for part in PARTS))
    return pairs[:count] if count < len(pairs) else pairs


def through_block(content):
    fd = new_block("test")
    try:
        write_object(fd, content)
        freeze(fd)
        return map_object(fd)
    finally:
        os.close(fd)


def scores_of(results):
    names = [name for name in results if name.startswith("split") and "_test_" in name]
    scores = np.array([results[name] for name in sorted(names)], dtype=float)
    return None if np.isnan(scores).all() else scores


def ours(estimator, grid, X, y, scoring, cv, weights, refit):
    sweep = Sweep(
        {"model": (estimator, grid)}, X, y, scoring=scoring, cv=cv, refit=refit,
        sample_weight=weights, predict_method=None,
    )  # fmt: skip
    prepared = sweep.prepare()
    return scores_of(
        tabulate(
            prepared.submission,
            run_in_process(prepared, through_block(prepared.content)),
            prepared.params,
        )
    )


def theirs(estimator, grid, X, y, scoring, cv, weights, refit):
    search = GridSearchCV(estimator, grid, scoring=scoring, cv=cv, refit=refit)
    # To a pipeline's last step: there a sweep gives them, and scikit-learn wants it said.
    keyword = weight_keyword(estimator)
    search.fit(X, y, **({} if weights is None else {keyword: weights}))
    return scores_of(search.cv_results_)


def tried(run, *given):
    """Scores; None where there are none, be it refused or found out."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return run(*given), ""
        except Exception as error:
            return None, f"{type(error).__name__}: {error}"


COMBINATIONS = drawn(int(os.environ.get("FITCAST_DIFFERENTIAL", "60")))


@pytest.mark.timeout(3600)
def test_scores_are_those_of_grid_search():
    wrong = []
    for names in COMBINATIONS:
        values = [part[name] for part, name in zip(PARTS, names, strict=True)]
        (estimator, grid), rows, y, scoring, cv, weights, refit = values
        if isinstance(scoring, list) and refit:
            refit = scoring[0]
        given = (estimator, grid, rows, y, scoring, cv, weights, refit)
        (we, our_error), (they, their_error) = tried(ours, *given), tried(theirs, *given)
        # A refit that fails ends GridSearchCV; a sweep still has the scores of its fits.
        if they is None and we is not None and refit and their_error:
            they, _ = tried(theirs, *given[:-1], False)
        if (we is None) != (they is None) or (
            we is not None and not np.array_equal(we, they, equal_nan=True)
        ):
            wrong.append(f"{names}: {we} {our_error} | {they} {their_error}"[:900])
    assert not wrong, f"{len(wrong)} of {len(COMBINATIONS)}:\n" + "\n".join(wrong[:20])
