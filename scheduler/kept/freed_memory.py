"""Memory that was freed goes back to the system.

Results arrive as arrays of some hundred kilobytes, among small objects that stay. glibc keeps such
memory once it was freed, in pieces between what stays: a client that had passed on 800 MB of
predictions held 200 MB of it. So while workflows run, blocks that are large enough are mapped one
by one, which glibc does by itself until the first of them is freed.
"""

import ctypes
import os
import threading
from collections.abc import Hashable
from functools import cache
from typing import Any, Final

_MMAP_THRESHOLD: Final = -3  # what mallopt knows it by
_APART_BYTES: Final = 2**17  # glibc's own at the start of a process
_TOGETHER_BYTES: Final = 2**25  # the most that glibc raises it to

_lock = threading.Lock()
_holders: set[Hashable] = set()


def give_back() -> None:
    """Give the C library's free memory back; nothing where it can't be asked to."""
    if (trim := _of_libc("malloc_trim")) is not None:
        trim(0)


def large_blocks_apart(holder: Hashable) -> None:
    """Have large blocks go back as soon as they are freed, until nobody wants that any more.

    Mapping costs some microseconds a block, which is felt where arrays of this size are computed
    with, but not where they are waited for.
    """
    with _lock:
        _holders.add(holder)
        if len(_holders) == 1:
            _set_threshold(_APART_BYTES)
            give_back()  # what is free already would be taken first


def large_blocks_together(holder: Hashable) -> None:
    """Want it no more."""
    with _lock:
        if holder not in _holders:
            return
        _holders.discard(holder)
        if not _holders:
            _set_threshold(_TOGETHER_BYTES)


def _set_threshold(threshold_bytes: int) -> None:
    if "MALLOC_MMAP_THRESHOLD_" in os.environ:  # whoever set it knows better
        return
    if (mallopt := _of_libc("mallopt")) is not None:
        mallopt(_MMAP_THRESHOLD, threshold_bytes)


@cache
def _of_libc(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name)  # glibc's alone
    except (OSError, AttributeError):
        return None
