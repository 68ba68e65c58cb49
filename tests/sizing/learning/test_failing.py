import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitcast.sizing.laws.features import read_params
from fitcast.sizing.learning.failing import Failures

VALUES = st.sampled_from([0, 1, 2.5, 1000, "x", "y", "", None, True])
MODEL = "sklearn.linear_model.LogisticRegression"


def params(**given):
    return read_params(MODEL, (), given)


def test_before_anything_was_seen_one_in_a_hundred_fails():
    assert Failures().probability(params(C=1.0)) == pytest.approx(0.01)


def test_what_failed_will_fail_again_and_what_went_well_will_go_well():
    failures = Failures()
    for _ in range(3):
        failures.see(params(solver="lbfgs", penalty="l1"), failed=True)
        failures.see(params(solver="lbfgs", penalty="l2"), failed=False)

    assert failures.probability(params(solver="lbfgs", penalty="l1")) > 0.75
    assert failures.probability(params(solver="lbfgs", penalty="l2")) < 0.1


def test_like_settings_share_their_fate_whatever_the_numbers():
    failures = Failures()
    for C in (0.1, 1.0, 10.0, 100.0):
        failures.see(params(solver="lbfgs", penalty="l1", C=C), failed=True)
        failures.see(params(solver="saga", penalty="l1", C=C), failed=False)
        failures.see(params(solver="lbfgs", penalty="l2", C=C), failed=False)

    assert failures.probability(params(solver="lbfgs", penalty="l1", C=3.0)) > 0.7
    assert failures.probability(params(solver="saga", penalty="l1", C=3.0)) < 0.15
    assert failures.probability(params(solver="lbfgs", penalty="l2", C=3.0)) < 0.15


def test_numbers_far_away_tell_less():
    failures = Failures()
    for k in (50, 60, 70):
        failures.see(params(n_neighbors=k), failed=True)
    for k in (1, 2, 3):
        failures.see(params(n_neighbors=k), failed=False)

    assert failures.probability(params(n_neighbors=65)) > 0.6
    assert failures.probability(params(n_neighbors=2)) < 0.3


def test_the_folds_of_one_candidate_count_once_for_its_neighbours():
    once, often = Failures(), Failures()
    once.see(params(C=1.0), failed=True)
    for _ in range(50):
        often.see(params(C=1.0), failed=True)
    for failures in (once, often):
        for C in (100.0, 200.0, 300.0, 400.0):
            failures.see(params(C=C), failed=False)

    near = params(C=1.1)
    assert often.probability(near) == pytest.approx(once.probability(near), abs=0.06)


def test_a_copy_goes_its_own_way():
    first = Failures()
    first.see(params(C=1.0), failed=False)
    second = first.copy()
    second.see(params(C=1.0), failed=True)

    assert first.probability(params(C=1.0)) < 0.1 < second.probability(params(C=1.0))


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from("abc"), VALUES),
            st.booleans(),
        ),
        max_size=15,
    ),
    st.dictionaries(st.sampled_from("abcd"), VALUES),
)
def test_it_is_always_a_probability(seen, asked):
    failures = Failures()
    for given_params, failed in seen:
        failures.see(params(**given_params), failed=failed)

    assert 0.0 < failures.probability(params(**asked)) < 1.0


def test_many_settings_are_forecast_in_a_breath():
    failures = Failures()
    for number in range(3000):
        failures.see(params(C=1.0 + number, solver=f"s{number % 7}"), failed=number % 3 == 0)
    start = time.process_time()
    for number in range(500):
        failures.probability(params(C=0.5 + number, solver=f"s{number % 5}"))

    assert time.process_time() - start < 5.0  # a fiftieth of that is usual
