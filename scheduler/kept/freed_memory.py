"""Memory that was freed goes back to the system.

Results arrive as arrays of some hundred kilobytes, among small objects that stay. glibc keeps such
memory once it was freed, in pieces: a client that had passed on 800 MB of predictions held 130 MB
of it.
"""

import ctypes
from functools import cache
from typing import Any


def give_back() -> None:
    """Give the C library's free memory back; nothing where it can't be asked to."""
    if (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim  # glibc's alone
    except (OSError, AttributeError):
        return None
