"""Calls that take time: none is lost, none ends a thread, none keeps the interpreter alive."""

import threading

from fitcast.scheduler.run.executor import Executor
from tests.polling import wait_for


def test_calls_run_beside_each_other_up_to_so_many():
    executor = Executor("calls", threads=2)
    together = threading.Barrier(2, timeout=30)
    names = []
    for _ in range(2):
        executor.submit(lambda: (together.wait(), names.append(threading.current_thread().name)))
    assert executor.close(30)
    assert sorted(names) == ["calls-1", "calls-2"]


def test_whatever_a_call_raises_the_next_one_runs(caplog):
    executor = Executor("calls", threads=1)
    done = threading.Event()

    def fail():
        raise SystemExit("not even this")

    executor.submit(fail)
    executor.submit(done.set)
    assert done.wait(30)
    assert executor.close(30)
    assert "not even this" in caplog.text


def test_what_hangs_is_left_behind():
    executor = Executor("calls", threads=1)
    hangs = threading.Event()
    executor.submit(hangs.wait)
    assert not executor.close(0.01)
    (thread,) = [one for one in threading.enumerate() if one.name == "calls-1"]
    assert thread.daemon
    hangs.set()
    thread.join(30)


def test_after_the_end_nothing_is_run():
    executor = Executor("calls")
    assert executor.close(30)
    executor.submit(lambda: 1 / 0)
    assert not [one for one in threading.enumerate() if one.name.startswith("calls-")]


def test_a_thread_is_started_only_for_what_no_other_is_free_for():
    executor = Executor("calls", threads=8)
    for _ in range(20):
        executor.submit(lambda: None)
        assert wait_for(lambda: executor._under_way == 0)
    assert len([one for one in threading.enumerate() if one.name.startswith("calls-")]) == 1
    assert executor.close(30)
