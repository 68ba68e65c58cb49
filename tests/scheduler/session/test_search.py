"""Searches as drop-ins: what scikit-learn's own give, on the same input."""

import copy
import inspect
import io
import os
import pickle
import subprocess
import sys
import textwrap
import warnings
from contextlib import redirect_stdout

import joblib
import numpy as np
import pandas as pd
import psutil
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import loguniform, randint
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris, make_classification
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - makes the next import work
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    RandomizedSearchCV,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from fitcast import (
    Client,
    LocalBackend,
    MemoryHistory,
    Pool,
    SizedHalvingRandomSearchCV,
    SizedHalvingSearchCV,
    SizedRandomizedSearchCV,
    SizedSearchCV,
    errors,
)
from fitcast.scheduler.session import shared
from tests.polling import wait_for

X, Y = make_classification(n_samples=120, n_features=6, random_state=0)
GRID = {"C": [0.01, 1.0]}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    backend = LocalBackend([Pool("two", cpus=2, memory_bytes=4 * 2**30)])
    with Client(backend, home=home, history=MemoryHistory()) as made:
        yield made


def both(client, ours, theirs, *args, fit=(), params=None, **settings):
    """Return the search of fitcast and that of scikit-learn, fitted on the same input."""
    data = fit or (X, Y)
    here = theirs(*args, **settings).fit(*data, **(params or {}))
    return ours(*args, **settings, client=client).fit(*data, **(params or {})), here


def equal(ours, theirs):
    """See that two fitted searches have the same attributes and numbers."""
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    for key, known in theirs.cv_results_.items():
        if not key.endswith("_time"):
            np.testing.assert_array_equal(ours.cv_results_[key], known, err_msg=key)
    for name in ("n_splits_", "multimetric_", "best_index_", "best_params_", "best_score_"):
        assert getattr(ours, name, None) == getattr(theirs, name, None), name
    assert hasattr(ours, "refit_time_") == hasattr(theirs, "refit_time_")
    assert repr(ours.scorer_) == repr(theirs.scorer_)


# -- numbers ---------------------------------------------------------------------------------------


def several(model, X, y):
    answer = model.predict(X)
    return {"accuracy": accuracy_score(y, answer), "f1": f1_score(y, answer, average="macro")}


def least_complex(results):
    return int(np.argmin([params["C"] for params in results["params"]]))


SCORING = {
    "none": (None, True),
    "name": ("roc_auc", True),
    "list": (["accuracy", "roc_auc"], "roc_auc"),
    "without": (["accuracy", "roc_auc"], False),
    "callable of several": (several, "f1"),
    "rule": ("accuracy", least_complex),
    "dict": ({"a": "accuracy", "b": "f1"}, "a"),
}
CONTAINERS = {
    "array": lambda: (X, Y),
    "frame": lambda: (pd.DataFrame(X, columns=list("abcdef")), pd.Series(Y)),
    "sparse": lambda: (sp.csr_matrix(X), Y),
    "texts": lambda: (X, np.array(["no", "yes"])[Y]),
    "lists": lambda: (X.tolist(), Y.tolist()),
}


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    scoring=st.sampled_from(sorted(SCORING)),
    container=st.sampled_from(sorted(CONTAINERS)),
    train=st.booleans(),
    weighted=st.booleans(),
    cv=st.sampled_from([None, 3, KFold(2, shuffle=True, random_state=1)]),
)
def test_results_are_those_of_gridsearchcv(client, scoring, container, train, weighted, cv):
    data = CONTAINERS[container]()
    names_binary = {"roc_auc", "f1"} & {str(part) for part in _parts(SCORING[scoring][0])}
    if container == "texts" and names_binary:
        scoring = "none"
    how, refit = SCORING[scoring]
    params = {"sample_weight": np.linspace(1, 2, len(Y))} if weighted else {}
    search, known = both(
        client,
        SizedSearchCV,
        GridSearchCV,
        LogisticRegression(),
        GRID,
        scoring=how,
        refit=refit,
        cv=cv,
        return_train_score=train,
        fit=data,
        params=params,
    )
    equal(search, known)
    if refit:
        np.testing.assert_array_equal(search.predict(data[0]), known.predict(data[0]))
        assert search.score(*data) == known.score(*data)


