"""The fork server as its worker sees it: a subprocess with a socket.

In: starting it, sending it requests, noticing its end, ending it and what it forked, also if one of
them hangs or was stopped. Not in: attempts and datasets (:mod:`fitcast.trainer.attempt.runner`),
what the server does (:mod:`fitcast.trainer.attempt.fork_server`), what signs of life are
(:mod:`fitcast.trainer.attempt.heartbeats`).
"""

import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from fitcast.errors import BackendError
from fitcast.trainer.attempt.heartbeats import ENTRIES, SERVER_ENTRY, Silence, new_heartbeats
from fitcast.trainer.attempt.messages import (
    ATTEMPT,
    BRANCH,
    CUT,
    LOAD,
    READY,
    Branch,
    Branched,
    ConnectionLostError,
    receive_message,
    send_message,
)
from fitcast.trainer.attempt.process_tree import is_stopped, kill_tree, living_below
from fitcast.trainer.attempt.searched import INSIDE_A_FIT
from fitcast.trainer.shared_memory import new_block

SILENT_AFTER_S = 15.0
"""A server or supervisor that gives no sign of life for so long is ended with its fits. They give
several a second, but a machine that swaps may let them wait."""

GIVEN_UP_AFTER_S = 3.0
"""The same for a process whose attempts were cancelled, or whose loading nobody waits for."""

_START_WITHIN_S = 120.0  # silence while libraries are imported
_END_WITHIN_S = 5.0  # a server that was told to end
_CLEAR_UP_S = 2.0  # supervisors whose server is gone end their fits by themselves
_TICK_S = 1.0

_IMPORT_WITHIN_S = 60.0  # of a branch
_WHAT = {
    ATTEMPT: "the process that watches the fit",
    BRANCH: "a branch of the fork server",
    CUT: "the loader",
    LOAD: "the loader",
}

_NEVER = threading.Event()

_ONE_THREAD = {
    # one thread until a fit asks for more: a process with idle BLAS threads doesn't fork safely
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    # nothing of ours or of what we import reports to anyone
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    # what runs below is a fit: a search inside it is run in its process
    INSIDE_A_FIT: "1",
}

_NOT_INHERITED = (
    # Dask's nanny sets it, against memory that a long-lived worker keeps. It also stops glibc from
    # learning which sizes to recycle: forests took 9 % longer, and a fit's memory goes back anyway.
    "MALLOC_TRIM_THRESHOLD_",
)


@dataclass(slots=True, eq=False)
class _Asked:
    """A process that the server was asked for."""

    connection: socket.socket
    entry: int
    kind: bytes
    unwanted: threading.Event  # set once its attempts were cancelled
    parent: "_Asked | None" = None  # the branch that forks it; None for the server
    serves: bool = False  # a branch that has imported all
    over: bool = False  # its connection was given back; it stays known until it is reaped
    ended_for: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ServerBranch:
    """A branch of a fork server, which forks as that does."""

    control: socket.socket
    connection: socket.socket
    entry: int


