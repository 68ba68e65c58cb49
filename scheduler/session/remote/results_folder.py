"""The results of a workflow where a shared platform keeps them, read by ranges.

In: a place for :class:`fitcast.scheduler.kept.results.ResultStore` to read from. What comes is
sealed; the store verifies it. Not in: requests (:mod:`fitcast.scheduler.session.remote.calls`).
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from fitcast.errors import BrokerError, StoreError, UnknownWorkflowError
from fitcast.scheduler.kept.places import ResultsSource, UnreadableFileError
from fitcast.scheduler.session.remote.calls import BrokerCalls


class BrokerFolder:
    """Implements :class:`fitcast.scheduler.kept.places.Place`, for reading.

    Parameters
    ----------
    calls : BrokerCalls
        The platform.
    workflow_id : str
        Whose results.
    """

    def __init__(self, calls: BrokerCalls, workflow_id: str) -> None:
        self._calls = calls
        self._workflow_id = workflow_id
        self._sizes: dict[str, int] = {}  # files never change

    def names(self, pattern: re.Pattern[str]) -> list[str]:
        """Return the names in it that match the pattern."""
        try:
            self._sizes = self._calls.files(self._workflow_id)
        except BrokerError as error:
            raise StoreError(f"results can't be listed: {error}") from error
        return [name for name in self._sizes if pattern.fullmatch(name)]

    @contextmanager
    def opened(self, name: str) -> Iterator[ResultsSource]:
        """Give a file, in a context."""
        if name not in self._sizes:
            self.names(re.compile(re.escape(name)))
        if name not in self._sizes:
            raise UnreadableFileError("it is gone")
        yield _Ranges(self._calls, self._workflow_id, name, self._sizes[name])

    def write(self, name: str, chunks: Iterable[bytes | memoryview]) -> NoReturn:
        """Refuse: the platform alone writes there."""
        raise OSError("results are written where the workflow runs")

    def free_bytes(self) -> None:
        """Return None: nobody knows."""

    def set_aside(self, name: str) -> str:
        """Refuse: the platform alone does that."""
        raise StoreError("results are set aside where the workflow runs")

    def remove_unfinished(self) -> None:
        """Do nothing: that is for who runs the workflow."""

    def remove(self) -> None:
        """Refuse: workflows are removed as a whole."""
        raise StoreError("results go with their workflow: client.remove(id)")


class _Ranges:
    def __init__(self, calls: BrokerCalls, workflow_id: str, name: str, size_bytes: int) -> None:
        self._calls = calls
        self._workflow_id = workflow_id
        self._name = name
        self.size_bytes = size_bytes

    def read(self, at: int, wanted: int) -> bytes:
        end = min(at + wanted, self.size_bytes)
        if end <= at:
            return b""
        try:
            return self._calls.part(self._workflow_id, self._name, at, end)
        except UnknownWorkflowError as error:
            raise UnreadableFileError("it is gone") from error
        except BrokerError as error:
            raise StoreError(f"results can't be read now: {error}") from error