def _parts(scoring):
    if isinstance(scoring, dict):
        return scoring.values()
    return scoring if isinstance(scoring, list) else [scoring]


@pytest.mark.slow
def test_random_candidates_are_those_of_scikit_learn(client):
    given_ = {"C": loguniform(1e-3, 1e2), "kernel": ["rbf", "linear"], "degree": randint(1, 5)}
    equal(
        *both(
            client,
            SizedRandomizedSearchCV,
            RandomizedSearchCV,
            SVC(),
            given_,
            n_iter=6,
            random_state=4,
            cv=3,
        )
    )


@pytest.mark.parametrize("resource", ["n_samples", "max_depth"])
def test_halving_keeps_the_candidates_that_scikit_learn_keeps(client, resource):
    grid = {"min_samples_leaf": [1, 2, 5, 9], "criterion": ["gini", "entropy"]}
    how = {} if resource == "n_samples" else {"max_resources": 9}
    search, known = both(
        client,
        SizedHalvingSearchCV,
        HalvingGridSearchCV,
        DecisionTreeClassifier(random_state=0),
        grid,
        resource=resource,
        cv=3,
        random_state=0,
        **how,
    )
    equal(search, known)
    for name in ("n_resources_", "n_candidates_", "n_iterations_", "n_remaining_candidates_"):
        assert getattr(search, name) == getattr(known, name)
    assert search.best_estimator_.get_params() == known.best_estimator_.get_params()


@pytest.mark.slow
def test_halving_of_drawn_candidates(client):
    given_ = {"C": loguniform(1e-3, 1e2)}
    settings_ = {"cv": 3, "random_state": 1, "factor": 2}
    equal(
        *both(
            client,
            SizedHalvingRandomSearchCV,
            HalvingRandomSearchCV,
            LogisticRegression(),
            given_,
            **settings_,
        )
    )


# -- parameters of fit -----------------------------------------------------------------------------


class Recording(ClassifierMixin, BaseEstimator):
    """Keeps what its fit was given."""

    def __init__(self, depth=1):
        self.depth = depth

    def fit(self, X, y, *, per_row=None, table=None, note=None):
        self.classes_ = np.unique(y)
        if per_row is not None and not np.array_equal(per_row, np.asarray(X)[:, 0]):
            raise ValueError("rows and their values don't belong together")
        self.given_ = None if table is None else np.shape(table), note
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[self.depth % 2])


def test_parameters_of_fit_are_cut_along_the_rows(client):
    params = {"per_row": X[:, 0], "table": np.zeros((3, 4)), "note": {"as": "it is"}}
    search, known = both(
        client, SizedSearchCV, GridSearchCV, Recording(), {"depth": [0, 1]}, cv=3, params=params
    )
    equal(search, known)
    assert search.best_estimator_.given_ == ((3, 4), {"as": "it is"})


def test_parameters_go_to_steps_and_to_the_splitter(client):
    model = make_pipeline(StandardScaler(), LogisticRegression())
    params = {
        "standardscaler__sample_weight": np.linspace(1, 3, len(Y)),
        "logisticregression__sample_weight": np.linspace(2, 1, len(Y)),
        "groups": np.arange(len(Y)) % 5,
    }
    grid = {"logisticregression__C": [0.01, 1.0]}
    equal(*both(client, SizedSearchCV, GridSearchCV, model, grid, cv=GroupKFold(3), params=params))


