# ruff: noqa: T201 - fits print
"""Fits that crash, resist, run away or leave things behind: they harm no neighbour, and go."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from running import Does, below, marked, nothing_below, opened, small_content, wait_for

from fitcast.history.records import REFIT_FOLD, Outcome
from fitcast.trainer.attempt.runner import AttemptRunner

MIB = 2**20


@pytest.fixture(autouse=True)
def _nothing_left(runner, data):
    yield
    assert nothing_below(runner)
    # and the next fit is none the worse
    assert runner.run_one(data.spec(Does())).outcome is Outcome.SUCCEEDED


def run(data, deed, **more):
    return data.runner.run_one(data.spec(Does(deed), **more))


def test_segfault(data):
    def crash():
        print("last words", flush=True)
        ctypes.string_at(0)

    measured = run(data, crash)
    assert (measured.outcome, measured.error_type) == (Outcome.FAILED, "ProcessDied")
    assert "SIGSEGV" in measured.error_message
    assert measured.stdout == "last words\n"
    assert "Segmentation fault" in measured.stderr
    assert "in crash" in measured.stderr
    assert measured.peak_memory_bytes > 0


@pytest.mark.parametrize("code", [0, 3])
def test_os_exit(data, code):
    measured = run(data, lambda: os._exit(code))
    assert (measured.outcome, measured.error_type) == (Outcome.FAILED, "ProcessDied")
    assert f"exit code {code}" in measured.error_message


def test_sys_exit_and_abort_and_signals(data):
    assert run(data, lambda: sys.exit("enough")).error_type == "SystemExit"
    assert "SIGABRT" in run(data, os.abort).error_message
    killed = run(data, lambda: os.kill(os.getpid(), signal.SIGKILL))
    # killed, but nothing proves that memory was the reason
    assert (killed.outcome, killed.error_type) == (Outcome.FAILED, "ProcessDied")
    assert run(data, lambda: signal.raise_signal(signal.SIGINT)).error_type == "KeyboardInterrupt"


def test_endless_loop_meets_its_deadline(data):
    def loop():
        while True:
            pass

    start = time.monotonic()
    measured = run(data, loop, deadline_s=0.3)
    assert measured.outcome is Outcome.OUT_OF_TIME
    assert time.monotonic() - start < 1.5
    assert measured.cpu_s > 0.1
    assert "deadline" in measured.error_message


def test_deadline_of_one_that_ignores_every_signal_it_can(data):
    def resist():
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(number, signal.SIG_IGN)
        time.sleep(60)

    assert run(data, resist, deadline_s=0.3).outcome is Outcome.OUT_OF_TIME


def test_deadline_of_one_that_stops_itself(data):
    measured = run(data, lambda: os.kill(os.getpid(), signal.SIGSTOP), deadline_s=0.3)
    assert measured.outcome is Outcome.OUT_OF_TIME


def test_endless_allocation_meets_its_limit(data):
    def grow():
        held = []
        while True:
            held.append(np.ones(4 * MIB // 8))

    limit = 600 * MIB
    measured = run(data, grow, memory_limit_bytes=limit)
    assert measured.outcome is Outcome.OUT_OF_MEMORY
    assert limit < measured.peak_memory_bytes < limit + 600 * MIB


def test_allocation_that_fails(data):
    measured = run(data, lambda: np.ones(2**57))
    assert measured.outcome is Outcome.OUT_OF_MEMORY
    assert "MemoryError" in measured.error_type


def test_children_count_towards_the_limit(data):
    def spread():
        for _ in range(4):
            if os.fork() == 0:
                block = np.ones(150 * MIB // 8)
                time.sleep(60)
                os._exit(int(block[0]))
        time.sleep(60)

    measured = run(data, spread, memory_limit_bytes=500 * MIB)
    assert measured.outcome is Outcome.OUT_OF_MEMORY
    assert measured.peak_memory_bytes > 500 * MIB


def test_forked_children_that_share_are_not_counted_twice(data):
    def share():
        block = np.ones(200 * MIB // 8)
        pids = []
        for _ in range(4):
            pid = os.fork()
            if pid == 0:
                time.sleep(0.4)
                os._exit(int(block[0]))
            pids.append(pid)
        for pid in pids:
            os.waitpid(pid, 0)

    measured = run(data, share, memory_limit_bytes=800 * MIB)
    assert measured.outcome is Outcome.SUCCEEDED, measured.error_message


def test_children_left_behind_are_ended(data):
    mark = f"87{os.getpid()}.5"

    def leave():
        for _ in range(3):
            subprocess.Popen(["sleep", mark])
        subprocess.Popen(["sh", "-c", f"trap '' TERM HUP INT; sleep {mark} & wait"])

    measured = run(data, leave)
    assert measured.outcome is Outcome.SUCCEEDED, measured.traceback
    assert marked(mark) == []


def test_a_daemonised_grandchild_is_ended(data):
    mark = f"88{os.getpid()}.5"

    def daemonise():
        if os.fork() == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if os.fork() == 0:
                os.closerange(0, 1000)
                os.execvp("sleep", ["sleep", mark])
            os._exit(0)
        os.wait()
        assert wait_for(lambda: marked(mark))

    measured = run(data, daemonise)
    assert measured.outcome is Outcome.SUCCEEDED, measured.traceback
    assert marked(mark) == []


def test_one_that_kills_its_supervisor_leaves_nothing(data):
    mark = f"89{os.getpid()}.5"

    def kill_parent():
        subprocess.Popen(["sleep", mark], start_new_session=True)
        os.kill(os.getppid(), signal.SIGTERM)  # ignored
        time.sleep(0.1)
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)

    measured = run(data, kill_parent)
    assert measured.outcome is Outcome.WORKER_LOST
    assert wait_for(lambda: not marked(mark), 2)


def test_one_that_kills_its_group_hits_only_itself(data):
    measured = run(data, lambda: os.kill(0, signal.SIGKILL))
    assert (measured.outcome, measured.error_type) == (Outcome.FAILED, "ProcessDied")


def test_endless_forking_is_ended(data):
    def breed():
        def loop(depth):
            for _ in range(3):
                if depth and os.fork() == 0:
                    os.setsid()
                    loop(depth - 1)
            time.sleep(60)

        loop(3)

    measured = run(data, breed, deadline_s=0.5)
    assert measured.outcome is Outcome.OUT_OF_TIME


def test_huge_output_keeps_its_end(data):
    def shout():
        line = "x" * 999
        for _ in range(100_000):  # 100 MB
            print(line)
        print("the end")
        print("y" * 1000, file=sys.stderr)

    measured = run(data, shout)
    assert measured.outcome is Outcome.SUCCEEDED
    assert measured.stdout.endswith("the end\n")
    assert len(measured.stdout) < 66_000
    assert "bytes before this were dropped" in measured.stdout
    assert measured.stderr == "y" * 1000 + "\n"


def test_closed_output_and_bytes_that_are_no_text(data):
    def odd():
        os.write(1, b"\xff\xfe\n")
        os.close(1)
        os.close(2)

    measured = run(data, odd)
    assert measured.outcome is Outcome.SUCCEEDED
    assert measured.stdout == "\ufffd\ufffd\n"


def test_closing_every_descriptor_fails_only_itself(data):
    measured = run(data, lambda: os.closerange(3, 1000))
    assert measured.outcome is Outcome.FAILED


def test_a_model_that_cannot_be_pickled(data):
    measured = run(data, threading.Lock, fold=REFIT_FOLD, return_model=True)
    assert measured.outcome is Outcome.FAILED
    assert "pickle" in measured.error_message
    assert measured.model is None


def test_an_exception_that_cannot_be_pickled_or_shown(data):
    class NastyError(Exception):
        def __init__(self):
            super().__init__("nasty")
            self.lock = threading.Lock()

        def __str__(self):
            raise RuntimeError("no")

    def throw():
        raise NastyError

    measured = run(data, throw)
    assert (measured.outcome, measured.error_type) == (Outcome.FAILED, "NastyError")


def test_a_job_that_cannot_be_opened(data):
    spec = data.spec(Does())
    broken = type(spec)(**{n: getattr(spec, n) for n in spec.__slots__} | {"job": b"rubbish"})
    measured = data.runner.run_one(broken)
    assert measured.outcome is Outcome.FAILED
    assert measured.traceback


def test_predictions_that_cannot_come_back(data):
    class Odd(Does):
        def predict(self, X):
            return np.array([threading.Lock() for _ in X], dtype=object)

    def scorer(estimator, X, y):
        return 1.0

    measured = data.runner.run_one(data.spec(Odd(), scoring=scorer))
    assert measured.outcome is Outcome.FAILED
    assert "pickle" in measured.error_message


def test_cancel(data):
    def resist():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen(["sleep", "60"], start_new_session=True)
        time.sleep(60)

    spec = data.spec(Does(resist))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(data.runner.run_one, spec)
        assert wait_for(lambda: len(below(data.runner)) == 3)
        assert not data.runner.cancel(spec.fit_id, 2)
        assert not data.runner.cancel(spec.fit_id, 1, workflow_id="other")
        start = time.monotonic()
        assert data.runner.cancel(spec.fit_id, 1)
        measured = running.result(timeout=5)
        took = time.monotonic() - start
    assert measured.outcome is Outcome.CANCELLED
    assert measured.runtime_s > 0
    assert took < 0.5
    assert not data.runner.cancel(spec.fit_id, 1)


def test_cancel_before_the_server_is_ready(tmp_path):
    runner = AttemptRunner()
    try:
        spec_data = opened(runner, small_content(), tmp_path)
        os.kill(runner.server_pid, signal.SIGKILL)
        spec = spec_data.spec(Does())
        while not runner._server.dead:
            time.sleep(0.01)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(runner.run_one, spec)
            time.sleep(0.2)  # the new server is still importing
            start = time.monotonic()
            while not runner.cancel(spec.fit_id, 1):
                time.sleep(0.01)
            measured = running.result(timeout=5)
        assert measured.outcome is Outcome.CANCELLED
        assert time.monotonic() - start < 0.5
    finally:
        runner.close()


def test_neighbours_are_not_harmed(data):
    deeds = [
        lambda: ctypes.string_at(0),
        lambda: os._exit(1),
        lambda: np.ones(2**57),
        lambda: time.sleep(0.05),
    ]
    specs = [data.spec(Does(deeds[i % 4])) for i in range(16)]
    with ThreadPoolExecutor(4) as pool:
        outcomes = [m.outcome for m in pool.map(data.runner.run_one, specs)]
    expected = [Outcome.FAILED, Outcome.FAILED, Outcome.OUT_OF_MEMORY, Outcome.SUCCEEDED]
    assert outcomes == expected * 4
