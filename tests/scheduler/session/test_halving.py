"""Successive halving as one workflow: scikit-learn's numbers, and every rung known to the plan."""

import threading
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - makes the next import work
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import HalvingGridSearchCV, HalvingRandomSearchCV
from sklearn.model_selection import _search_successive_halving as theirs
from sklearn.tree import DecisionTreeClassifier

from fitcast import (
    Client,
    LocalBackend,
    MemoryHistory,
    Pool,
    SizedHalvingRandomSearchCV,
    SizedHalvingSearchCV,
    errors,
)
from tests.brokers import broker
from tests.polling import LONGEST_S, wait_for
from tests.scheduler.session.test_search import equal
from tests.trainer.sweep.test_rounds import searching

X, Y = make_classification(n_samples=180, n_features=6, random_state=0)
TREE = DecisionTreeClassifier(random_state=0)
GRID = {"min_samples_leaf": [1, 2, 5, 9], "criterion": ["gini", "entropy"]}


def a_client(home):
    backend = LocalBackend([Pool("two", cpus=2, memory_bytes=4 * 2**30)])
    return Client(backend, home=home, history=MemoryHistory())


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with a_client(tmp_path_factory.mktemp("home")) as made:
        yield made


def both(client, ours, known, *args, **settings):
    """Return the search of fitcast and scikit-learn's, and how many workflows the first made."""
    random_state = settings.pop("random_state", lambda: 0)
    here = known(*args, random_state=random_state(), **settings).fit(X, Y)
    before = len(client.workflows())
    search = ours(*args, random_state=random_state(), client=client, **settings).fit(X, Y)
    for name in ("n_resources_", "n_candidates_", "n_iterations_", "n_remaining_candidates_"):
        assert getattr(search, name) == getattr(here, name), name
    equal(search, here)
    return search, here, len(client.workflows()) - before


class Failing(ClassifierMixin, BaseEstimator):
    """Fails for some depths, and so has no score."""

    def __init__(self, depth=1):
        self.depth = depth

    def fit(self, X, y):
        if self.depth % 3 == 0:
            raise ValueError("never fits")
        self.tree_ = DecisionTreeClassifier(max_depth=self.depth, random_state=0).fit(X, y)
        self.classes_ = self.tree_.classes_
        return self

    def predict(self, X):
        return self.tree_.predict(X)


def seeded():
    np.random.seed(3)
    return


