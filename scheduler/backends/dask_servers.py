"""Dask's servers as fitcast starts them: what they may write to is nowhere to import from.

Every Dask server puts its scratch folder onto ``sys.path``, in front of everything, for files that
are uploaded to it. fitcast uploads none; what lies there must not become code, neither in the
user's own process, where scheduler and nannies live, nor in a worker, whose fits inherit its path.
"""

import sys
from typing import Any

from distributed import Nanny, Scheduler, Worker


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


class PrivateWorker(_NotImportedFrom, Worker):  # type: ignore[misc]
    """A Dask worker."""
