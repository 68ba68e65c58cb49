"""Attempts that run in one process, as the runner holds them until they end.

In: whom to tell that they are cancelled, at any moment of their way and before it. Not in: running
them (:mod:`fitcast.trainer.attempt.runner`).
"""

import socket
import threading
from collections.abc import Iterable
from contextlib import suppress

from fitcast.history.records import Outcome
from fitcast.trainer.attempt.messages import CANCEL
from fitcast.trainer.attempt.outcomes import without_process
from fitcast.trainer.attempt.spec import AttemptSpec, Measured

MOST_TOMBSTONES = 65_536
"""How many cancelled attempts are remembered, the latest ones. One matters until what Dask carries
to the worker has arrived, and that is never more than the worker's CPUs have processes: a few
hundred, each with one cancelled leader."""


class Tombstones:
    """Attempts that were cancelled before they came, so that they never begin.

    They outlive the workflow's dataset: an attempt may come after that was closed, and would open
    it again. Not thread-safe.
    """

    def __init__(self) -> None:
        self._attempts: dict[tuple[str, str], int] = {}  # workflow and fit → the last one

    def add(self, workflow_id: str, fit_id: str, attempt: int) -> None:
        """Note that an attempt, and those of the fit before it, are not to begin."""
        known = self._attempts.pop((workflow_id, fit_id), attempt)
        self._attempts[workflow_id, fit_id] = max(attempt, known)
        if len(self._attempts) > MOST_TOMBSTONES:
            del self._attempts[next(iter(self._attempts))]

    def any_of(self, specs: Iterable[AttemptSpec]) -> bool:
        """Tell whether one of the attempts was cancelled: with it, its whole process was."""
        return any(
            spec.attempt <= self._attempts.get((spec.workflow_id, spec.fit_id), -1)
            for spec in specs
        )

    def __len__(self) -> int:
        return len(self._attempts)


class RunningBatch:
    """Attempts that run in one process, as far as cancelling them needs."""

    def __init__(self, specs: tuple[AttemptSpec, ...]) -> None:
        self.specs = specs
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._started = False

    def holds(self, workflow_id: str, fit_id: str, attempt: int) -> bool:
        """Tell whether an attempt is one of them."""
        wanted = (workflow_id, fit_id, attempt)
        return any((s.workflow_id, s.fit_id, s.attempt) == wanted for s in self.specs)

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
