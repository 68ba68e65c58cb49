"""All workers, and the client itself: gone, stopped, and what is left behind.

No other client lives in the process meanwhile: its processes would be taken for left behind.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from fitcast import Client, LocalBackend, Pool, errors
from fitcast.history.locked_folders import memory_root
from fitcast.history.store import MemoryHistory
from fitcast.scheduler.session.leases import Lease
from tests.fault import harm, holding
from tests.fault.lone_client import SILENT_AFTER_S
from tests.fault.test_kills import FITS, submit
from tests.leases import leases_of, sealed_datasets
from tests.polling import LONGEST_S

MIB = 2**20
ROOT = Path(__file__).parents[2]


def test_nothing_is_left_after_harm_of_every_kind(tmp_path, no_process_left):
    before = holding.leases(), holding.listening(), holding.our_shared_memory()
    chance = random.Random(8)
    backend = LocalBackend([Pool("p", 1, 600 * MIB, workers=2)], silent_after_s=3.0)
    with Client(backend, home=tmp_path) as client:
        workflow = submit(client)
        for kind in ("worker", "fork server", "supervisor", "fit"):
            harm.strike_surely(client, kind, chance)
        workflow.wait(LONGEST_S)
        holding.check_whole(client, workflow, FITS)
        # Closing ends those too that are stopped, at work or while they start.
        stopped = harm.strike_surely(client, "worker", chance, sign=signal.SIGSTOP)
        nannies = client._platform.engine._backend._cluster.workers.values()
        nanny = next(n for n in nannies if n.pid not in (None, stopped.pid))
        before_pid = nanny.pid
        os.kill(before_pid, signal.SIGKILL)
        assert harm.until(lambda: nanny.pid not in (None, before_pid))
        os.kill(nanny.pid, signal.SIGSTOP)
    assert holding.leases() <= before[0]
    assert holding.listening() <= before[1]
    assert holding.our_shared_memory() <= before[2]
    assert not sealed_datasets(tmp_path)


def test_the_data_would_be_found_if_it_were_there(tmp_path):
    (tmp_path / "plain").write_bytes(holding.X.tobytes())
    assert holding.holding_mark(tmp_path) == [tmp_path / "plain"]
    (tmp_path / "plain").unlink()


@pytest.mark.slow
def test_a_workflow_ends_with_an_error_when_no_worker_can_be_started(tmp_path, no_process_left):
    over = threading.Event()

    def kill_what_starts():
        me = psutil.Process()
        while not over.wait(0.02):
            for process in me.children():
                with suppress(psutil.Error):
                    if process.pid not in others and "spawn_main" in " ".join(process.cmdline()):
                        process.kill()

    others = {process.pid for process in psutil.Process().children()}
    backend = LocalBackend([Pool("p", 1, 600 * MIB)])
    with Client(backend, home=tmp_path, history=MemoryHistory()) as client:
        workflow = submit(client)
        assert harm.until(lambda: bool(harm.victims(client)["fit"]))
        killer = threading.Thread(target=kill_what_starts)
        killer.start()
        try:
            with pytest.raises(errors.BackendError, match="all workers were lost"):
                workflow.result(LONGEST_S)
            holding.check_whole(client, workflow, FITS)
            assert workflow.state == "failed"
            with pytest.raises(errors.BackendError, match="all workers were lost"):
                submit(client).result(LONGEST_S)
        finally:
            over.set()
            killer.join()


@pytest.fixture
def lone(tmp_path):
    """Start a client in a process of its own; return it and all processes below it."""
    started = []

    def start(linger_s):
        np.savez(tmp_path / "data.npz", X=holding.X, y=holding.Y)
        command = [sys.executable, "-m", "tests.fault.lone_client"]
        process = subprocess.Popen(
            [*command, str(tmp_path / "home"), str(tmp_path / "data.npz"), str(linger_s)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        assert process.stdout.readline() == "running\n"
        (tmp_path / "data.npz").unlink()
        return process, psutil.Process(process.pid).children(recursive=True)

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_killed_client_leaves_no_process_and_nothing_readable(lone, tmp_path):
    process, below = lone(600.0)
    assert len(below) >= 8  # two workers, fork servers, supervisors and fits
    keys = leases_of(process.pid)
    assert keys
    process.kill()
    _, alive = psutil.wait_procs(below, timeout=LONGEST_S)
    assert not alive
    # What it couldn't remove goes when the next client of this user starts, whoever that is.
    Lease(memory_root()).close()
    assert not any(folder.exists() for folder in keys)


@pytest.mark.slow
def test_workers_are_not_taken_for_silent_after_the_client_itself_was_stopped(lone):
    process, _ = lone(0.4)
    process.send_signal(signal.SIGSTOP)
    stopped_s = time.monotonic()
    assert harm.until(lambda: time.monotonic() > stopped_s + 2 * SILENT_AFTER_S)
    process.send_signal(signal.SIGCONT)
    told = json.loads(process.stdout.readline())
    assert told == {"outcomes": ["succeeded"] * 6, "attempts": [1] * 6}
    assert process.wait(LONGEST_S) == 0
