"""Which fits share a process: short ones and those with work in common, and not at the end."""

import pytest

from fitcast.history.records import Outcome
from fitcast.scheduler.plan.batching import MOST_FITS
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.events import (
    AttemptEnded,
    CommonWork,
    LateFit,
    NextChosen,
    Start,
    StartLearned,
    WorkerJoined,
)
from fitcast.scheduler.plan.pools import WorkerSize
from fitcast.scheduler.plan.simulator import SimulatedBackend
from tests.scheduler.making import MIB, estimate, submitted

TWO = WorkerSize("two", "p", 2, 8_000 * MIB)


def starts(*estimates, **more):
    decisions = Decisions()
    decisions.handle(WorkerJoined(TWO), 0.0)
    actions = decisions.handle(submitted(*estimates, **more), 0.0)
    return [action for action in actions if isinstance(action, Start)]


def sizes(found):
    return [1 + len(one.followers) for one in found]


def test_short_fits_share_a_process():
    found = sizes(starts(*[estimate(0.035)] * 3_000))
    assert len(found) == 2
    assert all(30 < size <= MOST_FITS for size in found)


def test_no_process_takes_more_than_a_fair_part_of_what_is_left():
    total = 200
    assert all(size <= total / 2 for size in sizes(starts(*[estimate(0.08)] * total)))


def test_longer_fits_have_a_process_each():
    assert sizes(starts(*[estimate(1.2)] * 50)) == [1, 1]


def test_fits_of_which_little_is_known_have_a_process_each():
    unsure = estimate(0.05)
    unsure = type(unsure)(
        **{name: getattr(unsure, name) for name in unsure.__dataclass_fields__}
        | {"runtime_s_p90": 0.2}
    )
    assert sizes(starts(*[unsure] * 50)) == [1, 1]


def test_fits_with_work_in_common_follow_each_other():
    shared = {f"f{n}": CommonWork(f"fold{n % 2}", 0.7) for n in range(40)}
    found = starts(*[estimate(3.0)] * 40, common_work=shared)
    for one in found:
        names = {shared[member.key.fit_id].name for member in (one, *one.followers)}
        assert len(names) == 1
        assert one.followers
        assert all(follower.saved_s >= 2.0 for follower in one.followers)


def test_little_work_in_common_is_not_worth_waiting_for():
    shared = {f"f{n}": CommonWork("fold", 0.01) for n in range(40)}
    assert sizes(starts(*[estimate(3.0)] * 40, common_work=shared)) == [1, 1]


def test_a_fit_that_needs_much_more_memory_does_not_follow():
    given = [*[estimate(0.04, 100 * MIB)] * 30, *[estimate(0.04, 400 * MIB)] * 30]
    for one in starts(*given):
        numbers = [int(member.key.fit_id[1:]) for member in (one, *one.followers)]
        if numbers[0] < 30:
            assert max(numbers) < 30


def learned(start_s, *estimates, now_s=5.0):
    """A plan of two cores that was told, as its first fits end, what starting a process takes."""
    decisions = Decisions(checked=True)
    decisions.handle(WorkerJoined(TWO), 0.0)
    running = started(decisions.handle(submitted(*estimates), 0.0))
    assert sizes(running) == [1, 1]
    decisions.handle(StartLearned("w", start_s), now_s)
    return decisions, running


def started(actions):
    return [action for action in actions if isinstance(action, Start)]


def ended(start):
    return AttemptEnded(start.key, start.attempt, Outcome.SUCCEEDED, 0)


def test_where_starting_takes_long_each_core_has_one_process_for_all_that_is_left():
    decisions, (one, two) = learned(4.0, *[estimate(5.0)] * 12)
    (first,) = started(decisions.handle(ended(one), 5.0))
    (second,) = started(decisions.handle(ended(two), 5.1))
    assert sorted(sizes([first, second])) in ([4, 6], [5, 5])
    assert not decisions.workflows["w"].waiting
    for follower in (*first.followers, *second.followers):
        assert follower.saved_s == pytest.approx(4.0)


def test_a_start_that_is_little_of_what_a_fit_takes_is_not_worth_following():
    decisions, (one, _) = learned(4.0, *[estimate(60.0)] * 12, now_s=60.0)
    (alone,) = started(decisions.handle(ended(one), 60.0))
    assert not alone.followers


def test_long_fits_follow_where_starting_takes_a_good_part_of_them():
    decisions, (one, _) = learned(8.0, *[estimate(30.0)] * 12, now_s=30.0)
    (first,) = started(decisions.handle(ended(one), 30.0))
    assert 1 <= len(first.followers) <= 5


def test_a_process_is_no_longer_than_what_its_start_is_worth():
    # so much is heard of nothing, and lost with a worker
    decisions, (one, _) = learned(4.0, *[estimate(6.0)] * 2_000, now_s=6.0)
    (first,) = started(decisions.handle(ended(one), 6.0))
    assert 10 * 4.0 - 2.0 <= 2.0 * sizes([first])[0] <= 10 * 4.0


def test_a_fit_that_needs_more_memory_does_not_follow_whatever_is_spared():
    large, small = [estimate(5.0, 400 * MIB)] * 6, [estimate(5.1, 100 * MIB)] * 6
    decisions, (one, two) = learned(4.0, *small, *large)
    for start in (one, two):
        for found in started(decisions.handle(ended(start), 5.0)):
            numbers = [int(member.key.fit_id[1:]) for member in (found, *found.followers)]
            assert max(numbers) < 6 or min(numbers) >= 6


def test_late_rounds_know_what_was_learned():
    decisions = Decisions(checked=True)
    decisions.handle(WorkerJoined(TWO), 0.0)
    (one,) = started(decisions.handle(submitted(estimate(5.0), rounds=1), 0.0))
    decisions.handle(StartLearned("w", 4.0), 5.0)
    decisions.handle(ended(one), 5.0)
    later = {f"late{n}": LateFit(estimate(5.0)) for n in range(8)}
    first, second = started(decisions.handle(NextChosen("w", later), 5.0))
    assert sizes([first, second]) == [4, 4]


def test_the_forecast_knows_what_following_spares():
    def done_s(start_s):
        decisions, running = learned(start_s, *[estimate(5.0)] * 12)
        backend = SimulatedBackend(decisions, lambda key, threads: 5.0, now_s=5.0)
        for one in running:
            backend.resume(one.key, one.attempt, 5.0)
        return backend.run()["w"]

    assert done_s(0.03) == pytest.approx(30.0)
    assert done_s(4.0) <= 5.0 + 4.0 + 6.0 + 0.1  # of six fits at most, the start once
