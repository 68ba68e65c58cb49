"""scikit-survival: a structured target, its estimators and its scorers."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sksurv.datasets import load_whas500
from sksurv.ensemble import RandomSurvivalForest
from sksurv.linear_model import CoxnetSurvivalAnalysis, CoxPHSurvivalAnalysis
from sksurv.metrics import (
    as_concordance_index_ipcw_scorer,
    as_cumulative_dynamic_auc_scorer,
    as_integrated_brier_score_scorer,
    concordance_index_censored,
)
from sksurv.preprocessing import OneHotEncoder
from sksurv.util import Surv

from tests.interop.agreement import close, searched, swept

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

FRAME, Y = load_whas500()
FRAME = FRAME.astype(float)
# Ended at 1,500 days: its scores ask that no test fold goes on for longer than the training rows.
Y = Surv.from_arrays(
    Y["fstat"] & (Y["lenfol"] <= 1500), np.minimum(Y["lenfol"], 1500), "fstat", "lenfol"
)
TIMES = (100.0, 400.0, 800.0)
GRID = {"alpha": [0.1, 10.0]}
FOLDS = KFold(3, shuffle=True, random_state=0)


def test_a_structured_target(client):
    ours, theirs = searched(client, CoxPHSurvivalAnalysis(), GRID, FRAME, Y, cv=FOLDS)
    close(ours.predict(FRAME), theirs.predict(FRAME))
    close(ours.score(FRAME, Y), theirs.score(FRAME, Y))
    swept(client, theirs, FRAME, Y)


def test_arrays_and_a_target_made_of_two(client):
    y = Surv.from_arrays(Y["fstat"], Y["lenfol"])
    _, theirs = searched(client, CoxPHSurvivalAnalysis(), GRID, FRAME.to_numpy(), y, cv=FOLDS)
    swept(client, theirs, FRAME.to_numpy(), y)


@pytest.mark.parametrize(
    ("wrapper", "settings"),
    [
        (as_concordance_index_ipcw_scorer, {"tau": TIMES[-1]}),
        (as_cumulative_dynamic_auc_scorer, {"times": TIMES}),
        (as_integrated_brier_score_scorer, {"times": TIMES}),
    ],
)
def test_its_own_scorers_wrap_the_estimator(client, wrapper, settings):
    estimator = wrapper(CoxPHSurvivalAnalysis(), **settings)
    grid = {"estimator__alpha": [0.1, 10.0]}
    ours, theirs = searched(client, estimator, grid, FRAME, Y, cv=FOLDS)
    close(ours.best_estimator_.predict(FRAME), theirs.best_estimator_.predict(FRAME))
    swept(client, theirs, FRAME, Y)


def test_a_scorer_of_functions_over_time(client):
    def at_a_year(fitted, X, y):
        curves = fitted.predict_survival_function(X)
        risk = np.array([1 - curve(365.0) for curve in curves])
        return concordance_index_censored(y["fstat"], y["lenfol"], risk)[0]

    searched(client, CoxPHSurvivalAnalysis(), GRID, FRAME, Y, cv=FOLDS, scoring=at_a_year)


def test_a_forest(client):
    forest = RandomSurvivalForest(n_estimators=10, random_state=0)
    grid = {"min_samples_leaf": [5, 20]}
    ours, theirs = searched(client, forest, grid, FRAME, Y, cv=FOLDS)
    close(ours.predict(FRAME), theirs.predict(FRAME))
    swept(client, theirs, FRAME, Y)


def test_a_path_of_penalties_with_categories(client):
    frame = FRAME.assign(ward=pd.Categorical(np.array(["A", "B", "C"])[np.arange(len(FRAME)) % 3]))
    estimator = make_pipeline(OneHotEncoder(), CoxnetSurvivalAnalysis(l1_ratio=0.5))
    grid = {"coxnetsurvivalanalysis__alphas": [[0.1], [0.01]]}
    searched(client, estimator, grid, frame, Y, cv=FOLDS)
