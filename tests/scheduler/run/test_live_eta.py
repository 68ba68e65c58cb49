"""When forecasts of what runs are renewed."""

import math

from fitcast.scheduler.run.live_eta import RENEW_S, SHARE_IF_OVERDUE, SHARE_OF_CORE, Pace


def test_the_first_forecast_is_made_at_once():
    pace = Pace()
    assert pace.is_due(0.0)
    assert pace.wait_s(0.0) == RENEW_S


def test_dear_forecasts_are_made_rarely():
    pace = Pace()
    pace.renewed(100.0, used_s=0.2, first_done_s=math.inf)
    assert not pace.is_due(100.0 + 0.99 * 0.2 / SHARE_OF_CORE)
    assert pace.is_due(100.0 + 1.01 * 0.2 / SHARE_OF_CORE)
    assert pace.wait_s(100.0) == RENEW_S


def test_an_eta_that_has_passed_is_renewed_before_its_turn():
    pace = Pace()
    pace.renewed(100.0, used_s=0.05, first_done_s=1.5)  # in turn: at 105 s
    assert not pace.is_due(101.4)
    assert pace.wait_s(100.5) == 1.0
    assert pace.is_due(101.5)


def test_what_is_overdue_again_and_again_takes_a_bounded_share_of_a_core():
    pace, now_s, used_s = Pace(), 0.0, 0.0
    while now_s < 100.0:
        if pace.is_due(now_s):
            used_s += 0.05
            pace.renewed(now_s, used_s=0.05, first_done_s=0.0)
        now_s += 0.01
    assert 0.8 * SHARE_IF_OVERDUE < used_s / now_s < 1.1 * SHARE_IF_OVERDUE
