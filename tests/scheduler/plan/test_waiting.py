"""The order in which waiting fits are looked at."""

from hypothesis import given
from hypothesis import strategies as st

from fitcast.scheduler.plan.events import CommonWork, FitKey
from fitcast.scheduler.plan.fit_state import FitState
from fitcast.scheduler.plan.waiting import LOOK_AHEAD, WaitingFits
from tests.scheduler.making import MIB, estimate


def fit(number, runtime_s=1.0, memory=100 * MIB, shared=None):
    return FitState(
        FitKey("w", f"f{number}"), estimate(runtime_s, memory), number, common_work=shared
    )


def filled(*fits_with_slots):
    waiting = WaitingFits()
    waiting.fill(fits_with_slots)
    return waiting


def order(waiting, **kwargs):
    return [name for name, _ in waiting.in_order(**kwargs)]


def test_the_longest_goes_first_and_among_equals_the_first_submitted():
    waiting = filled((fit(0, 1.0), 4), (fit(1, 5.0), 4), (fit(2, 5.0), 4), (fit(3, 3.0), 4))
    assert order(waiting) == ["f1", "f2", "f3", "f0"]


def test_fits_that_few_places_can_run_go_first_if_the_end_waits_for_them():
    large = [(fit(n, 5.0, 900 * MIB), 1) for n in range(10)]  # 50 s on one slot
    small = [(fit(10 + n, 9.0), 8) for n in range(5)]
    waiting = filled(*large, *small)
    assert order(waiting)[0] == "f0"
    assert dict(waiting.in_order())["f0"] is True
    assert dict(waiting.in_order())["f10"] is False


def test_fits_that_few_places_can_run_wait_their_turn_if_there_are_few_of_them():
    large = [(fit(0, 5.0, 900 * MIB), 1)]
    small = [(fit(1 + n, 9.0), 8) for n in range(20)]
    assert order(filled(*large, *small))[0] == "f1"


def test_of_long_fits_those_that_few_places_can_run_go_first():
    large = [(fit(0, 5.0, 900 * MIB), 1), (fit(1, 2.0, 900 * MIB), 1)]
    small = [(fit(2 + n, 9.0), 8) for n in range(20)]
    found = order(filled(*large, *small), long_s=4.0)
    assert found[0] == "f0"
    assert found[-1] == "f1"


def test_of_kinds_that_find_no_room_the_longest_alone_is_looked_at():
    large = [(fit(n, 5.0, 900 * MIB), 1) for n in range(10)]
    small = [(fit(10 + n, 1.0), 8) for n in range(5)]
    found = order(filled(*large, *small), room_bytes=500 * MIB)
    assert found.count("f0") == 1
    assert not {"f1", "f2"} & set(found)
    assert {f"f{10 + n}" for n in range(5)} <= set(found)


def test_some_of_each_kind_are_looked_at_however_many_wait():
    waiting = filled(*[(fit(n), 4) for n in range(10 * LOOK_AHEAD)])
    assert len(order(waiting)) == LOOK_AHEAD


def test_work_in_common_counts_once():
    work = CommonWork("prefix", 0.5)
    fits = [fit(n, 3.0, shared=work) for n in range(4)]
    waiting = filled(*[(one, 4) for one in fits])
    assert waiting.backlog_s() == 4 * 3.0 - 3 * 1.5
    assert waiting.sharing("prefix") == ["f0", "f1", "f2", "f3"]
    for one in fits:
        waiting.remove(one)
    assert waiting.backlog_s() == 0.0
    assert waiting.sharing("prefix") == []


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.integers(1, 9)), max_size=30), st.data())
def test_adding_and_removing_is_as_filling_anew(kinds, data):
    fits = [(fit(n, runtime_s), slots) for n, (runtime_s, slots) in enumerate(kinds)]
    gone = data.draw(st.sets(st.sampled_from(range(len(fits))))) if fits else set()
    waiting = WaitingFits()
    for one, slots in fits:
        waiting.add(one, slots)
    for number in gone:
        waiting.remove(fits[number][0])
    left = [one for number, one in enumerate(fits) if number not in gone]
    assert order(waiting) == order(filled(*left))
    assert len(waiting) == len(left)
    assert abs(waiting.backlog_s() - sum(one.estimate.runtime_s_p50 for one, _ in left)) < 1e-6
