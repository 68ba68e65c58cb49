"""The supervisor of one process of fits: forks it, watches it, ends all of it, reports its cost.

In: limits on memory and time, cancelling, killing, reaping, measuring, catching output. Not in:
what runs inside the process (:mod:`fitcast.trainer.attempt.fit_process`), what an ending means
(:mod:`fitcast.trainer.attempt.outcomes`).

It is a process of its own, with one thread, so it adopts whatever the fits leave behind and dies
alone if something goes wrong. It watches its connection: when the runner goes, so do the
fits. It gives signs of life, by which the runner ends it with its fits if it hangs or was stopped.
"""

import math
import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NoReturn

from fitcast.history.undisturbed import undisturbed_s
from fitcast.trainer.attempt.fit_process import Descriptors, run_fits
from fitcast.trainer.attempt.heartbeats import Pulse
from fitcast.trainer.attempt.held_files import HeldFiles
from fitcast.trainer.attempt.memory_ledger import LedgerView
from fitcast.trainer.attempt.messages import (
    CANCEL,
    STARTED,
    ConnectionLostError,
    Ending,
    StartRequest,
    receive_message,
    send_message,
)
from fitcast.trainer.attempt.output_files import LARGE_BYTES, shorten, size
from fitcast.trainer.attempt.process_tree import (
    adopt_orphans,
    close_other_descriptors,
    descendants,
    kernel_kills,
    kill_descendants,
    proportional_bytes,
    resident_bytes,
)
from fitcast.trainer.attempt.result_block import Turn, current_turn
from fitcast.trainer.attempt.task_waits import TaskWaits, Times, counts, machine_ticks

_LONGEST_TICK_S = 0.100
_SHORTEST_TICK_S = 0.004
_FASTEST_BYTES_PER_S = 4e9  # at which one process was seen to touch new memory
_TREE_EVERY_S = 0.200  # looking for the fit's own children costs more
_WAITS_EVERY_S = 0.500  # threads that end take with them what they waited since the last look
_MOST_STOLEN = 20.0  # beyond, the account of so short a time tells nothing
_SHARE_FOR_WAITS = 0.01  # of a core, however many threads there are


def supervise(connection: socket.socket, fds: Sequence[int], pulse: Pulse) -> NoReturn:
    """Supervise one process of fits. Never returns.

    Parameters
    ----------
    connection
        To the runner.
    fds
        Blocks: result, ledger, stdout, stderr, dataset, and the folds that the runner names.
    pulse
        For its signs of life.
    """
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends when its fits have
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        close_other_descriptors({connection.fileno(), *fds})
        adopt_orphans()
        pulse.keep_from_children()
        with suppress(ConnectionLostError, OSError):
            start = receive_message(connection)
            connection.sendall(STARTED)
            send_message(connection, _Watch(connection, start, fds, pulse).until_end())
    finally:
        kill_descendants(beat=pulse.beat)
        os._exit(0)


def pause_s(room_bytes: float) -> float:
    """Return how long to wait for the next look at fits that may grow by so much.

    Looks cost a core's time: none is needed before a limit can have been reached.
    """
    return min(max(room_bytes / _FASTEST_BYTES_PER_S, _SHORTEST_TICK_S), _LONGEST_TICK_S)


