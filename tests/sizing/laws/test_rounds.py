"""How many rounds a fit makes that stops by itself, and how unsure that is."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitcast.sizing.laws.features import describe
from fitcast.sizing.laws.prior import cost_of
from fitcast.sizing.laws.rounds import boosting_rounds, patience_of
from fitcast.sizing.learning.correction import SweepCorrection
from fitcast.sizing.learning.model import SizingModel
from tests.sizing.sizing_making import record, request

LGBM = "lightgbm.LGBMClassifier"


def rounds(most=10_000.0, algorithm=LGBM, leaves=31.0, **params):
    rows = params.pop("rows", 20_000)
    fit = describe(request(algorithm, rows=rows, params=params))
    return boosting_rounds(fit, most, leaves)


def test_without_patience_all_rounds_are_made_and_known():
    assert rounds(300.0) == rounds(300.0, early_stopping_round=0)
    assert rounds(300.0).expected == 300.0
    assert rounds(300.0).log_sd == 0.0


@pytest.mark.parametrize(
    ("algorithm", "params", "patience"),
    [
        (LGBM, {"early_stopping_round": 30}, 30.0),
        ("lightgbm.LGBMRegressor", {"n_iter_no_change": 7}, 7.0),
        ("xgboost.XGBClassifier", {"early_stopping_rounds": 20}, 20.0),
        ("xgboost.XGBClassifier", {"early_stopping_rounds": None}, 0.0),
        ("catboost.CatBoostClassifier", {"od_wait": 40}, 40.0),
        ("sklearn.ensemble.GradientBoostingClassifier", {"n_iter_no_change": 5}, 5.0),
        ("sklearn.ensemble.GradientBoostingClassifier", {"n_iter_no_change": None}, 0.0),
        ("sklearn.ensemble.HistGradientBoostingClassifier", {"early_stopping": "auto"}, 10.0),
        ("sklearn.ensemble.HistGradientBoostingClassifier", {"early_stopping": False}, 0.0),
    ],
)
def test_each_package_has_its_own_word_for_patience(algorithm, params, patience):
    assert patience_of(describe(request(algorithm, params=params))) == patience


def test_histogram_boosting_stops_by_itself_from_row_10001_on():
    name = "sklearn.ensemble.HistGradientBoostingRegressor"
    few, many = (describe(request(name, rows=n, params={})) for n in (10_000, 10_001))
    assert patience_of(few) == 0.0
    assert patience_of(many) == 10.0


def test_slow_learning_more_rows_and_patience_make_more_rounds():
    usual = rounds(early_stopping_round=30, learning_rate=0.1)
    assert rounds(early_stopping_round=30, learning_rate=0.01).expected > 4 * usual.expected
    assert rounds(early_stopping_round=90, learning_rate=0.1).expected > usual.expected + 50
    assert rounds(early_stopping_round=30, rows=10**6).expected > usual.expected
    assert rounds(early_stopping_round=30, leaves=255.0).expected < usual.expected


def test_patience_or_the_maximum_make_it_surer():
    usual = rounds(early_stopping_round=30)
    assert usual.log_sd > 0.3
    assert rounds(early_stopping_round=2_000).log_sd < 0.2 * usual.log_sd
    assert rounds(60.0, early_stopping_round=30).log_sd < usual.log_sd
    assert rounds(25.0, early_stopping_round=30).log_sd == 0.0


def test_where_nobody_knows_it_is_all_rounds_or_fewer():
    unknown = rounds(early_stopping_rounds="unknown")
    stopped = rounds(early_stopping_round=50)
    assert stopped.expected < unknown.expected < 10_000
    assert unknown.log_sd > stopped.log_sd


@given(
    st.floats(allow_nan=True, allow_infinity=True),
    st.one_of(st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=5), st.none()),
    st.integers(1, 10**13),
)
def test_whatever_is_asked_rounds_are_within_their_limits(rate, patience, rows):
    found = rounds(500.0, learning_rate=rate, early_stopping_round=patience, rows=rows)
    assert 1.0 <= found.expected <= 500.0
    assert 0.0 <= found.log_sd < 5.0


def test_the_forecast_is_wider_where_a_fit_stops_by_itself():
    open_, stopping = SizingModel.prior().estimate(
        [
            request(LGBM, params={"n_estimators": 400, "learning_rate": 0.1}),
            request(LGBM, params={"n_estimators": 10_000, "early_stopping_round": 30}),
        ]
    )
    assert stopping.runtime_log_sd_algorithm > open_.runtime_log_sd_algorithm
    assert "about" in stopping.why


def test_a_seen_setting_of_a_dataset_tells_the_rounds_of_the_others():
    def asked(rate, patience):
        params = {"n_estimators": 10_000, "learning_rate": rate, "early_stopping_round": patience}
        return request(LGBM, params=params | {"num_leaves": 31})

    rates = {"seen": 0.1, "slow": 0.02}

    def moved(patience):
        requests = {name: asked(rate, patience) for name, rate in rates.items()}
        correction = SweepCorrection(
            SizingModel.prior(), requests, dataset="d", candidates={"seen": 0, "slow": 1}
        )
        before = correction.estimates()["slow"].runtime_s_p50
        took_s = 3.0 * correction.estimates()["seen"].runtime_s_p50
        correction.observe("seen", record(requests["seen"], took_s))
        return math.log(correction.estimates()["slow"].runtime_s_p50 / before)

    # Of a fit that mostly waits out its patience, the same surprise says less of other rounds.
    assert moved(patience=10) > 0.3
    assert (
        cost_of(describe(asked(0.1, 10))).rounds_log_sd
        > cost_of(describe(asked(0.1, 1_000))).rounds_log_sd
    )


def test_trees_dropped_in_rounds_that_stop_early_have_a_cost():
    params = {"n_estimators": 10_000, "early_stopping_round": 30, "boosting_type": "dart"}
    dropping, usual = (
        cost_of(describe(request(LGBM, params=params | changed)))
        for changed in ({}, {"boosting_type": "gbdt"})
    )
    assert dropping.work_s > usual.work_s
