"""The attempt runner of a worker: opens datasets, runs attempts, cancels them.

In: what the worker's threads call. Not in: the fork server's process
(:mod:`fitcast.trainer.server_process`), the keeper, what an ending means.

The worker process itself maps no dataset and opens no job; it only holds the descriptors of shared
blocks, so a fork server that died is replaced without loading anything again.
"""

import os
import socket
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from fitcast.errors import BackendError, SealError
from fitcast.history.records import REFIT_FOLD, Outcome
from fitcast.trainer.attempts import AttemptSpec, Measured
from fitcast.trainer.fit_process import read_report
from fitcast.trainer.messages import (
    ATTEMPT,
    CANCEL,
    CUT,
    LOAD,
    STARTED,
    ConnectionLostError,
    Cut,
    Ending,
    Load,
    Loaded,
    Start,
    receive_exactly,
    receive_message,
    send_message,
)
from fitcast.trainer.outcomes import judge, without_process
from fitcast.trainer.process_tree import children, descendants
from fitcast.trainer.server_process import ServerProcess
from fitcast.trainer.shared_memory import freeze, new_block
from fitcast.trainer.split_blocks import SplitBlocks

_FAILED_STARTS = 2  # after so many without being ready once, the server is not started again


@dataclass(slots=True)
class _Dataset:
    fd: int
    held_bytes: int
    shareable: bool


class _Attempt:
    """A running attempt, as far as cancelling it needs."""

    def __init__(self, spec: AttemptSpec) -> None:
        self.spec = spec
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._started = False

    def connect(self, connection: socket.socket | None) -> None:
        with self._lock:
            self._connection = connection
            self._started = False
            if connection is not None and self.cancelled.is_set():
                connection.shutdown(socket.SHUT_RDWR)

    def started(self) -> None:
        with self._lock:
            self._started = True

    def cancel(self) -> None:
        with self._lock:
            self.cancelled.set()
            if self._connection is None:
                return
            with suppress(OSError):
                if self._started:
                    self._connection.send(CANCEL)  # the keeper ends the fit and says what it cost
                else:
                    self._connection.shutdown(socket.SHUT_RDWR)


