"""An ETA as time passes: less is left, and never less than nothing."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from fitcast.scheduler.forecast.eta import Eta

ASKED_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
ETA = Eta(60.0, 100.0, 300.0, ASKED_AT + timedelta(seconds=100))


@pytest.mark.parametrize(
    ("gone_s", "left_s"),
    [
        (-50, (60.0, 100.0, 300.0)),  # a clock that is behind
        (0, (60.0, 100.0, 300.0)),
        (40, (20.0, 60.0, 260.0)),
        (80, (0.0, 20.0, 220.0)),
        (100, (0.0, 0.0, 200.0)),
        (400, (0.0, 0.0, 0.0)),
    ],
)
def test_what_is_left_of_it(gone_s, left_s):
    now = ASKED_AT + timedelta(seconds=gone_s)
    left = ETA.left_at(now)
    assert (left.p10_s, left.p50_s, left.p90_s) == left_s
    assert left.finish_at == max(ETA.finish_at, now)


def test_of_an_unknown_one_nothing_is_known_later():
    unknown = Eta(math.nan, math.nan, math.nan, ASKED_AT)
    assert unknown.left_at(ASKED_AT + timedelta(days=1)) is unknown


def test_what_is_left_later_is_the_same_by_way_of_a_moment_between():
    between, later = (ASKED_AT + timedelta(seconds=s) for s in (30, 50))
    assert ETA.left_at(between).left_at(later) == ETA.left_at(later)
