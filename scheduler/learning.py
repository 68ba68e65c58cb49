"""What the client knows of earlier fits: reads the history once, keeps the trained model at hand.

The history is read incrementally: what was read is kept beside a cursor under the home folder.
Records of this session count at once, before they have reached the store.
"""

import hashlib
import json
import threading
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

from fitcast.errors import HistoryError
from fitcast.history.codec import read_parquet, write_parquet
from fitcast.history.records import Record
from fitcast.history.store import HistoryStore
from fitcast.sizing.model import SizingModel

MOST_RECORDS = 100_000
"""The newest records that are kept and learned from."""


class Learner:
    """Holds the sizing model and renews it as records come in.

    Parameters
    ----------
    store : HistoryStore
        Where earlier records come from.
    cache_dir : Path
        Where they are kept between sessions.
    source : str
        Names the store; another store has another cache.
    on_trouble : callable
        Told, once, when the history can't be read.
    """

    def __init__(
        self, store: HistoryStore, cache_dir: Path, source: str, on_trouble: Callable[[str], None]
    ) -> None:
        digest = hashlib.blake2b(source.encode(), digest_size=8).hexdigest()
        self._store = store
        self._parquet = cache_dir / f"{digest}.parquet"
        self._cursor = cache_dir / f"{digest}.json"
        self._on_trouble = on_trouble
        self._lock = threading.Lock()
        self._records: dict[str, Record] = {}
        self._model = SizingModel.prior()
        self._ready = threading.Event()

    def expect_nothing(self) -> None:
        """Don't let forecasts wait for a history that is only being made."""
        self._ready.set()

    def load(self) -> None:
        """Read what is new in the history and train; call from a background thread."""
        try:
            cursor = self._load_cache()
            try:
                new, after = self._store.read(cursor)
            except HistoryError as error:
                self._on_trouble(f"the history can't be read, forecasts use what is kept: {error}")
                new, after = [], cursor or ""
            self._keep(new)
            if new:
                self._save_cache(after)
            self.train()
        finally:
            self._ready.set()

    def add(self, records: Iterable[Record]) -> None:
        """Count records of this session in; `train` makes the model of them."""
        self._keep(records)

    def train(self) -> None:
        """Train a model on all that is known; the present one stays in use meanwhile."""
        with self._lock:
            records = list(self._records.values())
        if records:
            self._model = SizingModel.prior().train(records)

    def model(self, timeout_s: float = 60.0) -> SizingModel:
        """Return the newest model, once the history was read."""
        self._ready.wait(timeout_s)
        return self._model

    def _keep(self, records: Iterable[Record]) -> None:
        with self._lock:
            for record in records:
                self._records[record.record_id] = record
            for record_id in list(self._records)[: max(0, len(self._records) - MOST_RECORDS)]:
                del self._records[record_id]

    def _load_cache(self) -> str | None:
        if not (self._parquet.exists() and self._cursor.exists()):
            return None
        try:
            cursor: str = json.loads(self._cursor.read_text(encoding="utf-8"))["cursor"]
            self._keep(read_parquet(self._parquet))
        except Exception as error:  # whatever is wrong with a cache, the store has it all
            warnings.warn(f"the kept history is unreadable and is read anew: {error}", stacklevel=2)
            return None
        return cursor

    def _save_cache(self, cursor: str) -> None:
        with self._lock:
            records = list(self._records.values())
        try:
            self._parquet.parent.mkdir(parents=True, exist_ok=True)
            partial = self._parquet.with_suffix(".partial")
            write_parquet(records, partial)
            partial.replace(self._parquet)
            self._cursor.write_text(json.dumps({"cursor": cursor}), encoding="utf-8")
        except OSError as error:
            self._on_trouble(f"the history read can't be kept for the next session: {error}")
