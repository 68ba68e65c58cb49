"""What others leave of the cores: arithmetic, and ETAs played beside a made-up load."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitcast.history.records import Estimate
from fitcast.scheduler.forecast.availability import (
    FORGOTTEN_S,
    FRESH_S,
    HALF_LIFE_S,
    LOAD_LASTS_S,
    NO_LOAD,
    QUIET_SHARE,
    Others,
    OthersLoad,
    Shares,
    Slowed,
)
from fitcast.scheduler.forecast.draws import Groups
from fitcast.scheduler.forecast.eta import forecast, plan_for
from fitcast.scheduler.plan.events import Submitted
from fitcast.scheduler.plan.pools import WorkerSize

CORES = 2


def plan(fits=40, runtime_s=10.0, sd=0.05, deadline_s=None):
    spread = math.exp(1.2815515655446004 * sd)
    one = Estimate(
        threads=1,
        runtime_s_p10=runtime_s / spread,
        runtime_s_p50=runtime_s,
        runtime_s_p90=runtime_s * spread,
        peak_memory_bytes_p50=2**20,
        peak_memory_bytes_p95=2**21,
        failure_probability=0.0,
        runtime_log_sd_fit=sd,
    )
    workers = [WorkerSize("w", "p", CORES, 2**30)]
    estimates = {f"f{number}": one for number in range(fits)}
    told = Submitted(workflow_id="w1", estimates=estimates, dataset_bytes=1, deadline_s=deadline_s)
    return plan_for(workers, told)


def eta(load=NO_LOAD, now_s=0.0, **how):
    return forecast(plan(**how), Groups({}, {}), load=load, now_s=now_s)["w1"]


@given(others=st.floats(0.2, 100.0), cores=st.integers(1, 64), own=st.integers(1, 64))
def test_a_share_tells_the_others_that_lead_to_it(others, cores, own):
    share = cores / (own + others)
    seen = Others.seen(share, own, cores)
    if share < QUIET_SHARE:
        assert seen.threads == pytest.approx(others, rel=1e-6, abs=1e-6)
        if own <= cores:
            assert seen.slowdown(own) == pytest.approx(1 / share, rel=1e-6)
    else:
        assert seen.threads == 0.0


def test_fits_on_cores_that_others_leave_free_are_not_slowed():
    assert Others(3.0, 8.0).slowdown(5) == 1.0
    assert Others(3.0, 8.0).slowdown(8) == pytest.approx(11 / 8)
    assert Others(0.0, 8.0).slowdown(8) == 1.0


def test_an_eta_beside_as_many_busy_threads_as_cores_is_twice_as_long_and_less_sure():
    quiet, busy = eta(), eta(OthersLoad(Others(float(CORES), CORES)))
    assert busy.p50_s / quiet.p50_s == pytest.approx(2.0, rel=0.08)
    assert busy.p90_s / busy.p10_s > 1.2 > quiet.p90_s / quiet.p10_s


def test_what_others_take_runs_out_no_deadline():
    deadline_s = 15.0  # of fits that take 10 s alone, and 20 s so
    busy = eta(OthersLoad(Others(float(CORES), CORES)), deadline_s=deadline_s, sd=0.01)
    assert busy.p50_s == pytest.approx(eta(OthersLoad(Others(float(CORES), CORES)), sd=0.01).p50_s)


def test_without_load_nothing_changes():
    nobody = OthersLoad(Others(0.0, CORES))
    one, other = eta(), eta(nobody)
    assert (one.p10_s, one.p50_s, one.p90_s) == (other.p10_s, other.p50_s, other.p90_s)
    assert one.note == other.note == ""
    assert not nobody.is_felt


def test_a_load_is_not_expected_for_ever():
    long = eta(OthersLoad(Others(2.0, CORES)), fits=400, runtime_s=LOAD_LASTS_S / 10)
    quiet = eta(fits=400, runtime_s=LOAD_LASTS_S / 10)
    assert long.p50_s < 1.5 * quiet.p50_s


def test_after_a_load_ends_the_rest_goes_at_full_speed():
    slowed = Slowed({}, Others(2.0, 2.0), until_s=100.0)
    assert slowed.took_s(0.0, 30.0, "w", own=2) == 60.0
    assert slowed.took_s(0.0, 80.0, "w", own=2) == 100.0 + 30.0
    assert slowed.took_s(100.0, 80.0, "w", own=2) == 80.0


def test_each_worker_has_the_load_of_its_own_machine():
    load = OthersLoad(by_worker={"busy": Others(2.0, 2.0)})
    assert load.slowdown("busy", 2) == 2.0
    assert load.slowdown("quiet", 2) == 1.0
    drawn = load.draw(np.random.default_rng(0), 0.0)
    assert drawn.took_s(0.0, 1.0, "busy", 2) > 1.0 == drawn.took_s(0.0, 1.0, "quiet", 2)


def test_a_user_is_told():
    assert OthersLoad(Others(1.8, 2.0)).said(2) == (
        "other processes keep 1.8 of this machine's 2 cores busy: fits take about 1.9 × as long"
    )
    assert "up to 2.0 ×" in OthersLoad(by_worker={"w": Others(2.0, 2.0)}).said(2)
    assert OthersLoad(Others(0.1, 2.0)).said(2) == NO_LOAD.said(2) == ""
    busy = eta(OthersLoad(Others(2.0, CORES)))
    assert str(busy).endswith(busy.note) and "2 cores" in busy.note
    assert busy.later(5.0).note == busy.left_at(busy.finish_at).note == busy.note


def test_the_latest_shares_count_most_and_old_ones_are_forgotten():
    shares = Shares()
    assert shares.others(0.0, CORES) is None
    shares.note(0.0, cpu_s=10.0, wait_s=0.0, own=2)
    assert shares.others(1.0, CORES).threads == 0.0
    shares.note(5 * HALF_LIFE_S, cpu_s=2.0, wait_s=2.0, own=2)
    now_s = 5 * HALF_LIFE_S
    assert shares.others(now_s, CORES).slowdown(2) == pytest.approx(2.0, rel=0.1)
    assert shares.is_fresh(now_s + FRESH_S)
    assert not shares.is_fresh(now_s + FRESH_S + 1.0)
    assert shares.others(now_s + FORGOTTEN_S + 1.0, CORES) is None


@pytest.mark.parametrize("told", [(0.0, 0.0), (-1.0, 2.0), (math.nan, 1.0), (1.0, -0.5)])
def test_what_tells_nothing_is_not_noted(told):
    shares = Shares()
    shares.note(0.0, *told, own=2)
    assert shares.others(0.0, CORES) is None