def test_metadata_goes_where_it_is_requested(client):
    with config_context(enable_metadata_routing=True):
        model = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=True),
            LogisticRegression().set_fit_request(sample_weight=False),
        )
        scorer = make_scorer(accuracy_score).set_score_request(sample_weight="other")
        grid = {"logisticregression__C": [0.01, 1.0]}
        weights = {"sample_weight": np.geomspace(1, 9, len(Y)), "other": np.geomspace(9, 1, len(Y))}
        groups = {"groups": np.arange(len(Y)) % 5}
        how = {"scoring": scorer, "cv": GroupKFold(3), "params": weights | groups}
        equal(*both(client, SizedSearchCV, GridSearchCV, model, grid, **how))
        # and on to the splitter of a search within the search
        inner = GridSearchCV(LogisticRegression(), GRID, cv=GroupKFold(2))
        grid = {"estimator__fit_intercept": [True, False]}
        search, known = both(client, SizedSearchCV, GridSearchCV, inner, grid, cv=2, params=groups)
        np.testing.assert_array_equal(
            search.cv_results_["mean_test_score"], known.cv_results_["mean_test_score"]
        )


# -- failures --------------------------------------------------------------------------------------


class Failing(ClassifierMixin, BaseEstimator):
    def __init__(self, fails=False):
        self.fails = fails

    def fit(self, X, y):
        if self.fails:
            raise ArithmeticError("as it was told to")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def test_failed_fits_are_told_of_as_scikit_learn_does(client):
    search = SizedSearchCV(Failing(), {"fails": [False, True]}, cv=3, error_score=0, client=client)
    with pytest.warns(FitFailedWarning, match="3 fits failed out of a total of 6"):
        search.fit(X, Y)
    assert search.cv_results_["mean_test_score"][1] == 0
    with pytest.raises(ValueError, match=r"All the 3 fits failed[\s\S]*as it was told to"):
        clone(search).set_params(param_grid={"fails": [True]}).fit(X, Y)


def test_raise_raises_what_the_fit_raised(client):
    search = SizedSearchCV(
        Failing(), {"fails": [False, True]}, cv=3, error_score="raise", client=client
    )
    with pytest.raises(ArithmeticError, match="as it was told to") as raised:
        search.fit(X, Y)
    assert isinstance(raised.value.__cause__, errors.WorkflowFailedError)
    assert search.workflow_.wait(60).is_over


def test_a_scorer_that_fails_is_no_failed_fit(client):
    def scorer(model, X, y):
        raise LookupError("no score today")

    search = SizedSearchCV(LogisticRegression(), GRID, cv=2, scoring=scorer, client=client)
    with pytest.warns(UserWarning, match=r"Scoring failed[\s\S]*no score today"):
        search.fit(X, Y)
    assert np.isnan(search.cv_results_["mean_test_score"]).all()
    with pytest.raises(LookupError, match="no score today"):
        clone(search).set_params(error_score="raise").fit(X, Y)


def test_a_failing_refit_raises_what_it_raised(client):
    class FailsOnAll(Failing):
        def fit(self, X, y):
            self.fails = len(X) == len(Y)
            return super().fit(X, y)

    with pytest.raises(ArithmeticError):
        SizedSearchCV(FailsOnAll(), {}, cv=2, client=client).fit(X, Y)


@pytest.mark.parametrize(
    ("rule", "kind"), [(lambda results: "first", TypeError), (lambda results: 99, IndexError)]
)
def test_errors_of_ones_own_rule_are_raised(client, rule, kind):
    with pytest.raises(kind):
        SizedSearchCV(LogisticRegression(), GRID, cv=2, refit=rule, client=client).fit(X, Y)


def test_warnings_of_fits_reach_whoever_waits_for_them(client):
    model = LogisticRegression(max_iter=1)
    with pytest.warns(ConvergenceWarning):
        SizedSearchCV(model, GRID, cv=2, client=client).fit(X * 100, Y)


# -- the search as an estimator --------------------------------------------------------------------


