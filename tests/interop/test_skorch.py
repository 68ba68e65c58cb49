"""skorch: networks of PyTorch, with equal scores, and in about the time that GridSearchCV takes."""

import statistics
import time

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import EarlyStopping, EpochScoring
from torch import nn

from fitcast import SizedSearchCV
from tests.interop.agreement import RELATIVE, searched, swept

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

X, Y = make_classification(400, 10, n_informative=6, random_state=0)
X = X.astype(np.float32)


class Network(nn.Module):
    def __init__(self, units=8, classes=2):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(10, units), nn.ReLU(), nn.Linear(units, classes))

    def forward(self, X):
        return self.layers(X)


def network(**params):
    known = {
        "criterion": nn.CrossEntropyLoss,
        "max_epochs": 5,
        "lr": 0.1,
        "train_split": None,
        "iterator_train__shuffle": False,
        "verbose": 0,
    }
    return NeuralNetClassifier(Network, **{**known, **params})


def test_networks_and_their_modules_parameters(client):
    grid = {"module__units": [4, 16], "lr": [0.05, 0.5]}
    ours, theirs = searched(client, network(), grid, X, Y, cv=3)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-5)
    swept(client, theirs, X, Y)


def test_in_a_pipeline_with_early_stopping_and_history(client):
    stopping = [
        ("stop", EarlyStopping("train_loss", patience=2, threshold=0.05)),
        ("accuracy", EpochScoring("accuracy", on_train=True, name="train_accuracy")),
    ]
    estimator = make_pipeline(
        StandardScaler(), network(callbacks=stopping, max_epochs=20).set_params(verbose=0)
    )
    grid = {"neuralnetclassifier__module__units": [4, 16]}
    ours, theirs = searched(client, estimator, grid, X, Y, cv=3)
    known = theirs.best_estimator_[-1].history[:, "train_accuracy"]
    np.testing.assert_allclose(ours.best_estimator_[-1].history[:, "train_accuracy"], known)
    assert 1 < len(known) <= 20


def test_tensors_and_regression(client):
    class Line(nn.Module):
        def __init__(self, units=4):
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(10, units), nn.Tanh(), nn.Linear(units, 1))

        def forward(self, X):
            return self.layers(X)

    estimator = NeuralNetRegressor(
        Line, max_epochs=5, train_split=None, iterator_train__shuffle=False, verbose=0
    )
    y = (X[:, :1] * 2 + X[:, 1:2]).astype(np.float32)
    searched(client, estimator, {"module__units": [2, 4]}, X, y, cv=3, scoring="r2")


def test_twelve_fits_beside_gridsearchcv(client):
    """Interleaved; the ratios are printed, and no time is asserted."""
    grid = {"module__units": [4, 8, 16, 32]}
    kinds = {
        "SizedSearchCV": lambda: SizedSearchCV(network(), grid, cv=3, client=client),
        "GridSearchCV(n_jobs=None)": lambda: GridSearchCV(network(), grid, cv=3),
        "GridSearchCV(n_jobs=2)": lambda: GridSearchCV(network(), grid, cv=3, n_jobs=2),
    }
    took_s = {kind: [] for kind in kinds}
    scores = {}
    for _ in range(3):
        for kind, made in kinds.items():
            search = clone(made())
            began_s = time.perf_counter()
            search.fit(X, Y)
            took_s[kind].append(time.perf_counter() - began_s)
            scores[kind] = search.cv_results_["mean_test_score"]
            print(f"{kind}: {took_s[kind][-1]:.2f} s, mean_fit_time", end=" ")
            print(f"{search.cv_results_['mean_fit_time'].mean():.3f} s")
    for kind in kinds:
        np.testing.assert_allclose(scores[kind], scores["SizedSearchCV"], rtol=RELATIVE)
        first, later = took_s[kind][0], statistics.median(took_s[kind][1:])
        print(f"{kind}: first {first:.2f} s, then {later:.2f} s")
