"""A sweep in a real terminal: the live bar, Ctrl-C, and a kill that leaves no time to clean up."""

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fitcast.history.locked_folders import memory_root
from fitcast.scheduler.session.leases import Lease
from tests.leases import leases_of, sealed_datasets
from tests.polling import LONGEST_S, wait_for

FITCAST = str(Path(sys.executable).with_name("fitcast"))
SWEEP = """
from fitcast import Sweep
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
import time

class Slow(ClassifierMixin, BaseEstimator):
    def __init__(self, level=0):
        self.level = level
    def fit(self, X, y):
        self.classes_ = sorted(set(y))
        time.sleep({sleep_s})
        return self
    def predict(self, X):
        return [self.classes_[0]] * len(X)

sweep = Sweep({{"slow": (Slow(), {{"level": [1, 2, 3, 4]}})}}, *load_iris(return_X_y=True), cv=5)
"""


def _take_terminal() -> None:
    os.close(os.open(os.ttyname(0), os.O_RDWR))  # Ctrl-C goes to it
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored by what a shell runs in the background


class Terminal:
    """A command in a pseudo-terminal of its own, as a person would run it."""

    def __init__(self, command: list[str]) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_terminal,
            env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"},
        )
        os.close(theirs)
        self.shown = ""

    def read_until(self, pattern: str) -> str:
        end = time.monotonic() + LONGEST_S
        while not re.search(pattern, self.shown):
            assert time.monotonic() < end, f"not shown: {pattern}\n{self.shown[-3000:]}"
            if not self._read(0.1) and self.process.poll() is not None:
                pytest.fail(f"ended without showing {pattern}\n{self.shown[-3000:]}")
        return self.shown

    def press(self, key: bytes) -> None:
        os.write(self._ours, key)

    def end(self) -> int:
        end = time.monotonic() + LONGEST_S
        while self.process.poll() is None:
            assert time.monotonic() < end, self.shown[-3000:]
            self._read(0.1)
        while self._read(0.1):
            pass
        os.close(self._ours)
        return self.process.returncode

    def _read(self, timeout_s: float) -> bool:
        ready, _, _ = select.select([self._ours], [], [], timeout_s)
        if not ready:
            return False
        with contextlib.suppress(OSError):  # the other end is closed
            data = os.read(self._ours, 65536)
            self.shown += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", data.decode("utf-8", "replace"))
            return bool(data)
        return False


@pytest.fixture
def sweep_file(tmp_path):
    def write(sleep_s: float) -> str:
        file = tmp_path / "sweep.py"
        file.write_text(SWEEP.format(sleep_s=sleep_s))
        return str(file)

    return write


def running_fits(terminal: Terminal) -> list[psutil.Process]:
    """Wait until fits run; return every process below the command."""
    terminal.read_until(r"[12] running")
    command = psutil.Process(terminal.process.pid)
    # Dask's worker and tracker, fork server, a supervisor and its fit
    assert wait_for(lambda: len(command.children(recursive=True)) >= 5), terminal.shown[-3000:]
    return command.children(recursive=True)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    _, left = psutil.wait_procs(processes, timeout=LONGEST_S)
    return [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_the_bar_shows_an_eta_that_moves_and_the_tables_fit(sweep_file, no_process_left):
    terminal = Terminal([FITCAST, "run", sweep_file(0.3)])
    shown = terminal.read_until("20/20|21/21") + ""
    assert terminal.end() == 0, terminal.shown
    etas = re.findall(r"([\d.]+ (?:s|min)[^\r\n]*?) left", shown)
    assert len(set(etas)) >= 3, etas
    assert "Forecast, per fit of each candidate" in terminal.shown
    assert "slow level=4" in terminal.shown
    assert "Leaderboard" in terminal.shown
    assert "whole workflow" in terminal.shown


@pytest.mark.slow
def test_ctrl_c_ends_everything_and_waits_for_no_fit(sweep_file, fitcast_home):
    terminal = Terminal([FITCAST, "run", sweep_file(10 * LONGEST_S)])
    started = running_fits(terminal)
    terminal.press(b"\x03")
    assert terminal.end() == 130
    assert "interrupted" in terminal.shown, terminal.shown[-600:]
    assert "Traceback" not in terminal.shown
    assert not alive(started)
    assert not leases_of(terminal.process.pid)
    assert sealed_datasets(fitcast_home), "it can be gone on with"


@pytest.mark.slow
def test_a_killed_client_leaves_no_process_and_the_next_removes_its_files(sweep_file, fitcast_home):
    terminal = Terminal([FITCAST, "run", sweep_file(10 * LONGEST_S)])
    started = running_fits(terminal)
    assert leases_of(terminal.process.pid), "there should be a key for the next start to remove"
    os.kill(terminal.process.pid, signal.SIGKILL)
    terminal.end()
    assert not alive(started)
    assert sealed_datasets(fitcast_home), "it can be gone on with"
    Lease(memory_root()).close()  # what every client of this user does first
    assert not leases_of(terminal.process.pid)