def test_it_is_handed_around_like_any_estimator(client, tmp_path):
    search = SizedSearchCV(LogisticRegression(), GRID, cv=2, client=client)
    assert clone(search).client is client
    search.fit(pd.DataFrame(X, columns=list("abcdef")), Y)
    assert copy.deepcopy(search).client is client
    path = tmp_path / "search.joblib"
    joblib.dump(search, path)
    for again in (pickle.loads(pickle.dumps(search)), joblib.load(path)):
        assert again.client is None
        assert again.workflow_ is None
        np.testing.assert_array_equal(again.predict_log_proba(X), search.predict_log_proba(X))
    assert search.n_features_in_ == 6
    assert list(search.feature_names_in_) == list("abcdef")
    assert is_classifier(search)
    assert "SizedSearchCV" in search._repr_html_()


def test_methods_are_those_of_the_best_estimator(client):
    search = SizedSearchCV(PCA(), {"n_components": [1, 2]}, cv=2, client=client)
    with pytest.raises(NotFittedError):
        search.transform(X)
    search.fit(X)
    np.testing.assert_allclose(search.inverse_transform(search.transform(X)).shape, X.shape)
    assert search.score_samples(X).shape == (len(X),)
    clusters = SizedSearchCV(
        KMeans(random_state=0, n_init=1), {"n_clusters": [2, 3]}, client=client
    )
    assert not hasattr(clusters.fit(X), "predict_proba")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SizedSearchCV, GridSearchCV),
        (SizedRandomizedSearchCV, RandomizedSearchCV),
        (SizedHalvingSearchCV, HalvingGridSearchCV),
        (SizedHalvingRandomSearchCV, HalvingRandomSearchCV),
    ],
)
def test_parameters_and_their_defaults_are_those_of_scikit_learn(ours, theirs):
    known = inspect.signature(theirs).parameters
    found = dict(inspect.signature(ours).parameters)
    assert found.pop("client").default is None
    assert list(found) == list(known)
    for name, parameter in known.items():
        assert repr(found[name].default) == repr(parameter.default), name
        assert found[name].kind == parameter.kind


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(SizedSearchCV, GridSearchCV), (SizedRandomizedSearchCV, RandomizedSearchCV)],
)
def test_a_patch_of_scikit_learns_class_leads_nowhere_else(client, monkeypatch, ours, theirs):
    # MLflow's autologging puts a method of its own into their class, around the one that it finds.
    original = theirs.fit
    monkeypatch.setattr(theirs, "fit", lambda *args, **params: original(*args, **params))
    search = ours(Ridge(), {"alpha": [0.1, 1.0]}, cv=2, client=client)
    if theirs is RandomizedSearchCV:
        search.set_params(n_iter=2)
    assert search.fit(X, Y).workflow_.is_over


def test_nested_cross_validation_shares_one_client(client, monkeypatch):
    rows, target = load_iris(return_X_y=True)  # sorted: without stratification it fails
    search = SizedSearchCV(SVC(), {"C": [0.1, 1]}, cv=3)
    known = cross_val_score(GridSearchCV(SVC(), {"C": [0.1, 1]}, cv=3), rows, target, cv=3)
    made, before = [], len(client.workflows())
    monkeypatch.setattr(shared, "Client", lambda: made.append(client) or client)
    monkeypatch.setattr(shared, "_shared", None)
    np.testing.assert_array_equal(cross_val_score(search, rows, target, cv=3), known)
    assert len(made) == 1
    assert wait_for(lambda: len(client.workflows()) == before)  # it keeps no fold's data
    monkeypatch.setattr(shared, "_shared", None)  # it isn't ours to close


def test_a_search_within_a_fit_runs_in_its_place(client):
    inner = {"cv": 2}
    grid = {"estimator__fit_intercept": [True, False]}
    model = SizedSearchCV(LogisticRegression(), GRID, client=client, **inner)
    search = SizedSearchCV(model, grid, cv=2, client=client).fit(X, Y)
    known = GridSearchCV(GridSearchCV(LogisticRegression(), GRID, **inner), grid, cv=2).fit(X, Y)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], known.cv_results_["mean_test_score"]
    )
    assert search.best_estimator_.workflow_ is None


