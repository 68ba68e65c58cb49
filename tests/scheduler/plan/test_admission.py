"""Workflows wait until a worker can hold their data, and none waits for ever."""

import pytest

from fitcast.history.records import Outcome
from fitcast.scheduler.plan import events
from fitcast.scheduler.plan.admission import waits_for
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.events import FitKey, WorkerJoined, WorkerLeft
from fitcast.scheduler.plan.pools import Pool, WorkerSize
from fitcast.scheduler.plan.workflow_state import Phase
from tests.scheduler.making import MIB, estimate, submitted
from tests.scheduler.plan.scenario import Behaviour, Scenario, play


def plan(*sizes):
    decisions = Decisions(checked=True)
    for number, (cpus, memory) in enumerate(sizes):
        worker = WorkerSize(f"w{number}", f"p{number}", cpus, memory * MIB)
        decisions.handle(WorkerJoined(worker), 0.0)
    return decisions


def sweep(name, *estimates, dataset=60, **more):
    return submitted(*estimates, name=name, dataset_bytes=dataset * MIB, **more)


def phases(decisions):
    return {name: one.phase for name, one in decisions.workflows.items()}


def test_datasets_that_together_exceed_a_worker_are_opened_one_after_the_other():
    fits = [estimate(10.0, 150 * MIB)] * 4
    sweeps = [(0.0, sweep(f"s{number}", *fits)) for number in range(8)]
    played = play(Scenario(pools=[Pool("p", 2, 400 * MIB)], arrivals=sweeps))
    assert len(played.finished_s) == 8
    assert {settle.outcome for (settle,) in played.settled.values()} == {Outcome.SUCCEEDED}
    # Not one by one either: two fits find room beside one dataset, one beside four.
    assert played.makespan_s <= 8 * 4 * 10.0


def test_a_running_workflow_goes_on_when_another_comes():
    decisions = plan((1, 400))
    first = [estimate(9.0, 250 * MIB)] * 2
    (start,) = decisions.handle(sweep("a", *first), 0.0)
    assert decisions.handle(sweep("b", *first, dataset=140), 1.0) == []
    assert phases(decisions) == {"a": Phase.ACTIVE, "b": Phase.QUEUED}
    ended = events.AttemptEnded(start.key, 1, Outcome.SUCCEEDED, 0)
    (_, again) = decisions.handle(ended, 9.0)
    assert again.key == FitKey("a", "f1")
    assert "140 MiB" in waits_for(decisions.state, decisions.workflows["b"])


def test_who_came_first_leaves_the_queue_first():
    decisions = plan((2, 400))
    decisions.handle(sweep("a", estimate(9.0, 250 * MIB)), 0.0)
    decisions.handle(sweep("b", estimate(9.0, 250 * MIB), dataset=100), 0.0)
    decisions.handle(sweep("c", estimate(9.0, 20 * MIB), dataset=1), 0.0)  # would find room
    assert phases(decisions) == {"a": Phase.ACTIVE, "b": Phase.QUEUED, "c": Phase.QUEUED}
    assert "behind 1 other" in waits_for(decisions.state, decisions.workflows["c"])


def test_a_dataset_is_held_only_where_fits_find_room_beside_it():
    decisions = plan((1, 300), (1, 4000))
    decisions.handle(sweep("a", estimate(9.0, 100 * MIB), dataset=150), 0.0)
    decisions.handle(sweep("b", estimate(9.0, 1000 * MIB), dataset=500), 0.0)
    small, large = 300 * MIB, 4000 * MIB
    assert decisions.workflows["a"].sizes == {small, large}
    assert decisions.workflows["b"].sizes == {large}  # a's fits still find room on the small one
    assert decisions.workers["w0"].memory_bytes == 150 * MIB


def test_the_first_workflow_is_admitted_before_there_are_workers():
    decisions = plan()
    decisions.handle(sweep("a", estimate()), 0.0)
    decisions.handle(sweep("b", estimate()), 0.0)
    assert phases(decisions) == {"a": Phase.ACTIVE, "b": Phase.QUEUED}
    starts = decisions.handle(WorkerJoined(WorkerSize("w", "p", 2, 1000 * MIB)), 1.0)
    assert {start.key.workflow_id for start in starts} == {"a", "b"}


def test_room_that_a_workflow_leaves_is_used_by_those_that_are_open():
    decisions = plan((1, 300), (1, 2000))
    (first,) = decisions.handle(sweep("a", estimate(9.0, 100 * MIB), dataset=190), 0.0)
    decisions.handle(sweep("b", *[estimate(9.0, 100 * MIB)] * 3, dataset=100), 0.0)
    assert decisions.workflows["b"].sizes == {2000 * MIB}
    decisions.handle(events.AttemptEnded(first.key, 1, Outcome.SUCCEEDED, 0), 1.0)
    decisions.handle(events.Recorded("a"), 1.0)
    decisions.handle(events.DatasetRemoved("a"), 1.0)
    assert decisions.workflows["b"].sizes == {300 * MIB, 2000 * MIB}


def test_what_was_proved_to_need_more_waits_until_other_datasets_are_gone():
    hungry = {FitKey("a", "f0"): Behaviour(peak_memory_bytes=320 * MIB)}
    arrivals = [
        (0.0, sweep("a", estimate(9.0, 100 * MIB))),
        (0.0, sweep("b", *[estimate(9.0, 100 * MIB)] * 3)),
    ]
    played = play(Scenario(pools=[Pool("p", 2, 400 * MIB)], arrivals=arrivals, behaviours=hungry))
    assert played.outcome(FitKey("a", "f0")) is Outcome.SUCCEEDED


def test_workflows_that_block_each_other_go_on_one_after_the_other():
    hungry = {
        FitKey(name, "f0"): Behaviour(peak_memory_bytes=320 * MIB) for name in ("a", "b", "c")
    }
    arrivals = [(0.0, sweep(name, estimate(9.0, 100 * MIB))) for name in ("a", "b", "c")]
    released = []

    def watch(now_s, plan):
        released.extend(
            one.workflow_id
            for one in plan.workflows.values()
            if any(isinstance(asked, events.ReleaseDataset) for asked in one.pending)
        )

    scenario = Scenario(pools=[Pool("p", 4, 400 * MIB)], arrivals=arrivals, behaviours=hungry)
    played = play(scenario, watch)
    assert {one.outcome for (one,) in played.settled.values()} == {Outcome.SUCCEEDED}
    assert released[0] == "c"  # the youngest gave its place up first
    assert "a" not in released


@pytest.mark.parametrize("returns", [True, False])
def test_workflows_outlive_the_worker_that_was_their_home(returns):
    decisions = plan((1, 300), (1, 2000))
    decisions.handle(sweep("a", *[estimate(9.0, 100 * MIB)] * 2, dataset=100), 0.0)
    decisions.handle(WorkerLeft("w1", returns=returns), 1.0)
    assert decisions.workflows["a"].waiting or decisions.workflows["a"].occupying
    assert 300 * MIB in decisions.workflows["a"].sizes
