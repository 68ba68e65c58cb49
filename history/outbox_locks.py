"""The locks of an outbox that several processes share. The system gives them back after a kill.

In here: who moves files, who sends a workflow. Not in here: the files
(:mod:`fitcast.history.outbox`).
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fitcast.history.file_locks import locked, opened_for_lock

NEW: Final = ".new-"  # folders that aren't locked yet; other processes leave them alone
_MOVING: Final = ".moving"
_SENDING: Final = ".sending-"


def is_ours(name: str) -> bool:
    """Return whether something in the outbox is no process's folder by its name."""
    return name.startswith(".")


@contextmanager
def moving(folder: Path) -> Iterator[None]:
    """Move files between processes' folders, one process at a time; it takes milliseconds."""
    path = folder / _MOVING
    while True:
        descriptor = opened_for_lock(path)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_still(path, descriptor):
            break
        os.close(descriptor)
    try:
        yield
    finally:
        _give_back(path, descriptor)


@contextmanager
def sending(folder: Path, name: str) -> Iterator[bool]:
    """Give whether this process alone sends one workflow's history now."""
    path = folder / f"{_SENDING}{name}"
    try:
        descriptor = locked(path)
    except OSError:
        # There is no place for a lock, and so no file of another process either
        yield True
        return
    if descriptor is None:
        yield False
        return
    if not _is_still(path, descriptor):  # who had it before has removed it just now
        os.close(descriptor)
        yield False
        return
    try:
        yield True
    finally:
        _give_back(path, descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    """Return whether a lock is that of the file that has its name now."""
    with contextlib.suppress(OSError):
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    return False


def _give_back(path: Path, descriptor: int) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
    os.close(descriptor)
