"""Attempts that run in one process, as the runner holds them until they end.

In: whom to tell that they are cancelled, at any moment of their way. Not in: running them
(:mod:`fitcast.trainer.attempt.runner`).
"""

import socket
import threading
from contextlib import suppress

from fitcast.history.records import Outcome
from fitcast.trainer.attempt.messages import CANCEL
from fitcast.trainer.attempt.outcomes import without_process
from fitcast.trainer.attempt.spec import AttemptSpec, Measured


class RunningBatch:
    """Attempts that run in one process, as far as cancelling them needs."""

    def __init__(self, specs: tuple[AttemptSpec, ...]) -> None:
        self.specs = specs
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._started = False

    def connect(self, connection: socket.socket | None) -> None:
        """Take the connection to the supervisor, or take it back."""
        with self._lock:
            self._connection = connection
            self._started = False
            if connection is not None and self.cancelled.is_set():
                connection.shutdown(socket.SHUT_RDWR)

    def started(self) -> None:
        """Note that the supervisor has them."""
        with self._lock:
            self._started = True

    def without_process(
        self, outcome: Outcome, kind: str = "", message: str = ""
    ) -> list[Measured | None]:
        """Return the attempts of a process that didn't run, or of which nothing is known."""
        first: Measured | None = without_process(outcome, kind, message)
        return [first, *[None] * (len(self.specs) - 1)]

    def cancel(self) -> None:
        """End their process, now or as soon as there is one."""
        with self._lock:
            self.cancelled.set()
            if self._connection is None:
                return
            with suppress(OSError):
                if self._started:
                    self._connection.send(CANCEL)  # the fit is ended and its cost reported
                else:
                    self._connection.shutdown(socket.SHUT_RDWR)
