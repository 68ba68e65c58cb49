"""When the fits of a worker hold too much together, the right one goes and no other is harmed."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import Does, nothing_below, opened, small_content

from fitcast.history.records import Outcome
from fitcast.trainer.attempt.memory_ledger import LedgerView, MemoryLedger
from fitcast.trainer.attempt.runner import AttemptRunner

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


def hold(mebibytes, seconds):
    def deed():
        kept = np.ones(mebibytes * 2**17)
        time.sleep(seconds)
        return float(kept[0])

    return deed


def grow():
    kept = []
    while True:
        kept.append(np.ones(4 * 2**17))


def test_two_within_their_limits_but_too_much_together(runner, tmp_path):
    data = opened(runner, small_content(), tmp_path)
    fair = data.spec(Does(hold(500, 2.0)), share_bytes=800 * MIB, memory_limit_bytes=1100 * MIB)
    over = data.spec(Does(hold(900, 2.0)), share_bytes=500 * MIB, memory_limit_bytes=1100 * MIB)
    with ThreadPoolExecutor(2) as pool:
        fair_end, over_end = pool.map(runner.run_one, [fair, over])
    assert fair_end.outcome is Outcome.SUCCEEDED, fair_end.error_message
    assert over_end.outcome is Outcome.OUT_OF_MEMORY
    assert "furthest above what was planned" in over_end.error_message
    assert over_end.peak_memory_bytes > 500 * MIB


def test_a_runaway_among_others_harms_none_of_them(runner, tmp_path):
    data = opened(runner, small_content(), tmp_path)
    limit = {"share_bytes": 350 * MIB, "memory_limit_bytes": 1200 * MIB}
    for _ in range(2):
        specs = [data.spec(Does(hold(200, 5.0)), **limit) for _ in range(3)]
        specs.append(data.spec(Does(grow), **limit))
        with ThreadPoolExecutor(4) as pool:
            *others, runaway = pool.map(runner.run_one, specs)
        assert [one.outcome for one in others] == [Outcome.SUCCEEDED] * 3
        assert runaway.outcome is Outcome.OUT_OF_MEMORY
        assert runaway.peak_memory_bytes < 1000 * MIB  # the others' 600 were there too
    assert nothing_below(runner)
