# ruff: noqa: T201 - fits print
"""Fits that crash, resist, run away or leave things behind: they harm no neighbour, and go."""

import ctypes
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import (
    CPU_CLOCK_S,
    FIT_DEADLINE_S,
    Does,
    below,
    hang,
    marked,
    new_mark,
    nothing_below,
    opened,
    small_content,
)

from fitcast.history.records import REFIT_FOLD, Outcome
from fitcast.trainer.attempt.memory_ledger import _SLOT, _place
from fitcast.trainer.attempt.runner import AttemptRunner
from fitcast.trainer.attempt.spec import JobBytes
from fitcast.trainer.attempt.supervisor import pause_s
from tests.polling import LONGEST_S, wait_for

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


def test_endless_loop_meets_its_deadline(data, tmp_path):
    told = tmp_path / "cpu_s"

    def loop():
        file = os.open(told, os.O_CREAT | os.O_WRONLY)
        while True:
            os.pwrite(file, struct.pack("d", time.process_time()), 0)

    measured = run(data, loop, deadline_s=1.0)
    assert measured.outcome is Outcome.OUT_OF_TIME
    assert measured.runtime_s >= 1.0
    assert "deadline" in measured.error_message
    # it was ended from outside, and what it had used until then was counted all the same
    (used_s,) = struct.unpack("d", told.read_bytes())
    assert used_s - CPU_CLOCK_S <= measured.cpu_s <= measured.runtime_s + CPU_CLOCK_S


def test_deadline_of_one_that_ignores_every_signal_it_can(data):
    def resist():
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(number, signal.SIG_IGN)
        hang()

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
    assert measured.peak_memory_bytes > limit


@given(st.integers(0, 2**40), st.floats(0, 4e9))
def test_no_fit_grows_far_beyond_its_limit_before_it_is_looked_at(limit, bytes_per_s):
    used, looks = 0.0, 0
    while used <= limit and looks < 100:
        pause = pause_s(limit - used)
        assert 0 < pause <= 0.1  # deadlines are looked at as often
        used += pause * bytes_per_s
        looks += 1
    assert used <= limit + 16 * MIB


def test_allocation_that_fails(data):
    measured = run(data, lambda: np.ones(2**57))
    assert measured.outcome is Outcome.OUT_OF_MEMORY
    assert "MemoryError" in measured.error_type


