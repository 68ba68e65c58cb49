"""The ends of fork servers, workers and runners: nothing stays behind."""

# ruff: noqa: PTH208 - /proc is what it looks at

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from running import Does, below, opened, small_content
from sklearn.linear_model import LogisticRegression

from fitcast.errors import BackendError
from fitcast.history.records import Outcome
from fitcast.trainer.attempt.runner import AttemptRunner


def test_fork_server_restarts_and_running_attempts_are_lost(tmp_path):
    runner = AttemptRunner()
    try:
        data = opened(runner, small_content(), tmp_path)
        spec = data.spec(Does(lambda: time.sleep(60)))
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(runner.run_one, spec)
            while not runner.pids()["fits"]:
                time.sleep(0.01)
            fits = [psutil.Process(p) for p in runner.pids()["fits"]]
            os.kill(runner.server_pid, signal.SIGKILL)
            assert run.result(timeout=5).outcome is Outcome.WORKER_LOST
        psutil.wait_procs(fits, timeout=3)
        assert not any(p.is_running() and p.status() != "zombie" for p in fits)
        assert runner.run_one(data.spec(LogisticRegression())).outcome is Outcome.SUCCEEDED
    finally:
        runner.close()


def test_a_killed_worker_leaves_nothing(tmp_path):
    script = tmp_path / "worker.py"
    mark = f"86{os.getpid()}.5"
    script.write_text(
        "import sys, threading, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from pathlib import Path\n"
        "from running import *\n"
        "import running, subprocess\n"
        "runner = AttemptRunner()\n"
        f"data = opened(runner, small_content(), Path({str(tmp_path)!r}))\n"
        "def deed():\n"
        "    import subprocess, time\n"
        f"    subprocess.Popen(['sleep', {mark!r}], start_new_session=True)\n"
        "    time.sleep(60)\n"
        "spec = data.spec(Does(deed))\n"
        "threading.Thread(target=runner.run_one, args=(spec,), daemon=True).start()\n"
        f"wait_for(lambda: marked({mark!r}))\n"
        "print(*[p.pid for p in below(runner)], runner.server_pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    worker = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    line = worker.stdout.readline()
    seen = [psutil.Process(int(pid)) for pid in line.split()]
    assert len(seen) == 4  # supervisor, fit, its child, server
    worker.kill()
    worker.wait()
    worker.stdout.close()
    _, alive = psutil.wait_procs(seen, timeout=5)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def test_close_leaves_nothing(tmp_path):
    before = set(os.listdir("/proc/self/fd"))
    runner = AttemptRunner()
    data = opened(runner, small_content(), tmp_path)
    run = threading.Thread(target=runner.run_one, args=(data.spec(Does(lambda: time.sleep(60))),))
    run.start()
    while not runner.pids()["fits"]:
        time.sleep(0.01)
    seen = [*below(runner), psutil.Process(runner.server_pid)]
    start = time.monotonic()
    runner.close()
    assert time.monotonic() - start < 3
    run.join(2)
    assert not run.is_alive()
    assert not any(p.is_running() for p in seen)
    assert len(os.listdir("/proc/self/fd")) == len(before)
    with pytest.raises(BackendError, match="closed"):
        runner.run_one(data.spec(Does()))
    runner.close()
