"""The rules of keeping workers there, with made-up times."""

from itertools import pairwise

import pytest

from fitcast import LocalBackend, errors
from fitcast.scheduler.backends.upkeep import (
    MOST_FAILED_STARTS,
    OBSERVE_EVERY_S,
    START_WITHIN_S,
    Observation,
    RepairAction,
    Watched,
)

ABSENT = Observation(nanny=False, pid=None, heard_s=None)


def starting(pid):
    return Observation(nanny=True, pid=pid, heard_s=None)


def heard(at_s, pid=1):
    return Observation(nanny=True, pid=pid, heard_s=at_s)


def actions(watched, seen, every_s=OBSERVE_EVERY_S):
    return [watched.observe(one, number * every_s) for number, one in enumerate(seen)]


def test_a_worker_that_is_heard_is_left_alone():
    assert not any(actions(Watched(2.0), [heard(float(n)) for n in range(100)]))


def test_a_silent_worker_is_killed_once():
    said = actions(Watched(2.0), [heard(0.0)] * 8)
    assert said.index(RepairAction.KILL) == 2.0 / OBSERVE_EVERY_S
    assert said.count(RepairAction.KILL) == 1


def test_a_kill_that_had_no_effect_is_repeated():
    assert actions(Watched(2.0), [heard(0.0)] * 17).count(RepairAction.KILL) == 4


def test_silence_doesn_t_count_while_nobody_observed():
    watched = Watched(30.0)
    watched.observe(heard(0.0), 0.0)
    assert watched.observe(heard(0.0), 10_000.0) is None
    assert watched.observe(heard(10_000.4), 10_000.5) is None


def test_a_start_has_more_time_than_a_heartbeat():
    seen = [starting(1)] * (int(START_WITHIN_S / OBSERVE_EVERY_S) + 1)
    said = actions(Watched(2.0), seen)
    assert said[-1] is RepairAction.KILL
    assert not any(said[:-1])


def test_a_new_process_begins_its_silence_anew():
    watched = Watched(2.0)
    said = actions(watched, [*[heard(0.0)] * 4, *[starting(2)] * 20, *[heard(9.0, 2)] * 4])
    assert not any(said)


def test_a_missing_nanny_is_replaced_at_once_and_then_less_and_less_often():
    watched = Watched(2.0)
    assert actions(watched, [heard(0.0), ABSENT])[-1] is RepairAction.REPLACE_NANNY
    times = []
    for number in range(600):
        now_s = 1.0 + number * OBSERVE_EVERY_S
        # Each new nanny begins a process that ends before it has joined.
        if watched.observe(ABSENT, now_s) is RepairAction.REPLACE_NANNY:
            times.append(now_s)
            watched.observe(starting(number), now_s)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == pytest.approx(30.0, abs=1.0)


def test_it_is_lost_after_many_starts_in_vain_and_not_before():
    watched = Watched(2.0)
    for pid in range(MOST_FAILED_STARTS):
        watched.observe(starting(pid), pid * OBSERVE_EVERY_S)
        assert not watched.is_lost
    watched.observe(starting(99), 99.0)
    assert watched.is_lost
    watched.observe(heard(99.5, 99), 99.5)
    assert not watched.is_lost


def test_a_worker_that_joins_and_dies_again_and_again_is_not_lost():
    watched = Watched(2.0)
    for pid in range(50):
        watched.observe(starting(pid), 3.0 * pid)
        watched.observe(heard(3.0 * pid + 1.0, pid), 3.0 * pid + 1.0)
        watched.observe(Observation(nanny=True, pid=None, heard_s=None), 3.0 * pid + 2.0)
        assert not watched.is_lost


@pytest.mark.parametrize("silent_after_s", [0.0, -1.0, 0.5, float("nan")])
def test_a_silence_shorter_than_signs_of_life_come_is_refused(silent_after_s):
    with pytest.raises(errors.InvalidPoolError, match="silent_after_s"):
        LocalBackend(silent_after_s=silent_after_s)
