"""The datasets that a worker holds, and those that it is opening.

In: who waits for an opening, when it is given up, what is held afterwards. Not in: how a block is
filled (:mod:`fitcast.trainer.attempt.loader`), the rows of folds
(:mod:`fitcast.trainer.attempt.split_blocks`).
"""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from fitcast.errors import BackendError, FitcastError, SealError
from fitcast.trainer.attempt.messages import Load, Loaded

Connect = Callable[[socket.socket | None], None]
"""Takes the connection to a loader, so that it can be ended, and None before that is closed."""

_NEVER = threading.Event()


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that is open."""

    fd: int
    held_bytes: int
    shareable: bool  # rows can be cut out without knowing the estimator


class _Opening:
    """A dataset that is being opened; its fields belong to whoever holds the lock."""

    def __init__(self) -> None:
        self.waiting = 0
        self.done = False
        self.unwanted = False  # given up: whatever comes of it is let go
        self.held_bytes: int | None = None
        self.error: FitcastError | None = None
        self.connection: socket.socket | None = None

    def give_up(self) -> None:
        self.done = self.unwanted = True
        self._hang_up()

    def connect(self, connection: socket.socket | None) -> None:
        self.connection = connection
        if self.unwanted:
            self._hang_up()

    def _hang_up(self) -> None:
        """End the loader: it watches its connection."""
        if self.connection is not None:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)


class OpenDatasets:
    """Datasets by their id, each opened once however many need it.

    Parameters
    ----------
    fill
        ``fill(asked, connect)`` has a loader fill a block, and returns the block and what the
        loader said; no block if it failed.
    """

    def __init__(self, fill: Callable[[Load, Connect], tuple[int | None, Loaded]]) -> None:
        self._fill = fill
        self._changed = threading.Condition()
        self._closed = False
        self._datasets: dict[str, Dataset] = {}
        self._openings: dict[str, _Opening] = {}

    def open(self, asked: Load, cancelled: threading.Event = _NEVER) -> int | None:
        """Open a dataset unless it is open; return the bytes held.

        An opening goes on for as long as anybody waits for it.

        Parameters
        ----------
        asked
            Which, and where it lies.
        cancelled
            Ends the wait; tell by :meth:`wake` that it was set.

        Returns
        -------
        int or None
            None if the wait was cancelled, or the dataset closed meanwhile.
        """
        dataset_id = asked.dataset_id
        with self._changed:
            if self._closed:
                raise BackendError("this runner was closed: make a new one")
            if cancelled.is_set():
                return None
            known = self._datasets.get(dataset_id)
            if known is not None:
                return known.held_bytes
            opening = self._openings.get(dataset_id)
            if opening is None:
                opening = _Opening()
                # A thread of its own: who asked first may be cancelled, others wait for it too.
                threading.Thread(
                    target=self._open, args=(opening, asked), name="fitcast-open", daemon=True
                ).start()
                self._openings[dataset_id] = opening
            opening.waiting += 1
            self._changed.wait_for(lambda: opening.done or cancelled.is_set())
            opening.waiting -= 1
            if not opening.done and not opening.waiting:
                self._openings.pop(dataset_id).give_up()
            if opening.error is not None:
                raise type(opening.error)(*opening.error.args) from opening.error
            return opening.held_bytes

    def wake(self) -> None:
        """Let those that wait see whether they were cancelled."""
        with self._changed:
            self._changed.notify_all()

    def close(self, dataset_id: str) -> None:
        """Let go of a dataset, open or being opened."""
        with self._changed:
            dataset = self._datasets.pop(dataset_id, None)
            if dataset is not None:
                os.close(dataset.fd)
            opening = self._openings.pop(dataset_id, None)
            if opening is not None:
                opening.give_up()
                self._changed.notify_all()

    def close_all(self) -> None:
        """Let go of everything, for good."""
        with self._changed:
            self._closed = True
            known = [*self._datasets, *self._openings]
        for dataset_id in known:
            self.close(dataset_id)

    def __contains__(self, dataset_id: str) -> bool:
        with self._changed:
            return dataset_id in self._datasets

    def borrow(self, dataset_id: str) -> Dataset | None:
        """Return a dataset with a descriptor that the caller is to close; None if it isn't open."""
        with self._changed:
            dataset = self._datasets.get(dataset_id)
            if dataset is None:
                return None
            return Dataset(os.dup(dataset.fd), dataset.held_bytes, dataset.shareable)

    def held_bytes(self) -> int:
        """Return how much memory the datasets take."""
        with self._changed:
            return sum(dataset.held_bytes for dataset in self._datasets.values())

    def ids(self) -> set[str]:
        """Return which datasets are open or being opened."""
        with self._changed:
            return {*self._datasets, *self._openings}

    def _open(self, opening: _Opening, asked: Load) -> None:
        def connect(connection: socket.socket | None) -> None:
            with self._changed:
                opening.connect(connection)

        fd: int | None = None
        loaded = Loaded()
        error: FitcastError | None = None
        try:
            fd, loaded = self._fill(asked, connect)
            if fd is None:
                error = (SealError if loaded.sealed_wrong else BackendError)(loaded.error)
        except FitcastError as known:
            error = known
        except Exception as unknown:  # out of threads, descriptors, memory
            error = BackendError(f"the dataset can't be opened here: {unknown!r}")
        with self._changed:
            if opening.unwanted:
                if fd is not None:
                    os.close(fd)
                return
            del self._openings[asked.dataset_id]
            if fd is not None:
                held = loaded.held_bytes
                self._datasets[asked.dataset_id] = Dataset(fd, held, loaded.shareable)
                opening.held_bytes = held
            opening.error, opening.done = error, True
            self._changed.notify_all()
