"""An estimator whose fits take a while, and do harm when told to."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.tree import DecisionTreeClassifier


class Lingers(ClassifierMixin, BaseEstimator):
    """A decision tree that takes a while, or waits for a file, so that there is time for harm."""

    def __init__(self, depth=2, linger_s=0.0, deed="", gate=""):
        self.depth = depth
        self.linger_s = linger_s
        self.deed = deed
        self.gate = gate

    def fit(self, X, y):
        self.tree_ = DecisionTreeClassifier(max_depth=self.depth, random_state=0).fit(X, y)
        self.classes_ = self.tree_.classes_
        if self.deed:
            _DEEDS[self.deed]()
        time.sleep(self.linger_s)
        while self.gate and not Path(self.gate).exists():
            time.sleep(0.01)
        return self

    def predict(self, X):
        return self.tree_.predict(X)


def _allocate_without_end():
    held = []
    while True:
        held.append(np.ones(2**20))  # 8 MiB, touched


def _hang():
    threading.Event().wait()


def _kill_its_worker():
    for process in psutil.Process().parents():
        if "spawn_main" in " ".join(process.cmdline()):
            process.kill()
            return


def _stop_itself():
    os.kill(os.getpid(), signal.SIGSTOP)


_DEEDS = {
    "allocate": _allocate_without_end,
    "hang": _hang,
    "kill its worker": _kill_its_worker,
    "stop": _stop_itself,
}
