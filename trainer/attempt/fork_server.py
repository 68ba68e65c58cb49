"""The fork server: libraries imported, one thread; forks a supervisor per process of fits.

In: ``python -m fitcast.trainer.attempt.fork_server FD PID BEATS``, where FD is a socket from the
runner PID, and BEATS the block for signs of life; requests come over the socket with the
descriptors that belong to them. Not in: what the forked processes do.

It gives a sign of life twice a second, and runs on when its parent ends while it is stopped.
It runs no user code and never enters an OpenMP region (a process that has can't fork safely). It
holds no dataset and no key. When the runner goes, everything below goes.
"""

import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import NoReturn

from fitcast.trainer.attempt import process_state
from fitcast.trainer.attempt.branching import import_ahead
from fitcast.trainer.attempt.heartbeats import SERVER_ENTRY, Heartbeats, Pulse
from fitcast.trainer.attempt.held_files import memory_devices
from fitcast.trainer.attempt.loader import cut_out, load
from fitcast.trainer.attempt.messages import (
    ATTEMPT,
    BRANCH,
    CUT,
    LOAD,
    MOST_DESCRIPTORS,
    READY,
    receive_message,
    send_message,
)
from fitcast.trainer.attempt.process_tree import (
    adopt_orphans,
    children,
    close_other_descriptors,
    die_with,
    kill_descendants,
    no_core_files,
    parent,
)
from fitcast.trainer.attempt.supervisor import supervise

_PRELOADED = (
    "numpy",
    "scipy.sparse",
    "scipy.stats",
    "cloudpickle",
    "joblib",
    "sklearn.calibration",
    "sklearn.compose",
    "sklearn.discriminant_analysis",
    "sklearn.dummy",
    "sklearn.ensemble",
    "sklearn.impute",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.model_selection",
    "sklearn.naive_bayes",
    "sklearn.neighbors",
    "sklearn.neural_network",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "sklearn.svm",
    "sklearn.tree",
    "pandas",
    "xgboost",
    "lightgbm",
    "fitcast.trainer.sweep.datasets",
)
_BEAT_EVERY_MS = 500
_GRACE_S = 2.0  # supervisors end their fits by themselves when the runner goes
_ORPHAN_WATCH_S = 2.0  # how long after a supervisor's violent end its orphans may still arrive


