"""The plan's rules, in virtual time: no Dask, no clock, no threads."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitcast.errors import FitcastError
from fitcast.history.records import Outcome
from fitcast.scheduler.forecast.draws import Groups
from fitcast.scheduler.forecast.eta import forecast, plan_for, span
from fitcast.scheduler.plan import events
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.events import FitKey, WorkerJoined, WorkerLeft
from fitcast.scheduler.plan.pools import Pool, WorkerSize, planned_workers
from fitcast.scheduler.plan.simulator import SimulatedBackend
from tests.scheduler.making import MIB, estimate, submitted


def started(actions):
    return [action for action in actions if isinstance(action, events.Start)]


def plan(*sizes, **submission):
    decisions = Decisions()
    for size in sizes:
        decisions.handle(WorkerJoined(size), 0.0)
    return decisions


ONE = WorkerSize("one", "small", 1, 1000 * MIB)
TWO = WorkerSize("two", "large", 2, 4000 * MIB)


def ended(start, outcome=Outcome.SUCCEEDED, peak=0):
    return events.AttemptEnded(start.key, start.attempt, outcome, peak)


def test_a_fit_that_needs_the_large_worker_waits_until_it_is_back():
    decisions = plan(ONE, TWO)
    decisions.handle(WorkerLeft("two", returns=True), 0.0)
    (start,) = started(decisions.handle(submitted(estimate(5.0, 900 * MIB)), 1.0))
    assert start.worker == "one"
    actions = decisions.handle(ended(start, Outcome.OUT_OF_MEMORY, 1000 * MIB), 2.0)
    assert not started(actions)  # and it isn't given up
    (again,) = started(decisions.handle(WorkerJoined(replace(TWO, address="new")), 3.0))
    assert (again.worker, again.key) == ("new", start.key)
    assert again.share_bytes > 1000 * MIB


def test_the_longest_fit_starts_first():
    decisions = plan(ONE)
    actions = decisions.handle(submitted(estimate(1.0), estimate(9.0), estimate(3.0)), 0.0)
    assert [start.key.fit_id for start in started(actions)] == ["f1"]


def test_a_fit_goes_to_the_smallest_worker_that_is_safe_for_it():
    decisions = plan(ONE, TWO)
    actions = decisions.handle(submitted(estimate(9.0), estimate(1.0, 2000 * MIB)), 0.0)
    assert {s.key.fit_id: s.worker for s in started(actions)} == {"f0": "one", "f1": "two"}


def test_out_of_memory_gets_more_memory_up_to_the_largest_worker():
    decisions = plan(TWO)
    (start,) = started(decisions.handle(submitted(estimate()), 0.0))
    assert start.memory_limit_bytes == 4000 * MIB  # nobody else needs it
    shares, used = [start.share_bytes], 3000 * MIB
    while shares[-1] < 4000 * MIB:
        out = ended(start, Outcome.OUT_OF_MEMORY, used)
        (start,) = started(decisions.handle(out, float(len(shares))))
        shares.append(start.share_bytes)
        used = start.share_bytes
    growth = [after / before for before, after in pairwise([3000 * MIB, *shares[1:]])]
    assert growth[0] == pytest.approx(1.1, rel=0.01)  # most misses are near
    assert len(shares) <= 4
    actions = decisions.handle(ended(start, Outcome.OUT_OF_MEMORY, 4000 * MIB), 9.0)
    assert actions[0].outcome is Outcome.OUT_OF_MEMORY
    assert "needs more than 4,000 MiB" in actions[0].reason


def test_what_it_used_counts_where_others_took_the_room():
    decisions = plan(TWO)
    starts = started(decisions.handle(submitted(estimate(), estimate()), 0.0))
    out = ended(starts[0], Outcome.OUT_OF_MEMORY, 80 * MIB)  # less than its share
    (again,) = started(decisions.handle(out, 1.0))
    assert again.share_bytes == 100 * MIB


def test_what_asks_for_more_than_there_is_at_one_go_is_given_up():
    decisions = plan(TWO)
    (start,) = started(decisions.handle(submitted(estimate()), 0.0))
    for attempt in range(20):
        used = (30 + attempt % 3) * MIB  # however much it may have
        action = decisions.handle(ended(start, Outcome.OUT_OF_MEMORY, used), attempt + 1.0)[0]
        if isinstance(action, events.Settle):
            break
        assert action.share_bytes >= start.share_bytes
        start = action
    assert isinstance(action, events.Settle)
    assert action.outcome is Outcome.OUT_OF_MEMORY


def test_a_users_bound_is_final():
    decisions = plan(TWO)
    (start,) = started(decisions.handle(submitted(estimate(), memory_bytes=50 * MIB), 0.0))
    assert start.memory_limit_bytes == 50 * MIB
    actions = decisions.handle(ended(start, Outcome.OUT_OF_MEMORY, 50 * MIB), 1.0)
    assert isinstance(actions[0], events.Settle)
    assert actions[0].outcome is Outcome.OUT_OF_MEMORY


def test_out_of_time_gets_one_longer_retry():
    decisions = plan(ONE)
    (first,) = started(decisions.handle(submitted(estimate()), 0.0))
    (second,) = started(decisions.handle(ended(first, Outcome.OUT_OF_TIME), 1.0))
    assert second.deadline_s > first.deadline_s
    actions = decisions.handle(ended(second, Outcome.OUT_OF_TIME), 2.0)
    assert actions[0].outcome is Outcome.OUT_OF_TIME


def test_a_lost_worker_costs_nothing_but_three_are_poison():
    decisions = plan(ONE)
    (start,) = started(decisions.handle(submitted(estimate()), 0.0))
    limit = start.share_bytes
    for _ in range(2):
        decisions.handle(WorkerLeft("one"), 1.0)
        (start,) = started(decisions.handle(WorkerJoined(ONE), 2.0))
        assert start.share_bytes == limit
    actions = decisions.handle(WorkerLeft("one"), 3.0)
    assert [type(a) for a in actions] == [events.Settle, events.Conclude, events.RecordEnd]
    assert actions[0].outcome is Outcome.WORKER_LOST


def test_a_fit_that_lost_two_workers_has_the_third_to_itself():
    decisions = plan(TWO)
    both = started(decisions.handle(submitted(estimate(9.0), estimate(8.0)), 0.0))
    for now_s in (1.0, 3.0):
        assert len(both) == 2
        decisions.handle(WorkerLeft("two"), now_s)
        both = started(decisions.handle(WorkerJoined(TWO), now_s + 1.0))
    (alone,) = both
    decisions.handle(WorkerLeft("two"), 5.0)  # so it was its own doing
    (other,) = started(decisions.handle(WorkerJoined(TWO), 6.0))
    assert other.key != alone.key
    actions = decisions.handle(ended(other), 7.0)
    assert [(a.key, a.outcome) for a in actions if isinstance(a, events.Settle)] == [
        (other.key, Outcome.SUCCEEDED)
    ]


def test_a_fit_that_has_a_worker_to_itself_is_not_joined_by_others():
    decisions = plan(TWO)
    decisions.handle(submitted(estimate(9.0)), 0.0)
    for now_s in (1.0, 3.0):
        decisions.handle(WorkerLeft("two"), now_s)
        (alone,) = started(decisions.handle(WorkerJoined(TWO), now_s + 1.0))
    assert not started(decisions.handle(submitted(estimate(1.0), name="v"), 5.0))
    (other,) = started(decisions.handle(ended(alone), 13.0))
    assert other.key.workflow_id == "v"


def test_a_users_error_is_not_tried_again():
    decisions = plan(ONE)
    (start,) = started(decisions.handle(submitted(estimate()), 0.0))
    actions = decisions.handle(ended(start, Outcome.FAILED), 1.0)
    assert [type(a) for a in actions] == [events.Settle, events.Conclude, events.RecordEnd]


def test_fits_on_large_data_keep_their_folds_together():
    four = WorkerSize("four", "large", 4, 100_000 * MIB)
    runtimes = [9.0 - 0.1 * number for number in range(30)]
    folds = {f"f{number}": number % 3 for number in range(30)}  # candidate by candidate

    def folds_started(dataset_bytes):
        sweep = submitted(*map(estimate, runtimes), dataset_bytes=dataset_bytes, folds=folds)
        starts = started(plan(four).handle(sweep, 0.0))
        return [folds[start.key.fit_id] for start in starts]

    assert folds_started(1000 * MIB) == [0, 0, 0, 0]
    assert folds_started(1 * MIB) == [0, 1, 2, 0]  # the longest first


def test_a_fit_as_long_as_all_others_waits_for_no_fold():
    two = WorkerSize("two", "large", 2, 100_000 * MIB)
    sweep = submitted(
        *map(estimate, [9.0, 8.0, 1.0, 1.0]),
        dataset_bytes=1000 * MIB,
        folds={"f0": 0, "f1": 1, "f2": 0, "f3": 1},
    )
    starts = started(plan(two).handle(sweep, 0.0))
    assert [start.key.fit_id for start in starts] == ["f0", "f1"]


def superseded():
    """Return a plan in which a fit's first attempt was lost with its worker and a second runs."""
    decisions = plan(ONE)
    (first,) = started(decisions.handle(submitted(estimate()), 0.0))
    decisions.handle(WorkerLeft("one"), 1.0)
    (second,) = started(decisions.handle(WorkerJoined(ONE), 2.0))
    return decisions, first, second


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.OUT_OF_MEMORY, Outcome.CANCELLED])
def test_a_late_report_of_a_superseded_attempt_is_dropped(outcome):
    decisions, first, second = superseded()
    assert decisions.handle(ended(first, outcome), 3.0) == []
    assert isinstance(decisions.handle(ended(second), 4.0)[0], events.Settle)


