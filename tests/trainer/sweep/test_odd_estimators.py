"""Estimators that nobody means seriously: an estimate that says how unsure it is, or our error."""

import math

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV

from fitcast.errors import InvalidSweepError
from fitcast.sizing.learning.model import SizingModel
from fitcast.trainer.sweep.prepared import Sweep

X, Y = make_classification(120, 5, random_state=0)


class Refusing(ClassifierMixin, BaseEstimator):
    """Doesn't tell what it is made of."""

    def get_params(self, deep=True):
        if deep:
            raise RuntimeError("no")
        return {}

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.zeros(len(X), dtype=int)


class Wrapping(Refusing):
    """Has another inside."""

    def __init__(self, estimator=None):
        self.estimator = estimator

    def get_params(self, deep=True):
        return BaseEstimator.get_params(self, deep)


def nested(levels):
    estimator = LogisticRegression()
    for _ in range(levels):
        estimator = Wrapping(estimator)
    return estimator


def cycle():
    one = Wrapping()
    one.estimator = Wrapping(one)
    return one


def estimate(estimator):
    sweep = Sweep(estimator, X, Y, cv=3).prepare()
    requests = [fit.request for fit in sweep.fits]
    return SizingModel.prior().estimate(requests)[0]


@pytest.mark.parametrize(
    "estimator",
    [
        Wrapping(None),
        Wrapping("nothing"),
        Wrapping(LogisticRegression),
        BaggingClassifier(None),
        StackingClassifier([]),
        Refusing(),
        Wrapping(Refusing()),
        BaggingClassifier(Refusing()),
        nested(40),
        BaggingClassifier(LogisticRegression(), n_estimators=10**12),
        BaggingClassifier(LogisticRegression(), n_estimators=10**30),
        GridSearchCV(LogisticRegression(), {"C": range(1, 10**12)}),
        GridSearchCV(RandomForestClassifier(), {f"p{n}": list(range(100)) for n in range(6)}),
        RandomizedSearchCV(LogisticRegression(), {"C": [1, 2]}, n_iter=10**12),
        CalibratedClassifierCV(LogisticRegression(), cv=10**12),
        RandomForestClassifier(n_estimators=-(10**12)),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_what_nobody_would_fit_is_estimated(estimator):
    told = estimate(estimator)
    assert 0.0 < told.runtime_s_p10 < told.runtime_s_p50 < told.runtime_s_p90 < math.inf
    assert told.runtime_s_p90 > 1.5 * told.runtime_s_p50
    assert 0 < told.peak_memory_bytes_p50 < told.peak_memory_bytes_p95


@pytest.mark.parametrize("make", [cycle, lambda: nested(1000)], ids=["cycle", "1000 levels"])
def test_what_has_no_end_is_refused(make):
    with pytest.raises(InvalidSweepError, match="can't be cloned"):
        estimate(make())


def test_a_count_beyond_any_number_is_not_taken_for_the_default():
    usual, absurd = (
        estimate(BaggingClassifier(LogisticRegression(), n_estimators=n)) for n in (10, 10**30)
    )
    assert absurd.runtime_s_p50 > 1_000 * usual.runtime_s_p50
