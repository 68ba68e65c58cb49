"""imbalanced-learn: samplers in its own pipeline, which change rows within a fit only."""

import numpy as np
import pandas as pd
import pytest
from imblearn.ensemble import BalancedRandomForestClassifier
from imblearn.metrics import geometric_mean_score
from imblearn.over_sampling import SMOTE, SMOTENC, RandomOverSampler
from imblearn.pipeline import Pipeline, make_pipeline
from imblearn.under_sampling import RandomUnderSampler
from sklearn import config_context
from sklearn.datasets import make_classification
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer
from sklearn.model_selection import GroupKFold, StratifiedKFold
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from tests.interop.agreement import close, searched, swept

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

X, Y = make_classification(300, 8, weights=[0.9], n_informative=5, random_state=0)
GROUPS = np.arange(300) % 6


def smote():
    return Pipeline(
        [
            ("scale", StandardScaler()),
            ("more", SMOTE(random_state=0, k_neighbors=3)),
            ("model", LogisticRegression()),
        ]
    )


def test_smote_is_a_step_of_fit_alone(client):
    grid = {"more__k_neighbors": [2, 4], "model__C": [0.1, 1.0]}
    ours, theirs = searched(client, smote(), grid, X, Y, cv=3, scoring="f1")
    assert type(ours.best_estimator_) is Pipeline
    close(ours.predict_proba(X), theirs.predict_proba(X))
    swept(client, theirs, X, Y)


def test_equal_first_steps_are_fitted_once_and_rows_added_all_the_same(client):
    # what fitcast fits once for several candidates ends before what changes the rows
    estimator = make_pipeline(
        SelectKBest(k=5), StandardScaler(), SMOTE(random_state=0), DecisionTreeClassifier()
    )
    grid = {
        "decisiontreeclassifier__max_depth": [1, 2, 3, 4, 5, 6],
        "decisiontreeclassifier__random_state": [0],
    }
    _, theirs = searched(client, estimator, grid, X, Y, cv=3, scoring="balanced_accuracy")
    swept(client, theirs, X, Y)


def test_samplers_in_the_grid(client):
    samplers = [
        SMOTE(random_state=0),
        RandomUnderSampler(random_state=0),
        RandomOverSampler(random_state=0),
        "passthrough",
    ]
    scorer = make_scorer(geometric_mean_score)
    searched(client, smote(), {"more": samplers}, X, Y, cv=StratifiedKFold(3), scoring=scorer)


def test_groups(client):
    grid = {"model__C": [0.1, 1.0]}
    folds = GroupKFold(3)
    _, theirs = searched(client, smote(), grid, X, Y, {"groups": GROUPS}, cv=folds)
    swept(client, theirs, X, Y, groups=GROUPS)


def test_weights_of_rows_that_are_dropped_or_made_are_refused_by_both(client):
    # a weight per row no longer fits what SMOTE returns
    weights = {"model__sample_weight": np.linspace(0.5, 1, len(Y))}
    with pytest.raises(ValueError, match="sample_weight"):
        searched(client, smote(), {"model__C": [1.0]}, X, Y, weights, cv=3)


def test_weights_with_routing(client):
    weights = np.linspace(0.5, 1, len(Y))
    with config_context(enable_metadata_routing=True):
        estimator = Pipeline(
            [
                ("scale", StandardScaler().set_fit_request(sample_weight=True)),
                ("more", SMOTE(random_state=0)),
                ("model", LogisticRegression().set_score_request(sample_weight=True)),
            ]
        )
        estimator.named_steps["model"].set_fit_request(sample_weight=False)
        params = {"sample_weight": weights}
        searched(client, estimator, {"model__C": [0.1, 1.0]}, X, Y, params, cv=3)


def test_frames_with_categories(client):
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(8)])
    frame["town"] = np.array(["Oslo", "Rome", "Bonn"])[np.arange(len(frame)) % 3]
    estimator = make_pipeline(
        SMOTENC(["town"], random_state=0),
        OneHotEncoder(handle_unknown="ignore"),
        DecisionTreeClassifier(max_depth=3, random_state=0),
    )
    grid = {"smotenc__k_neighbors": [2, 4]}
    labels = pd.Series(np.array(["common", "rare"])[Y])
    _, theirs = searched(client, estimator, grid, frame, labels, cv=3)
    swept(client, theirs, frame, labels)


def test_ensembles(client):
    forest = BalancedRandomForestClassifier(n_estimators=10, random_state=0, n_jobs=1)
    grid = {"max_depth": [2, 4]}
    searched(client, forest, grid, X, Y, cv=3, scoring=["f1", "roc_auc"], refit="f1")
