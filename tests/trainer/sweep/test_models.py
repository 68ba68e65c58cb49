"""Models as a user gives them become candidates with the right settings, labels and names."""

import sys
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightgbm import LGBMClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ParameterGrid
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier, XGBRegressor

from fitcast.trainer.naming import public_path
from fitcast.trainer.sweep.models import candidates_from, steps_of
from fitcast.trainer.sweep.spelling import nearest

LR = LogisticRegression()


def labels(models):
    return [candidate.label for candidate in candidates_from(models)]


@pytest.mark.parametrize(
    "entry",
    [LR, LogisticRegression, "sklearn.linear_model.LogisticRegression", (LR, {}), (LR, [{}])],
)
def test_an_estimator_in_every_form(entry):
    (candidate,) = candidates_from({"lr": entry})
    assert isinstance(candidate.estimator, LogisticRegression)
    assert candidate.estimator is not LR
    assert (candidate.label, candidate.model, candidate.params) == ("lr", "lr", {})
    assert candidate.algorithm == "sklearn.linear_model.LogisticRegression"


def test_without_names_the_classes_name():
    assert labels(LR) == ["LogisticRegression"]
    assert labels((LR, {"C": [1, 2]})) == ["LogisticRegression C=1", "LogisticRegression C=2"]
    assert labels([LR, (SVC, {"C": [1]}), LR]) == [
        "LogisticRegression",
        "SVC C=1",
        "LogisticRegression-2",
    ]
    assert labels((LR, SVC())) == ["LogisticRegression", "SVC"]
    assert labels(make_pipeline(StandardScaler(), SVC())) == ["SVC"]


def test_several_models_of_one_name():
    models = {"trees": [DecisionTreeClassifier(), (RandomForestClassifier(), {"max_depth": [3]})]}
    assert labels(models) == [
        "trees/DecisionTreeClassifier",
        "trees/RandomForestClassifier max_depth=3",
    ]
    assert {candidate.model for candidate in candidates_from(models)} == {"trees"}


def test_labels_are_short_unique_and_plain():
    grid = {"C": [1, 1, 0.1, 1e-7, 1 / 3, np.float64(2.5)]}
    assert labels({"lr": (LR, grid)}) == [
        "lr C=1",
        "lr C=1 (2)",
        "lr C=0.1",
        "lr C=1e-07",
        "lr C=0.3333333333333333",
        "lr C=2.5",
    ]
    pipeline = make_pipeline(StandardScaler(), SVC())
    grid = {"svc": [SVC(), GaussianNB()], "standardscaler": ["passthrough"]}
    assert labels({"p": (pipeline, grid)}) == [
        "p standardscaler=passthrough svc=SVC",
        "p standardscaler=passthrough svc=GaussianNB",
    ]
    long = labels({"lr": (LR, {"class_weight": [dict.fromkeys(range(500), 1.0)]})})
    assert len(long[0]) <= 120


def test_explicit_settings():
    settings = [{"C": 1.0, "solver": "saga"}, {"C": 2.0}, {"C": [3.0, 4.0]}]
    assert [c.params for c in candidates_from((LR, settings))] == [
        {"C": 1.0, "solver": "saga"},
        {"C": 2.0},
        {"C": 3.0},
        {"C": 4.0},
    ]


values = st.lists(st.one_of(st.integers(), st.floats(allow_nan=False)), min_size=1, max_size=4)


@given(st.lists(st.dictionaries(st.sampled_from(["C", "tol", "max_iter"]), values), min_size=1))
def test_settings_come_in_the_order_of_parameter_grid(grids):
    candidates = candidates_from({"lr": (LR, grids)})
    assert [c.params for c in candidates] == list(ParameterGrid(grids))
    assert [c.index for c in candidates] == list(range(len(candidates)))
    assert len({c.label for c in candidates}) == len(candidates)


@pytest.mark.parametrize(
    ("thing", "path"),
    [
        (HistGradientBoostingClassifier(), "sklearn.ensemble.HistGradientBoostingClassifier"),
        (XGBClassifier(), "xgboost.XGBClassifier"),
        (LGBMClassifier, "lightgbm.LGBMClassifier"),
        ("passthrough", "passthrough"),
        (None, "passthrough"),
    ],
)
def test_public_path(thing, path):
    assert public_path(thing) == path


def test_pipelines_are_named_for_the_step_that_does_the_work():
    inner = make_pipeline(StandardScaler(), SVC())
    (candidate,) = candidates_from(make_pipeline(StandardScaler(), inner))
    assert candidate.algorithm == "sklearn.svm.SVC"
    assert [type(step).__name__ for step in steps_of(candidate.estimator)] == [
        "StandardScaler",
        "StandardScaler",
        "SVC",
    ]
    first, second = candidates_from((inner, {"svc": [SVC(), GaussianNB()]}))
    assert first.algorithm == "sklearn.svm.SVC"
    assert second.algorithm == "sklearn.naive_bayes.GaussianNB"
    assert type(second.configured().steps[-1][1]) is GaussianNB


def test_configuring_leaves_the_candidate_as_it_was():
    (candidate,) = candidates_from((XGBRegressor(), {"max_depth": [7]}))
    assert candidate.configured().max_depth == 7
    assert candidate.estimator.max_depth is None


def test_an_import_path_may_name_an_instance():
    module = ModuleType("made_up_models")
    module.ready = SVC(C=3)
    sys.modules["made_up_models"] = module
    try:
        (candidate,) = candidates_from("made_up_models.ready")
    finally:
        del sys.modules["made_up_models"]
    assert candidate.estimator.C == 3


def test_nearest():
    assert nearest("gama", ["gamma", "C"]) == "; did you mean 'gamma'?"
    assert nearest("C", ["svc__C"]) == "; did you mean 'svc__C'?"
    assert nearest("zzz", ["gamma"]) == "."
