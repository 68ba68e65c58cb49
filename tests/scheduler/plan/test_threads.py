"""How many threads fits get: one while there are enough fits, more as the queue drains."""

import pytest

from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.events import Start, WorkerJoined
from fitcast.scheduler.plan.pools import WorkerSize
from fitcast.scheduler.plan.simulator import SimulatedBackend
from tests.scheduler.making import MIB, estimate, submitted

EIGHT = WorkerSize("eight", "p", 8, 64_000 * MIB)


def starts(*estimates):
    decisions = Decisions()
    decisions.handle(WorkerJoined(EIGHT), 0.0)
    actions = decisions.handle(submitted(*estimates), 0.0)
    return [action for action in actions if isinstance(action, Start)]


def makespan_s(*estimates):
    decisions = Decisions()
    decisions.handle(WorkerJoined(EIGHT), 0.0)
    backend = SimulatedBackend(decisions, lambda k, t: decisions.state.fit(k).runtime_s(t))
    backend.carry_out(decisions.handle(submitted(*estimates), 0.0))
    return max(backend.run().values())


def test_one_thread_each_while_there_are_more_fits_than_cores():
    assert {one.threads for one in starts(*[estimate(10.0, parallel=0.95)] * 40)} == {1}


def test_a_fit_alone_gets_all_cores_if_it_profits():
    (alone,) = starts(estimate(10.0, parallel=0.95))
    assert alone.threads == 8
    (serial,) = starts(estimate(10.0, parallel=0.1))
    assert serial.threads == 1


def test_one_that_outlasts_all_others_together_gets_more_than_they_do():
    given = [estimate(100.0, parallel=0.9), *[estimate(10.0, parallel=0.9)] * 16]
    threads = {one.key.fit_id: one.threads for one in starts(*given)}
    assert threads["f0"] >= 3
    assert {count for name, count in threads.items() if name != "f0"} == {1}


@pytest.mark.parametrize("parallel", [0.0, 0.5, 0.9, 0.99])
def test_the_end_is_near_the_bound(parallel):
    given = [estimate(20.0 + n, parallel=parallel) for n in range(10)]
    work_s = sum(one.runtime_s_p50 for one in given)
    longest_s = given[-1].runtime_s_p50 * (1.0 - parallel + parallel / 8)
    single_s = 29.0 + 20.0  # ten fits on eight cores with a thread each: two rounds
    bound_s = max(work_s / 8, longest_s)
    assert bound_s <= makespan_s(*given) <= max(1.35 * bound_s, single_s + 0.1)
    if parallel >= 0.9:
        assert makespan_s(*given) < 0.85 * single_s
