"""Private folders of living processes, and the removal of those that a kill left.

While its maker lives, it holds a lock on the folder's marker, a file; the system gives the lock
back however the process ends. So a later process knows what was left without asking a clock or a
process number, both of which may mislead: where containers share a folder, each has processes of
the same numbers.

In here: making, recognizing and removing such folders. Not in here: what is in them, and unfinished
files (:mod:`fitcast.history.temporary_files`).
"""

import fcntl
import json
import logging
import os
import shutil
import socket
import stat
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

MARKER: Final = ".fitcast-owner.json"

OTHER_BOOT_AFTER_S: Final = 7 * 86_400.0
"""Age from which a free lock is believed that was made on another machine, or before this one was
started: on some network file systems a lock isn't seen by other machines."""

_SCHEMA: Final = 1
_MARKER_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class _Owner:
    """Who made a folder, as its marker says."""

    host: str
    boot: str
    pid: int


def memory_root() -> Path:
    """Return a folder in memory for folders of ours; others may use it too."""
    candidates = [Path("/dev/shm"), Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent"))]  # noqa: S108
    usable = (path for path in candidates if os.access(path, os.W_OK | os.X_OK))
    return next(usable, Path(tempfile.gettempdir()))


class LockedFolder:
    """A folder for this user alone (0700), of this process while it lives; `close` removes it.

    Parameters
    ----------
    root
        Where it is made; a temporary folder of the system by default.
    prefix
        What its name begins with; :func:`remove_left` goes by that.

    Raises
    ------
    OSError
        If none can be made there.
    """

    def __init__(self, root: Path | None, prefix: str) -> None:
        self._pid = os.getpid()
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=root))  # 0700
        self._marker: int | None = None
        try:
            self._marker = self._locked_marker()
        except BaseException:
            _remove(self.path)
            raise

    def _locked_marker(self) -> int:
        unfinished = self.path / f"{MARKER}.new"
        marker = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(marker, _own_marker().encode())
            with suppress(OSError):  # without locks it has no name to be found by: never removed
                fcntl.flock(marker, fcntl.LOCK_EX)
                # Locked before it has its name: who finds it by that finds it locked.
                unfinished.rename(self.path / MARKER)
        except BaseException:
            os.close(marker)
            raise
        return marker

    def close(self) -> None:
        """Remove the folder and all in it. A copy of this process (fork) leaves it alone."""
        marker, self._marker = self._marker, None
        if marker is None or os.getpid() != self._pid:
            return
        _remove(self.path)
        os.close(marker)


def remove_left(root: Path, prefix: str) -> list[Path]:
    """Remove the folders of this user's processes that are no more; return which.

    One is a folder, no link, with the prefix, this user's and closed to others, with a marker in it
    that says so and that nobody holds. Nothing else is touched.
    """
    removed = []
    for folder in sorted(root.glob(f"{prefix}*")) if root.is_dir() else ():
        try:
            marker = _open_marker(folder)
        except OSError:  # none of ours, or gone meanwhile
            continue
        try:
            if _is_left(marker, folder) and _remove(folder):
                removed.append(folder)
        finally:
            os.close(marker)
    return removed


def _open_marker(folder: Path) -> int:
    """Open a folder's marker without following any link on the way from `folder` on."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    inside = os.open(folder, flags | os.O_DIRECTORY)
    try:
        found = os.fstat(inside)
        if found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise PermissionError(f"{folder} isn't this user's alone")
        marker = os.open(MARKER, flags, dir_fd=inside)
    finally:
        os.close(inside)
    found = os.fstat(marker)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
        os.close(marker)
        raise PermissionError(f"{folder} has no marker of this user")
    return marker


def _is_left(marker: int, folder: Path) -> bool:
    """Whether the process that made a folder is no more; takes the lock if so."""
    owner = _read(marker)
    if owner is None:
        return False
    try:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    if owner.boot == _boot():
        return True
    with suppress(OSError):
        changed_s = max(os.fstat(marker).st_mtime, folder.lstat().st_mtime)
        if time.time() - changed_s > OTHER_BOOT_AFTER_S:
            return True
        log.info("%s is of %s, perhaps running: kept for a week", folder, owner.host)
    return False


def _remove(folder: Path) -> bool:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:  # another process was faster
        return False
    except OSError as error:
        log.warning("a folder no longer needed can't be removed: %s", error)
        return False
    return True


def _own_marker() -> str:
    told = {"schema": _SCHEMA, "host": socket.gethostname(), "boot": _boot(), "pid": os.getpid()}
    return json.dumps(told)


def _read(marker: int) -> _Owner | None:
    try:
        told = json.loads(os.pread(marker, _MARKER_BYTES, 0))
        if told["schema"] != _SCHEMA:
            return None
        return _Owner(str(told["host"]), str(told["boot"]), int(told["pid"]))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _boot() -> str:
    """Return what is the same for all processes of a running system, in whichever container."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"host {socket.gethostname()}"
