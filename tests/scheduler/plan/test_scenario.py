"""What must hold whatever happens: scenarios with faults, in virtual time."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitcast.history.records import Outcome
from fitcast.scheduler.plan.batching import LEAST_OWN_SHARE
from fitcast.scheduler.plan.decisions import MOST_WORKERS_LOST, Decisions
from fitcast.scheduler.plan.events import FitKey, Follower, Start
from fitcast.scheduler.plan.pools import Pool
from fitcast.scheduler.plan.simulator import SimulatedBackend
from fitcast.sizing.allocation import attempt_bytes
from tests.scheduler import making
from tests.scheduler.making import MIB, submitted
from tests.scheduler.plan.scenario import (
    AllGone,
    Behaviour,
    Cancelled,
    FitPreempted,
    Scenario,
    WorkerGone,
    play,
    random_faults,
)


def estimate(runtime_s=1.0, memory=100 * MIB, parallel=0.0):
    return making.estimate(runtime_s, memory, parallel=parallel, p95_ratio=1.2)


def key(number, name="w"):
    return FitKey(name, f"f{number}")


ONE = Pool("p", 1, 1000 * MIB)


def scenario(*estimates, pools=(ONE,), **kwargs):
    return Scenario(pools=pools, arrivals=[(0.0, submitted(*estimates))], **kwargs)


def test_a_fit_of_unfailing_workers_takes_its_time():
    played = play(scenario(estimate(2.0), estimate(3.0), start_s=4.0, overhead_s=0.5))
    assert played.makespan_s == pytest.approx(4.0 + 5.0 + 2 * 0.5)
    assert [one.outcome for one in played.attempts] == [Outcome.SUCCEEDED] * 2


def test_forecasts_may_be_off_by_a_factor():
    played = play(scenario(estimate(2.0), runtime_factor=3.0, memory_factor=20.0))
    assert played.outcome(key(0)) is Outcome.OUT_OF_MEMORY
    assert played.attempts[0].ended_s == pytest.approx(3.0)  # halfway
    assert play(scenario(estimate(2.0), runtime_factor=3.0)).makespan_s == pytest.approx(6.0)


def test_a_dead_worker_is_replaced_and_its_fit_tried_again():
    played = play(scenario(estimate(2.0), faults=[WorkerGone(1.0, "p-0")], replaced_in_s=5.0))
    assert [one.outcome for one in played.attempts] == [Outcome.WORKER_LOST, Outcome.SUCCEEDED]
    assert played.makespan_s == pytest.approx(1.0 + 5.0 + 2.0)


def test_a_fit_that_kills_its_workers_is_poison():
    killer = {key(0): Behaviour(kills_worker=True)}
    played = play(scenario(estimate(2.0), estimate(1.0), behaviours=killer))
    assert played.outcome(key(0)) is Outcome.WORKER_LOST
    assert sum(one.key == key(0) for one in played.attempts) == MOST_WORKERS_LOST
    assert played.outcome(key(1)) is Outcome.SUCCEEDED


def test_preemption_is_never_poison_and_gives_no_more_memory():
    times = [1.0 + 2.0 * number for number in range(10)]
    for faults in (
        [WorkerGone(at, f"p-{0}", preempted=True) for at in times],
        [FitPreempted(at, key(0)) for at in times],
    ):
        played = play(scenario(estimate(3.0), faults=faults))
        assert played.outcome(key(0)) is Outcome.SUCCEEDED
        assert len(played.attempts) == 11
        assert len({one.start.share_bytes for one in played.attempts}) == 1


def test_a_fit_that_hangs_ends_at_its_deadline():
    hangs = {key(0): Behaviour(runtime_s=math.inf)}
    sweep = submitted(estimate(1.0), estimate(2.0), deadline_s=7.0)
    played = play(Scenario(pools=[ONE], arrivals=[(0.0, sweep)], behaviours=hangs))
    assert played.outcome(key(0)) is Outcome.OUT_OF_TIME
    assert played.makespan_s == pytest.approx(7.0 + 2.0)


def test_a_cancelled_workflow_ends_at_once_and_others_go_on():
    both = [(0.0, submitted(*[estimate(9.0)] * 4, name=name)) for name in ("a", "b")]
    faults = [Cancelled(1.0, "a")]
    played = play(Scenario(pools=[Pool("p", 2, 1000 * MIB)], arrivals=both, faults=faults))
    assert played.finished_s["a"] == 1.0
    assert {played.outcome(key(n, "a")) for n in range(4)} == {Outcome.CANCELLED}
    assert {played.outcome(key(n, "b")) for n in range(4)} == {Outcome.SUCCEEDED}


def test_the_refit_comes_last():
    sweep = submitted(estimate(1.0), estimate(2.0), rounds=1)
    played = play(Scenario(pools=[ONE], arrivals=[(0.0, sweep)], rounds={"w": [[estimate(4.0)]]}))
    assert played.makespan_s == pytest.approx(7.0)
    assert played.attempts[-1].key == FitKey("w", "r0-0")


def test_a_round_begins_when_all_before_it_is_done():
    sweep = submitted(*[estimate(2.0)] * 3, rounds=3)
    rounds = {"w": [[estimate(3.0)] * 2, [], [estimate(4.0)]]}
    two = Pool("p", 2, 2000 * MIB)
    played = play(Scenario(pools=[two], arrivals=[(0.0, sweep)], rounds=rounds))
    began_s = {one.key.fit_id: one.began_s for one in played.attempts}
    assert began_s["r0-0"] == began_s["r0-1"] == pytest.approx(4.0)
    assert began_s["r2-0"] == pytest.approx(7.0)
    assert played.makespan_s == pytest.approx(11.0)


def test_tiny_fits_share_a_process_and_its_overhead():
    played = play(scenario(*[estimate(0.01)] * 30, overhead_s=1.0))
    processes = {one.start.key for one in played.attempts}
    assert len(processes) < 10
    followers = 30 - len(processes)
    fits_s = 0.01 * len(processes) + LEAST_OWN_SHARE * 0.01 * followers  # their start is saved
    assert played.makespan_s == pytest.approx(fits_s + len(processes))
    assert len(played.settled) == 30


def ends_of(start, peaks, runtimes):
    backend = SimulatedBackend(
        Decisions(), lambda k, _: runtimes[k], peak_memory_bytes=peaks.get, overhead_s=0.5
    )
    backend.carry_out([start])
    agenda = sorted(backend._agenda)
    return {when for when, _, _ in agenda}, [(e.key, e.outcome) for _, _, e in agenda]


def process(*followers):
    return Start(
        key=key(0),
        attempt=1,
        worker="p-0",
        pool="p",
        threads=1,
        memory_limit_bytes=100,
        share_bytes=100,
        deadline_s=10.0,
        followers=tuple(Follower(one, 1, 10.0) for one in followers),
    )


def test_followers_end_with_their_process_and_before_the_leader():
    runtimes = {key(n): 1.0 for n in range(3)}
    times, ends = ends_of(process(key(1), key(2)), dict.fromkeys(runtimes, 50), runtimes)
    assert times == {3.5}  # one overhead
    assert [one for one, _ in ends] == [key(2), key(1), key(0)]
    assert {outcome for _, outcome in ends} == {Outcome.SUCCEEDED}


def test_after_running_out_of_memory_nothing_follows():
    runtimes = {key(n): 1.0 for n in range(3)}
    peaks = {key(0): 50, key(1): 200, key(2): 50}
    times, ends = ends_of(process(key(1), key(2)), peaks, runtimes)
    assert times == {2.0}
    assert dict(ends) == {
        key(0): Outcome.SUCCEEDED,
        key(1): Outcome.OUT_OF_MEMORY,
        key(2): Outcome.PREEMPTED,
    }


fit_estimates = st.builds(
    estimate,
    st.one_of(st.floats(0.001, 0.09), st.floats(0.1, 100.0)),
    st.integers(1 * MIB, 3000 * MIB),
    st.sampled_from([0.0, 0.5, 0.9]),
)
behaviours = st.builds(
    Behaviour,
    runtime_s=st.one_of(st.none(), st.floats(0.0, 200.0), st.just(math.inf)),
    peak_memory_bytes=st.one_of(st.none(), st.integers(0, 6000 * MIB)),
    raises=st.booleans(),
    kills_worker=st.sampled_from([False] * 9 + [True]),
)


@st.composite
def scenarios(draw):
    pools = tuple(
        Pool(f"p{number}", draw(st.integers(1, 4)), draw(st.integers(50, 4000)) * MIB, workers)
        for number, workers in enumerate(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    )
    arrivals, told = [], {}
    # Any worker can hold any one of the datasets, but seldom all of them.
    largest = int(0.9 * min(pool.memory_bytes for pool in pools))
    for number in range(draw(st.integers(1, 5))):
        fits = draw(st.lists(fit_estimates, min_size=1, max_size=12))
        name = f"w{number}"
        sweep = submitted(
            *fits,
            name=name,
            dataset_bytes=draw(st.one_of(st.integers(0, 15 * MIB), st.integers(0, largest))),
            sealed=draw(st.booleans()),
            own_workers=False,
            deadline_s=draw(st.one_of(st.none(), st.floats(0.1, 300.0))),
            memory_bytes=draw(st.one_of(st.none(), st.integers(MIB, 4000 * MIB))),
            rounds=draw(st.integers(0, 4)),
        )
        arrivals.append((draw(st.floats(0.0, 50.0)), sweep))
        for fit in draw(st.sets(st.integers(0, len(fits) - 1))):
            told[key(fit, name)] = draw(behaviours)
    seed = draw(st.integers(0, 2**32 - 1))
    gone, taken = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    names = [sweep.workflow_id for _, sweep in arrivals]
    some = [key(0, name) for name in names]
    given_up = draw(
        st.lists(st.builds(Cancelled, st.floats(0.0, 60.0), st.sampled_from(names)), max_size=2)
    )
    all_gone = [AllGone(draw(st.floats(0.0, 100.0)))] if draw(st.integers(0, 7)) == 7 else []
    single = draw(
        st.lists(st.builds(FitPreempted, st.floats(0.0, 100.0), st.sampled_from(some)), max_size=3)
    )
    return Scenario(
        pools=pools,
        arrivals=arrivals,
        behaviours=told,
        rounds={
            sweep.workflow_id: draw(st.lists(st.lists(fit_estimates, max_size=4), max_size=4))
            for _, sweep in arrivals
        },
        runtime_factor=draw(st.sampled_from([0.3, 1.0, 3.0])),
        memory_factor=draw(st.sampled_from([0.5, 1.0, 1.5, 4.0])),
        faults=(
            *random_faults(seed, pools, until_s=100.0, deaths=gone, preemptions=taken),
            *single,
            *given_up,
            *all_gone,
        ),
        slow_s=draw(st.lists(st.sampled_from([0.0, 0.5, 7.0]), min_size=1, max_size=3)),
        failing=draw(st.sets(st.integers(0, 40), max_size=6)),
        start_s=draw(st.sampled_from([0.0, 5.0])),
        replaced_in_s=draw(st.sampled_from([None, 0.0, 3.0])),
        overhead_s=draw(st.sampled_from([0.0, 0.1])),
    )


def never_overbooked():
    """Return a watch: what runs on a worker fits in beside the datasets opened there so far.

    A dataset counts from its admission on, but is opened by the first fit that comes to a worker.
    """
    opened = {}

    def watch(now_s, plan):
        for address, worker in plan.workers.items():
            assert worker.memory_bytes >= 0
            there = opened.setdefault(address, set())
            there |= {one.workflow_id for one in worker.running}
            held = {
                one.workflow_id: one.dataset_bytes
                for one in plan.workflows.values()
                if worker.size.memory_bytes in one.sizes
            }
            assert {one.workflow_id for one in worker.running} <= held.keys()
            left = worker.size.memory_bytes - sum(held.get(name, 0) for name in there)
            alone = sum(plan.state.fit(one).held is not None for one in worker.running) <= 1
            # Rounding errors of sums.
            assert alone or worker.load.upper_bytes() <= left * (1 + 1e-6) + 1

    return watch


def _round(key):
    """Return the number of a fit's round; 0 for the fits that are there first."""
    return 0 if key.fit_id.startswith("f") else 1 + int(key.fit_id[1])