def test_a_result_that_was_kept_counts_though_its_worker_was_lost_meanwhile():
    decisions, first, second = superseded()
    kill, settle, *_ = decisions.handle(ended(first), 3.0)
    assert (kill.key, kill.attempt) == (second.key, second.attempt)
    assert settle.outcome is Outcome.SUCCEEDED
    actions = decisions.handle(ended(second, Outcome.CANCELLED), 4.0)
    assert not any(isinstance(action, events.Settle) for action in actions)
    assert decisions.workflows["w"].unsettled == 0


def test_a_fit_that_waits_again_is_done_once_its_result_is_kept():
    decisions = plan(ONE)
    (first,) = started(decisions.handle(submitted(estimate()), 0.0))
    decisions.handle(WorkerLeft("one"), 1.0)
    settle = decisions.handle(ended(first), 2.0)[0]
    assert settle.outcome is Outcome.SUCCEEDED
    assert not started(decisions.handle(WorkerJoined(ONE), 3.0))


def test_cancelling_kills_what_runs_and_settles_everything():
    decisions = plan(ONE)
    decisions.handle(submitted(estimate(), estimate(), rounds=1), 0.0)
    actions = decisions.handle(events.CancelRequested("w"), 1.0)
    kinds = [type(a) for a in actions]
    assert kinds.count(events.Kill) == 1
    assert kinds.count(events.Settle) == 2
    assert decisions.workers["one"].free_cpus == 0  # until its worker says that it has ended
    assert not started(decisions.handle(submitted(estimate(), name="v"), 1.5))
    (kill,) = [a for a in actions if isinstance(a, events.Kill)]
    killed = events.AttemptEnded(kill.key, kill.attempt, Outcome.CANCELLED, 0)
    actions = decisions.handle(killed, 2.0)
    assert [type(a) for a in actions] == [events.RecordEnd, events.Start]