def test_children_count_towards_the_limit(data):
    def spread():
        for _ in range(4):
            if os.fork() == 0:
                block = np.ones(150 * MIB // 8)
                hang()
                os._exit(int(block[0]))
        hang()

    measured = run(data, spread, memory_limit_bytes=500 * MIB)
    assert measured.outcome is Outcome.OUT_OF_MEMORY
    assert measured.peak_memory_bytes > 500 * MIB


def test_forked_children_that_share_are_not_counted_twice(data, tmp_path):
    forked, seen = tmp_path / "forked", tmp_path / "seen"

    def share():
        block = np.ones(200 * MIB // 8)
        pids = []
        for _ in range(4):
            pid = os.fork()
            if pid == 0:
                wait_for(seen.exists, FIT_DEADLINE_S)
                os._exit(int(block[0]))
            pids.append(pid)
        forked.touch()
        for pid in pids:
            os.waitpid(pid, 0)

    spec = data.spec(Does(share), memory_limit_bytes=800 * MIB)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(data.runner.run_one, spec)
        assert wait_for(forked.exists)
        assert wait_for(lambda: children_bytes(data.runner))
        seen.touch()
        measured = running.result(LONGEST_S)
    assert measured.outcome is Outcome.SUCCEEDED, measured.error_message
    assert measured.peak_memory_bytes < 800 * MIB


def children_bytes(runner):
    """Return what the runner's supervisors saw the children of fits hold, when they looked last."""
    ledger = runner._ledger
    slots = [_SLOT.unpack_from(ledger._map, _place(slot)) for slot in range(8)]
    return sum(held_bytes for _, _, held_bytes in slots)


def test_children_left_behind_are_ended(data):
    mark = new_mark()

    def leave():
        for _ in range(3):
            subprocess.Popen(["sleep", mark])
        subprocess.Popen(["sh", "-c", f"trap '' TERM HUP INT; sleep {mark} & wait"])

    measured = run(data, leave)
    assert measured.outcome is Outcome.SUCCEEDED, measured.traceback
    assert marked(mark) == []


def test_a_daemonised_grandchild_is_ended(data):
    mark = new_mark()

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


def test_one_that_asks_its_supervisor_to_end_is_not_heard(data):
    def ask_parent():
        for asked in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getppid(), asked)

    assert run(data, ask_parent).outcome is Outcome.SUCCEEDED


def test_one_that_kills_its_supervisor_leaves_nothing(data):
    mark = new_mark()

    def kill_parent():
        subprocess.Popen(["sleep", mark], start_new_session=True)
        os.kill(os.getppid(), signal.SIGKILL)
        hang()

    measured = run(data, kill_parent)
    assert measured.outcome is Outcome.WORKER_LOST
    assert wait_for(lambda: not marked(mark))


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
            hang()

        loop(3)

    spec = data.spec(Does(breed))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(data.runner.run_one, spec)
        assert wait_for(lambda: len(below(data.runner)) > 3 * 3 * 3)
        assert data.runner.cancel(spec.fit_id, 1, "w")
        assert running.result(LONGEST_S).outcome is Outcome.CANCELLED


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
    assert measured.outcome is Outcome.SUCCEEDED
    assert "pickle" in measured.model_error
    assert measured.model is None


def test_a_model_that_is_too_large(data):
    spec = data.spec(Does(lambda: bytes(100_000)), fold=REFIT_FOLD, return_model=True)
    measured = data.runner.run_one(replace(spec, result_bytes=50_000))
    assert measured.outcome is Outcome.SUCCEEDED
    assert "FITCAST_RESULT_BYTES" in measured.model_error
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
    spec, rubbish = data.spec(Does()), JobBytes(b"rubbish", b"rubbish")
    broken = type(spec)(**{n: getattr(spec, n) for n in spec.__slots__} | {"job": rubbish})
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
    assert "lock" in measured.error_message


def test_cancel(data, tmp_path):
    asked = tmp_path / "asked"

    def resist():
        signal.signal(signal.SIGTERM, lambda *_: asked.touch())
        subprocess.Popen(["sleep", new_mark()], start_new_session=True)
        hang()

    spec = data.spec(Does(resist))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(data.runner.run_one, spec)
        assert wait_for(lambda: len(below(data.runner)) == 3)
        assert not data.runner.cancel(spec.fit_id, 2, "w")
        assert not data.runner.cancel(spec.fit_id, 1, "other")
        assert data.runner.cancel(spec.fit_id, 1, "w")
        measured = running.result(LONGEST_S)
    assert measured.outcome is Outcome.CANCELLED
    assert measured.runtime_s > 0
    assert not asked.exists()  # ended at once: it isn't asked first, nor given time
    assert not data.runner.cancel(spec.fit_id, 1, "w")


def test_cancel_before_the_server_is_ready(tmp_path):
    runner = AttemptRunner()
    try:
        spec_data = opened(runner, small_content(), tmp_path)
        os.kill(runner.server_pid, signal.SIGKILL)
        assert runner._server.ends_within(LONGEST_S)
        server = runner._live_server()
        os.kill(server.pid, signal.SIGSTOP)  # it has seconds of importing before it
        spec = spec_data.spec(Does())
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(runner.run_one, spec)
            assert wait_for(lambda: runner._batches and runner._batches[0]._connection)
            assert runner.cancel(spec.fit_id, 1, "w")
            measured = running.result(LONGEST_S)
        assert measured.outcome is Outcome.CANCELLED
        assert not server.was_ready
        os.kill(server.pid, signal.SIGCONT)
    finally:
        runner.close()


def test_neighbours_are_not_harmed(data, tmp_path):
    def harmful(number, deed):
        def do():
            (tmp_path / f"{number}-{os.getpid()}").touch()
            deed()

        return do

    def is_over(number):
        files = [*tmp_path.glob(f"{number}-*")]
        return files and not psutil.pid_exists(int(files[0].name.split("-")[1]))

    def outlive(first):
        def do():
            for number in range(first, first + 3):
                assert wait_for(lambda number=number: is_over(number))

        return do

    deeds = [lambda: ctypes.string_at(0), lambda: os._exit(1), lambda: np.ones(2**57)]
    specs = [
        data.spec(Does(outlive(i - 3) if i % 4 == 3 else harmful(i, deeds[i % 4])))
        for i in range(16)
    ]
    with ThreadPoolExecutor(4) as pool:
        outcomes = [m.outcome for m in pool.map(data.runner.run_one, specs)]
    expected = [Outcome.FAILED, Outcome.FAILED, Outcome.OUT_OF_MEMORY, Outcome.SUCCEEDED]
    assert outcomes == expected * 4