class ServerProcess:
    """A running fork server; starts at once, ready some seconds later.

    Parameters
    ----------
    silent_after_s : float
        Without a sign of life for so long it is ended, and so is each process that it forked.
    """

    def __init__(self, silent_after_s: float = SILENT_AFTER_S) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        self._errors = new_block("fitcast-server-stderr")
        self._send_lock = threading.Lock()
        self._asked: dict[int, _Asked] = {}  # by entry
        self._branches: dict[ServerBranch, _Asked] = {}
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self.was_ready = False
        self._dead = threading.Event()
        self._silent_after_s = silent_after_s
        self._tick_s = min(_TICK_S, silent_after_s / 4)
        self._silence = Silence(2 * self._tick_s)
        self._ended_for = ""
        self._closed = False
        beats_fd = new_block("fitcast-beats")
        self._beats = new_heartbeats(beats_fd)
        module = "fitcast.trainer.attempt.fork_server"
        given = (theirs.fileno(), os.getpid(), beats_fd)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-m", module, *map(str, given)],
                pass_fds=(theirs.fileno(), beats_fd),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=_environment(),
                start_new_session=True,  # Ctrl-C in a terminal is for the client to handle
            )
        finally:
            theirs.close()
            os.close(beats_fd)
        threading.Thread(target=self._watch, name="fitcast-fork-server", daemon=True).start()

    @property
    def pid(self) -> int:
        """The process number."""
        return self._process.pid

    @property
    def dead(self) -> bool:
        """Whether it ended."""
        return self._dead.is_set()

    def ends_within(self, timeout_s: float) -> bool:
        """Return whether it has ended, after waiting for that so long."""
        return self._dead.wait(timeout_s)

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until it forks; raise BackendError if it can't, or takes too long."""
        if not self._ready.wait(timeout_s):
            raise BackendError(
                f"the fork server wasn't ready within {timeout_s:g} s: this machine is very busy, "
                "or importing scikit-learn takes unusually long; try again"
            )
        if not self.was_ready:
            raise BackendError(
                "the fork server ended while starting; its last words: "
                f"{self.last_words() or '(none)'}"
            )

    def request(
        self,
        kind: bytes,
        *fds: int,
        unwanted: threading.Event = _NEVER,
        branch: ServerBranch | None = None,
    ) -> socket.socket:
        """Ask for a forked process; return the connection to it.

        The connection ends when the server does. Give it back to :meth:`finished`.

        Parameters
        ----------
        kind
            What it is to be.
        fds
            What goes with the request.
        unwanted
            Once set, little patience is had with it.
        branch
            Which branch is to fork it; None for the server itself.
        """
        connection, _ = self._requested(kind, fds, unwanted, branch)
        return connection

    def branch(
        self, asked: Branch, parent: ServerBranch | None = None
    ) -> tuple[ServerBranch | None, Branched]:
        """Fork a branch that has libraries imported; None if it can't fork in turn.

        Of another one, if that is given, and it ends with it. Give it back to :meth:`end_branch`.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection, entry = self._requested(BRANCH, (theirs.fileno(),), _NEVER, parent)
        theirs.close()
        made = ServerBranch(ours, connection, entry)
        connection.settimeout(_IMPORT_WITHIN_S)
        try:
            send_message(connection, asked)
            told: Branched = receive_message(connection)
        except ConnectionLostError:
            told = Branched(why_not="importing them took too long, or ended the process")
        if told.why_not:
            self.end_branch(made)
            return None, told
        with self._lock:
            self._asked[entry].serves = True
            self._branches[made] = self._asked[entry]
        return made, told

    def end_branch(self, branch: ServerBranch) -> None:
        """End a branch and all that it forked."""
        with suppress(OSError):
            branch.control.shutdown(socket.SHUT_RDWR)
        branch.control.close()
        with self._lock:
            self._branches.pop(branch, None)
            known = self._asked.get(branch.entry)
            is_known = known is not None and known.connection is branch.connection
            pid = self._beats.read(branch.entry)[0] if is_known else 0
        if pid:
            kill_tree(pid, self.pid)
        self.finished(branch.connection)

    def has_ended(self, branch: ServerBranch) -> bool:
        """Tell whether a branch is gone."""
        with self._lock:
            known = self._branches.get(branch)
            return known is None or bool(known.ended_for) or self._is_gone(known)

    def branch_pids(self) -> list[int]:
        """Return the processes of its branches."""
        with self._lock:
            return [pid for one in self._branches.values() if (pid := self._pid_of(one))]

    def _pid_of(self, one: _Asked) -> int:
        return 0 if self._is_gone(one) else self._beats.read(one.entry)[0]

    def _is_gone(self, one: _Asked) -> bool:
        return self._asked.get(one.entry) is not one or self._beats.has_ended(one.entry)

    def _requested(
        self,
        kind: bytes,
        fds: Sequence[int],
        unwanted: threading.Event,
        branch: ServerBranch | None,
    ) -> tuple[socket.socket, int]:
        ours, theirs = socket.socketpair()
        with self._lock:
            entry = next((e for e in range(1, ENTRIES) if e not in self._asked), None)
            if entry is None:
                theirs.close()
                ours.close()
                raise BackendError(f"more than {ENTRIES - 1} processes of this worker are there")
            parent = None if branch is None else self._branches.get(branch)
            self._asked[entry] = _Asked(ours, entry, kind, unwanted, parent)
        try:
            with self._send_lock:
                message = b"%s %d" % (kind, entry)
                control = self._control if branch is None else branch.control
                socket.send_fds(control, [message], [theirs.fileno(), *fds])
        except OSError:
            if branch is None:
                self._dead.wait(5)  # the other side tells by ending the connection
            with suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)
        finally:
            theirs.close()
        return ours, entry

    def finished(self, connection: socket.socket) -> None:
        """Close a connection that ``request`` gave."""
        with self._lock:
            for asked in self._asked.values():
                if asked.connection is connection:
                    asked.over = True
            connection.close()
            self._forget_reaped()

    def why_ended(self, connection: socket.socket) -> str:
        """Return why the process of a connection was ended from here; nothing if it wasn't."""
        with self._lock:
            found = [one for one in self._asked.values() if one.connection is connection]
            return self._ended_for or "".join(one.ended_for for one in found)

    def last_words(self) -> str:
        """Return the end of what it wrote to stderr."""
        with suppress(OSError):
            size = os.fstat(self._errors).st_size
            return os.pread(self._errors, 4096, max(0, size - 4096)).decode("utf-8", "replace")
        return ""

    def close(self) -> None:
        """End it and all it forked, however they resist."""
        for branch in list(self._branches):
            with suppress(OSError):
                branch.control.shutdown(socket.SHUT_RDWR)
            branch.control.close()
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        self._dead.wait(_END_WITHIN_S + 2 * _CLEAR_UP_S + self._tick_s)
        with suppress(OSError):
            self._control.close()
        with self._lock:
            if not self._closed:
                self._closed = True
                self._beats.close()
                os.close(self._errors)
                self._errors = -1

    # -- on a thread of its own ------------------------------------------------------------------

    def _watch(self) -> None:
        with suppress(OSError, ValueError):  # the latter: it was closed
            self._listen()
        try:
            self._process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._end_all()
        self._dead.set()
        self._ready.set()
        self._hang_up()

    def _listen(self) -> None:
        """Take what it says and look for silence, until it has ended or must."""
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        next_look_s = time.monotonic() + self._tick_s
        while not self._ended_for:
            if poller.poll(1000 * max(0.0, next_look_s - time.monotonic())):
                said = self._control.recv(64)
                if not said:
                    return
                if said == READY:
                    self.was_ready = True
                    self._ready.set()
            if time.monotonic() >= next_look_s:
                self._look()
                next_look_s = time.monotonic() + self._tick_s
        self._end_all()

    def _look(self) -> None:
        """End what is silent."""
        with self._lock:
            self._forget_reaped()
            asked = dict(self._asked)
        quiet_s = self._silence.observe(
            {SERVER_ENTRY: self._beats.read(SERVER_ENTRY)}
            | {entry: self._sign(one) for entry, one in asked.items()},
            time.monotonic(),
        )
        patience_s = self._silent_after_s
        server_s = patience_s if self.was_ready else max(patience_s, _START_WITHIN_S)
        if quiet_s[SERVER_ENTRY] > server_s:
            self._ended_for = _silent("the fork server", quiet_s[SERVER_ENTRY])
            return
        for entry, one in asked.items():
            pid, _ = self._beats.read(entry)
            unwanted = one.over or one.unwanted.is_set()
            most_s = min(patience_s, GIVEN_UP_AFTER_S) if unwanted else patience_s
            if pid and quiet_s[entry] > most_s:
                one.ended_for = _silent(_WHAT[one.kind], quiet_s[entry])
                kill_tree(pid, self._pid_of(one.parent) if one.parent else self.pid)
                with self._lock:
                    if not one.over:
                        with suppress(OSError):
                            one.connection.shutdown(socket.SHUT_RDWR)

    def _sign(self, one: _Asked) -> object:
        """Return what differs from look to look if a process lives.

        A loader can't give signs of life while it unpickles, nor a branch while it imports: being
        stopped counts against it, and going on when nobody waits for it any more.
        """
        pid, beat_ns = self._beats.read(one.entry)
        if pid == 0:
            return object()  # the server has yet to fork it, and has its own signs
        if one.kind == ATTEMPT or one.serves:
            return pid, beat_ns
        return pid if one.over or is_stopped(pid) else object()

    def _forget_reaped(self) -> None:
        if self._closed:
            return
        for entry, one in list(self._asked.items()):
            orphaned = one.parent is not None and self._is_gone(one.parent)
            if one.over and (orphaned or self._beats.has_ended(entry)):
                self._beats.clear(entry)
                del self._asked[entry]

    def _end_all(self) -> None:
        """End a server that hangs. Its supervisors end their fits by themselves, if they can."""
        self._hang_up()
        end = time.monotonic() + _CLEAR_UP_S
        while living_below(self.pid) and time.monotonic() < end:
            time.sleep(0.01)
        kill_tree(self.pid, os.getpid(), _CLEAR_UP_S)
        self._process.wait()

    def _hang_up(self) -> None:
        with self._lock:
            for one in self._asked.values():
                if not one.over:
                    with suppress(OSError):
                        one.connection.shutdown(socket.SHUT_RDWR)


def _silent(what: str, quiet_s: float) -> str:
    return (
        f"{what} gave no sign of life for {quiet_s:.0f} s: it was stopped, or the machine is "
        "overloaded; it was ended with all below it"
    )


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    return kept | _ONE_THREAD
