"""What a fit is spared that follows in the process of another, as fits show it."""

from datetime import UTC, datetime

import pytest

from fitcast.history.records import Outcome
from fitcast.scheduler.forecast.process_start import FitSeen, StartsSeen
from fitcast.trainer.attempt.spec import Measured


def member(runtime_s, loading_s=0.0, *, forecast_s=5.0, outcome=Outcome.SUCCEEDED, **more):
    now = datetime.now(UTC)
    measured = Measured(
        outcome=outcome,
        runtime_s=runtime_s,
        cpu_s=runtime_s,
        peak_memory_bytes=1,
        base_memory_bytes=1,
        started_at=now,
        ended_at=now,
        loading_s=loading_s,
        **more,
    )
    return FitSeen(measured, forecast_s)


def test_a_fork_is_not_measured_anew():
    starts = StartsSeen(0.03)
    assert not starts.observe([member(0.1, 0.002), member(0.2), member(0.05)])
    assert starts.process_start_s == 0.03


def test_the_first_fit_of_a_process_tells_how_long_loading_took():
    starts = StartsSeen(0.03)
    assert starts.observe([member(5.0, 3.5)])
    assert starts.process_start_s == 3.5
    assert not starts.observe([member(5.0, 3.6)])  # hardly any news


def test_followers_tell_what_first_use_took_on_top():
    starts = StartsSeen(0.03)
    assert starts.observe([member(6.0, 3.0), member(1.0), member(1.2), member(0.8)])
    assert starts.process_start_s == pytest.approx(5.0)


def test_what_was_forecast_to_be_shorter_is_not_spared():
    starts = StartsSeen(0.03)
    starts.observe([member(9.0, 3.0, forecast_s=9.0), member(2.0, forecast_s=6.0)])
    assert starts.process_start_s == pytest.approx(4.0)


def test_work_in_common_is_not_counted_twice():
    starts = StartsSeen(0.03)
    starts.observe([member(9.0, 3.0), member(1.0, shared_s=4.0)])
    assert starts.process_start_s == pytest.approx(4.0)


def test_it_is_at_least_what_loading_took_and_at_most_all():
    starts = StartsSeen(0.03)
    starts.observe([member(5.0, 3.0), member(7.0)])
    assert starts.process_start_s == 3.0
    starts = StartsSeen(0.03)
    starts.observe([member(5.0, 3.0), member(1.0, forecast_s=50.0)])
    assert starts.process_start_s == 5.0


def test_what_is_imported_ahead_meanwhile_is_not_spared_any_more():
    starts = StartsSeen(0.03)
    starts.observe([member(5.0, 3.0)])
    told = [starts.observe([member(2.0, 0.01)]) for _ in range(5)]
    assert any(told)
    assert starts.process_start_s == 0.03


def test_a_fit_that_went_wrong_teaches_nothing():
    starts = StartsSeen(0.03)
    assert not starts.observe([member(5.0, 3.0, outcome=Outcome.FAILED), member(1.0)])
    assert not starts.observe([])
    assert starts.process_start_s == 0.03
