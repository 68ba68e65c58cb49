"""Temporary files and folders of the history, and the removal of those that a kill left.

In here: folders for as long as something is put together, and files that are put in their place
when they are whole. Not in here: what is in them, and how a living process's folder is told from
one that was left (:mod:`fitcast.history.locked_folders`).
"""

import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from fitcast.history.locked_folders import LockedFolder, remove_left

_PREFIX: Final = "fitcast-history-"
_FILES: Final = "files"
_PARTIAL: Final = ".partial"
_PARTIAL_NAME: Final = re.compile(r"[0-9a-f]{16}(\.[a-z0-9_]+)?\.partial")
# Never through a link, never waiting for whoever writes into a pipe
_SAFE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def temporary_folder(root: Path | None = None) -> Iterator[Path]:
    """Give an empty folder for this user alone, below `root`, that is gone afterwards."""
    outer = LockedFolder(root, _PREFIX)
    try:
        inner = outer.path / _FILES
        inner.mkdir(mode=0o700)
        yield inner
    finally:
        outer.close()


def remove_left_folders(root: Path) -> list[Path]:
    """Remove the temporary folders of this user's processes that are no more; return which."""
    return remove_left(root, _PREFIX)


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


def _is_own_file(descriptor: int) -> bool:
    found = os.fstat(descriptor)
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid()