def test_what_a_cancelled_fit_holds_is_free_once_its_worker_is_lost():
    decisions = plan(ONE)
    decisions.handle(submitted(estimate()), 0.0)
    decisions.handle(events.CancelRequested("w"), 1.0)
    (explain,) = decisions.handle(events.WorkerLost("one"), 2.0)
    assert explain == events.ExplainLoss("one")
    actions = decisions.handle(WorkerLeft("one"), 3.0)
    assert [type(a) for a in actions] == [events.RecordEnd]


def test_a_lost_worker_takes_no_fits_and_blames_none_until_it_is_known_why():
    decisions = plan(ONE, TWO)
    (start,) = started(decisions.handle(submitted(estimate()), 0.0))
    assert decisions.handle(events.WorkerLost(start.worker, returns=True), 1.0) == [
        events.ExplainLoss(start.worker, returns=True)
    ]
    # Not even under the same address: whoever has it now is another worker.
    assert not started(decisions.handle(WorkerJoined(ONE), 2.0))
    again = started(decisions.handle(WorkerLeft(start.worker, preempted=True), 3.0))
    assert [one.key for one in again] == [start.key]
    assert decisions.state.fit(start.key).workers_lost == 0


def test_a_result_that_comes_after_its_worker_went_counts():
    decisions = plan(ONE)
    (start,) = started(decisions.handle(submitted(estimate()), 0.0))
    decisions.handle(events.WorkerLost("one"), 1.0)
    actions = decisions.handle(ended(start), 2.0)
    assert [type(a) for a in actions] == [events.Settle, events.Conclude, events.RecordEnd]
    assert decisions.handle(WorkerLeft("one"), 3.0) == []


