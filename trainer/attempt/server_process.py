"""The fork server as its worker sees it: a subprocess with a socket.

In: starting it, sending it requests, noticing its end, ending it. Not in: attempts and datasets
(:mod:`fitcast.trainer.attempt.runner`), what the server does
(:mod:`fitcast.trainer.attempt.fork_server`).
"""

import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress

from fitcast.errors import BackendError
from fitcast.trainer.attempt.messages import READY
from fitcast.trainer.shared_memory import new_block

_ONE_THREAD = {
    # one thread until a fit asks for more: a process with idle BLAS threads doesn't fork safely
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    # nothing of ours or of what we import reports to anyone
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
}

_NOT_INHERITED = (
    # Dask's nanny sets it, against memory that a long-lived worker keeps. It also stops glibc from
    # learning which sizes to recycle: forests took 9 % longer, and a fit's memory goes back anyway.
    "MALLOC_TRIM_THRESHOLD_",
)


class ServerProcess:
    """A running fork server; starts at once, ready some seconds later."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        self._errors = new_block("fitcast-server-stderr")
        self._send_lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self.was_ready = False
        self._dead = threading.Event()
        module = "fitcast.trainer.attempt.fork_server"
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(os.getpid())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=_environment(),
                start_new_session=True,  # Ctrl-C in a terminal is for the client to handle
            )
        finally:
            theirs.close()
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

    def request(self, kind: bytes, *fds: int) -> socket.socket:
        """Ask for a forked process; return the connection to it.

        The connection ends when the server does. Give it back to :meth:`finished`.
        """
        ours, theirs = socket.socketpair()
        with self._lock:
            self._connections.add(ours)
        try:
            with self._send_lock:
                socket.send_fds(self._control, [kind], [theirs.fileno(), *fds])
        except OSError:
            self._dead.wait(5)  # the other side tells by ending the connection
            with suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)
        finally:
            theirs.close()
        return ours

    def finished(self, connection: socket.socket) -> None:
        """Close a connection that ``request`` gave."""
        with self._lock:
            self._connections.discard(connection)
            connection.close()

    def last_words(self) -> str:
        """Return the end of what it wrote to stderr."""
        with suppress(OSError):
            size = os.fstat(self._errors).st_size
            return os.pread(self._errors, 4096, max(0, size - 4096)).decode("utf-8", "replace")
        return ""

    def close(self, timeout_s: float = 5.0) -> None:
        """End it and all it forked."""
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        if not self._dead.wait(timeout_s):
            self._process.kill()
            self._dead.wait(timeout_s)
        with suppress(OSError):
            self._control.close()
        with suppress(OSError):
            os.close(self._errors)
        self._errors = -1

    def _watch(self) -> None:
        with suppress(OSError):
            while said := self._control.recv(64):
                if said == READY:
                    self.was_ready = True
                    self._ready.set()
        self._process.wait()
        self._dead.set()
        self._ready.set()
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(
                        socket.SHUT_RDWR
                    )  # supervisors that are left end their fits


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    return kept | _ONE_THREAD
