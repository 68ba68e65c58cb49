"""Estimators that fit others: what those cost, times how often."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sizing_making import request
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_selection import RFE, RFECV, SequentialFeatureSelector
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from fitcast.history.parts import EstimatorPart, Selected
from fitcast.sizing.laws.features import describe
from fitcast.sizing.laws.prior import cost_of
from fitcast.sizing.learning.model import SizingModel
from fitcast.trainer.naming import public_path
from fitcast.trainer.sweep.parts import PartsReader
from fitcast.trainer.sweep.requests import plain_params

FOREST = RandomForestClassifier(50)


def asked(estimator, **told):
    """Return the request of an estimator, as the trainer makes it."""
    steps = [step for _, step in getattr(estimator, "steps", [])]
    last = steps[-1] if steps else estimator
    return request(
        public_path(type(last)),
        steps=tuple(public_path(type(step)) for step in steps),
        params=plain_params(estimator, {}),
        made_of=PartsReader().made_of(estimator),
        **told,
    )


def work_s(estimator, **told):
    return cost_of(describe(asked(estimator, **told))).work_s


def test_an_ensemble_of_one_costs_what_its_member_costs():
    alone = work_s(FOREST)
    assert work_s(VotingClassifier([("only", FOREST)])) == pytest.approx(alone, rel=0.05)
    assert work_s(make_pipeline(FOREST)) == pytest.approx(alone, rel=0.05)


@pytest.mark.parametrize(
    ("wrapper", "least", "most"),
    [
        (GridSearchCV(FOREST, {"max_features": ["sqrt", "log2"]}, cv=3), 4.0, 8.0),
        (CalibratedClassifierCV(FOREST, cv=4), 2.5, 5.0),
        (VotingClassifier([("a", FOREST), ("b", RandomForestClassifier(100))]), 2.5, 3.5),
        (StackingClassifier([("a", FOREST)], LogisticRegression(), cv=5), 4.0, 7.0),
        (RFE(FOREST, n_features_to_select=10, step=1), 7.0, 12.0),
        (RFECV(FOREST, step=1, cv=5), 40.0, 130.0),
        (SequentialFeatureSelector(FOREST, n_features_to_select=10, cv=5), 200.0, 1000.0),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "fit") else "",
)
def test_a_wrapper_costs_its_inner_fits(wrapper, least, most):
    assert least < work_s(wrapper) / work_s(FOREST) < most


def test_classes_against_each_other():
    told = {"target": "multiclass", "classes": 10}
    binary = work_s(SVC())
    rest = work_s(OneVsRestClassifier(SVC()), **told)
    assert rest == pytest.approx(10 * binary, rel=0.2)
    assert work_s(OneVsOneClassifier(SVC()), **told) < rest  # 45 of a fifth of the rows


def test_what_is_inside_a_column_transformer_is_seen():
    def made(selected):
        encoder = EstimatorPart(
            algorithm="sklearn.preprocessing.OneHotEncoder",
            role="transformers",
            params=(("sparse_output", False),),
            selected=selected,
        )
        columns = EstimatorPart(
            algorithm="sklearn.compose.ColumnTransformer", role="steps", parts=(encoder,)
        )
        ridge = EstimatorPart(algorithm="sklearn.linear_model.Ridge", role="steps")
        return EstimatorPart(algorithm="sklearn.pipeline.Pipeline", parts=(columns, ridge))

    few, many = (
        cost_of(
            replace(
                describe(request("sklearn.linear_model.Ridge")),
                made_of=made(Selected(columns=4, distinct_values=distinct)),
            )
        )
        for distinct in (12, 1000)
    )
    assert many.work_s > 5 * few.work_s
    assert many.memory_bytes > 5 * few.memory_bytes


def test_a_pipeline_costs_the_same_whether_its_parts_are_told_or_not():
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    told = asked(pipeline)
    old = replace(told, made_of=None)
    assert cost_of(describe(told)).work_s == pytest.approx(cost_of(describe(old)).work_s, rel=0.05)


def test_wrappers_learn_by_what_they_wrap():
    kinds = {
        describe(asked(wrapper)).kind
        for wrapper in (RFE(FOREST), RFE(LogisticRegression()), RFE(RandomForestClassifier(7)))
    }
    assert len(kinds) == 2


def test_a_wrapper_that_nobody_named_is_forecast_less_surely():
    inner = EstimatorPart(algorithm="sklearn.ensemble.RandomForestClassifier", role="estimator")
    own = EstimatorPart(algorithm="my.own.Wrapper", parts=(inner,))
    known, unheard = SizingModel.prior().estimate(
        [request("sklearn.ensemble.RandomForestClassifier"), request("my.own.Wrapper", made_of=own)]
    )
    assert unheard.runtime_s_p90 / unheard.runtime_s_p10 > 3 * (
        known.runtime_s_p90 / known.runtime_s_p10
    )
    assert "Wrapper" in unheard.why


def test_columns_that_no_step_takes_cost_nothing():
    def made(rest):
        columns = ColumnTransformer([("one", OneHotEncoder(), [0])], remainder=rest)
        return make_pipeline(columns, Ridge())

    assert work_s(made("drop")) <= work_s(made("passthrough"))


CLASSES = (
    "GridSearchCV RandomizedSearchCV HalvingGridSearchCV RFE RFECV SequentialFeatureSelector "
    "StackingClassifier VotingRegressor CalibratedClassifierCV OneVsOneClassifier Pipeline "
    "OneVsRestClassifier BaggingClassifier AdaBoostRegressor RANSACRegressor ColumnTransformer "
    "FeatureUnion IterativeImputer SelectFromModel Mine RandomForestClassifier KernelPCA Ridge"
)
ROLES = "estimator estimators steps transformers transformer_list final_estimator remainder mine"


NAMES = (
    *("cv", "n_iter", "step", "n_features_to_select"),
    *("n_estimators", "max_trials", "factor", "code_size"),
)


@st.composite
def parts(draw, depth=3):
    numbers = st.one_of(st.floats(), st.integers(-(10**15), 10**15), st.booleans(), st.none())
    names = st.sampled_from([*NAMES])
    inner = draw(st.lists(parts(depth - 1), max_size=3)) if depth else []
    return EstimatorPart(
        algorithm=draw(st.sampled_from([*CLASSES.split(), "drop", "passthrough"])),
        role=draw(st.sampled_from(ROLES.split())),
        params=tuple(draw(st.dictionaries(names, numbers, max_size=3)).items()),
        counts=tuple(draw(st.dictionaries(st.just("param_grid"), st.integers(-1, 10**12))).items()),
        count=draw(st.sampled_from([1, 2, 10**12])),
        selected=draw(st.sampled_from([None, Selected(columns=3), Selected(columns=0)])),
        parts=tuple(inner),
    )


@settings(deadline=None)
@given(parts(), st.integers(1, 10**7), st.integers(1, 10**4))
def test_any_tree_has_a_cost(part, rows, columns):
    fit = describe(request("some.Thing", rows=rows, columns=columns, made_of=part))
    cost = cost_of(fit)
    assert math.isfinite(cost.work_s)
    assert cost.work_s > 0.0
    assert math.isfinite(cost.memory_bytes)
    assert math.isfinite(cost.rounds_log_sd)


@given(st.integers(2, 30), st.integers(1, 1000))
def test_more_inner_fits_never_cost_less(folds, number):
    def search(cv, settings):
        return work_s(GridSearchCV(Ridge(), {"alpha": list(range(1, settings + 1))}, cv=cv))

    assert search(folds + 1, number) >= search(folds, number)
    assert search(folds, number + 1) > search(folds, number)
