import pytest
from hypothesis import given
from hypothesis import strategies as st
from sizing_making import FOREST, request

from fitcast.history.records import Estimate
from fitcast.sizing.laws.families import FAMILIES, family_of, with_threads
from fitcast.sizing.learning.model import SizingModel


def estimate(**changed):
    whole = {
        "threads": 1,
        "runtime_s_p10": 8.0,
        "runtime_s_p50": 10.0,
        "runtime_s_p90": 12.0,
        "peak_memory_bytes_p50": 100,
        "peak_memory_bytes_p95": 120,
        "failure_probability": 0.01,
        "parallel_fraction": 0.9,
    }
    return Estimate(**(whole | changed))


@pytest.mark.parametrize(
    ("algorithm", "solver", "family"),
    [
        ("xgboost.XGBClassifier", "", "histogram_boosting"),
        ("xgboost.sklearn.XGBRegressor", "", "histogram_boosting"),
        ("lightgbm.LGBMClassifier", "", "histogram_boosting"),
        ("sklearn.ensemble._forest.RandomForestClassifier", "", "forest"),
        ("sklearn.linear_model.LogisticRegression", "lbfgs", "iterative_linear"),
        ("sklearn.linear_model.LogisticRegression", "liblinear", "coordinate_descent"),
        ("my.own.Thing", "", "generic"),
        ("", "", "generic"),
    ],
)
def test_algorithms_have_families(algorithm, solver, family):
    assert family_of(algorithm, solver).name == family


def test_a_class_of_ones_own_is_taken_for_what_it_derives_from():
    bases = ("my.own.Base", "sklearn.ensemble.RandomForestClassifier")
    found = family_of("my.own.Forest", bases=bases)

    assert (found.name, found.guessed) == ("forest", False)


@pytest.mark.parametrize(
    ("names", "family"),
    [
        ("n_estimators max_depth learning_rate max_bin", "histogram_boosting"),
        ("iterations depth learning_rate l2_leaf_reg reg_lambda", "histogram_boosting"),
        ("n_estimators max_depth learning_rate", "exact_boosting"),
        ("n_estimators max_depth max_features", "forest"),
        ("n_estimators estimator", "bagging"),
        ("max_depth criterion", "tree"),
        ("n_neighbors weights", "neighbours"),
        ("kernel C gamma", "kernel"),
        ("hidden_layer_sizes alpha max_iter", "neural"),
        ("alpha max_iter solver", "iterative_linear"),
        ("fit_intercept", "closed_linear"),
        ("something else", "generic"),
        ("", "generic"),
    ],
)
def test_an_unheard_of_class_is_taken_for_what_has_such_hyper_parameters(names, family):
    found = family_of("my.own.Thing", names=frozenset(names.split()))

    assert found.name == family
    assert found.guessed == (family != "generic")


def test_a_guess_is_forecast_less_surely_than_a_known_class():
    params = {"n_estimators": 100, "max_depth": 8, "max_features": "sqrt"}
    known, guessed, unknown = SizingModel.prior().estimate(
        [
            request(FOREST, params=params),
            request("my.own.Thing", params=params),
            request("my.own.Thing", params={}),
        ]
    )

    widths = [e.runtime_s_p90 / e.runtime_s_p10 for e in (known, guessed, unknown)]
    assert widths == sorted(widths)
    assert guessed.runtime_s_p50 == pytest.approx(known.runtime_s_p50)
    assert "forest of 100 trees" in guessed.why


def test_every_family_has_a_law():
    from fitcast.sizing.laws.prior import _LAWS

    assert set(_LAWS) == set(FAMILIES)


def test_threads_divide_the_parallel_share():
    four = with_threads(estimate(), 4)
    assert four.threads == 4
    assert four.runtime_s_p50 == pytest.approx(10 * (0.1 + 0.9 / 4))
    assert four.runtime_s_p90 / four.runtime_s_p50 == pytest.approx(1.2)


def test_no_parallel_share_gains_nothing():
    assert with_threads(estimate(parallel_fraction=0.0), 8).runtime_s_p50 == pytest.approx(10)


@given(st.integers(1, 64), st.integers(1, 64), st.floats(0, 1))
def test_threads_there_and_back(first, second, fraction):
    start = estimate(parallel_fraction=fraction)
    direct = with_threads(start, second)
    around = with_threads(with_threads(start, first), second)
    assert around.runtime_s_p50 == pytest.approx(direct.runtime_s_p50)
    assert direct.runtime_s_p50 <= start.runtime_s_p50 * (1 + 1e-12)
