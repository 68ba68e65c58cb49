"""Drawn candidates, and parameters of ``fit`` and scorers, as scikit-learn's searches have them."""

import threading

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import loguniform
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ParameterSampler
from sklearn.svm import SVC

from fitcast import Sweep
from fitcast.errors import InvalidDataError, InvalidSweepError
from fitcast.trainer.attempt.fitting import fit_and_score
from fitcast.trainer.sweep.fit_params import method_params

X, Y = make_classification(n_samples=40, random_state=0)
GIVEN = {"C": loguniform(1e-3, 1e2), "kernel": ["rbf", "linear"]}


@pytest.mark.parametrize("given", [GIVEN, [GIVEN, {"C": [1.0, 2.0]}]])
def test_candidates_are_drawn_as_scikit_learn_draws_them(given):
    sweep = Sweep((SVC(), given), X, Y, cv=2, n_iter=4, random_state=3)
    found = [candidate.params for candidate in sweep.prepare().candidates]
    assert found == list(ParameterSampler(given, 4, random_state=3))


def test_what_was_drawn_stays_until_something_is_changed():
    sweep = Sweep((SVC(), GIVEN), X, Y, cv=2, n_iter=4, random_state=np.random.RandomState(1))
    first = sweep.prepare()
    assert sweep.prepare(recheck=True) is first
    sweep.n_iter = 3
    assert len(sweep.prepare(recheck=True).candidates) == 3


@pytest.mark.parametrize(
    ("given", "n_iter", "said"),
    [(GIVEN, None, "n_iter=20"), ({"C": 1.0}, 3, "must be a list"), (GIVEN, "x", "can be drawn")],
)
def test_what_cannot_be_drawn_is_refused(given, n_iter, said):
    with pytest.raises(InvalidSweepError, match=said):
        Sweep((SVC(), given), X, Y, cv=2, n_iter=n_iter).prepare()


def test_what_has_a_value_per_row_is_cut_and_the_rest_is_not():
    weights = np.arange(40.0)
    params = method_params(
        X,
        {
            "w": weights,
            "list": list(range(40)),
            "sparse": sp.coo_matrix(X),
            "short": [1],
            "no": None,
        },
        {"w": weights, "text": "as it is"},
    )
    assert params.fit == (("w", "fit.w"), ("list", "fit.list"), ("sparse", "fit.sparse"))
    assert params.score == (("w", "fit.w"),)  # kept once
    assert params.fit_values == {"short": [1], "no": None}
    assert params.score_values == {"text": "as it is"}


def test_parameters_reach_fit_and_scorer():
    seen = {}

    class Seeing(LogisticRegression):
        def fit(self, X, y, sample_weight=None, note=None):
            seen["fit"] = len(sample_weight), note
            return super().fit(X, y, sample_weight)

    def scorer(model, X, y, weights=None, note=None):
        seen["score"] = len(weights), note
        return 1.0

    sweep = Sweep(
        Seeing(),
        X,
        Y,
        cv=4,
        scoring=scorer,
        fit_params={"sample_weight": np.ones(40), "note": "to fit"},
        score_params={"weights": np.ones(40), "note": "to the scorer"},
    )
    prepared = sweep.prepare()
    job = prepared.job(0).load(prepared.attachments.__getitem__)
    seen = job.scorer.__closure__[0].cell_contents  # it came by value
    fit_and_score(job, prepared.content, 0)
    assert seen["score"] == (10, "to the scorer")


@pytest.mark.parametrize("where", ["fit", "score"])
def test_a_parameter_that_cannot_be_sent_is_named(where):
    # such as a pool of CatBoost's: the estimator is not at fault
    given = {f"{where}_params": {"eval_set": threading.Lock(), "note": "good"}}
    told = "the scorer" if where == "score" else "fit"
    with pytest.raises(InvalidSweepError, match=rf"'eval_set' of {told} is .* \(lock\)") as caught:
        Sweep(LogisticRegression(), X, Y, **given).prepare()
    assert "'note'" not in str(caught.value)


@pytest.mark.parametrize("scoring", [None, "accuracy", ["accuracy", "roc_auc"]])
def test_weights_among_the_parameters_of_fit_are_handed_to_scorers_like_others(scoring):
    weights = np.linspace(0.1, 5.0, len(X))
    refit = "accuracy" if isinstance(scoring, list) else True
    model, grid = LogisticRegression(), {"C": [0.1, 1.0]}
    made = {"cv": 3, "scoring": scoring, "refit": refit}
    theirs = GridSearchCV(model, grid, **made).fit(X, Y, sample_weight=weights)
    prepared = Sweep((model, grid), X, Y, **made, fit_params={"sample_weight": weights}).prepare()
    names = [key for key in theirs.cv_results_ if key.startswith("split0_test")]
    for index in range(2):
        job = prepared.job(index).load(prepared.attachments.__getitem__)
        scores = fit_and_score(job, prepared.content, 0).scores
        known = [theirs.cv_results_[name][index] for name in names]
        assert list(scores.values()) == known


def test_weights_of_scorers_alone_stay_theirs():
    weights, others = np.linspace(0.1, 5.0, len(X)), np.ones(len(X))
    given = {"fit_params": {"sample_weight": weights}, "score_params": {"sample_weight": others}}
    prepared = Sweep(LogisticRegression(), X, Y, cv=3, **given).prepare()
    job = prepared.job(0).load(prepared.attachments.__getitem__)
    assert job.score_params == (("sample_weight", "score.sample_weight"),)


@pytest.mark.parametrize("given", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused_wherever_they_are_given(given):
    weights = np.ones(len(X))
    weights[3] = given
    for how in ({"sample_weight": weights}, {"fit_params": {"sample_weight": weights}}):
        with pytest.raises(InvalidDataError, match="NaN or infinity, first in row 3"):
            Sweep(LogisticRegression(), X, Y, cv=2, **how).prepare()
