"""When who waits begins and is done, in queues whose end can be counted by hand."""

import math
from dataclasses import replace

import pytest

from fitcast.scheduler.broker.past_arrivals import PastArrivals
from fitcast.scheduler.broker.queue_forecast import forecast_queue, what_if
from fitcast.scheduler.broker.resources import Demand, Resources
from fitcast.scheduler.broker.sharers import DAY_S, Limits, Running, Waiting

CAPACITY = Resources(10.0, 1000.0)
MONDAY_S = 4 * DAY_S


def waits(name, user, seconds, cpus=10.0, **more):
    """One that takes so long alone, for certain."""
    demand = Demand(cpu_s=seconds * cpus, most=Resources(cpus, cpus))
    rest = {"queued_at_s": 0.0, "forecast_s": (seconds,) * 3} | more
    return Waiting(workflow_id=name, user=user, demand=demand, **rest)


def test_one_alone_takes_what_was_forecast_of_it():
    told = forecast_queue([waits("w", "u", 60.0, 4.0, forecast_s=(90.0,) * 3)], [], [], CAPACITY)
    assert told["w"].end_s == pytest.approx((90.0,) * 3, rel=0.01)


def test_two_users_share_and_the_shorter_leaves_the_rest_to_the_longer():
    limits = Limits(most_favour=1.0)
    told = forecast_queue(
        [waits("a", "a", 100.0), waits("b", "b", 300.0)], [], [], CAPACITY, limits
    )
    assert told["a"].end_s[1] == pytest.approx(200.0, rel=0.03)
    assert told["b"].end_s[1] == pytest.approx(400.0, rel=0.03)


def test_the_wait_is_in_it_where_few_may_run():
    limits = Limits(running_workflows=1)
    several = [waits(f"w{n}", f"u{n}", 100.0, queued_at_s=float(n)) for n in range(4)]
    told = forecast_queue(several, [], [], CAPACITY, limits, now_s=10.0)
    assert [told[f"w{n}"].begin_s[1] for n in range(4)] == pytest.approx(
        [0.0, 100.0, 200.0, 300.0], rel=0.03
    )
    one = what_if(
        waits("new", "n", 50.0, queued_at_s=10.0), several, [], [], CAPACITY, limits, 10.0
    )
    assert one.begin_s[1] >= 100.0


def test_what_runs_already_is_nearer_its_end():
    half = Running(
        workflow_id="r",
        user="a",
        demand=Demand(cpu_s=500.0, most=Resources(10.0, 10.0)),
        started_at_s=-50.0,
        forecast_s=(50.0,) * 3,
    )
    told = forecast_queue([], [half], [], CAPACITY)["r"]
    assert told.begin_s == (0.0, 0.0, 0.0)
    assert told.end_s[1] == pytest.approx(50.0, rel=0.01)


def test_unsure_forecasts_give_wide_answers_and_the_same_seed_the_same():
    wide = [waits("w", "u", 100.0, forecast_s=(50.0, 100.0, 200.0))]
    told = forecast_queue(wide, [], [], CAPACITY)["w"]
    p10, p50, p90 = told.end_s
    assert p10 < 0.8 * p50 and p90 > 1.2 * p50
    assert forecast_queue(wide, [], [], CAPACITY)["w"] == told
    assert forecast_queue(wide, [], [], CAPACITY, seed=1)["w"] != told


def test_who_comes_every_working_day_is_counted_on():
    past = [
        waits(f"p{day}", "often", 3_000.0, queued_at_s=MONDAY_S + day * DAY_S + 600.0)
        for day in range(5)
    ]
    known = PastArrivals(past, MONDAY_S, MONDAY_S + 7 * DAY_S)
    now_s = MONDAY_S + 7 * DAY_S
    mine = waits("w", "u", 2_000.0, queued_at_s=now_s)
    alone, beside = (
        what_if(mine, [], [], [], CAPACITY, now_s=now_s, arrivals=given) for given in (None, known)
    )
    assert alone.end_s[1] == pytest.approx(2_000.0, rel=0.03)
    assert beside.end_s[1] > 1.5 * alone.end_s[1]


def test_what_can_never_run_is_never_done():
    never = waits("w", "u", 10.0)
    told = forecast_queue([never], [], [], Resources(8.0))["w"]
    assert told.end_s == (math.inf,) * 3


def runs_for_long(frees_in_s):
    """One that has all of the cluster, and much to do."""
    return Running(
        workflow_id="r",
        user="a",
        used=CAPACITY * 0.999,
        demand=Demand(cpu_s=1e5, most=CAPACITY, frees_in_s=frees_in_s),
        started_at_s=-50.0,
        forecast_s=(1e4,) * 3,
    )


def test_who_comes_to_a_full_cluster_has_nothing_before_fits_of_others_end():
    mine = waits("w", "u", 50.0)
    soon, later, last = (
        what_if(mine, [], [runs_for_long(frees_s)], [], CAPACITY).end_s[1]
        for frees_s in (0.0, 100.0, 1000.0)
    )
    # half of the cluster is mine; while it comes free the time passes in which it isn't yet
    assert soon == pytest.approx(100.0, rel=0.05)
    assert 1.2 * soon < later < soon + 2 * 100.0
    assert 1.2 * later < last < soon + 2 * 1000.0


def test_what_is_free_is_had_at_once_however_long_the_fits_of_others():
    half = replace(
        runs_for_long(1e4),
        used=CAPACITY * 0.5,
        demand=Demand(cpu_s=1e5, most=CAPACITY * 0.5, frees_in_s=1e4),
    )
    mine = waits("w", "u", 50.0, 5.0)
    assert what_if(mine, [], [half], [], CAPACITY).end_s[1] == pytest.approx(50.0, rel=0.05)