CASES = {
    "rows": {"args": (TREE, GRID)},
    "a parameter": {"args": (TREE, GRID), "resource": "max_depth", "max_resources": 9},
    "aggressive": {
        "args": (TREE, GRID),
        "factor": 2,
        "aggressive_elimination": True,
        "min_resources": 90,
        "random_state": lambda: np.random.RandomState(5),
    },
    "seeded elsewhere": {"args": (TREE, GRID), "random_state": seeded},
    "drawn on": {"args": (TREE, GRID), "random_state": lambda: np.random.RandomState(1)},
    "ties": {"args": (DummyClassifier(), {"random_state": [3, 1, 2, 5, 4]})},
    "without scores": {"args": (Failing(), {"depth": [3, 1, 6, 2, 9, 4, 5]}), "factor": 2},
    "without a refit": {"args": (TREE, GRID), "refit": False},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_a_search_is_one_workflow_and_has_scikit_learn_s_numbers(client, name):
    how = {"cv": 3} | CASES[name]
    args = how.pop("args")
    search, here, count = both(client, SizedHalvingSearchCV, HalvingGridSearchCV, *args, **how)
    assert count == 1
    workflow = search.workflow_
    assert len(here.n_candidates_) > 1
    fits = 3 * sum(here.n_candidates_) + bool(how.get("refit", True))
    assert workflow.counts() == (fits, 0, fits)


def test_candidates_may_be_drawn(client):
    drawn = {"C": loguniform(1e-3, 1e2)}
    how = {"cv": 3, "factor": 2, "random_state": lambda: np.random.RandomState(4)}
    model = LogisticRegression()
    _, _, count = both(
        client, SizedHalvingRandomSearchCV, HalvingRandomSearchCV, model, drawn, **how
    )
    assert count == 1


def test_the_workflow_has_the_result_of_the_search(client):
    search, _, _ = both(client, SizedHalvingSearchCV, HalvingGridSearchCV, TREE, GRID, cv=3)
    result = search.workflow_.result()
    for key, known in search.cv_results_.items():
        np.testing.assert_array_equal(result.cv_results_[key], known, err_msg=key)
    assert result.best_index_ == search.best_index_
    assert result.best_params_ == search.best_params_
    assert result.best_candidate_.endswith(f", rung 1, n_samples={search.n_resources_[1]}")
    assert len(result.leaderboard) == sum(search.n_candidates_)
    assert (result.best_estimator_.predict(X) == search.predict(X)).all()


def test_the_whole_search_is_forecast_before_it_runs(client):
    search, _, _ = both(client, SizedHalvingSearchCV, HalvingGridSearchCV, TREE, GRID, cv=3)
    workflow = search.workflow_
    assert 0.0 < workflow.forecast.p10_s <= workflow.forecast.p50_s <= workflow.forecast.p90_s
    rows = workflow.view.rows.values()
    cost_s = [row.estimate.runtime_s_p50 for row in rows]
    assert len(cost_s) == 3 * (8 + 3) + 1
    assert workflow.forecast.p50_s >= max(cost_s)


def test_an_estimate_counts_what_will_run(client):
    estimate = client.estimate(searching())
    assert len(estimate.fits) == 8  # those that are known to run
    known_s = estimate.fits["runtime_s_p50"].sum()
    assert estimate.sequential_s > known_s * 1.5
    assert "14 fits" in estimate._repr_html_()
    assert estimate.what_if(done_within_s=3600)["given"].sum() == 1


class Worst(SizedHalvingSearchCV):
    """Chooses by a rule of its own."""

    @staticmethod
    def _select_best_index(refit, refit_metric, results):
        return int(np.argmin(results["mean_test_score"] - 9 * results["iter"]))


def test_a_rule_of_a_subclass_makes_each_rung_a_workflow(client):
    before = len(client.workflows())
    search = Worst(TREE, GRID, cv=3, random_state=0, client=client).fit(X, Y)
    assert len(client.workflows()) - before == len(search.n_candidates_) == 2
    scores = search.cv_results_["mean_test_score"][8:]
    assert search.best_index_ == 8 + np.argmin(scores)


@pytest.mark.parametrize("resource", ["n_samples", "max_depth"])
def test_what_is_asked_for_counts_where_it_is_not_what_was_planned(client, monkeypatch, resource):
    original = theirs._top_k
    how = {} if resource == "n_samples" else {"max_resources": 9}

    def worst(results, k, itr):
        turned = dict(results, mean_test_score=-results["mean_test_score"])
        return original(turned, k, itr)

    monkeypatch.setattr(theirs, "_top_k", worst)
    _, _, count = both(
        client,
        SizedHalvingSearchCV,
        HalvingGridSearchCV,
        TREE,
        GRID,
        cv=3,
        resource=resource,
        random_state=lambda: np.random.RandomState(7),
        **how,
    )
    assert count > 1
    assert not [one for one in client.workflows() if not one.is_over]


@pytest.mark.slow
def test_a_shared_platform_chooses_by_itself(tmp_path):
    with (
        broker(tmp_path) as there,
        Client(there.url, token=there.token("ann"), home=tmp_path) as client,
    ):
        search, _, count = both(client, SizedHalvingSearchCV, HalvingGridSearchCV, TREE, GRID, cv=3)
        assert count == 1
        fits = search.workflow_.fits
        assert list(fits[fits["fold"] < 0]["outcome"]) == ["succeeded"]


class Gated(Failing):
    """In later rungs, waits for a file."""

    def __init__(self, depth=1, gate=""):
        super().__init__(depth)
        self.gate = gate

    def fit(self, X, y):
        import time

        while len(X) > 70 and self.depth == 1 and not Path(self.gate).exists():
            time.sleep(0.01)
        return super().fit(X, y)


@pytest.mark.filterwarnings("ignore")
def test_a_search_that_ended_within_a_rung_is_gone_on_with(tmp_path):
    gate = tmp_path / "gate"
    # Scores of 1 and 2 are the best, so that both of them are in the second rung.
    grid = {"depth": [1, 2, 3, 6]}
    how = {"cv": 3, "factor": 2, "random_state": 0, "min_resources": 90}
    met = []

    def search(client):
        try:
            SizedHalvingSearchCV(Gated(gate=str(gate)), grid, client=client, **how).fit(X, Y)
        except errors.FitcastError as error:
            met.append(error)

    with a_client(tmp_path) as client:
        thread = threading.Thread(target=search, args=(client,))
        thread.start()
        assert wait_for(lambda: [one for one in client.workflows() if one.counts()[0] >= 13])
        (workflow,) = client.workflows()
        assert workflow.counts()[2] == 3 * (4 + 2)
    thread.join(LONGEST_S)
    assert [type(error) for error in met] == [errors.WorkflowInterruptedError]
    gate.touch()
    with a_client(tmp_path) as client:
        assert client.workflow(workflow.id).counts()[2] == 3 * (4 + 2)
        resumed = client.resume(workflow.id)
        result = resumed.result(LONGEST_S)
        known = HalvingGridSearchCV(Gated(gate=str(gate)), grid, **how)
        known.fit(X, Y)
        first = resumed.fits[resumed.fits["candidate"].str.contains("rung 0")]
        assert (first[first["outcome"] == "succeeded"]["attempts"] == 1).all()
    for key in ("iter", "n_resources", "mean_test_score", "rank_test_score"):
        np.testing.assert_array_equal(result.cv_results_[key], known.cv_results_[key], err_msg=key)
    params = [one["depth"] for one in known.cv_results_["params"]]
    assert [one["depth"] for one in result.cv_results_["params"]] == params
    assert result.best_index_ == known.best_index_
    assert (result.best_estimator_.predict(X) == known.predict(X)).all()
