"""What is left of a workflow that nobody runs."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitcast.scheduler.forecast.eta import Eta
from fitcast.scheduler.forecast.rest import eta_of_rest

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FORECAST = Eta(60.0, 100.0, 300.0, NOW)


def test_what_took_as_long_as_expected_leaves_the_other_part():
    rest = eta_of_rest(FORECAST, [10.0] * 4, [10.0, None, None, None], NOW)
    assert (rest.p10_s, rest.p50_s, rest.p90_s) == pytest.approx((45.0, 75.0, 225.0))
    assert rest.finish_at == NOW + timedelta(seconds=75)


def test_fits_that_take_longer_let_the_rest_take_longer():
    rest = eta_of_rest(FORECAST, [10.0] * 10, [20.0] * 5 + [None] * 5, NOW)
    assert rest.p50_s == pytest.approx(50.0 * (100 + 10) / (50 + 10))


def test_nothing_is_left_of_what_is_done_and_all_of_what_has_not_begun():
    assert eta_of_rest(FORECAST, [1.0, 2.0], [1.0, 2.0], NOW) == Eta(0.0, 0.0, 0.0, NOW)
    assert eta_of_rest(FORECAST, [1.0, 2.0], [None, None], NOW).p50_s == pytest.approx(100.0)
    assert eta_of_rest(FORECAST, [], [], NOW).p50_s == 0.0
    assert eta_of_rest(FORECAST, [5e-324, 0.0], [None, None], NOW).p50_s == 0.0


def test_what_was_not_forecast_stays_unknown():
    unknown = Eta(math.nan, math.nan, math.nan, NOW)
    assert eta_of_rest(unknown, [1.0], [None], NOW) is unknown


@given(st.lists(st.tuples(st.floats(0, 1e6), st.none() | st.floats(0, 1e6)), max_size=30))
def test_it_is_never_less_than_nothing_and_keeps_its_order(fits):
    rest = eta_of_rest(FORECAST, [e for e, _ in fits], [t for _, t in fits], NOW)
    assert 0.0 <= rest.p10_s <= rest.p50_s <= rest.p90_s
