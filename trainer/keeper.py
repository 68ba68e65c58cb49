"""The keeper of one attempt: forks the fit, watches it, ends all of it, says what it cost.

In: limits on memory and time, cancelling, killing, reaping, measuring, catching output. Not in:
what runs inside the fit's process (:mod:`fitcast.trainer.fit_process`), what an ending means
(:mod:`fitcast.trainer.outcomes`).

A keeper is a process of its own, with one thread, so it adopts whatever the fit leaves behind and
dies alone if something goes wrong. It watches its connection: when the runner goes, so does the
fit.
"""

import os
import select
import signal
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from fitcast.trainer.fit_process import MAX_TEXT_CHARS, run_fit
from fitcast.trainer.messages import (
    CANCEL,
    STARTED,
    ConnectionLostError,
    Ending,
    Start,
    receive_message,
    send_message,
)
from fitcast.trainer.process_tree import (
    adopt_orphans,
    close_other_descriptors,
    descendants,
    kernel_kills,
    kill_descendants,
    proportional_bytes,
    resident_bytes,
)

_LONGEST_TICK_S = 0.100
_SHORTEST_TICK_S = 0.004
_FASTEST_BYTES_PER_S = 4e9  # at which one process was seen to touch new memory
_TREE_EVERY_S = 0.200  # looking for the fit's own children costs more


def keep(
    connection: socket.socket, result_fd: int, dataset_fd: int, split_fd: int | None
) -> NoReturn:
    """Be the keeper of one attempt. Never returns."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends when its fit has
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        data_fds = {dataset_fd} if split_fd is None else {dataset_fd, split_fd}
        close_other_descriptors({connection.fileno(), result_fd, *data_fds})
        adopt_orphans()
        with suppress(ConnectionLostError, OSError):
            start = receive_message(connection)
            connection.sendall(STARTED)
            ending = _Watch(connection, start, result_fd, dataset_fd, split_fd).until_end()
            send_message(connection, ending)
    finally:
        kill_descendants()
        os._exit(0)


class _Watch:
    """One fit from fork to ending."""

    def __init__(
        self,
        connection: socket.socket,
        start: Start,
        result_fd: int,
        dataset_fd: int,
        split_fd: int | None,
    ) -> None:
        self._connection = connection
        self._limit = start.spec.memory_limit_bytes
        self._deadline_s = start.spec.deadline_s
        self._killed_for = ""
        self._tree_peak = 0
        self._children_bytes = 0
        self._next_tree_look = 0.0
        self._kernel_kills = kernel_kills()
        out, out_end = os.pipe2(os.O_CLOEXEC)
        err, err_end = os.pipe2(os.O_CLOEXEC)
        self._output = {out: _Tail(out), err: _Tail(err)}
        self._started_at = datetime.now(UTC)
        self._start_s = time.monotonic()
        keeper_pid = os.getpid()
        self._fit = os.fork()
        if self._fit == 0:
            run_fit(start, keeper_pid, result_fd, dataset_fd, split_fd, out_end, err_end)
        self._base = resident_bytes(self._fit)
        for fd in (out_end, err_end, result_fd, dataset_fd, split_fd):
            if fd is not None:
                os.close(fd)
        # our own child, not reaped yet: its number can't belong to another process
        self._handle = os.pidfd_open(self._fit)

    def until_end(self) -> Ending:
        poller = select.poll()
        poller.register(self._connection, select.POLLIN)
        poller.register(self._handle, select.POLLIN)
        for fd in self._output:
            poller.register(fd, select.POLLIN)
        tick_s = _SHORTEST_TICK_S
        while True:
            ready = {fd for fd, _ in poller.poll(tick_s * 1000)}
            for fd in ready & self._output.keys():
                if not self._output[fd].drain():
                    poller.unregister(fd)
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
        used = resident_bytes(self._fit)
        if now >= self._next_tree_look:
            self._next_tree_look = now + _TREE_EVERY_S
            others = [pid for pid in descendants(os.getpid()) if pid != self._fit]
            # proportional: forked children share most pages with the fit
            self._children_bytes = sum(proportional_bytes(pid) for pid in others)
            if others:
                self._next_tree_look = now + max(_TREE_EVERY_S, 10 * (time.monotonic() - now))
        used += self._children_bytes
        self._tree_peak = max(self._tree_peak, used)
        if used > self._limit:
            self._kill("memory")
        elif self._deadline_s is not None and now - self._start_s > self._deadline_s:
            self._kill("deadline")
        # Looks cost a core's time: none is needed before the limit can have been reached.
        soonest_s = (self._limit - used) / _FASTEST_BYTES_PER_S
        return min(max(soonest_s, _SHORTEST_TICK_S), _LONGEST_TICK_S)

    def _kill(self, reason: str) -> None:
        self._killed_for = self._killed_for or reason
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def _ended(self) -> Ending:
        runtime_s = time.monotonic() - self._start_s
        _, status, usage = os.wait4(self._fit, 0)
        code = os.waitstatus_to_exitcode(status)
        kills = kernel_kills()
        cpu_s = usage.ru_utime + usage.ru_stime + kill_descendants()
        for tail in self._output.values():
            tail.drain()
        stdout, stderr = (tail.text() for tail in self._output.values())
        return Ending(
            killed_for=self._killed_for,
            exit_code=code,
            kernel_out_of_memory=None not in (kills, self._kernel_kills)
            and kills != self._kernel_kills,
            runtime_s=runtime_s,
            cpu_s=cpu_s,
            # the process was forked, not exec'd, so this is its own high-water mark, exactly
            peak_memory_bytes=max(usage.ru_maxrss * 1024, self._tree_peak, self._base),
            base_memory_bytes=self._base,
            started_at=self._started_at,
            ended_at=self._started_at + timedelta(seconds=runtime_s),
            stdout=stdout,
            stderr=stderr,
        )


class _Tail:
    """The end of what comes through a pipe; the rest is read and dropped, so nobody blocks."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._kept = bytearray()
        self._dropped = 0
        os.set_blocking(fd, False)

    def drain(self, most_bytes: int = 2**22) -> bool:
        """Read what is there now; False when the pipe is closed."""
        while most_bytes > 0:
            try:
                data = os.read(self._fd, 65_536)
            except BlockingIOError:
                return True
            if not data:
                return False
            most_bytes -= len(data)
            self._kept += data
            excess = len(self._kept) - MAX_TEXT_CHARS
            if excess > 0:
                del self._kept[:excess]
                self._dropped += excess
        return True

    def text(self) -> str:
        kept = self._kept.decode("utf-8", "replace")
        if self._dropped:
            return f"[{self._dropped:,} bytes before this were dropped]\n{kept}"
        return kept
