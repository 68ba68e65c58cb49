"""How many workers pools should have, and which are to go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitcast.scheduler.plan import events
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.pool_sizes import (
    IDLE_FOR_S,
    Allotment,
    held_to,
    surplus,
    wanted_workers,
)
from fitcast.scheduler.plan.pools import Pool, WorkerSize
from tests.scheduler.making import MIB, estimate, submitted

SMALL = Pool("small", cpus=2, memory_bytes=2000 * MIB, workers=10)
LARGE = Pool("large", cpus=2, memory_bytes=8000 * MIB, workers=4)
START_S = 10.0


def wanted(*fits, pools=(SMALL, LARGE), most=None, **kwargs):
    decisions = Decisions()
    decisions.handle(submitted(*fits, **kwargs), 0.0)
    return wanted_workers(decisions.state, pools, most or {}, START_S, 0.0)


def test_nothing_to_do_wants_nobody():
    assert wanted_workers(Decisions().state, (SMALL, LARGE), {}, START_S, 0.0) == {
        "small": 0,
        "large": 0,
    }


def test_one_short_fit_wants_one_worker_of_the_cheapest_pool_that_is_safe():
    assert wanted(estimate(1.0)) == {"small": 1, "large": 0}
    assert wanted(estimate(1.0, 4000 * MIB)) == {"small": 0, "large": 1}


def test_work_that_is_done_before_another_worker_would_be_there_wants_no_other():
    assert wanted(*[estimate(0.5)] * 20)["small"] == 1  # 5 s on two cores
    assert wanted(*[estimate(5.0)] * 20)["small"] == 5  # 10 s each


def test_more_workers_than_the_longest_fit_leaves_use_for_are_not_wanted():
    assert wanted(estimate(100.0), *[estimate(10.0)] * 10)["small"] == 1


def test_what_a_pool_cannot_give_is_wanted_of_another():
    several = [estimate(10.0)] * 24
    assert wanted(*several) == {"small": 10, "large": 2}
    assert wanted(*several, most={"small": 3})["large"] == 4
    assert wanted(*several, most={"small": 0}) == {"small": 0, "large": 4}


def test_memory_decides_how_many_fits_a_worker_takes():
    assert wanted(*[estimate(10.0, 1500 * MIB)] * 4)["small"] == 3


def test_datasets_take_their_part_of_every_worker():
    assert wanted(estimate(1.0, 1000 * MIB), dataset_bytes=1500 * MIB) == {"small": 0, "large": 1}


def test_somebody_stays_for_the_last_fit():
    decisions = Decisions()
    decisions.handle(events.WorkerJoined(WorkerSize("a", "small", 2, 2000 * MIB)), 0.0)
    actions = decisions.handle(submitted(estimate(1.0), rounds=1), 0.0)
    (start,) = [action for action in actions if isinstance(action, events.Start)]
    decisions.handle(events.AttemptEnded(start.key, 1, events.Outcome.SUCCEEDED, 0), 1.0)
    assert wanted_workers(decisions.state, (SMALL, LARGE), {}, START_S, 1.0)["small"] == 1


@given(
    st.lists(st.tuples(st.floats(0.01, 500.0), st.integers(1, 9000)), min_size=1, max_size=40),
    st.integers(0, 10),
    st.integers(0, 4),
)
def test_no_pool_is_asked_for_more_than_it_may_have(fits, most_small, most_large):
    several = [estimate(runtime_s, mib * MIB) for runtime_s, mib in fits]
    found = wanted(*several, most={"small": most_small, "large": most_large})
    assert 0 <= found["small"] <= most_small
    assert 0 <= found["large"] <= most_large
    if most_large:  # the largest of all pools takes everything
        assert sum(found.values()) > 0


@pytest.mark.parametrize(("wants", "gone"), [(0, ["a", "b"]), (1, ["a", "b"]), (2, ["a"]), (3, [])])
def test_workers_that_were_idle_longest_go_first_and_busy_ones_never(wants, gone):
    decisions = Decisions()
    for name in "abc":
        decisions.handle(events.WorkerJoined(WorkerSize(name, "small", 1, 2000 * MIB)), 0.0)
    decisions.handle(submitted(estimate(50.0)), 0.0)
    (busy,) = [one for one in decisions.workers.values() if one.running]
    idle = [one.size.address for one in decisions.workers.values() if one is not busy]
    since = {idle[0]: 0.0, idle[1]: 5.0}
    names = dict(zip(idle, "ab", strict=True))
    now_s = 5.0 + IDLE_FOR_S
    found = surplus(decisions.workers.values(), {"small": wants}, since, now_s)
    assert [names[address] for address in found] == gone


def test_a_worker_that_was_idle_for_a_moment_stays():
    decisions = Decisions()
    decisions.handle(events.WorkerJoined(WorkerSize("a", "small", 1, 2000 * MIB)), 0.0)
    assert surplus(decisions.workers.values(), {}, {"a": 1.0}, IDLE_FOR_S) == []
    assert surplus(decisions.workers.values(), {}, {"a": 1.0}, 1.0 + IDLE_FOR_S) == ["a"]


# -- within an allotment ---------------------------------------------------------------------------


@given(
    st.integers(0, 40),
    st.integers(0, 40),
    st.floats(0.0, 100.0),
    st.floats(0.0, 400_000.0),
)
def test_pools_grow_no_further_than_the_allotment_but_for_one_worker_of_each(
    small, large, cpus, memory_mib
):
    wanted = {"small": small, "large": large}
    held = held_to(wanted, (SMALL, LARGE), Allotment(cpus, memory_mib * MIB))
    assert held.keys() == wanted.keys()
    for name, count in wanted.items():
        assert min(1, count) <= held[name] <= count  # whoever is wanted isn't done without
    grown = {name: held[name] - min(1, count) for name, count in wanted.items()}
    if any(grown.values()):
        assert sum(2 * count for count in held.values()) <= cpus
        taken = held["small"] * SMALL.memory_bytes + held["large"] * LARGE.memory_bytes
        assert taken <= memory_mib * MIB
    # and as far as it goes: another worker would be beyond it
    for pool in (SMALL, LARGE):
        if held[pool.name] < wanted[pool.name]:
            taken = held["small"] * SMALL.memory_bytes + held["large"] * LARGE.memory_bytes
            assert 2 * sum(held.values()) + 2 > cpus or taken + pool.memory_bytes > memory_mib * MIB


def test_an_allotment_of_everything_changes_nothing():
    wanted = {"small": 10, "large": 4}
    assert held_to(wanted, (SMALL, LARGE), Allotment(28.0, 10 * 2**40)) == wanted
