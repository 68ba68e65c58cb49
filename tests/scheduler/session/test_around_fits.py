"""What the submitting thread has around its code is in force in the fits, as in scikit-learn's."""

import threading
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fitcast import Client, LocalBackend, Pool, Sweep
from fitcast.errors import FitcastError, WorkflowFailedError
from fitcast.history.store import MemoryHistory
from tests.marks import slow
from tests.polling import LONGEST_S

X, Y = load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    backend = LocalBackend([Pool("small", cpus=2, memory_bytes=4 * 2**30)])
    home = tmp_path_factory.mktemp("home")
    with Client(backend, home=home, history=MemoryHistory()) as client:
        yield client


class Tells(TransformerMixin, BaseEstimator):
    """Remembers what is in force while it is fitted."""

    def __init__(self, number=0):
        self.number = number

    def fit(self, X, y=None):
        self.config_ = sklearn.get_config()
        self.numpy_ = np.geterr()
        return self

    def transform(self, X):
        return X


def names_frames(model, X, y):
    """Score 1 if the pipeline's last step was given a frame."""
    return float(hasattr(model[-1], "feature_names_in_"))


CONFIGS = [
    {"transform_output": "pandas"},
    {"assume_finite": True, "working_memory": 17},
    {"enable_metadata_routing": True},
    {"skip_parameter_validation": True, "pairwise_dist_chunk_size": 32},
]


@pytest.mark.parametrize(
    "config", [*CONFIGS[:2], *slow(*CONFIGS[2:])], ids=lambda config: next(iter(config))
)
def test_the_configuration_is_that_of_the_submitting_thread(client, config):
    model = make_pipeline(Tells(), StandardScaler(), LogisticRegression())
    grid = {"tells__number": [1, 2], "logisticregression__C": [0.1, 1.0]}
    with sklearn.config_context(**config):
        theirs = GridSearchCV(model, grid, cv=3, scoring=names_frames).fit(X, Y)
        ours = client.submit(Sweep((model, grid), X, Y, cv=3, scoring=names_frames))
    result = ours.result(LONGEST_S)
    for key in ("split0_test_score", "mean_test_score"):
        assert np.array_equal(result.cv_results_[key], theirs.cv_results_[key])
    seen = result.best_estimator_[0].config_
    assert seen == theirs.best_estimator_[0].config_
    assert {name: seen[name] for name in config} == config
    # and the next workflow has its own, whatever process its fits run in
    plain = client.submit(Sweep((model, grid), X, Y, cv=3, scoring=names_frames))
    assert plain.result(LONGEST_S).best_estimator_[0].config_ == sklearn.get_config()


class PredictsFrames(LogisticRegression):
    def predict(self, X):
        return pd.Series(super().predict(X), name="kind")

    def predict_proba(self, X):
        return pd.DataFrame(super().predict_proba(X), columns=self.classes_)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "transform"])
def test_predictions_may_be_frames(client, method):
    model = StandardScaler() if method == "transform" else PredictsFrames(max_iter=1_000)
    scoring = (lambda model, X, y: 1.0) if method == "transform" else "accuracy"
    with sklearn.config_context(transform_output="pandas"):
        sweep = Sweep(model, X, Y, cv=3, predict_method=method, scoring=scoring)
        result = client.submit(sweep).result(LONGEST_S)
    assert result.errors.empty
    (predictions,) = result.predictions.values()
    assert len(predictions) == len(X)
    assert np.isfinite(predictions).all()


def test_floating_point_errors_are_handled_as_in_the_submitting_thread(client):
    with np.errstate(divide="raise", under="print"):
        result = client.submit(Sweep(Tells(), X, Y, cv=2, scoring=lambda *_: 1.0)).result(LONGEST_S)
        assert result.best_estimator_.numpy_ == np.geterr()


class MineWarning(UserWarning):
    pass