class _Server:
    def __init__(
        self, control: socket.socket, beats: Heartbeats, entry: int = SERVER_ENTRY
    ) -> None:
        self._control = control
        self._beats = beats
        self._entry = entry
        self._pid = os.getpid()
        self._children: dict[int, tuple[int, int]] = {}  # process → its pidfd and entry of beats
        self._watch_orphans_until = 0.0
        self._end = False

    def serve(self, runner_handle: int) -> None:
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(runner_handle, select.POLLIN)
        while not self._end:
            self._beats.beat(self._entry)
            watching = time.monotonic() < self._watch_orphans_until
            ready = {fd for fd, _ in poller.poll(20 if watching else _BEAT_EVERY_MS)}
            if runner_handle in ready:
                break
            for pid, (handle, entry) in list(self._children.items()):
                if handle in ready:
                    poller.unregister(handle)
                    self._reap(pid, handle, entry)
            if watching or not ready:
                self._end_orphans()
            if self._control.fileno() in ready:
                child = self._request()
                if child is not None:
                    poller.register(child, select.POLLIN)

    def _request(self) -> int | None:
        """Fork for one request; return the pidfd of the child."""
        asked, fds, _, _ = socket.recv_fds(
            self._control, 64, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        if not asked:
            self._end = True
            return None
        kind, number = asked.split()
        entry = int(number)
        pid = os.fork()
        if pid == 0:
            _be(kind, fds, self._beats, entry, self._pid)
        self._beats.enter(entry, pid)
        for fd in fds:
            os.close(fd)
        handle = os.pidfd_open(pid)
        self._children[pid] = handle, entry
        return handle

    def _reap(self, pid: int, handle: int, entry: int) -> None:
        os.close(handle)
        del self._children[pid]
        _, status = os.waitpid(pid, 0)
        self._beats.ended(entry)
        if status != 0:
            # it couldn't clear up: what it leaves behind comes to us
            self._watch_orphans_until = time.monotonic() + _ORPHAN_WATCH_S

    def _end_orphans(self) -> None:
        own = os.getpid()
        for pid in children(own):
            if pid not in self._children and parent(pid) == own:
                with suppress(ProcessLookupError, ChildProcessError):
                    os.kill(pid, signal.SIGKILL)  # our child, not reaped: its number is its own
                    os.waitpid(pid, os.WNOHANG)  # one that takes its time is reaped later


def _be(kind: bytes, fds: list[int], beats: Heartbeats, entry: int, server_pid: int) -> NoReturn:
    """Become what was asked for; the forked process never comes back."""
    pulse = Pulse(beats, entry)
    try:
        connection = socket.socket(fileno=fds[0])
        connection.setblocking(True)
        if kind == ATTEMPT:
            die_with(server_pid, signal.SIGCONT)
            supervise(connection, fds[1:], pulse)
        if kind == BRANCH:
            _branch(connection, fds[1], beats, entry, server_pid)
        die_with(server_pid)
        pulse.close()
        if kind == LOAD:
            load(connection, fds[1])
        elif kind == CUT:
            cut_out(connection, fds[1], fds[2])
    finally:
        os._exit(1)


def _branch(
    connection: socket.socket, control_fd: int, beats: Heartbeats, entry: int, server_pid: int
) -> NoReturn:
    """Be a branch: import what is asked for, and serve as the fork server does. Never returns."""
    try:
        die_with(server_pid)
        adopt_orphans()
        close_other_descriptors({connection.fileno(), control_fd})
        handle = os.pidfd_open(server_pid)
        told = import_ahead(receive_message(connection))
        process_state.find_thread_libraries()
        gc.collect()
        gc.freeze()
        beats.beat(entry)  # before it is held to the patience for those that serve
        send_message(connection, told)
        if not told.why_not:
            die_with(server_pid, signal.SIGCONT)
            with socket.socket(fileno=control_fd) as control:
                _Server(control, beats, entry).serve(handle)
            _let_end()
    finally:
        kill_descendants()
        os._exit(0)


def _let_end() -> None:
    """Wait a while for what was forked: it ends by itself."""
    end = time.monotonic() + _GRACE_S
    while children(os.getpid()) and time.monotonic() < end:
        with suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        time.sleep(0.005)


def _preload(beats: Heartbeats) -> None:
    for name in _PRELOADED:
        beats.beat(SERVER_ENTRY)
        # what isn't installed or doesn't import is met by the fit that needs it, with a traceback
        with suppress(Exception):
            importlib.import_module(name)
    process_state.find_thread_libraries()
    memory_devices()
    gc.collect()
    gc.freeze()  # the collector then leaves shared pages alone


def _stop(*_: object) -> NoReturn:
    raise SystemExit(0)


def main(control_fd: int, runner_pid: int, beats_fd: int) -> None:
    """Serve until the runner goes."""
    try:
        runner_handle = os.pidfd_open(runner_pid)
    except ProcessLookupError:
        return
    die_with(runner_pid, signal.SIGCONT)
    no_core_files()  # here, so that nothing below ever makes one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    adopt_orphans()
    server_pid = os.getpid()
    try:
        control = socket.socket(fileno=control_fd)
        beats = Heartbeats(beats_fd)
        os.close(beats_fd)
        beats.enter(SERVER_ENTRY, server_pid)
        _preload(beats)
        beats.beat(SERVER_ENTRY)  # before it is held to the shorter patience
        with suppress(OSError):
            control.send(READY)
            _Server(control, beats).serve(runner_handle)
        control.close()
        _let_end()
    finally:
        if os.getpid() == server_pid:
            kill_descendants()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