class _Watch:
    """A process of fits from fork to ending."""

    def __init__(
        self, connection: socket.socket, start: StartRequest, fds: Sequence[int], pulse: Pulse
    ) -> None:
        result_fd, ledger_fd, out_fd, err_fd, dataset_fd, *fold_fds = fds
        self._files = HeldFiles(fds)
        self._connection = connection
        self._pulse = pulse
        self._result_fd = result_fd
        self._outputs = {out_fd: 0, err_fd: 0}  # and up to where they were shortened
        self._ledger = LedgerView(ledger_fd, start.ledger_slot)
        self._specs = start.specs
        self._limit = start.specs[0].memory_limit_bytes
        self._killed_for = ""
        self._killed_turn: int | None = None
        self._tree_peaks: dict[int, int] = {}
        self._children_bytes = 0
        self._others: list[int] = []  # processes that the fits began
        self._files_bytes = 0
        self._next_files_look = 0.0
        self._told_bytes = 0
        self._next_tree_look = 0.0
        self._waits = TaskWaits() if counts() else None
        self._turn_times: dict[int, Times] = {}  # what had been seen when a turn began
        self._cpu_waits: dict[int, float] = {}
        self._next_waits_look = 0.0
        self._ticks = machine_ticks()
        self._kernel_kills = kernel_kills()
        self._started_at = datetime.now(UTC)
        self._start_s = time.monotonic()
        supervisor_pid = os.getpid()
        go = os.eventfd(0)
        self._fit = os.fork()
        if self._fit == 0:
            folds = dict(zip(start.block_folds, fold_fds, strict=True))
            theirs = Descriptors(result_fd, dataset_fd, folds, out_fd, err_fd, go)
            run_fits(start, supervisor_pid, theirs, self._start_s)
        # it waits for that: on a busy machine it could hold much before it was looked at
        self._base = resident_bytes(self._fit)
        self._ledger.enter(self._fit)
        os.eventfd_write(go, 1)
        os.close(go)
        for fd in (dataset_fd, *fold_fds):
            os.close(fd)
        # our own child, not reaped yet: its number can't belong to another process
        self._handle = os.pidfd_open(self._fit)

    def until_end(self) -> Ending:
        poller = select.poll()
        poller.register(self._connection, select.POLLIN)
        poller.register(self._handle, select.POLLIN)
        tick_s = _SHORTEST_TICK_S
        while True:
            self._pulse.beat()
            ready = {fd for fd, _ in poller.poll(tick_s * 1000)}
            if self._handle in ready:
                break
            if self._connection.fileno() in ready and not self._heard():
                poller.unregister(self._connection)
            tick_s = self._look()
        return self._ended()

    def _heard(self) -> bool:
        """Take what the runner said; anything but silence ends the fit."""
        try:
            said = self._connection.recv(64)
        except OSError:
            said = b""
        self._kill("cancel" if CANCEL in said else "lost")
        return bool(said)

    def _look(self) -> float:
        """Compare memory and time with their limits; return how long to wait for the next look."""
        now = time.monotonic()
        turn = self._turn()
        used = resident_bytes(self._fit)
        if now >= self._next_tree_look:
            self._next_tree_look = now + _TREE_EVERY_S
            others = [pid for pid in descendants(os.getpid()) if pid != self._fit]
            # proportional: forked children share most pages with the fit
            self._children_bytes = sum(proportional_bytes(pid) for pid in others)
            self._others = others
            if others:
                self._next_tree_look = now + max(_TREE_EVERY_S, 10 * (time.monotonic() - now))
        if now >= self._next_files_look:
            began_s = time.monotonic()
            self._files_bytes = self._files.look([self._fit, *self._others]).bytes
            # at most a fiftieth of the time, however many there are
            self._next_files_look = now + 50 * (time.monotonic() - began_s)
        if now >= self._next_waits_look or turn.number not in self._turn_times:
            self._look_at_waits(turn)
        beside = self._children_bytes + self._files_bytes
        if beside != self._told_bytes:
            self._told_bytes = beside
            self._ledger.children(beside)
        if beside:
            used += beside
            self._tree_peaks[turn.number] = max(self._tree_peaks.get(turn.number, 0), used)
        deadline_s = self._specs[turn.number].deadline_s
        must_go, room = self._ledger.look()
        if used > self._limit:
            # seen here and now; what the kernel reports at the end may lag by some pages
            self._tree_peaks[turn.number] = max(self._tree_peaks.get(turn.number, 0), used)
            self._kill("memory", turn.number)
        elif must_go:
            self._kill("room", turn.number)
        elif deadline_s is not None and self._is_past(deadline_s, turn, now):
            self._kill("deadline", turn.number)
        self._shorten(turn)
        return pause_s(min(self._limit - used, room))

    def _look_at_waits(self, turn: Turn) -> Times:
        """Look how long the fit has waited for a core; return its seconds on one and without."""
        if self._waits is None:
            self._next_waits_look = math.inf
            return self._turn_times.setdefault(turn.number, (0.0, 0.0))
        began_s = time.monotonic()
        cpu_s, wait_s = self._waits.look([self._fit, *self._others])
        # the first look at the first turn comes with the fork, any other with the end of the last
        first = (cpu_s, wait_s) if turn.number else (0.0, 0.0)
        cpu_before_s, wait_before_s = self._turn_times.setdefault(turn.number, first)
        self._cpu_waits[turn.number] = wait_s - wait_before_s
        ended_s = time.monotonic()
        self._next_waits_look = ended_s + max(
            _WAITS_EVERY_S, (ended_s - began_s) / _SHARE_FOR_WAITS
        )
        return cpu_s - cpu_before_s, wait_s - wait_before_s

    def _is_past(self, deadline_s: float, turn: Turn, now: float) -> bool:
        """Tell whether a fit has had its time: what it waited for a core isn't counted."""
        gone_s = now - turn.began_s
        if gone_s <= deadline_s:
            return False
        cpu_s, wait_s = self._look_at_waits(turn)
        threads = self._specs[turn.number].threads
        return undisturbed_s(gone_s, cpu_s, wait_s, threads) > deadline_s

    def _turn(self) -> Turn:
        turn = current_turn(self._result_fd)
        return turn if turn.number else Turn(0, self._start_s, 0, 0)

    def _shorten(self, turn: Turn) -> None:
        """Give back what a fit wrote but for its end, so that it can't fill the memory."""
        for fd, at in zip(self._outputs, (turn.stdout_at, turn.stderr_at), strict=True):
            start, end = max(at, self._outputs[fd]), size(fd)
            if end - start > LARGE_BYTES:
                shorten(fd, start, end)
                self._outputs[fd] = end - LARGE_BYTES

    def _kill(self, reason: str, turn: int | None = None) -> None:
        if not self._killed_for:
            self._killed_for, self._killed_turn = reason, turn
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def _ended(self) -> Ending:
        ended_s = time.monotonic()
        self._look_at_waits(self._turn())  # not reaped yet, its first thread still has its numbers
        _, status, usage = os.wait4(self._fit, 0)
        code = os.waitstatus_to_exitcode(status)
        kills = kernel_kills()
        cpu_s = usage.ru_utime + usage.ru_stime + kill_descendants(beat=self._pulse.beat)
        self._files.remove_left()
        return Ending(
            killed_for=self._killed_for,
            killed_turn=self._killed_turn,
            exit_code=code,
            kernel_out_of_memory=None not in (kills, self._kernel_kills)
            and kills != self._kernel_kills,
            began_s=self._start_s,
            ended_s=ended_s,
            cpu_s=cpu_s,
            # the process was forked, not exec'd, so this is its own high-water mark, exactly
            peak_memory_bytes=max(usage.ru_maxrss * 1024, self._base),
            base_memory_bytes=self._base,
            started_at=self._started_at,
            last_turn=self._turn().number,
            tree_peaks=self._tree_peaks,
            cpu_waits=self._cpu_waits if self._waits is not None else {},
            stolen_share=_stolen_share(self._ticks, machine_ticks()),
        )


def _stolen_share(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float:
    """Return what the hypervisor took of the machine, over what its cores worked."""
    if before is None or after is None:
        return 0.0
    busy, stolen = after[0] - before[0], after[1] - before[1]
    return min(stolen / busy, _MOST_STOLEN) if busy > 0 and stolen > 0 else 0.0
