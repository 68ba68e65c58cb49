"""The records of a store that were read already, kept on this machine's disk between sessions.

In here: one cache per store, named by the store's own identity. Not in here: the store
(:mod:`fitcast.history.store`), what is learned from the records
(:mod:`fitcast.scheduler.session.learning`).
"""

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fitcast.errors import HistoryError, InvalidCursorError
from fitcast.history.codec import read_parquet, write_parquet
from fitcast.history.records import Record
from fitcast.history.store import HistoryStore
from fitcast.history.temporary_files import partial_file, remove_left_partials


@dataclass(frozen=True, slots=True)
class Reading:
    """What a store holds, as far as it could be read."""

    kept: list[Record]  # read in an earlier session
    new: list[Record]
    cursor: str | None  # where to read on
    error: HistoryError | None = None  # why the store can't be read now


class RecordCache:
    """What was read of one store, and the cursor to read on from.

    A store without a ``source`` has no cache: it is read from its beginning each time.

    Parameters
    ----------
    folder
        Where caches lie; each store has its own files there.
    store
        The store that is read.
    """

    def __init__(self, folder: Path, store: HistoryStore) -> None:
        self._store = store
        self._folder = folder

    def read(self) -> Reading:
        """Return what is kept and what is new in the store.

        A cache that can't be read, or whose cursor the store doesn't know, is left aside and the
        store read from its beginning.
        """
        remove_left_partials(self._folder)
        kept, cursor = self._load()
        try:
            try:
                new, after = self._store.read(cursor)
            except InvalidCursorError as error:
                self._warn(error)
                kept = []
                new, after = self._store.read(None)
        except HistoryError as error:
            return Reading(kept, [], cursor, error)
        return Reading(kept, new, after)

    def save(self, records: Sequence[Record], cursor: str) -> None:
        """Keep records and cursor for the next session; raises OSError if that isn't possible."""
        files = self._files()
        if files is None:
            return
        parquet, cursor_file = files
        self._folder.mkdir(parents=True, exist_ok=True)
        with partial_file(parquet) as partial:
            write_parquet(records, partial)
        # Last: an older cursor beside newer records only reads some of them again
        cursor_file.write_text(json.dumps({"cursor": cursor}), encoding="utf-8")

    def _load(self) -> tuple[list[Record], str | None]:
        files = self._files()
        if files is None or not all(file.exists() for file in files):
            return [], None
        parquet, cursor_file = files
        try:
            cursor = json.loads(cursor_file.read_text(encoding="utf-8"))["cursor"]
            if not isinstance(cursor, str):
                raise TypeError(f"{cursor!r} is no cursor")
            return read_parquet(parquet), cursor
        except Exception as error:  # whatever is wrong with a cache, the store has it all
            self._warn(error)
            return [], None

    def _files(self) -> tuple[Path, Path] | None:
        source = self._store.source
        if source is None:
            return None
        digest = hashlib.blake2b(source.encode(), digest_size=8).hexdigest()
        return self._folder / f"{digest}.parquet", self._folder / f"{digest}.json"

    @staticmethod
    def _warn(error: Exception) -> None:
        warnings.warn(
            f"the history kept in the cache is unreadable and is read anew: {error}", stacklevel=3
        )