@settings(max_examples=150, deadline=None)
@given(scenarios())
def test_whatever_happens_the_plan_holds(given_):
    played = play(given_, never_overbooked())
    plan = played.plan
    # Every fit has one final outcome, and every workflow is closed, unless no worker remains.
    every = [
        FitKey(sweep.workflow_id, fit) for _, sweep in given_.arrivals for fit in sweep.estimates
    ]
    assert all(len(settles) == 1 for settles in played.settled.values())
    if plan.workers or plan.state.failure is not None:
        assert set(every) <= set(played.settled)
        assert (
            played.finished_s.keys() == played.closed == {w.workflow_id for _, w in given_.arrivals}
        )
        assert not plan.workflows
        assert not any(plan.state.held.values())
    # No round begins before all that is before it has ended.
    ended_s = Counter()
    for one in sorted(played.attempts, key=lambda one: one.ended_s):
        ended_s[one.key.workflow_id, _round(one.key)] = one.ended_s
    for one in played.attempts:
        assert one.began_s >= ended_s[one.key.workflow_id, _round(one.key) - 1]
    # Everything returned to zero.
    assert not list(plan.running())
    assert plan.state.cpus_in_use == 0
    assert plan.state.cpu_ends_s == pytest.approx(0.0, abs=1e-3)
    for worker in plan.workers.values():
        assert worker.free_cpus == worker.size.cpus
        assert worker.load.upper_bytes() == 0.0
        assert not worker.running
    # Memory grows after proof alone.
    forecast = {
        FitKey(sweep.workflow_id, fit): sweep.memory_bytes or attempt_bytes(one)
        for _, sweep in given_.arrivals
        for fit, one in sweep.estimates.items()
    }
    proved = set()
    for one in played.attempts:
        if one.key == one.start.key and one.key not in proved and one.key in forecast:
            assert one.start.share_bytes <= forecast[one.key]
        if one.outcome is Outcome.OUT_OF_MEMORY:
            proved.add(one.key)
    # Nothing beats the work over the cores; what is never over has no makespan.
    if len(played.finished_s) == len(given_.arrivals) and not given_.faults:
        cpus = sum(pool.cpus * pool.workers for pool in given_.pools)
        work_s = sum(
            one.ended_s - one.began_s for one in played.attempts if one.key == one.start.key
        )
        assert played.makespan_s >= work_s / cpus - 1e-6


def test_the_same_seed_gives_the_same_faults():
    pools = [Pool("a", 1, MIB, 5), Pool("b", 1, MIB, 5)]
    one, two, other = (
        random_faults(seed, pools, until_s=9.0, deaths=3, preemptions=2) for seed in (1, 1, 2)
    )
    assert one == two != other
    assert [fault.preempted for fault in one] == [False] * 3 + [True] * 2
