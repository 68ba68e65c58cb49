"""Where the background process of a home is found: its lock, its socket and its log.

In: that there is one at most, that its owner alone comes in. Not in: what is said there
(:mod:`fitcast.scheduler.session.background.api`,
:mod:`fitcast.scheduler.session.background.calls`).

    <home>/background/          0700
        lock                    held by the process while it lives, and given back however it ends
        socket                  its own alone (0600); one that nobody listens on was left by a kill
        log, log.1, log.2       what it said

A socket's path may have 107 bytes. Home folders are longer at times, so it is reached by a
descriptor of its folder.
"""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fitcast.errors import BackgroundError
from fitcast.history.file_locks import LOOKERS_S, is_locked, locked

LOG_BYTES: Final = 2**20
OLD_LOGS: Final = 2
_LOCK: Final = "lock"
_SOCKET: Final = "socket"
_PEER: Final = struct.Struct("3i")  # process, user, group
_APPENDED: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class BackgroundPlace:
    """The folder of a home's background process.

    Parameters
    ----------
    home : Path
        The home; it is there, and this user's alone.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "background"
        self.log = self.path / "log"

    def make(self) -> None:
        """Make the folder.

        Raises
        ------
        BackgroundError
            It can't be made, or others may enter it.
        """
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            with self._folder() as folder:
                found = os.fstat(folder)
                if found.st_uid != os.geteuid():
                    raise BackgroundError(f"{self.path} belongs to another user: remove it")
                if found.st_mode & 0o077:
                    os.fchmod(folder, 0o700)
        except OSError as error:
            raise BackgroundError(
                f"{self.path} can't be made ({error.strerror or error}): free some space there, or "
                "give another home (FITCAST_HOME)"
            ) from error

    def hold(self) -> int | None:
        """Return the lock as this process has it from now on; None if another one has it."""
        return locked(self.path / _LOCK, LOOKERS_S)

    def is_held(self) -> bool:
        """Tell whether a process has the lock."""
        return is_locked(self.path / _LOCK)

    def open_log(self) -> int:
        """Return a descriptor that appends to the log; its owner's alone."""
        return os.open(self.log, _APPENDED, 0o600)

    def listening(self) -> socket.socket:
        """Return a socket that listens; for the holder of the lock.

        Raises
        ------
        BackgroundError
            There can be no socket in that folder.
        """
        self.remove_socket()  # of one that was killed
        listening = socket.socket(socket.AF_UNIX)
        try:
            with self._folder() as folder:
                os.fchmod(listening.fileno(), 0o600)  # Linux gives the file this mode, too
                listening.bind(f"/proc/self/fd/{folder}/{_SOCKET}")
                os.chmod(_SOCKET, 0o600, dir_fd=folder)
            listening.listen(64)
        except OSError as error:
            listening.close()
            raise BackgroundError(
                f"no socket can be made in {self.path} ({error.strerror or error}): give a home on "
                "a file system that has sockets (FITCAST_HOME)"
            ) from error
        return listening

    def remove_socket(self) -> None:
        """Remove the socket's file; for the holder of the lock."""
        (self.path / _SOCKET).unlink(missing_ok=True)

    def connected(self, timeout_s: float | None) -> socket.socket:
        """Return a connection to the process.

        Raises
        ------
        OSError
            There is none, or it isn't this user's.
        """
        connected = socket.socket(socket.AF_UNIX)
        try:
            connected.settimeout(timeout_s)
            with self._folder() as folder:
                connected.connect(f"/proc/self/fd/{folder}/{_SOCKET}")
            if user_of(connected) != os.geteuid():
                raise PermissionError("another user's process listens there")
        except BaseException:
            connected.close()
            raise
        return connected

    @contextmanager
    def _folder(self) -> Iterator[int]:
        folder = os.open(self.path, _FOLDER)
        try:
            yield folder
        finally:
            os.close(folder)


def user_of(connected: socket.socket) -> int:
    """Return the number of the user whose process is at the other end of a Unix socket."""
    peer = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, user, _ = _PEER.unpack(peer)
    return int(user)
