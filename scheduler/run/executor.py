"""A few threads for whatever takes time, so that nobody who decides has to wait for it.

Not in: what is done there, and what follows from it (:mod:`fitcast.scheduler.run.dispatcher`).
"""

import logging
import queue
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


class Executor:
    """Runs calls on up to so many daemon threads, each started when it is first needed.

    Daemon threads, since one may hang for as long as a peer does: an interpreter that ends must not
    wait for it, as it would for those of ``concurrent.futures``.

    Parameters
    ----------
    name : str
        Threads are called ``name-1``, ``name-2`` …
    threads : int
        How many there may be.
    """

    def __init__(self, name: str, threads: int = 8) -> None:
        self._name = name
        self._most = threads
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._under_way = 0  # calls, those that are queued included
        self._closed = False

    def submit(self, call: Callable[[], object]) -> None:
        """Run a call soon; what it raises is logged. After `close` nothing is run."""
        with self._lock:
            if self._closed:
                return
            self._under_way += 1
            self._calls.put(call)
            if self._under_way > len(self._threads) < self._most:
                name = f"{self._name}-{len(self._threads) + 1}"
                thread = threading.Thread(target=self._loop, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def close(self, timeout_s: float) -> bool:
        """Let what was submitted come to its end; tell whether it did within that time."""
        with self._lock:
            self._closed = True
            threads = list(self._threads)
        for _ in threads:
            self._calls.put(None)
        until_s = time.monotonic() + timeout_s
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until_s - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _loop(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except BaseException:  # the thread must live on
                log.exception("a call failed")
            with self._lock:
                self._under_way -= 1