def test_the_last_fit_waits_for_all_others():
    decisions = plan(ONE)
    (start,) = started(decisions.handle(submitted(estimate(), rounds=1), 0.0))
    actions = decisions.handle(ended(start), 1.0)
    assert isinstance(actions[-1], events.ChooseNext)
    (last,) = started(decisions.handle(chosen("refit"), 1.0))
    assert last.key == FitKey("w", "refit")
    assert [type(a) for a in decisions.handle(ended(last), 2.0)] == [
        events.Settle,
        events.Conclude,
        events.RecordEnd,
    ]


def test_the_choice_of_the_last_fit_is_let_go_with_its_workflow():
    decisions = plan(ONE)
    (start,) = started(decisions.handle(submitted(estimate(), rounds=1), 0.0))
    decisions.handle(ended(start), 1.0)
    actions = decisions.handle(events.CancelRequested("w"), 2.0)
    assert [type(a) for a in actions] == [events.InterruptChoice, events.Conclude]
    (end,) = decisions.handle(chosen("refit"), 3.0)
    assert isinstance(end, events.RecordEnd)


def chosen(*names):
    return events.NextChosen("w", {name: events.LateFit(estimate()) for name in names})


def test_rounds_follow_each_other():
    decisions = plan(ONE)
    (start,) = started(decisions.handle(submitted(estimate(), rounds=3), 0.0))
    assert decisions.handle(ended(start), 1.0)[-1] == events.ChooseNext("w")
    assert decisions.handle(chosen(), 2.0) == [events.ChooseNext("w")]  # all of it ran before
    (start,) = started(decisions.handle(chosen("b"), 3.0))
    assert decisions.handle(chosen("late"), 3.0) == []  # nobody had asked
    assert decisions.handle(ended(start), 4.0)[-1] == events.ChooseNext("w")
    (start,) = started(decisions.handle(chosen("c"), 5.0))
    assert events.Conclude("w") in decisions.handle(ended(start), 6.0)


def test_no_round_follows_one_that_is_none():
    decisions = plan(ONE)
    (start,) = started(decisions.handle(submitted(estimate(), rounds=3), 0.0))
    decisions.handle(ended(start), 1.0)
    assert decisions.handle(events.NextChosen("w", None), 2.0)[0] == events.Conclude("w")


def test_a_round_whose_choice_fails_is_the_last():
    decisions = plan(ONE)
    (start,) = started(decisions.handle(submitted(estimate(), rounds=3), 0.0))
    decisions.handle(ended(start), 1.0)
    error = FitcastError("no")
    actions = decisions.handle(events.ActionFailed(events.ChooseNext("w"), error), 2.0)
    assert actions[0] == events.Conclude("w", error)


def test_a_later_round_asks_for_what_its_fits_need():
    decisions = plan(ONE)
    (start,) = started(decisions.handle(submitted(estimate(), rounds=1), 0.0))
    decisions.handle(ended(start), 1.0)
    large = events.NextChosen("w", {"large": events.LateFit(estimate(1.0, 700 * MIB))})
    decisions.handle(large, 2.0)
    assert decisions.workflows["w"].largest_need_bytes == 700 * MIB


def test_workflows_share_the_workers():
    decisions = plan(replace(TWO, cpus=4))
    decisions.handle(submitted(*[estimate()] * 8, name="first"), 0.0)
    running = list(decisions.workers["two"].running)
    decisions.handle(submitted(*[estimate()] * 8, name="second"), 0.0)
    for key in running[:2]:
        decisions.handle(events.AttemptEnded(key, 1, Outcome.SUCCEEDED, 0), 1.0)
    owners = [key.workflow_id for key in decisions.workers["two"].running]
    assert sorted(owners) == ["first", "first", "second", "second"]


