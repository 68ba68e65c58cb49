"""What is told instead of a forecast of the queue, by how earlier ones turned out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitcast.scheduler.broker.queue_errors import Judged, corrected, is_full
from fitcast.scheduler.broker.resources import Resources

SAID = (50.0, 100.0, 200.0)
SECONDS = st.floats(1e-3, 1e8)
QUANTILES = st.lists(SECONDS, min_size=3, max_size=3).map(lambda some: tuple(sorted(some)))
JUDGED = st.builds(Judged, said_s=QUANTILES, took_s=SECONDS, was_full=st.booleans())


def judged(*ratios, full=True):
    return [Judged(said_s=SAID, took_s=100.0 * ratio, was_full=full) for ratio in ratios]


def test_with_nothing_known_it_stays_as_it_was():
    assert corrected(SAID, True, []) == SAID
    assert corrected(SAID, True, judged(*[2.0] * 50, full=False)) == SAID


def test_who_comes_to_a_full_cluster_is_told_what_others_took_who_did():
    few, many = (corrected(SAID, True, judged(*[2.0] * count)) for count in (2, 200))
    assert 100.0 < few[1] < 130.0
    assert many[1] == pytest.approx(200.0, rel=0.05)


def test_the_interval_holds_four_of_five_that_ended():
    ratios = [math.exp(0.02 * (number - 100)) for number in range(201)]  # e^-2 to e^2
    p10_s, _, p90_s = corrected(SAID, True, judged(*ratios))
    within = sum(p10_s <= 100.0 * ratio <= p90_s for ratio in ratios[1:])
    assert 0.74 * 200 <= within <= 0.84 * 200
    narrow_s = corrected(SAID, True, judged(*[1.01, 0.99] * 100))
    assert narrow_s[2] / narrow_s[0] < 1.5 < p90_s / p10_s


def test_old_ones_are_forgotten():
    known = judged(*[10.0] * 500, *[1.0] * 200)
    assert corrected(SAID, True, known)[1] == pytest.approx(100.0)


@given(QUANTILES, st.booleans(), st.lists(JUDGED, max_size=30))
def test_what_is_told_is_finite_and_in_order(said_s, full, known):
    p10_s, p50_s, p90_s = corrected(said_s, full, known)
    assert 0.0 < p10_s <= p50_s <= p90_s < math.inf


@given(st.lists(QUANTILES, min_size=2, max_size=2), st.lists(JUDGED, max_size=30))
def test_what_is_forecast_later_is_told_later(two, known):
    (_, sooner_s, _), (_, later_s, _) = (
        corrected(one, True, known) for one in sorted(two, key=lambda one: one[1])
    )
    assert sooner_s <= later_s * (1.0 + 1e-12)


def test_what_is_never_to_be_expected_stays_so():
    never = (math.inf,) * 3
    assert corrected(never, True, judged(*[2.0] * 50)) == never
    broken = [Judged(said_s=never, took_s=1.0, was_full=True)]
    assert corrected(SAID, True, broken) == SAID


def test_a_cluster_is_full_if_any_resource_is():
    there = Resources(10.0, 100.0)
    assert not is_full([], there)
    assert not is_full([Resources(5.0, 90.0)], there)
    assert is_full([Resources(5.0, 50.0), Resources(5.0, 0.0)], there)
    assert is_full([Resources(1.0, 96.0)], there)