class Complains(ClassifierMixin, BaseEstimator):
    def __init__(self, loud=True):
        self.loud = loud

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        if self.loud:
            warnings.warn("that is not good", MineWarning, stacklevel=1)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def unconverged(client, *, error_for=None, **filters):
    """Return the scores of scikit-learn and of a sweep, and the sweep's workflow."""
    model, grid = LogisticRegression(max_iter=2), {"max_iter": [2, 1_000]}
    if error_for is MineWarning:
        model, grid = Complains(), {"loud": [True, False]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if error_for is not None:
            put = warnings.filterwarnings if filters else warnings.simplefilter
            put("error", category=error_for, **filters)
        theirs = GridSearchCV(model, grid, cv=3).fit(X, Y).cv_results_
        workflow = client.submit(Sweep((model, grid), X, Y, cv=3))
        workflow.wait(LONGEST_S)
    return theirs["mean_test_score"], workflow


@pytest.mark.parametrize(
    ("error_for", "filters"),
    [
        (ConvergenceWarning, {}),
        (ConvergenceWarning, {"message": "lbfgs failed"}),
        (MineWarning, {}),
        ((ConvergenceWarning, MineWarning), {}),
        (UserWarning, {"module": r"sklearn\.linear_model"}),
    ],
    ids=["class", "message", "the user's own class", "several classes", "module"],
)
def test_a_warning_that_is_an_error_fails_the_fit(client, error_for, filters):
    theirs, workflow = unconverged(client, error_for=error_for, **filters)
    result = workflow.result(LONGEST_S)
    ours = result.cv_results_["mean_test_score"]
    assert np.array_equal(ours, theirs, equal_nan=True)
    assert np.isnan(ours[0])
    assert np.isfinite(ours[1])
    assert result.errors["error"].str.contains("Warning").all()


def test_warnings_are_collected_as_the_filters_say(client):
    theirs, silent = unconverged(client)
    assert np.array_equal(silent.result().cv_results_["mean_test_score"], theirs)
    assert "ConvergenceWarning" not in silent.logs()
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        grid = {"max_iter": [2, 3]}
        loud = client.submit(Sweep((LogisticRegression(), grid), X, Y, cv=3, refit=False))
        loud.wait(LONGEST_S)
    told = loud.logs().count("ConvergenceWarning: lbfgs failed")
    assert told == 6  # once of each fit


class TellsOfPandas(ClassifierMixin, BaseEstimator):
    def __init__(self, number=0):
        self.number = number

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.precision_ = pd.get_option("display.precision")
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def pandas_options(model, X, y):
    return {
        "fit": model.precision_,
        "rows": pd.get_option("display.max_rows"),
        "columns": pd.get_option("display.max_columns") or -1,
        "other": pd.get_option("display.min_rows"),
    }


def test_pandas_options_are_those_of_the_submitting_process(client):
    model, grid = TellsOfPandas(), {"number": [1, 2]}
    with pd.option_context(
        "display.precision", 3, "display.max_rows", 17, "display.max_columns", None
    ):
        theirs = GridSearchCV(model, grid, cv=2, scoring=pandas_options, refit=False).fit(X, Y)
        sweep = Sweep((model, grid), X, Y, cv=2, scoring=pandas_options, refit=False)
        result = client.submit(sweep).result(LONGEST_S)
    for name in ("fit", "rows", "columns", "other"):
        known = theirs.cv_results_[f"mean_test_{name}"]
        np.testing.assert_array_equal(result.cv_results_[f"mean_test_{name}"], known)
    assert list(theirs.cv_results_["mean_test_rows"]) == [17.0, 17.0]
    # and nothing of it stays for those that come later
    later = client.submit(Sweep((model, grid), X, Y, cv=2, scoring=pandas_options, refit=False))
    assert list(later.result(LONGEST_S).cv_results_["mean_test_rows"]) == [60.0, 60.0]


class HoldsALock(LogisticRegression):
    def fit(self, X, y):
        self.lock_ = threading.Lock()
        return super().fit(X, y)


def test_a_model_that_cannot_be_sent_is_fitted_here(client):
    model, grid = HoldsALock(max_iter=500), {"C": [0.1, 1.0]}
    theirs = GridSearchCV(model, grid, cv=3).fit(X, Y)
    result = client.submit(Sweep((model, grid), X, Y, cv=3)).result(LONGEST_S)
    assert np.array_equal(
        result.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"]
    )
    with pytest.warns(UserWarning, match=r"cannot pickle '_thread.lock'.*fitted again"):
        best = result.best_estimator_
    assert type(best) is HoldsALock
    assert best.get_params() == theirs.best_estimator_.get_params()
    assert np.array_equal(best.coef_, theirs.best_estimator_.coef_)
    assert result.best_estimator_ is best


def test_a_model_is_not_fitted_here_on_other_data(client):
    mine = X.copy()
    result = client.submit(Sweep(HoldsALock(max_iter=500), mine, Y, cv=3)).result(LONGEST_S)
    mine[:] = 0.0
    with (
        pytest.warns(UserWarning, match="fitted again"),
        pytest.raises(FitcastError, match=r"changed since.*__getstate__"),
    ):
        _ = result.best_estimator_
    assert np.isfinite(result.best_score_)


def test_a_configuration_that_fits_cannot_have_is_told(client, monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    monkeypatch.setattr(
        client._platform, "_began", None
    )  # as with workers elsewhere: it isn't handed on
    with sklearn.config_context():
        config = sklearn._config._get_threadlocal_config()
        config["array_api_dispatch"] = "no such value"
        with pytest.raises(WorkflowFailedError, match="configuration can't be set"):
            client.submit(Sweep(Tells(), X, Y, cv=2, scoring=lambda *_: 1.0)).result(LONGEST_S)
