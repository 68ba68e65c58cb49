"""Watches how much memory the processes below this one take together.

Proportional set sizes: pages that several processes share count once. Only what comes on top of
the level at the start counts, so idle workers and their imports cost nobody anything.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

EVERY_S = 0.15


@dataclass(slots=True)
class Peak:
    """The most that was seen above the level at the start."""

    start_bytes: int
    peak_bytes: int = 0

    def see(self, total_bytes: int) -> None:
        """Take in a sample."""
        self.peak_bytes = max(self.peak_bytes, total_bytes - self.start_bytes)


@contextmanager
def watched() -> Iterator[Peak]:
    """Watch until the block is left."""
    peak = Peak(below_bytes())
    over = threading.Event()

    def watch() -> None:
        while not over.wait(EVERY_S):
            peak.see(below_bytes())

    thread = threading.Thread(target=watch, name="memory-watch", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def below_bytes() -> int:
    """Return the sum of the proportional set sizes of all descendants."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            total += process.memory_full_info().pss
        except (psutil.Error, OSError):  # it ended meanwhile
            continue
    return total
