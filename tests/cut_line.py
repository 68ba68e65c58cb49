"""A line between a PostgreSQL server and one of its clients that can be cut, and mended."""

import selectors
import shutil
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

_NAME = ".s.PGSQL.5432"


class CutLine:
    """A Unix socket in a folder of its own that leads to the server's.

    Parameters
    ----------
    folder
        Where the server's socket is.
    """

    def __init__(self, folder: Path) -> None:
        self._server = folder / _NAME
        self.folder = Path(tempfile.mkdtemp(prefix="fitcast-line-"))
        self._listening: socket.socket | None = None
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self.mend()

    def mend(self) -> None:
        """Let connections through again."""
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self.folder / _NAME))
        listening.listen(64)
        self._listening = listening
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def cut(self) -> None:
        """Break all connections, and let none through."""
        (self.folder / _NAME).unlink()
        with self._lock:
            listening, self._listening = self._listening, None
            ends, self._open = self._open, []
        for end in filter(None, (listening, *ends)):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def remove(self) -> None:
        if self._listening is not None:
            self.cut()
        shutil.rmtree(self.folder)

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client = listening.accept()[0]
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._server))
                with self._lock:
                    if self._listening is not listening:
                        client.close()
                        server.close()
                        return
                    self._open += [client, server]
                threading.Thread(target=_carry, args=(client, server), daemon=True).start()


def _carry(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError, ValueError), selectors.DefaultSelector() as ready:
        ready.register(one, selectors.EVENT_READ, other)
        ready.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in ready.select():
                data = key.fileobj.recv(65536)
                if not data:
                    return
                key.data.sendall(data)
    for end in (one, other):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
