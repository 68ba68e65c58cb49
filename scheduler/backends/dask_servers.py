"""Dask's servers as fitcast starts them: what they may write to is nowhere to import from.

Every Dask server puts its scratch folder onto ``sys.path``, in front of everything, for files that
are uploaded to it. fitcast uploads none; what lies there must not become code, neither in the
user's own process, where scheduler and nannies live, nor in a worker, whose fits inherit its path.
Nor does the folder that the user happens to be in, where others may be able to write.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from distributed import Nanny, Scheduler, Worker

from fitcast.scheduler.backends.worker_processes import start_without_main

_SAFE_PATH: Final = "PYTHONSAFEPATH"
_GIVEN: Final = os.environ.get(_SAFE_PATH, "")  # by the user
_starting = 0
_lock = threading.Lock()


@contextmanager
def _safe_path() -> Iterator[None]:
    """Let Python processes that start meanwhile import nothing from the current folder.

    multiprocessing starts them by ``python -c``, which looks there first; it tells them this
    process's search path only later. Taken back at the end, as Dask's own setting for it isn't:
    scripts that the user starts from here on find their modules as ever.
    """
    global _starting
    with _lock:
        _starting += 1
        os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        with _lock:
            _starting -= 1
            if not _starting:
                # Empty, and not taken out: another thread may be copying the environment.
                os.environ[_SAFE_PATH] = _GIVEN


class _NotImportedFrom:
    """Takes a server's scratch folder off ``sys.path``."""

    local_directory: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        before = list(sys.path)
        super().__init__(*args, **kwargs)
        if self.local_directory not in before and self.local_directory in sys.path:
            sys.path.remove(self.local_directory)


class PrivateScheduler(_NotImportedFrom, Scheduler):  # type: ignore[misc]
    """A Dask scheduler."""


class PrivateNanny(_NotImportedFrom, Nanny):  # type: ignore[misc]
    """What starts a Dask worker, and starts another when it ends."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.env[_SAFE_PATH] = _GIVEN  # once the worker runs: for scripts that fits start

    async def instantiate(self) -> Any:
        """Start the worker's process."""
        with _safe_path():
            return await super().instantiate()


class PrivateWorker(_NotImportedFrom, Worker):  # type: ignore[misc]
    """A Dask worker."""


start_without_main(PrivateWorker)
