"""The rows of each fold, cut out once per worker and shared by all fits of that fold.

In: which folds have a block, who uses it, when it goes. Not in: how a block is filled
(:mod:`fitcast.trainer.attempt.loader`).
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

KEPT_IDLE_BYTES = 64 * 2**20
"""Blocks that no fit uses are kept up to this size in all: cutting anew costs a fit's start."""

Key = tuple[str, int]
"""Dataset and fold."""


class _Block:
    def __init__(self) -> None:
        self.done = threading.Event()
        self.fd: int | None = None
        self.users = 0
        self.last_used = 0


class SplitBlocks:
    """Blocks of a worker's folds: those in use, and small ones that may be used again.

    Parameters
    ----------
    build
        Fills a block for a dataset and fold and returns its descriptor; None if it can't, then
        fits cut their rows themselves.
    """

    def __init__(self, build: Callable[[str, int], int | None]) -> None:
        self._build = build
        self._lock = threading.Lock()
        self._blocks: dict[Key, _Block] = {}
        self._closed_datasets: set[str] = set()
        self._clock = 0

    @contextmanager
    def borrowed(
        self, dataset_id: str, fold: int, cancelled: threading.Event
    ) -> Iterator[int | None]:
        """Give a descriptor of the fold's block, to be closed by nobody; build it if needed.

        None if it can't be built, or the dataset is closed.
        """
        key = (dataset_id, fold)
        with self._lock:
            closed = dataset_id in self._closed_datasets
            block = None if closed else self._blocks.get(key)
            if block is None and not closed:
                block = self._blocks[key] = _Block()
                # in a thread of its own: who asked first may be cancelled, others wait for it too
                name = f"fitcast-cut-{fold}"
                threading.Thread(
                    target=self._fill, args=(key, block), name=name, daemon=True
                ).start()
            if block is not None:
                block.users += 1
        if block is None:
            yield None
            return
        try:
            while not block.done.wait(0.05):
                if cancelled.is_set():
                    break
            yield block.fd if block.done.is_set() else None
        finally:
            with self._lock:
                block.users -= 1
                self._clock += 1
                block.last_used = self._clock
                self._drop_idle()

    def reopen(self, dataset_id: str) -> None:
        """Let blocks of a dataset that may have been closed be built again."""
        with self._lock:
            self._closed_datasets.discard(dataset_id)

    def close_dataset(self, dataset_id: str) -> None:
        """Drop a dataset's blocks, those in use as soon as they no longer are."""
        with self._lock:
            self._closed_datasets.add(dataset_id)
            self._drop_idle()

    def count(self) -> int:
        """Return how many blocks are held."""
        with self._lock:
            return len(self._blocks)

    def held_bytes(self) -> int:
        """Return how much memory the blocks take."""
        with self._lock:
            fds = [block.fd for block in self._blocks.values() if block.fd is not None]
            return sum(os.fstat(fd).st_size for fd in fds)

    def _fill(self, key: Key, block: _Block) -> None:
        fd = None
        try:
            fd = self._build(*key)
        finally:
            with self._lock:
                block.fd = fd
                block.done.set()
                if fd is None and self._blocks.get(key) is block:
                    del self._blocks[key]  # the next one asks anew
                self._drop_idle()

    def _drop_idle(self) -> None:
        idle = [k for k, b in self._blocks.items() if b.users == 0 and b.done.is_set()]
        idle.sort(key=lambda k: self._blocks[k].last_used, reverse=True)
        kept_bytes = 0
        for key in idle:
            fd = self._blocks[key].fd
            size = 0 if fd is None else os.fstat(fd).st_size
            if key[0] not in self._closed_datasets and kept_bytes + size <= KEPT_IDLE_BYTES:
                kept_bytes += size
                continue
            del self._blocks[key]
            if fd is not None:
                os.close(fd)
