"""A fitted model gets its user's threads back, and loses nothing by it."""

import pickle

import pytest
from lightgbm import LGBMClassifier
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from fitcast.history.records import REFIT_FOLD, Outcome


class KeptParameters(ClassifierMixin, BaseEstimator):
    """Keeps its parameters in a dict and refuses to change them once fitted, as CatBoost does."""

    def __init__(self, thread_count=None, refuses=True):
        self._init_params = {"thread_count": thread_count, "refuses": refuses}

    def get_params(self, deep=True):
        return {name: v for name, v in self._init_params.items() if v is not None}

    def set_params(self, **params):
        if hasattr(self, "classes_") and self._init_params["refuses"]:
            raise RuntimeError("You can't change params of fitted model.")
        self._init_params.update(params)
        return self

    def fit(self, X, y):
        self.classes_ = [0, 1]
        self.fitted_with_ = self._init_params["thread_count"]
        return self

    def predict(self, X):
        return [0] * len(X)


class Refuses(KeptParameters):
    """Nothing of it can be changed once it is fitted."""

    def get_params(self, deep=True):
        known = super().get_params()
        return known | {"thread_count": getattr(self, "fitted_with_", known["thread_count"])}


class Forgets(ClassifierMixin, BaseEstimator):
    """Is as new once a parameter is set."""

    def __init__(self, n_jobs=None):
        self.n_jobs = n_jobs

    def set_params(self, **params):
        self.__dict__.clear()
        self.__init__(**params)
        return self

    def fit(self, X, y):
        self.classes_ = [0, 1]
        return self

    def predict(self, X):
        return [self.classes_[0]] * len(X)


@pytest.mark.parametrize(
    ("model", "name", "given_back"),
    [
        (KeptParameters(4), "thread_count", 4),
        (make_pipeline(StandardScaler(), KeptParameters(4)), "keptparameters__thread_count", 4),
        (Refuses(4), "thread_count", 2),
        (Forgets(4), "n_jobs", 4),
        (RandomForestClassifier(3, n_jobs=4), "n_jobs", 4),
        (XGBClassifier(n_estimators=2, n_jobs=4), "n_jobs", 4),
        (LGBMClassifier(n_estimators=2, verbose=-1, n_jobs=4), "n_jobs", 4),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "fit") else None,
)
def test_a_fitted_model_gets_its_threads_back(data, model, name, given_back):
    spec = data.spec(model, fold=REFIT_FOLD, threads=2, thread_params=(name,), return_model=True)
    measured = data.runner.run_one(spec)
    assert measured.outcome is Outcome.SUCCEEDED, measured.traceback
    opened = pickle.loads(measured.model)
    assert opened.get_params()[name] == given_back
    assert len(opened.predict(data.content.X)) == len(data.content.X)
