"""A sweep whose fits wait for a file, so that a test decides how far it comes."""

import time
from pathlib import Path

from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.tree import DecisionTreeClassifier

from fitcast import Sweep

X, Y = make_classification(200, 5, random_state=0)
DEPTHS = (1, 2, 3)
FOLDS = 2
FITS = len(DEPTHS) * FOLDS


class Gated(ClassifierMixin, BaseEstimator):
    """A decision tree; one deeper than `free` waits until there is a file."""

    def __init__(self, depth=1, gate="", free=0, fail=False):
        self.depth = depth
        self.gate = gate
        self.free = free
        self.fail = fail

    def fit(self, X, y):
        while self.gate and self.depth > self.free and not Path(self.gate).exists():
            time.sleep(0.01)
        if self.fail:
            raise ValueError("told to fail")
        print("fitted to depth", self.depth)  # noqa: T201 - for logs
        self.tree_ = DecisionTreeClassifier(max_depth=self.depth, random_state=0).fit(X, y)
        self.classes_ = self.tree_.classes_
        return self

    def predict(self, X):
        return self.tree_.predict(X)


def sweep(gate: Path | str = "", free: int = 0, **more) -> Sweep:
    """Return a sweep of trees, of which those deeper than `free` wait for a file."""
    grid = {"depth": list(DEPTHS), "gate": [str(gate)], "free": [free]}
    return Sweep({"tree": (Gated(), grid)}, X, Y, cv=FOLDS, name="gated", **more)
