"""The end of what the fits of one process write to a pipe, told apart fit by fit."""

import os

from fitcast.trainer.messages import MAX_TEXT_CHARS


class OutputTail:
    """Reads a pipe and keeps the end of each fit's text; the rest is dropped, so nobody blocks.

    Parameters
    ----------
    fd : int
        The end to read from.
    marker : bytes
        What the process writes between two fits; random, so that no text holds it by chance.
    """

    def __init__(self, fd: int, marker: bytes) -> None:
        self._fd = fd
        self._marker = marker
        self._kept = bytearray()
        self._dropped = 0
        self._done: list[str] = []
        os.set_blocking(fd, False)

    def drain(self, most_bytes: int = 2**22) -> bool:
        """Read what is there now; False when the pipe is closed."""
        while most_bytes > 0:
            try:
                data = os.read(self._fd, 65_536)
            except BlockingIOError:
                return True
            if not data:
                return False
            most_bytes -= len(data)
            self._take(data)
        return True

    def texts(self) -> tuple[str, ...]:
        """Return what each fit wrote, in the order of their turns."""
        return (*self._done, self._text())

    def _take(self, data: bytes) -> None:
        seen = max(0, len(self._kept) - len(self._marker) + 1)  # a marker may come in two parts
        self._kept += data
        while (at := self._kept.find(self._marker, seen)) >= 0:
            rest = self._kept[at + len(self._marker) :]
            del self._kept[at:]
            self._shorten()
            self._done.append(self._text())
            self._kept, self._dropped, seen = rest, 0, 0
        self._shorten()

    def _shorten(self) -> None:
        excess = len(self._kept) - MAX_TEXT_CHARS
        if excess > 0:
            del self._kept[:excess]
            self._dropped += excess

    def _text(self) -> str:
        kept = self._kept.decode("utf-8", "replace")
        if self._dropped:
            return f"[{self._dropped:,} bytes before this were dropped]\n{kept}"
        return kept
