"""When the fits of a worker hold too much together, the right one goes and no other is harmed."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import FIT_DEADLINE_S, Does, hang, nothing_below, opened, small_content

from fitcast.history.records import Outcome
from fitcast.trainer.attempt.memory_ledger import LedgerView, MemoryLedger
from fitcast.trainer.attempt.runner import AttemptRunner
from tests.polling import LONGEST_S, wait_for

MIB = 2**20


class Machine:
    """A ledger with a view per process, over given sizes."""

    def __init__(self, memory_bytes, shares):
        self.resident = {}
        self.private = {}
        self.ledger = MemoryLedger(memory_bytes)
        self.views = []
        for number, share in enumerate(shares):
            view = LedgerView(
                os.dup(self.ledger.fd),
                self.ledger.take(share),
                resident=lambda pid: self.resident.get(pid, 0),
                private=lambda pid: self.private.get(pid),
            )
            view.enter(number + 1)
            self.views.append(view)

    def holds(self, *sizes, shared=0):
        self.resident = {n + 1: size for n, size in enumerate(sizes)}
        self.private = {n + 1: max(0, size - shared) for n, size in enumerate(sizes)}

    def goes(self):
        return [view.look()[0] for view in self.views]


def test_nobody_goes_while_there_is_room():
    machine = Machine(100, [40, 40])
    machine.holds(60, 40)
    assert machine.goes() == [False, False]


def test_who_is_furthest_above_its_share_goes_when_it_is_too_much():
    machine = Machine(100, [40, 20, 40])
    machine.holds(45, 30, 40)
    assert machine.goes() == [False, True, False]


def test_blocks_of_rows_count_once_and_pages_in_common_do_not():
    machine = Machine(100, [40, 40])
    machine.ledger.blocks(30)
    machine.holds(60, 60, shared=30)
    assert machine.goes() == [False, False]
    machine.holds(75, 60, shared=30)
    assert machine.goes() == [True, False]


def test_without_a_bound_nobody_goes():
    machine = Machine(None, [1])
    machine.holds(10**15)
    assert machine.views[0].look() == (False, float("inf"))


def test_a_place_given_back_no_longer_counts():
    machine = Machine(100, [50, 50])
    machine.holds(60, 60)
    assert any(machine.goes())
    machine.ledger.clear(1)
    assert machine.views[0].look()[0] is False


@given(
    st.lists(st.tuples(st.integers(1, 100), st.integers(0, 200)), min_size=1, max_size=8),
    st.integers(1, 800),
)
def test_at_most_one_goes_and_only_when_it_is_too_much(fits, bound):
    machine = Machine(bound, [share for share, _ in fits])
    held = [used for _, used in fits]
    machine.holds(*held)
    goes = machine.goes()
    assert sum(goes) == (sum(held) > bound)
    if any(goes):
        share, used = fits[goes.index(True)]
        assert used - share == max(used - share for share, used in fits)


@pytest.fixture
def runner(tmp_path):
    runner = AttemptRunner(memory_bytes=1200 * MIB)
    yield runner
    runner.close()


@pytest.fixture
def data(runner, tmp_path):
    return opened(runner, small_content(), tmp_path)


@pytest.fixture
def released(tmp_path):
    """The file that lets go the fits that hold memory."""
    return tmp_path / "released"


def hold(mebibytes, released):
    """Return what holds so much until it is released; its file says that it does."""

    def deed():
        kept = np.ones(mebibytes * 2**17)
        released.with_name(f"held-{os.getpid()}").touch()
        assert wait_for(released.exists, FIT_DEADLINE_S)
        return float(kept[0])

    return deed


def holding(released):
    return len([*released.parent.glob("held-*")])


def grow_to(mebibytes):
    """Return what takes more and more, and only at so much no more."""

    def deed():
        kept = [np.ones(4 * 2**17) for _ in range(mebibytes // 4)]
        hang()
        return kept

    return deed


def test_two_within_their_limits_but_too_much_together(data, released):
    limit = {"memory_limit_bytes": 1100 * MIB}
    fair = data.spec(Does(hold(500, released)), share_bytes=800 * MIB, **limit)
    over = data.spec(Does(hold(900, released)), share_bytes=500 * MIB, **limit)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(data.runner.run_one, fair)
        assert wait_for(lambda: holding(released) == 1)
        over_end = data.runner.run_one(over)
        released.touch()
        fair_end = running.result(LONGEST_S)
    assert fair_end.outcome is Outcome.SUCCEEDED, fair_end.error_message
    assert over_end.outcome is Outcome.OUT_OF_MEMORY
    assert "furthest above what was planned" in over_end.error_message
    assert over_end.peak_memory_bytes > 500 * MIB


def test_a_runaway_among_others_harms_none_of_them(data, released):
    limit = {"share_bytes": 350 * MIB, "memory_limit_bytes": 1200 * MIB}
    specs = [data.spec(Does(hold(200, released)), **limit) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        running = pool.map(data.runner.run_one, specs)
        assert wait_for(lambda: holding(released) == 3)
        # what it comes to is below its own limit, but the others' 600 are there too
        runaways = [data.runner.run_one(data.spec(Does(grow_to(1000)), **limit)) for _ in range(2)]
        released.touch()
        assert [one.outcome for one in running] == [Outcome.SUCCEEDED] * 3
    for runaway in runaways:
        assert runaway.outcome is Outcome.OUT_OF_MEMORY
        assert "furthest above what was planned" in runaway.error_message
    assert nothing_below(data.runner)
