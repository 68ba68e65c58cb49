"""Waiting for a core, told from work and from sleep, of real processes beside real load.

Nothing here measures time: what a fit took alone is held against its own CPU time.
"""

import os
import select
import threading
import time
from functools import partial

import pytest
from running import Does

from fitcast.history.records import Outcome
from fitcast.history.undisturbed import undisturbed_s
from fitcast.trainer.attempt.task_waits import (
    TaskWaits,
    counts,
    machine_ticks,
    own_tasks,
    tasks_of,
    times_between,
)
from tests.busy import busy_beside, one_core

pytestmark = pytest.mark.skipif(not counts(), reason="this kernel doesn't count waiting")

LOOPS = 3


def work(cpu_s, core=None):
    """Use so much of a core's time."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    began_s = time.process_time()
    while time.process_time() - began_s < cpu_s:
        pass


def work_in_threads(cpu_s, core):
    """The same in two threads that end before their fit does."""
    threads = [threading.Thread(target=work, args=(cpu_s, core)) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def wait_for_nothing(seconds):
    """Wait for something else than a core."""
    select.select([], [], [], seconds)


def alone_s(measured, threads=1):
    return undisturbed_s(measured.runtime_s, measured.cpu_s, measured.cpu_wait_s, threads)


def test_beside_others_a_fit_is_charged_its_work(runner, data):
    core = one_core()
    with busy_beside(core, LOOPS):
        measured = runner.run_one(data.spec(Does(partial(work, 0.5, core))))
    assert measured.outcome is Outcome.SUCCEEDED
    assert measured.cpu_wait_s > 0.5 * measured.cpu_s
    assert measured.cpu_s <= alone_s(measured) <= 1.3 * measured.cpu_s


def test_threads_that_ended_are_counted(runner, data):
    core = one_core()
    with busy_beside(core, LOOPS):
        measured = runner.run_one(data.spec(Does(partial(work_in_threads, 0.5, core))))
    # they share one core, so that it is one thread's work
    assert measured.cpu_wait_s > 0.5 * measured.cpu_s
    assert alone_s(measured) <= 1.4 * measured.cpu_s


def test_one_that_waits_for_something_else_is_not_disturbed(runner, data):
    core = one_core()
    with busy_beside(core, LOOPS):
        measured = runner.run_one(data.spec(Does(partial(wait_for_nothing, 0.5))))
    assert measured.cpu_s < 0.4
    assert alone_s(measured) >= 0.5


def test_each_fit_of_a_process_is_charged_its_own(runner, data):
    core = one_core()
    with busy_beside(core, LOOPS):
        specs = [data.spec(Does(partial(work, cpu_s, core))) for cpu_s in (0.2, 0.4)]
        both = runner.run(specs)
    for measured in both:
        assert measured.cpu_wait_s > 0.4 * measured.cpu_s
        assert alone_s(measured) <= 1.4 * measured.cpu_s


def test_a_busy_hour_kills_no_fit(runner, data):
    core, needed_s = one_core(), 0.6
    spec = data.spec(Does(partial(work, needed_s, core)), deadline_s=1.9 * needed_s)
    with busy_beside(core, 2 * LOOPS):
        measured = runner.run_one(spec)
    assert measured.runtime_s > 1.9 * needed_s  # so it would have been ended
    assert measured.outcome is Outcome.SUCCEEDED


def test_its_own_time_still_ends_one_beside_others(runner, data):
    core = one_core()
    with busy_beside(core, LOOPS):
        measured = runner.run_one(data.spec(Does(partial(work, 60.0, core)), deadline_s=0.5))
    assert measured.outcome is Outcome.OUT_OF_TIME
    assert 0.45 <= alone_s(measured) <= 1.0


def test_what_was_seen_of_a_process_stays_when_it_ends():
    looks = TaskWaits()
    assert looks.look([2**22 + 1]) == (0.0, 0.0)  # no such process
    before = looks.look([os.getpid()])
    work(0.02)
    after = looks.look([os.getpid()])
    assert after[0] - before[0] >= 0.01
    assert looks.look([]) == after == looks.times


def test_a_number_given_to_another_thread_counts_from_its_beginning():
    before = {(1, 1): (2 * 10**9, 10**9)}
    assert times_between(before, {(1, 1): (10**9, 10**8)}) == (1.0, 0.1)
    assert times_between(before, {(1, 1): (3 * 10**9, 2 * 10**9)}) == (1.0, 1.0)


def test_the_machine_is_read():
    assert own_tasks().keys() == tasks_of([os.getpid()]).keys()
    busy, stolen = machine_ticks()
    assert busy > 0 <= stolen