class AttemptRunner:
    """Runs attempts in child processes of their own, from any number of threads.

    Starts its fork server at once and doesn't wait for it; call early, it takes seconds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._failed_starts = 0
        self._server = ServerProcess()
        self._datasets: dict[str, _Dataset] = {}
        self._opening: dict[str, threading.Lock] = {}
        self._attempts: list[_Attempt] = []
        self._splits = SplitBlocks(self._cut)

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until attempts start without delay.

        Raises
        ------
        BackendError
            The fork server can't be started, or not in this time.
        """
        self._live_server().wait_ready(timeout_s)

    @property
    def server_pid(self) -> int:
        """Process number of the fork server."""
        return self._server.pid

    def pids(self) -> dict[str, list[int]]:
        """Return the processes below this runner: server, keepers (and loaders), fits."""
        keepers = children(self.server_pid)
        fits = [pid for keeper in keepers for pid in descendants(keeper)]
        return {"server": [self.server_pid], "keepers": keepers, "fits": fits}

    def open_dataset(self, dataset_id: str, uri: str, key_file: Path) -> int:
        """Unseal a dataset into shared memory, verified to its end; return the bytes held.

        Opening it again does nothing. The key is read by a child process that ends afterwards.

        Raises
        ------
        SealError
            The dataset is not what was sealed.
        BackendError
            It can't be loaded here.
        """
        with self._lock:
            opening = self._opening.setdefault(dataset_id, threading.Lock())
        with opening:
            with self._lock:
                known = self._datasets.get(dataset_id)
            if known is not None:
                return known.held_bytes
            asked = Load(uri, str(Path(key_file).absolute()), dataset_id, tuple(sys.path))
            fd, loaded = self._filled("fitcast-dataset", LOAD, asked)
            if fd is None:
                if loaded.sealed_wrong:
                    raise SealError(loaded.error)
                raise BackendError(loaded.error)
            with self._lock:
                if not self._closed:
                    dataset = _Dataset(fd, loaded.held_bytes, loaded.shareable)
                    self._datasets[dataset_id] = dataset
                    return loaded.held_bytes
            os.close(fd)
            raise BackendError("the runner was closed while a dataset was opened")

    def close_dataset(self, dataset_id: str) -> None:
        """Let go of a dataset; its memory goes with the last fit that still uses it."""
        with self._lock:
            dataset = self._datasets.pop(dataset_id, None)
            self._opening.pop(dataset_id, None)
            if dataset is not None:
                os.close(dataset.fd)
        self._splits.close_dataset(dataset_id)

    def run(self, spec: AttemptSpec) -> Measured:
        """Run one attempt and wait for its end; whatever the fit does comes back as data.

        Raises
        ------
        BackendError
            Its dataset isn't open, or the runner is closed.
        """
        attempt = _Attempt(spec)
        with self._lock:
            self._check_open()
            if spec.dataset_id not in self._datasets:
                raise BackendError(
                    f"dataset {spec.dataset_id!r} isn't open on this worker: call open_dataset"
                )
            self._attempts.append(attempt)
        try:
            for _ in range(3):
                measured = self._run_once(attempt)
                if measured is not None:
                    return measured
        finally:
            with self._lock:
                self._attempts.remove(attempt)
        return without_process(
            Outcome.WORKER_LOST, "ForkServerDied", "the fork server died again and again"
        )

    def cancel(self, fit_id: str, attempt: int, workflow_id: str | None = None) -> bool:
        """End an attempt; its ``run`` then returns it as cancelled. False if it isn't running.

        Parameters
        ----------
        fit_id, attempt
            Which attempt.
        workflow_id
            Whose, where workflows share a worker; None for any.
        """
        with self._lock:
            found = [
                a
                for a in self._attempts
                if (a.spec.fit_id, a.spec.attempt) == (fit_id, attempt)
                and workflow_id in (None, a.spec.workflow_id)
            ]
        for one in found:
            one.cancel()
        return bool(found)

    def close(self) -> None:
        """End all attempts, the fork server and everything below it; let go of all datasets."""
        with self._lock:
            self._closed = True
            running = list(self._attempts)
            datasets = list(self._datasets)
        for attempt in running:
            attempt.cancel()
        end = time.monotonic() + 2.0
        while self._attempts and time.monotonic() < end:
            time.sleep(0.005)
        self._server.close()
        for dataset_id in datasets:
            self.close_dataset(dataset_id)

    def _run_once(self, attempt: _Attempt) -> Measured | None:
        """Try to run an attempt; None if it didn't begin because the server had died."""
        spec = attempt.spec
        with ExitStack() as stack:
            with self._lock:
                dataset = self._datasets.get(spec.dataset_id)
                if dataset is None:  # closed meanwhile: nobody wants the result
                    return without_process(Outcome.CANCELLED)
                # a descriptor of our own: the dataset may be closed while we still send it
                dataset_fd = os.dup(dataset.fd)
            stack.callback(os.close, dataset_fd)
            fds = [dataset_fd]
            if dataset.shareable and spec.fold != REFIT_FOLD:
                borrow = self._splits.borrowed(spec.dataset_id, spec.fold, attempt.cancelled)
                split_fd = stack.enter_context(borrow)
                if split_fd is not None:
                    fds.append(split_fd)
            if attempt.cancelled.is_set():
                return without_process(Outcome.CANCELLED)
            try:
                server = self._live_server()
            except BackendError as error:
                return without_process(Outcome.WORKER_LOST, "ForkServerDied", str(error))
            result_fd = new_block("fitcast-result")
            stack.callback(os.close, result_fd)
            connection = server.request(ATTEMPT, result_fd, *fds)
            stack.callback(server.finished, connection)
            attempt.connect(connection)
            stack.callback(attempt.connect, None)
            began = False
            try:
                send_message(connection, Start(spec, tuple(sys.path)))
                began = receive_exactly(connection, len(STARTED)) == STARTED
                attempt.started()
                ending: Ending = receive_message(connection)
            except ConnectionLostError:
                if attempt.cancelled.is_set():
                    return without_process(Outcome.CANCELLED)
                if not began and server.dead:
                    return None
                return without_process(
                    Outcome.WORKER_LOST,
                    "KeeperDied",
                    "the processes that run fits on this worker were ended from outside",
                )
            return _judged(ending, result_fd)

    def _live_server(self) -> ServerProcess:
        with self._lock:
            self._check_open()
            if self._server.dead:
                self._failed_starts = 0 if self._server.was_ready else self._failed_starts + 1
                words = self._server.last_words()
                if self._failed_starts >= _FAILED_STARTS:
                    raise BackendError(f"the fork server can't be started; its last words: {words}")
                self._server.close()
                self._server = ServerProcess()
            return self._server

    def _check_open(self) -> None:
        if self._closed:
            raise BackendError("this runner was closed: make a new one")

    def _cut(self, dataset_id: str, fold: int) -> int | None:
        with self._lock:
            dataset = self._datasets.get(dataset_id)
            if dataset is None:
                return None
            dataset_fd = os.dup(dataset.fd)
        try:
            fd, _ = self._filled(
                f"fitcast-fold-{fold}", CUT, Cut(fold, tuple(sys.path)), dataset_fd
            )
        except BackendError:
            return None
        finally:
            os.close(dataset_fd)
        return fd

    def _filled(
        self, name: str, kind: bytes, asked: Load | Cut, *fds: int
    ) -> tuple[int | None, Loaded]:
        """Have a block filled by a loader; return it frozen, or None and what went wrong."""
        server = self._live_server()
        block = new_block(name)
        connection = server.request(kind, *fds, block)
        try:
            send_message(connection, asked)
            loaded: Loaded = receive_message(connection)
        except ConnectionLostError:
            loaded = Loaded(
                error="the process that loads data ended before it was done; this worker may have "
                f"too little memory for the dataset. {server.last_words()}".strip()
            )
        finally:
            server.finished(connection)
        if loaded.error:
            os.close(block)
            return None, loaded
        freeze(block)
        return block, loaded


def _judged(ending: Ending, result_fd: int) -> Measured:
    try:
        report = read_report(result_fd)
    except Exception as error:  # what a fit wrote may not come back: its own classes, or damage
        return replace(
            judge(ending, None),
            outcome=Outcome.FAILED,
            error_type=type(error).__name__,
            error_message=f"the result of the fit can't be read: {error}",
        )
    return judge(ending, report)