@pytest.mark.slow
def test_processes_of_joblib_run_it_in_their_place():
    search = SizedSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=2)
    known = cross_val_score(GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=2), X, Y, cv=2)
    with joblib.parallel_config("loky"):
        np.testing.assert_array_equal(cross_val_score(search, X, Y, cv=2, n_jobs=2), known)
    assert shared._shared is None


def test_without_a_client_nothing_is_left_behind(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
            import psutil
            from sklearn.datasets import load_iris
            from sklearn.linear_model import LogisticRegression
            from fitcast import SizedSearchCV
            from fitcast.scheduler.session.shared import close_shared

            if __name__ == "__main__":
                X, y = load_iris(return_X_y=True)
                for _ in range(2):
                    search = SizedSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2).fit(X, y)
                pids = [one.pid for one in psutil.Process().children(recursive=True)]
                print(*pids)
        """)
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=150)
    assert run.returncode == 0, run.stderr
    pids = [int(pid) for pid in run.stdout.split()]
    assert pids
    assert not [pid for pid in pids if psutil.pid_exists(pid) and "fitcast" in _command(pid)]


def _command(pid):
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def test_what_it_says_is_what_scikit_learn_says(client):
    def said(search):
        with redirect_stdout(io.StringIO()) as out:
            search.fit(X, Y)
        lines = out.getvalue().splitlines()
        return sorted(line.split("total time")[0].replace(".", "") for line in lines)

    how = {"cv": 2, "verbose": 10, "return_train_score": True, "n_jobs": 1, "pre_dispatch": 2}
    ours = said(SizedSearchCV(LogisticRegression(), GRID, client=client, **how))
    assert ours == said(GridSearchCV(LogisticRegression(), GRID, **how))


# -- callbacks of scikit-learn 1.9 -----------------------------------------------------------------


def test_a_monitor_on_the_estimator_gives_one_log_of_the_search(client):
    callback = pytest.importorskip("sklearn.callback")
    from sklearn.callback.tests._utils import MaxIterEstimator

    logs = []
    for kind, more in ((GridSearchCV, {}), (SizedSearchCV, {"client": client})):
        monitor = callback.ScoringMonitor(scoring="r2")
        model = MaxIterEstimator(max_iter=2).set_callbacks(monitor)
        kind(model, {"max_iter": [2, 3]}, cv=2, scoring="r2", **more).fit(X, Y)
        found = monitor.get_logs(select="all")
        assert len(found) == 1
        logs.append([row["task_id_path"] for row in found[0].data])
    assert logs[0] == logs[1]


@pytest.mark.slow
def test_a_bar_on_the_search_is_shown(client, capsys):
    callback = pytest.importorskip("sklearn.callback")
    search = SizedSearchCV(LogisticRegression(), GRID, cv=2, client=client)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the estimator knows no callbacks
        search.set_callbacks(callback.ProgressBar()).fit(X, Y)
    assert "search" in capsys.readouterr().out


def test_a_best_model_that_opens_only_where_it_was_fitted_is_fitted_here(client):
    here = os.getpid()

    # as a network whose own pickle names a class that was made in a function
    class Elsewhere(DecisionTreeClassifier):
        def __setstate__(self, state):
            if "tree_" in state and os.getpid() == here:
                raise AttributeError("Can't get attribute 'Line' on this module")
            super().__setstate__(state)

    known = GridSearchCV(Elsewhere(random_state=0), {"max_depth": [1, 3]}).fit(X, Y)
    search = SizedSearchCV(Elsewhere(random_state=0), {"max_depth": [1, 3]}, client=client)
    equal(search.fit(X, Y), known)
    np.testing.assert_array_equal(search.predict_proba(X), known.predict_proba(X))
