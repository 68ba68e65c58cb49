"""What is made of others costs what they cost, times how often they are fitted."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sizing_making import record, request

from fitcast.history.parts import MOST_LEVELS, EstimatorPart, Selected
from fitcast.sizing.laws.bills import Bill, along, sized, together
from fitcast.sizing.laws.features import describe
from fitcast.sizing.laws.inside import is_composed, wrapped
from fitcast.sizing.laws.prior import constants, cost_of, spread_of
from fitcast.sizing.laws.wrappers import RULES
from fitcast.sizing.learning.model import SizingModel

TREE = "sklearn.tree.DecisionTreeClassifier"
FOREST = "sklearn.ensemble.RandomForestClassifier"
LOGISTIC = "sklearn.linear_model.LogisticRegression"
SCALER = "sklearn.preprocessing.StandardScaler"
PIPELINE = "sklearn.pipeline.Pipeline"


def part(
    algorithm: str, *inner: EstimatorPart, role: str = "estimator", **told: Any
) -> EstimatorPart:
    own = {
        name: told.pop(name)
        for name in ("name", "counts", "count", "selected", "unlisted")
        if name in told
    }
    return EstimatorPart(
        algorithm=algorithm, role=role, params=tuple(told.items()), parts=inner, **own
    )


def around(name: str, *inner: EstimatorPart, **told: Any) -> EstimatorPart:
    return part(f"sklearn.any.{name}", *(inner or (part(TREE),)), role="", **told)


def steps(*inner: EstimatorPart) -> EstimatorPart:
    return part(PIPELINE, *(replace(one, role="steps") for one in inner), role="")


def asked(made_of: EstimatorPart, rows: int = 4000, columns: int = 24, **changed: Any):
    whole = {"rows_test": 1000, "target": "binary", "classes": 2, "made_of": made_of}
    return request(made_of.algorithm, rows, columns, **(whole | changed))


def seconds(made_of: EstimatorPart, **changed: Any) -> float:
    return cost_of(describe(asked(made_of, **changed))).work_s


def leaf_s(algorithm: str, rows: float, tests: float, columns: float = 24, **told: Any) -> float:
    return cost_of(
        describe(
            request(
                algorithm, round(rows), round(columns), rows_test=round(tests),
                target="binary", classes=2, params=told,
            )
        )
    ).work_s  # fmt: skip


def overhead_s(fits: float) -> float:
    c = constants()["composition"]
    return fits * (c["fit_s"] + c["predict_s"] + c["score_s"])


def test_a_wrapper_of_one_costs_what_is_inside_and_little_more():
    inner = leaf_s(FOREST, 4000, 1000)
    for name in ("TransformedTargetRegressor", "FixedThresholdClassifier", "VotingClassifier"):
        outer = seconds(around(name, part(FOREST)))
        assert inner <= outer <= 1.02 * inner + overhead_s(2)


def test_a_pipeline_of_plain_steps_costs_what_its_request_said_before():
    tree = steps(part(SCALER), part(TREE))
    told = {"steps": (SCALER, TREE), "params": {"decisiontreeclassifier__max_depth": 3}}
    with_parts = request(TREE, made_of=tree, **told)
    without = request(TREE, **told)
    assert not is_composed(tree)
    assert cost_of(describe(with_parts)) == cost_of(describe(without))
    assert describe(with_parts).kind == describe(without).kind


def test_a_search_costs_its_grid_times_its_folds_and_a_refit():
    grid = around("GridSearchCV", part(FOREST), cv=5, counts=(("param_grid", 20),))
    expected = 100 * leaf_s(FOREST, 3200, 800) + leaf_s(FOREST, 4000, 1000)
    assert seconds(grid) == pytest.approx(expected + overhead_s(100), rel=0.02)
    cost = cost_of(describe(asked(grid)))
    assert "20 × 5 fits of forest" in cost.text


def test_one_against_one_has_a_model_of_each_pair_on_their_rows():
    one = leaf_s(TREE, 2 * 4000 / 10, 2 * 1000)
    pairs = seconds(around("OneVsOneClassifier"), classes=10, target="multiclass")
    assert pairs == pytest.approx(45 * one + overhead_s(30), rel=0.15)


def test_an_elimination_goes_through_fewer_and_fewer_columns():
    for_each = sum(leaf_s(FOREST, 4000, 0, columns) for columns in range(24, 11, -1))
    told = seconds(around("RFE", part(FOREST), step=1, n_features_to_select=12))
    assert told == pytest.approx(for_each + leaf_s(FOREST, 4000, 1000, 12), rel=0.1)
    by_half = seconds(around("RFE", part(FOREST), step=0.5, n_features_to_select=12))
    assert by_half < told / 3


@pytest.mark.parametrize("name", sorted(set(RULES) - {"FrozenEstimator"}))
@given(
    rows=st.integers(20, 10**6),
    columns=st.integers(2, 300),
    classes=st.sampled_from([0, 2, 5]),
    times=st.floats(1.2, 20.0),
)
@settings(max_examples=15, deadline=None)
def test_more_rows_never_cost_less(name, rows, columns, classes, times):
    changed = {"classes": classes, "target": "multiclass" if classes else "regression"}
    few = seconds(around(name, part(LOGISTIC)), rows=rows, columns=columns, **changed)
    many = seconds(
        around(name, part(LOGISTIC)), rows=round(rows * times), columns=columns, **changed
    )
    assert many >= 0.7 * few  # a solver needs fewer passes over more rows


COUNTS = {
    "GridSearchCV": "cv",
    "RFECV": "cv",
    "StackingClassifier": "cv",
    "SequentialFeatureSelector": "cv",
    "CalibratedClassifierCV": "cv",
    "BaggingClassifier": "n_estimators",
    "AdaBoostClassifier": "n_estimators",
    "RandomizedSearchCV": "n_iter",
    "TunedThresholdClassifierCV": "cv",
    "RANSACRegressor": "max_trials",
    "Unheard": "n_estimators",
}


@pytest.mark.parametrize("name", COUNTS)
@given(st.integers(2, 60), st.integers(1, 60))
@settings(max_examples=20, deadline=None)
def test_more_inner_fits_never_cost_less(name, few, more):
    role = "estimators" if name == "StackingClassifier" else "estimator"
    inner = part(TREE, role=role, max_depth=4)
    fewer, many = (
        cost_of(describe(asked(around(name, inner, **{COUNTS[name]: count}))))
        for count in (few, few + more)
    )
    assert many.work_s >= fewer.work_s
    assert many.memory_bytes >= 0.99 * fewer.memory_bytes


def test_models_that_are_kept_are_alive_together():
    few, many = (
        cost_of(
            describe(asked(around("BaggingClassifier", part(FOREST), n_estimators=n)))
        ).memory_bytes
        for n in (2, 40)
    )
    assert many > 3 * few
    searched = cost_of(
        describe(asked(around("GridSearchCV", part(FOREST), counts=(("param_grid", 40),))))
    )
    assert searched.memory_bytes < 2 * few


def test_columns_are_encoded_as_many_values_as_they_have():
    def encoding(values, **told):
        selected = Selected(columns=2, distinct_values=2 * values, categorical_columns=2)
        one_hot = part(
            "sklearn.preprocessing.OneHotEncoder", role="transformers", name="e",
            selected=selected, **told,
        )  # fmt: skip
        rest = part("passthrough", role="remainder", selected=Selected(columns=22))
        both = part("sklearn.compose.ColumnTransformer", one_hot, rest)
        return cost_of(describe(asked(steps(both, part("sklearn.linear_model.Ridge")))))

    assert encoding(1500, sparse_output=False).memory_bytes > 2.5e7 + 8 * 5000 * 1500
    assert encoding(1500, sparse_output=False).work_s > 10 * encoding(4, sparse_output=False).work_s
    # Sparse columns stay sparse.
    assert encoding(1500).memory_bytes < 0.2 * encoding(1500, sparse_output=False).memory_bytes


def test_a_count_that_is_not_known_is_said_by_the_width():
    known = spread_of(describe(asked(around("VotingClassifier"))), "runtime")
    for unknown in (
        around("Unheard"),
        around("SelfTrainingClassifier"),
        around("RandomizedSearchCV", counts=(("param_distributions", -1),), cv="Own"),
    ):
        spread = spread_of(describe(asked(unknown)), "runtime")
        assert spread.algorithm > known.algorithm + 0.2, unknown.algorithm


def test_absurd_counts_are_an_estimate_and_no_delay():
    absurd = around(
        "GridSearchCV", part(TREE), cv=10**9, counts=(("param_grid", 2**53),), refit=True
    )
    (estimate,) = SizingModel.prior().estimate([asked(absurd)])
    assert 1e6 < estimate.runtime_s_p50 < 1e9
    assert math.isfinite(estimate.runtime_s_p90)


def nested(levels: int) -> EstimatorPart:
    inner = part(TREE)
    for _ in range(levels - 1):
        inner = part("sklearn.feature_selection.RFECV", inner, part(LOGISTIC, role="other"))
    return replace(inner, role="")


def test_deep_nesting_is_looked_into_up_to_a_bound_and_then_unsure():
    asked_of = 0

    class Counting(dict):
        def __getitem__(self, key):
            nonlocal asked_of
            asked_of += key == "work_factor"
            return super().__getitem__(key)

    fit = describe(asked(nested(MOST_LEVELS)))
    assert math.isfinite(cost_of(fit, Counting(constants())).work_s)
    assert 0 < asked_of < 3000
    assert spread_of(fit, "runtime").algorithm > 1.0


plain = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5)
names = st.sampled_from(
    ["cv", "step", "n_estimators", "n_iter", "max_samples", "factor", "min_resources", "thresholds",
     "n_features_to_select", "code_size", "max_features", "sparse_threshold", "direction", "refit"]
)  # fmt: skip
algorithms = st.sampled_from(
    [*(f"any.{name}" for name in RULES), TREE, FOREST, SCALER, PIPELINE, "", "x", "passthrough",
     "drop", "sklearn.compose.ColumnTransformer", "sklearn.preprocessing.OneHotEncoder"]
)  # fmt: skip
roles = st.sampled_from(
    ["estimator", "estimators", "final_estimator", "steps", "transformers", "transformer_list",
     "remainder", ""]
)  # fmt: skip
whole = st.integers(-(2**40), 2**53)


def trees_around(inner):
    return st.builds(
        EstimatorPart,
        algorithm=algorithms,
        role=roles,
        params=st.dictionaries(names, plain, max_size=4).map(lambda d: tuple(d.items())),
        counts=st.dictionaries(names, whole, max_size=2).map(lambda d: tuple(d.items())),
        count=whole,
        selected=st.none()
        | st.builds(Selected, columns=whole, distinct_values=whole, text_chars=st.floats()),
        parts=st.lists(inner, max_size=4).map(tuple),
        unlisted=st.integers(0, 10**9),
        silent=st.booleans(),
    )


@given(
    st.recursive(st.builds(EstimatorPart, algorithm=algorithms), trees_around, max_leaves=12),
    st.integers(-5, 2**62),
    st.integers(-5, 2**62),
    st.integers(-5, 2**40),
    st.integers(-5, 2**40),
)
@settings(deadline=None, max_examples=300)
def test_any_tree_is_forecast(made_of, rows, tests, columns, classes):
    fit = asked(
        made_of, rows=rows, columns=columns, rows_test=tests, classes=classes, target="multiclass"
    )
    (estimate,) = SizingModel.prior().estimate([fit])
    assert 0.0 < estimate.runtime_s_p10 <= estimate.runtime_s_p50 <= estimate.runtime_s_p90
    assert math.isfinite(estimate.runtime_s_p90)
    assert 0 < estimate.peak_memory_bytes_p50 < estimate.peak_memory_bytes_p95


def test_a_wrapper_teaches_what_wraps_the_same_and_nothing_else():
    def bag(algorithm):
        return around("BaggingClassifier", part(algorithm), n_estimators=10)

    seen = asked(bag(TREE))
    before = SizingModel.prior()
    usual_s = before.estimate([seen])[0].runtime_s_p50
    model = before.train(
        [record(seen, 8 * usual_s, record_id=str(i), dataset=f"d{i}") for i in range(12)]
    )
    other = asked(bag(LOGISTIC))
    assert model.estimate([seen])[0].like_records == 12
    assert model.estimate([seen])[0].runtime_s_p50 > 3 * usual_s
    (untaught,) = model.estimate([other])
    assert untaught.like_records == 0
    assert untaught.runtime_s_p50 < 3 * before.estimate([other])[0].runtime_s_p50


def test_what_is_wrapped_is_named():
    tree = around("GridSearchCV", steps(part(SCALER), around("RFE", part(TREE))))
    assert wrapped(tree) == " of RFE(DecisionTreeClassifier)"
    assert wrapped(steps(part(SCALER), part(TREE))) == ""
    assert wrapped(None) == ""


@given(st.floats(1, 1e6), st.floats(1, 1e6), st.integers(1, 10**7), st.sampled_from([1, 3]))
def test_points_along_a_path_stand_for_all_of_it(first, last, count, most):
    points = along(first, last, count, most)
    assert len(points) <= max(most, 1)
    assert sum(weight for _, weight in points) == pytest.approx(count)
    low, high = sorted((first, last))
    assert all(low - 1e-6 * high <= at <= high * (1 + 1e-6) for at, _ in points)


def test_what_is_kept_is_held_while_the_next_is_fitted():
    one = Bill(serial_s=1.0, memory_bytes=100.0, kept_bytes=40.0, text="one")
    assert one.times(3, kept=True).memory_bytes == 180.0
    assert one.times(3).memory_bytes == 100.0
    both = together([one, one])
    assert (both.serial_s, both.memory_bytes, both.kept_bytes) == (2.0, 140.0, 80.0)


def test_fewer_rows_are_less_data():
    fit = describe(asked(around("RFE")))
    half = sized(fit, rows=fit.rows_train / 2, tests=fit.rows_test / 2)
    assert half.data_bytes == pytest.approx(fit.data_bytes / 2)
    assert half.nonzeros == pytest.approx(fit.nonzeros / 2)
