"""Estimators that behave as users' code sometimes does."""

import os
import signal
import time

import numpy as np
import psutil
from sklearn.base import BaseEstimator, ClassifierMixin


class Majority(ClassifierMixin, BaseEstimator):
    """Predicts the most frequent class, after doing what it was told to."""

    def __init__(self, fail=False, allocate_mib=0, sleep_s=0.0):
        self.fail = fail
        self.allocate_mib = allocate_mib
        self.sleep_s = sleep_s

    def fit(self, X, y):
        if self.fail:
            raise RuntimeError("told to fail")
        if self.allocate_mib:
            self.size_ = int(np.ones(self.allocate_mib * 2**17).sum())
        time.sleep(self.sleep_s)
        self.classes_, counts = np.unique(y, return_counts=True)
        self.most_ = self.classes_[counts.argmax()]
        return self

    def predict(self, X):
        return np.full(len(X), self.most_)


class WorkerKiller(Majority):
    """Takes its Dask worker down with it: its process, supervisor, fork server, the worker."""

    def fit(self, X, y):
        time.sleep(self.sleep_s)
        os.kill(psutil.Process().parents()[2].pid, signal.SIGKILL)
        time.sleep(60.0)
        return self
