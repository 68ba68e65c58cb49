"""Estimators whose own methods fail: that workflow ends, the one beside it has its result."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from fitcast import Client, Sweep
from fitcast.errors import FitcastError, WorkflowFailedError
from fitcast.history.store import MemoryHistory
from tests.marks import slow
from tests.polling import LONGEST_S

pytestmark = pytest.mark.security
X, Y = make_classification(60, 4, random_state=0)
CALLS: dict[str, int] = {}


class Hostile(ClassifierMixin, BaseEstimator):
    """Raises from a method, from a certain call on."""

    def __init__(self, method="", after=0, C=1.0):
        self.method = method
        self.after = after
        self.C = C

    def _called(self, name):
        if self.__dict__.get("method") == name:
            CALLS[name] = CALLS.get(name, 0) + 1
            if CALLS[name] > self.after:
                raise RuntimeError(f"{name} of a hostile estimator")

    def get_params(self, deep=True):
        self._called("get_params")
        return super().get_params(deep)

    def __getstate__(self):
        self._called("__getstate__")
        return super().__getstate__()

    def __reduce__(self):
        self._called("__reduce__")
        return super().__reduce__()

    def __sklearn_tags__(self):
        self._called("__sklearn_tags__")
        return super().__sklearn_tags__()

    def __sklearn_clone__(self):
        self._called("__sklearn_clone__")
        return type(self)(self.method, self.after, self.C)

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def several(estimator, X, y):
    return {"a": 1.0, 2: 0.5}


def fails_with_value(estimator, X, y):
    raise ValueError("secret-4711")


@pytest.mark.parametrize("after", [1, *slow(0, 3, 8, 20)])
@pytest.mark.parametrize(
    "method", ["__reduce__", "__getstate__", "get_params", "__sklearn_tags__", "__sklearn_clone__"]
)
def test_the_workflow_beside_it_has_its_result(client, method, after):
    CALLS.clear()
    good = client.submit(Sweep({"lr": (LogisticRegression(), {"C": [1.0]})}, X, Y, cv=2))
    try:
        bad = client.submit(Sweep(Hostile(method, after), X, Y, cv=2))
    except Exception:  # refused in the call of the one who asked
        bad = None
    if bad is not None:
        try:
            bad.result(LONGEST_S)
        except FitcastError:
            assert bad.is_over
    assert good.result(LONGEST_S).best_estimator_ is not None


@pytest.mark.parametrize(
    "refit", [False, True, "2", pytest.param(lambda table: 0, id="a rule")], ids=repr
)
def test_a_callable_that_returns_several_scores(client, refit):
    sweep = Sweep({"lr": (LogisticRegression(), {"C": [1.0, 2.0]})}, X, Y, cv=2, scoring=several,
                  refit=refit)  # fmt: skip
    result = client.submit(sweep).result(LONGEST_S)
    assert result.cv_results_["mean_test_a"].tolist() == [1.0, 1.0]
    assert result.cv_results_["mean_test_2"].tolist() == [0.5, 0.5]
    assert (result.best_estimator_ is None) is (refit is False)


class FitsPartsOnly(LogisticRegression):
    def fit(self, X, y):
        if len(X) == 60:
            raise ValueError("too much for me")
        return super().fit(X, y)


def test_when_the_last_fit_fails_all_scores_are_there(client):
    workflow = client.submit(Sweep({"m": (FitsPartsOnly(), {"C": [1.0, 2.0]})}, X, Y, cv=2))
    result = workflow.result(LONGEST_S)
    assert np.isfinite(result.cv_results_["mean_test_score"]).all()
    assert result.best_params_ in ({"C": 1.0}, {"C": 2.0})
    assert result.errors["error"].str.contains("too much for me").all()
    with pytest.raises(FitcastError, match=r"wasn't fitted on all rows: .*too much for me"):
        _ = result.best_estimator_


class OpensInAFitOnly(LogisticRegression):
    def __setstate__(self, state):
        if hasattr(self, "coef_") or "coef_" in state:
            raise RuntimeError("not here")
        self.__dict__.update(state)


def test_a_model_that_cannot_be_opened_costs_nothing_else(client):
    workflow = client.submit(Sweep({"m": OpensInAFitOnly()}, X, Y, cv=2))
    result = workflow.result(LONGEST_S)
    assert np.isfinite(result.best_score_)
    with pytest.raises(FitcastError, match=r"can't be opened here .RuntimeError: not here"):
        _ = result.best_estimator_


def no_such_candidate(table):
    raise LookupError("none is good enough")


def test_a_rule_that_fails_leaves_the_scores_to_be_asked_for(client):
    sweep = Sweep({"m": (LogisticRegression(), {"C": [1.0, 2.0]})}, X, Y, cv=2,
                  refit=no_such_candidate)  # fmt: skip
    workflow = client.submit(sweep)
    with pytest.raises(WorkflowFailedError, match="none is good enough"):
        workflow.result(LONGEST_S)
    result = workflow.result(partial=True)
    assert np.isfinite(result.cv_results_["mean_test_score"]).all()
    assert result.best_index_ is None


def test_messages_stay_out_of_the_history(tmp_path, monkeypatch):
    monkeypatch.setenv("FITCAST_KEEP_MESSAGES", "0")
    history = MemoryHistory()
    with Client(home=tmp_path, history=history) as client:
        sweep = Sweep({"lr": LogisticRegression()}, X, Y, cv=2, scoring=fails_with_value,
                      refit=False)  # fmt: skip
        workflow = client.submit(sweep).wait(LONGEST_S)
        assert "secret-4711" in workflow.logs()  # for its own user
        assert client.flush(LONGEST_S)
    records, _ = history.read(None)
    assert {record.error_type for record in records} == {"ValueError"}
    assert not any(record.error_message for record in records)
    assert "secret-4711" not in repr(vars(history))
    assert "fails_with_value" in repr(vars(history))  # where in the code
