"""A slow start that whoever waits for it can be released from.

Nothing here knows what is started. What is made runs to its next step, in a thread of its own, and
gives up there; only the wait for it ends at once.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from fitcast.errors import BackendError


class InterruptibleStart:
    """A start, once.

    Parameters
    ----------
    thread_name : str
        Of the thread that it runs in.
    """

    def __init__(self, thread_name: str) -> None:
        self._name = thread_name
        self._made: Future[Any] = Future()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._interrupted = threading.Event()

    @property
    def is_interrupted(self) -> bool:
        """Whether it was given up."""
        return self._interrupted.is_set()

    def run(self, make: Callable[[], Any]) -> Any:
        """Return what `make` returns; raise what it raises.

        Raises
        ------
        BackendError
            It was interrupted, before or meanwhile.
        """
        with self._lock:
            if not self.is_interrupted:
                self._thread = threading.Thread(
                    target=self._run, args=(make,), name=self._name, daemon=True
                )
                self._thread.start()
        return self._made.result()

    def check(self) -> None:
        """Raise if it was interrupted: called by `make` between its steps."""
        if self.is_interrupted:
            raise _interruption()

    def interrupt(self) -> None:
        """Let `run` raise now; returns at once."""
        with self._lock:
            self._interrupted.set()
            if not self._made.done():
                self._made.set_exception(_interruption())

    def join(self, timeout_s: float) -> None:
        """Wait until `make` has returned, if it was called."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _run(self, make: Callable[[], Any]) -> None:
        made: Any = None
        failure: BaseException | None = None
        try:
            made = make()
        except BaseException as error:  # raised where it is waited for
            failure = error
        with self._lock:
            if self._made.done():  # nobody waits any more
                return
            if failure is None:
                self._made.set_result(made)
            else:
                self._made.set_exception(failure)


def _interruption() -> BackendError:
    return BackendError("the workers were given up while they were started")
