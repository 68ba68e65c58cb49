"""The rules of keeping workers there, looked at with made-up times."""

from itertools import pairwise

import pytest

from fitcast import LocalBackend, errors
from fitcast.scheduler.backends.upkeep import (
    LOOK_EVERY_S,
    MOST_FAILED_STARTS,
    START_WITHIN_S,
    Deed,
    Look,
    Watched,
)

ABSENT = Look(nanny=False, pid=None, heard_s=None)


def starting(pid):
    return Look(nanny=True, pid=pid, heard_s=None)


def heard(at_s, pid=1):
    return Look(nanny=True, pid=pid, heard_s=at_s)


def deeds(watched, looks, every_s=LOOK_EVERY_S):
    return [watched.look(look, number * every_s) for number, look in enumerate(looks)]


def test_a_worker_that_is_heard_is_left_alone():
    assert not any(deeds(Watched(2.0), [heard(float(n)) for n in range(100)]))


def test_a_silent_worker_is_killed_once():
    said = deeds(Watched(2.0), [heard(0.0)] * 8)
    assert said.index(Deed.KILL) == 2.0 / LOOK_EVERY_S
    assert said.count(Deed.KILL) == 1


def test_a_kill_that_had_no_effect_is_repeated():
    assert deeds(Watched(2.0), [heard(0.0)] * 17).count(Deed.KILL) == 4


def test_silence_doesn_t_count_while_nobody_looked():
    watched = Watched(30.0)
    watched.look(heard(0.0), 0.0)
    assert watched.look(heard(0.0), 10_000.0) is None
    assert watched.look(heard(10_000.4), 10_000.5) is None


def test_a_start_has_more_time_than_a_heartbeat():
    looks = [starting(1)] * (int(START_WITHIN_S / LOOK_EVERY_S) + 1)
    said = deeds(Watched(2.0), looks)
    assert said[-1] is Deed.KILL
    assert not any(said[:-1])


def test_a_new_process_begins_its_silence_anew():
    watched = Watched(2.0)
    said = deeds(watched, [*[heard(0.0)] * 4, *[starting(2)] * 20, *[heard(9.0, 2)] * 4])
    assert not any(said)


def test_a_missing_nanny_is_replaced_at_once_and_then_less_and_less_often():
    watched = Watched(2.0)
    assert deeds(watched, [heard(0.0), ABSENT])[-1] is Deed.REPLACE_NANNY
    times = []
    for number in range(600):
        now_s = 1.0 + number * LOOK_EVERY_S
        # Each new nanny begins a process that ends before it has joined.
        if watched.look(ABSENT, now_s) is Deed.REPLACE_NANNY:
            times.append(now_s)
            watched.look(starting(number), now_s)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == pytest.approx(30.0, abs=1.0)


def test_it_is_lost_after_many_starts_in_vain_and_not_before():
    watched = Watched(2.0)
    for pid in range(MOST_FAILED_STARTS):
        watched.look(starting(pid), pid * LOOK_EVERY_S)
        assert not watched.is_lost
    watched.look(starting(99), 99.0)
    assert watched.is_lost
    watched.look(heard(99.5, 99), 99.5)
    assert not watched.is_lost


def test_a_worker_that_joins_and_dies_again_and_again_is_not_lost():
    watched = Watched(2.0)
    for pid in range(50):
        watched.look(starting(pid), 3.0 * pid)
        watched.look(heard(3.0 * pid + 1.0, pid), 3.0 * pid + 1.0)
        watched.look(Look(nanny=True, pid=None, heard_s=None), 3.0 * pid + 2.0)
        assert not watched.is_lost


@pytest.mark.parametrize("silent_after_s", [0.0, -1.0, 0.5, float("nan")])
def test_a_silence_shorter_than_signs_of_life_come_is_refused(silent_after_s):
    with pytest.raises(errors.InvalidPoolError, match="silent_after_s"):
        LocalBackend(silent_after_s=silent_after_s)
