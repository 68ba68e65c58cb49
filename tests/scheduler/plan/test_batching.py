"""Which fits share a process: short ones and those with work in common, and not at the end."""

from fitcast.scheduler.plan.batching import MOST_FITS
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.events import CommonWork, Start, WorkerJoined
from fitcast.scheduler.plan.pools import WorkerSize
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