def test_spare_cores_go_to_fits_that_use_them():
    decisions = plan(TWO)
    (start,) = started(decisions.handle(submitted(estimate(parallel=0.9)), 0.0))
    assert start.threads == 2
    decisions = plan(TWO)
    (start,) = started(decisions.handle(submitted(estimate(parallel=0.0)), 0.0))
    assert start.threads == 1


def test_a_fit_goes_where_it_leaves_memory_for_the_cores_beside_it():
    poor = WorkerSize("poor", "poor", 2, 2000 * MIB)
    rich = WorkerSize("rich", "rich", 2, 16_000 * MIB)
    several = [estimate(10.0, 1500 * MIB)] * 2 + [estimate(5.0, 900 * MIB)] * 2
    decisions = plan(poor, rich)
    starts = started(decisions.handle(submitted(*several), 0.0))
    assert {start.key.fit_id: start.worker for start in starts} == {
        "f0": "rich", "f1": "rich", "f2": "poor", "f3": "poor"
    }  # fmt: skip


def test_what_the_end_waits_for_goes_where_nobody_takes_it_away():
    spot = WorkerSize("spot", "spot", 1, 1000 * MIB, cost_per_hour=1.0, spot=True)
    sure = WorkerSize("sure", "sure", 1, 1000 * MIB, cost_per_hour=9.0)
    short, long = estimate(1.0), estimate(50.0)
    starts = started(plan(spot, sure).handle(submitted(short, long), 0.0))
    assert {start.key.fit_id: start.worker for start in starts} == {"f0": "spot", "f1": "sure"}
    (alone,) = started(plan(spot).handle(submitted(long), 0.0))
    assert alone.worker == "spot"  # better there than nowhere


def test_a_fit_that_waits_anew_finds_room_on_a_worker_where_nothing_changed():
    decisions = plan(ONE, TWO)
    starts = started(decisions.handle(submitted(estimate(5.0, 900 * MIB)), 0.0))
    (again,) = started(decisions.handle(ended(starts[0], Outcome.OUT_OF_MEMORY, 1000 * MIB), 2.0))
    assert (starts[0].worker, again.worker) == ("one", "two")


def test_room_is_kept_for_a_large_fit_however_many_small_workers_there_are():
    small = [WorkerSize(f"s{n}", "small", 1, 1000 * MIB) for n in range(200)]
    decisions = plan(*small, TWO)
    decisions.handle(submitted(estimate(20.0, 3900 * MIB), estimate(19.0, 1900 * MIB)), 0.0)
    reserved = decisions.state.reservation
    assert reserved is not None
    assert (reserved.key.fit_id, reserved.worker) == ("f1", "two")


def test_small_fits_pass_a_large_one_only_if_they_end_before_it_could_start():
    decisions = plan(replace(TWO, memory_bytes=1000 * MIB))
    work = submitted(
        estimate(10.0, 600 * MIB), estimate(9.0, 600 * MIB), estimate(3.0), estimate(8.0)
    )
    starts = started(decisions.handle(work, 0.0))
    assert [s.key.fit_id for s in starts] == ["f0", "f3"]


