"""What fits write to stdout and stderr: files in memory, of which the end of each fit's is kept.

In: making them, giving back what is too much, reading a part. Not in: whose part it is
(:mod:`fitcast.trainer.attempt.result_block`).

Files rather than pipes: nobody has to read along, so a fit that writes wakes no other process and
is never held up.
"""

import ctypes
import fcntl
import os

from fitcast.trainer.attempt.messages import MAX_TEXT_CHARS
from fitcast.trainer.attempt.process_tree import PAGE_BYTES
from fitcast.trainer.shared_memory import new_block

LARGE_BYTES = 4 * 2**20
"""A fit's text is cut to its end when it has become so long."""

_FALLOC_KEEP_SIZE, _FALLOC_PUNCH_HOLE = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)


def new_output(name: str) -> int:
    """Return the descriptor of a new file; all that is written goes to its end."""
    fd = new_block(name)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
    return fd


def size(fd: int) -> int:
    """Return how many bytes were written."""
    return os.fstat(fd).st_size


def shorten(fd: int, start: int, end: int) -> None:
    """Give back the memory of a fit's text but for its last part."""
    first = -(-start // PAGE_BYTES) * PAGE_BYTES
    length = (end - MAX_TEXT_CHARS - first) // PAGE_BYTES * PAGE_BYTES
    if length > 0:  # a kernel that can't do this keeps the text, that is all
        _libc.fallocate(
            fd,
            _FALLOC_KEEP_SIZE | _FALLOC_PUNCH_HOLE,
            ctypes.c_longlong(first),
            ctypes.c_longlong(length),
        )


def read_text(fd: int, start: int, end: int) -> str:
    """Return what a fit wrote; of a long text the end."""
    first = max(start, end - MAX_TEXT_CHARS)
    text = os.pread(fd, end - first, first).decode("utf-8", "replace") if end > first else ""
    if first > start:
        return f"[{first - start:,} bytes before this were dropped]\n{text}"
    return text
