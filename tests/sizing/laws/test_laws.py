"""Models' laws: finite and growing, whatever is asked."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sizing_making import request

from fitcast.sizing.laws.families import _BY_NAME
from fitcast.sizing.laws.features import describe
from fitcast.sizing.laws.prior import cost_of

sizes = st.integers(1, 10**8)
values = st.one_of(
    st.floats(allow_nan=True),
    st.integers(-(10**12), 10**12),
    st.sampled_from(("auto", "None", "lbfgs", "newton-cholesky", "dart", "(1, 2, 3)", "cosine")),
    st.none(),
    st.booleans(),
)
names = st.sampled_from(
    [
        "n_estimators",
        "max_iter",
        "n_neighbors",
        "alphas",
        "Cs",
        "cv",
        "kernel",
        "solver",
        "booster",
        "metric",
        "algorithm",
        "quantile_alpha",
        "num_parallel_tree",
        "max_depth",
        "hidden_layer_sizes",
        "class_weight",
        "C",
        "alpha",
    ]
)


def cost(algorithm, **told):
    return cost_of(describe(request(f"any.{algorithm}", **told)))


@given(
    st.sampled_from([*_BY_NAME, "Unheard"]),
    sizes,
    sizes,
    st.integers(1, 10**5),
    st.sampled_from([0, 2, 7, 1000]),
    st.dictionaries(names, values, max_size=6),
)
def test_every_law_gives_a_cost_whatever_it_is_asked(
    algorithm, rows, tested, columns, classes, params
):
    found = cost(
        algorithm,
        rows_train=rows,
        rows_test=tested,
        columns=columns,
        nonzeros=rows * columns,
        classes=classes,
        target="multiclass" if classes else "regression",
        params=params,
    )
    assert math.isfinite(found.work_s)
    assert found.work_s > 0.0
    assert math.isfinite(found.memory_bytes)
    assert found.memory_bytes > 0.0
    assert 0.0 <= found.parallel_fraction <= 1.0


@pytest.mark.parametrize("algorithm", sorted(_BY_NAME))
def test_twice_the_rows_cost_more_time_and_no_less_memory(algorithm):
    # Theil-Sen samples as many rows whatever there are.
    few, many = (
        cost(
            algorithm,
            rows_train=rows,
            rows_test=rows // 4,
            columns=20,
            nonzeros=20 * rows,
            data_bytes=200 * rows,
        )
        for rows in (20_000, 40_000)
    )
    assert many.memory_bytes >= few.memory_bytes
    assert many.work_s > few.work_s or algorithm == "TheilSenRegressor"


def boosting(algorithm, **params):
    return cost(
        algorithm,
        params={"n_estimators": 100, **params},
        rows_train=20_000,
        rows_test=1_000,
        columns=20,
        nonzeros=400_000,
        target="regression",
        classes=0,
    ).work_s


def test_lightgbm_counts_rounds_by_the_alias_that_was_set():
    usual = boosting("LGBMRegressor")
    assert boosting("LGBMRegressor", num_iterations=1000) > 5 * usual
    assert boosting("LGBMRegressor", num_trees=10) < usual


def test_several_trees_or_quantiles_in_a_round_cost_as_many():
    usual = boosting("XGBRegressor")
    assert boosting("XGBRegressor", num_parallel_tree=10) > 5 * usual
    assert boosting("XGBRegressor", quantile_alpha="(0.1, 0.5, 0.9)") > 2 * usual


def test_dropped_trees_cost_more_than_in_proportion_to_rounds():
    def dart(rounds):
        return boosting("XGBRegressor", booster="dart", n_estimators=rounds)

    assert dart(1000) > 20 * dart(100)


def test_catboost_makes_a_thousand_rounds_unless_told():
    told = {"rows_train": 20_000, "columns": 20, "nonzeros": 400_000}
    default = cost("CatBoostRegressor", params={}, **told).work_s
    assert default > 5 * cost("CatBoostRegressor", params={"iterations": 100}, **told).work_s


def test_a_default_gaussian_process_optimises_nothing():
    told = {"rows_train": 1000, "columns": 5, "nonzeros": 5000, "target": "regression"}
    fixed = cost("GaussianProcessRegressor", params={"kernel": None}, **told)
    searched = cost("GaussianProcessRegressor", params={"kernel": "RBF"}, **told)
    assert searched.work_s > 5 * fixed.work_s
    assert searched.memory_bytes > fixed.memory_bytes
