"""Temporary files and folders of the history, and the removal of those that a kill left.

In here: making them so that a later process knows whether their maker still lives: it holds a lock
which the system gives back however the process ends. Neither a clock nor a process number is asked.
Not in here: what is in them, and the folders of a client (:mod:`fitcast.scheduler.session.leases`).
"""

import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_PREFIX: Final = "fitcast-history-"
_LOCK: Final = ".fitcast-history.lock"  # tells that a folder is ours; locked while its maker lives
_FILES: Final = "files"
_PARTIAL: Final = ".partial"
_PARTIAL_NAME: Final = re.compile(r"[0-9a-f]{16}(\.[a-z0-9_]+)?\.partial")
# Never through a link, never waiting for whoever writes into a pipe
_SAFE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def temporary_folder(root: Path | None = None) -> Iterator[Path]:
    """Give an empty folder for this user alone, below `root`, that is gone afterwards."""
    outer = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))  # 0700
    descriptor = None
    try:
        unfinished = outer / f"{_LOCK}.new"
        descriptor = os.open(unfinished, _SAFE | os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with suppress(OSError):  # without locks it has no name to be found by, and is never swept
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Locked before it has its name: who finds it by that finds it locked
            unfinished.rename(outer / _LOCK)
        inner = outer / _FILES
        inner.mkdir(mode=0o700)
        yield inner
    finally:
        shutil.rmtree(outer, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def remove_left_folders(root: Path) -> list[Path]:
    """Remove the temporary folders of this user's processes that are no more; return which.

    One is a folder, no link, of that name, this user's and closed to others, with our lock in it
    that nobody holds. Nothing else is touched.
    """
    removed = []
    for folder in sorted(root.glob(f"{_PREFIX}*")):
        with suppress(OSError):  # none of ours, in use, or gone meanwhile
            lock = _opened_lock(folder)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
                removed.append(folder)
            finally:
                os.close(lock)
    return removed


@contextmanager
def partial_file(path: Path) -> Iterator[Path]:
    """Give a file beside `path` to be written, and put it in the place of `path` when it is whole.

    The stem of `path` is 16 hexadecimal digits: by that, those that a kill left are recognized.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}.", suffix=_PARTIAL)
    partial = Path(name)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
        os.close(descriptor)


def remove_left_partials(folder: Path) -> list[Path]:
    """Remove unfinished files that no living process writes; return which.

    Nothing but plain files of this user, of such a name, that nobody holds the lock of.
    """
    removed = []
    for path in sorted(folder.glob(f"*{_PARTIAL}")):
        if _PARTIAL_NAME.fullmatch(path.name) is None:
            continue
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | _SAFE)
            try:
                if _is_own_file(descriptor):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                    removed.append(path)
            finally:
                os.close(descriptor)
    return removed


def _opened_lock(folder: Path) -> int:
    inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _SAFE)
    try:
        found = os.fstat(inside)
        if found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise PermissionError(f"{folder} isn't this user's alone")
        lock = os.open(_LOCK, os.O_RDONLY | _SAFE, dir_fd=inside)
    finally:
        os.close(inside)
    if not _is_own_file(lock):
        os.close(lock)
        raise PermissionError(f"{folder} has no lock of this user")
    return lock


def _is_own_file(descriptor: int) -> bool:
    found = os.fstat(descriptor)
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid()
