"""Estimators that take their time."""

import time

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.tree import DecisionTreeClassifier


class Slow(ClassifierMixin, BaseEstimator):
    """Sleeps, and says the first class."""

    def __init__(self, sleep_s=0.0):
        self.sleep_s = sleep_s

    def fit(self, X, y):
        time.sleep(self.sleep_s)
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


class SlowTree(ClassifierMixin, BaseEstimator):
    """A decision tree that sleeps and holds memory while it is fitted."""

    def __init__(self, max_depth=1, sleep_s=0.0, allocate_mib=0):
        self.max_depth = max_depth
        self.sleep_s = sleep_s
        self.allocate_mib = allocate_mib

    def fit(self, X, y):
        held = np.ones(self.allocate_mib * 2**17)
        time.sleep(self.sleep_s)
        self.tree_ = DecisionTreeClassifier(max_depth=self.max_depth, random_state=0).fit(X, y)
        self.classes_ = self.tree_.classes_
        del held
        return self

    def predict(self, X):
        return self.tree_.predict(X)
