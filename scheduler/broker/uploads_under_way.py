"""How many uploads are under way at once, and how much each may hold in memory. On one event loop.

Not in: uploading (:mod:`fitcast.scheduler.broker.files`).
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from fitcast.errors import BusyError, LimitError

MEMORY_BYTES: Final = 64 * 2**20
"""So much all uploads together hold in memory before it is written."""

MOST_GATHERED_BYTES: Final = 4 * 2**20
LEAST_GATHERED_BYTES: Final = 64 * 2**10


class UploadsUnderWay:
    """Uploads of a process.

    Parameters
    ----------
    most : int
        How many there may be; a quarter of them, and one at least, of one user's.

    Examples
    --------
    >>> under_way = UploadsUnderWay(1)
    >>> with under_way.one_of(7):
    ...     under_way.count
    1
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_of_one = max(1, most // 4)
        self._of: Counter[int] = Counter()
        self.count = 0

    @property
    def gathered_bytes(self) -> int:
        """How much one of them may gather before it is written."""
        each = MEMORY_BYTES // max(1, self.count)
        return min(MOST_GATHERED_BYTES, max(LEAST_GATHERED_BYTES, each))

    @contextmanager
    def one_of(self, user_id: int) -> Iterator[None]:
        """Count one of a user's in.

        Raises
        ------
        LimitError
            The user has too many under way.
        BusyError
            The platform has.
        """
        if self.count >= self._most:
            raise BusyError(
                f"the platform takes {self._most} uploads in at once: try again in some seconds"
            )
        if self._of[user_id] >= self._most_of_one:
            raise LimitError(
                f"{self._most_of_one} of your uploads are under way: wait for one of them"
            )
        self.count += 1
        self._of[user_id] += 1
        try:
            yield
        finally:
            self.count -= 1
            self._of[user_id] -= 1
            if not self._of[user_id]:
                del self._of[user_id]
