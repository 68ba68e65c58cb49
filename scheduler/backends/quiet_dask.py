"""Dask's log kept out of the user's terminal for as long as any client of the process has workers.

Dask silences a cluster's log itself, and restores it when that cluster closes: with several in one
process, the first to close lets the others' lines through.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_lock = threading.Lock()
_users = 0
_silenced = ExitStack()


@contextmanager
def quiet_dask() -> Iterator[None]:
    """Let Dask say nothing but what is critical until the last one that wants so has ended."""
    global _users
    from distributed.utils import silence_logging_cmgr

    with _lock:
        _users += 1
        if _users == 1:
            _silenced.enter_context(silence_logging_cmgr(logging.CRITICAL))
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _silenced.close()
