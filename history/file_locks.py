"""Locks on files, by which processes tell each other that they are at something.

The system gives a lock back however its process ends, so none is left by a kill. Not in here: what
is locked, and folders that are removed with their process (:mod:`fitcast.history.locked_folders`).
"""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

LOOKERS_S: Final = 0.1
"""Longer than anyone who only looks (:func:`is_locked`) holds a lock."""

_LOOK_EVERY_S: Final = 0.005
_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def opened_for_lock(path: Path) -> int:
    """Return a descriptor of a file, made if need be for its owner alone; links aren't followed."""
    return os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)


def locked(path: Path, patience_s: float = 0.0) -> int | None:
    """Return a descriptor that holds the lock of a file; None if someone else holds it.

    Parameters
    ----------
    path
        The file; made if it isn't there.
    patience_s
        For how long someone else is waited for: `LOOKERS_S` where others use `is_locked`.
    """
    descriptor = opened_for_lock(path)
    end_s = time.monotonic() + patience_s
    try:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            if time.monotonic() >= end_s:
                os.close(descriptor)
                return None
            time.sleep(_LOOK_EVERY_S)
    except OSError:  # a file system without locks
        os.close(descriptor)
        raise


def is_locked(path: Path) -> bool:
    """Tell whether someone holds the lock of a file; no if there is none, or there are no locks."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