fit_estimates = st.builds(
    estimate,
    st.floats(0.01, 100.0),
    st.integers(1, 3000 * MIB),
    parallel=st.sampled_from([0.0, 0.5, 0.9]),
)
worker_sizes = st.builds(
    lambda cpus, memory: (cpus, memory), st.integers(1, 4), st.integers(10 * MIB, 4000 * MIB)
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(fit_estimates, min_size=1, max_size=25),
    st.lists(worker_sizes, min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
    st.integers(0, 9 * MIB),
)
def test_packing_never_exceeds_a_worker_and_every_fit_settles_once(
    estimates, sizes, seed, dataset_bytes
):
    import random

    rng = random.Random(seed)
    workers = [WorkerSize(f"w{n}", f"p{n}", *size) for n, size in enumerate(sizes)]
    decisions = Decisions(checked=True)
    settled, agenda, closed = [], [], False

    def take(actions):
        nonlocal closed
        for action in actions:
            if isinstance(action, events.Start):
                agenda.append(action)
                batch = [decisions.state.fit(one.key) for one in (action, *action.followers)]
                assert all(one.wanted_bytes() <= 1.1 * batch[0].wanted_bytes() for one in batch)
                assert len({one.running_on for one in batch}) == 1
            elif isinstance(action, events.Settle):
                settled.append(action.key)
            elif isinstance(action, events.Conclude):
                closed = True
        for worker in decisions.workers.values():
            single = len(worker.running) <= 1
            reserved = 0 if single else worker.load.upper_bytes()
            threads = sum(
                decisions.workflows[k.workflow_id].fits[k.fit_id].threads for k in worker.running
            )
            held = sum(flow.dataset_bytes for flow in decisions.workflows.values())
            assert reserved + held <= worker.size.memory_bytes
            assert threads <= worker.size.cpus

    for worker in workers:
        take(decisions.handle(WorkerJoined(worker), 0.0))
    take(decisions.handle(submitted(*estimates, dataset_bytes=dataset_bytes), 0.0))
    now_s = 0.0
    outcomes = [Outcome.SUCCEEDED] * 6 + [
        Outcome.FAILED,
        Outcome.OUT_OF_MEMORY,
        Outcome.OUT_OF_TIME,
        Outcome.WORKER_LOST,
    ]
    while agenda:
        now_s += 1.0
        if rng.random() < 0.3:
            start_s = rng.choice([0.03, 0.5, 4.0, 100.0])
            take(decisions.handle(events.StartLearned("w", start_s), now_s))
        start = agenda.pop(rng.randrange(len(agenda)))
        if rng.random() < 0.05:
            size = decisions.workers[start.worker].size
            agenda = [one for one in agenda if one.worker != size.address]
            take(decisions.handle(WorkerLeft(size.address), now_s))
            take(decisions.handle(WorkerJoined(size), now_s))
        else:
            outcome = rng.choice(outcomes)
            for one in reversed(start.followers):
                late = rng.choice([Outcome.SUCCEEDED, Outcome.PREEMPTED])
                take(decisions.handle(events.AttemptEnded(*one[:2], late, 0), now_s))
            take(decisions.handle(ended(start, outcome, start.memory_limit_bytes), now_s))
    assert closed
    assert sorted(settled) == sorted(FitKey("w", f"f{n}") for n in range(len(estimates)))


def test_the_simulator_packs_as_well_as_the_bound_allows():
    fits = [estimate(float(1 + n % 5)) for n in range(40)]
    decisions = plan_for(planned_workers([Pool("p", 4, 4000 * MIB, 2)]), submitted(*fits))
    backend = SimulatedBackend(
        decisions, lambda key, _: decisions.workflows["w"].fits[key.fit_id].estimate.runtime_s_p50
    )
    backend.carry_out(decisions.place(0.0))
    bound = sum(fit.runtime_s_p50 for fit in fits) / 8
    assert bound <= backend.run()["w"] <= bound * 1.1


def groups(shared):
    keys = [FitKey("w", f"f{n}") for n in range(20)]
    return Groups(dict.fromkeys(keys, "a"), {key: "c" if shared else key.fit_id for key in keys})


def test_shared_errors_make_the_interval_wider():
    alone = [estimate(1.0, sd=0.5)] * 20
    shared = [replace(one, runtime_log_sd_candidate=0.5, runtime_log_sd_fit=0.01) for one in alone]
    widths = []
    for fits in (alone, shared):
        plan_ = plan_for([replace(ONE, cpus=1)], submitted(*fits))
        eta = forecast(plan_, groups(shared=fits is shared), samples=200)["w"]
        widths.append(eta.p90_s - eta.p10_s)
    assert widths[1] > 2 * widths[0]


def test_the_eta_changes_nothing_and_shrinks_as_work_is_done():
    decisions = plan(ONE)
    (start,) = started(decisions.handle(submitted(*[estimate()] * 20), 0.0))
    before = forecast(decisions, groups(shared=False), now_s=0.0)["w"]
    assert decisions.workers["one"].running == {start.key}
    decisions.handle(ended(start), 1.0)
    after = forecast(decisions, groups(shared=False), now_s=1.0)["w"]
    assert after.p50_s == pytest.approx(before.p50_s - 1.0, abs=0.3)
    assert before.p10_s <= before.p50_s <= before.p90_s


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.44, "0.4 s"), (41.2, "41 s"), (200, "3 min 20 s"), (7320, "2 h 02 min")],
)
def test_durations_read_as_people_write_them(seconds, said):
    assert span(seconds) == said
