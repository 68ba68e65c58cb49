"""The ends of fork servers, workers and runners: nothing stays behind."""

# ruff: noqa: PTH208 - /proc is what it looks at

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from running import Does, below, hang, new_mark, opened, own_worker, small_content
from sklearn.linear_model import LogisticRegression

from fitcast.errors import BackendError
from fitcast.history.records import Outcome
from fitcast.trainer.attempt.runner import AttemptRunner
from tests.polling import LONGEST_S, wait_for


def test_fork_server_restarts_and_running_attempts_are_lost(tmp_path):
    runner = AttemptRunner()
    try:
        data = opened(runner, small_content(), tmp_path)
        spec = data.spec(Does(hang))
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(runner.run_one, spec)
            assert wait_for(lambda: runner.pids()["fits"])
            fits = [psutil.Process(p) for p in runner.pids()["fits"]]
            os.kill(runner.server_pid, signal.SIGKILL)
            assert run.result(LONGEST_S).outcome is Outcome.WORKER_LOST
        psutil.wait_procs(fits, timeout=LONGEST_S)
        assert not any(p.is_running() and p.status() != "zombie" for p in fits)
        assert runner.run_one(data.spec(LogisticRegression())).outcome is Outcome.SUCCEEDED
    finally:
        runner.close()


def test_a_killed_worker_leaves_nothing(tmp_path):
    mark = new_mark()
    worker = own_worker(tmp_path, mark, "*[p.pid for p in below(runner)], runner.server_pid")
    line = worker.stdout.readline()
    seen = [psutil.Process(int(pid)) for pid in line.split()]
    assert len(seen) == 4  # supervisor, fit, its child, server
    worker.kill()
    worker.wait()
    worker.stdout.close()
    _, alive = psutil.wait_procs(seen, timeout=LONGEST_S)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def test_close_leaves_nothing(tmp_path):
    before = set(os.listdir("/proc/self/fd"))
    runner = AttemptRunner()
    data = opened(runner, small_content(), tmp_path)
    spec = data.spec(Does(hang))
    run = threading.Thread(target=runner.run_one, args=(spec,))
    run.start()
    assert wait_for(lambda: runner.pids()["fits"])
    seen = [*below(runner), psutil.Process(runner.server_pid)]
    runner.close()
    run.join(LONGEST_S)
    assert not run.is_alive()
    assert not any(p.is_running() for p in seen)
    assert len(os.listdir("/proc/self/fd")) == len(before)
    with pytest.raises(BackendError, match="closed"):
        runner.run_one(data.spec(Does()))
    runner.close()
