"""What the client knows of earlier fits: the sizing model in use, and how a better one takes over.

The history is read incrementally: what was read is kept beside a cursor under the home folder.
Records of this session count at once, before they have reached the store. A new model takes over
unless it forecasts the newest records, held out from it, worse than the one in use does.
"""

import threading
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fitcast.errors import HistoryError, ModelError
from fitcast.history.models import REPORT_FILE, ModelRegistry
from fitcast.history.record_cache import RecordCache
from fitcast.history.records import Record
from fitcast.history.review.accuracy import markdown, report_of
from fitcast.history.store import HistoryStore
from fitcast.sizing.judging import ForecastLoss, held_out, is_poisoned, loss, may_take_over
from fitcast.sizing.learning.model import SizingModel
from fitcast.sizing.learning.model_files import evidence, from_files, to_files
from fitcast.version import __version__

MOST_RECORDS = 100_000
"""The newest records that are kept and learned from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a training."""

    new_records: int
    promoted: bool
    challenger: ForecastLoss
    champion: ForecastLoss
    version: int | None = None  # in the registry, if it was promoted and could be kept

    def __str__(self) -> str:
        if not self.new_records:
            return "nothing new since the sizing model was trained"
        what = f"{self.new_records:,} new records"
        if not self.challenger.fits:
            return f"learned from {what}; none to judge by"
        losses = f"loss {self.challenger.total:.3f} against {self.champion.total:.3f}"
        judged = f"{losses} on the {self.challenger.fits:,} newest fits"
        if self.promoted:
            number = "" if self.version is None else f", now version {self.version}"
            how = "better" if self.challenger.total < self.champion.total else "no worse"
            return f"learned from {what}: {how}, {judged}{number}"
        return f"looked at {what}: worse, {judged}; the model in use stays"


class Learner:
    """Holds the sizing model and renews it as records come in.

    Parameters
    ----------
    store : HistoryStore
        Where earlier records come from.
    cache_dir : Path
        Where they are kept between sessions, per store.
    on_trouble : callable
        Called once with a message for the user when the history can't be read.
    registry : ModelRegistry, optional
        Where models are kept; None to keep none.
    """

    def __init__(
        self,
        store: HistoryStore,
        cache_dir: Path,
        on_trouble: Callable[[str], None],
        registry: ModelRegistry | None = None,
    ) -> None:
        self._cache = RecordCache(cache_dir, store)
        self._registry = registry
        self._cursor: str | None = None
        self._on_trouble = on_trouble
        self._lock = threading.Lock()
        self._training = threading.Lock()
        self._records: dict[str, Record] = {}
        self._judged: set[str] = set()  # ids of records that a training has looked at
        self._judged_until: datetime | None = None  # the model in use knows what ended before
        self._model = SizingModel.prior()
        self._ready = threading.Event()

    def expect_nothing(self) -> None:
        """Don't let forecasts wait for a history that is only being made."""
        self._ready.set()

    def load(self) -> Verdict | None:
        """Take the model in use, read what is new in the history, and train on it.

        Call it from a background thread: forecasts wait for the model in use only.
        """
        try:
            if self._take_champion():
                self._ready.set()
            reading = self._cache.read()
            self._cursor = reading.cursor
            if reading.error is not None:
                self._on_trouble(
                    f"the history can't be read, forecasts use what is kept: {reading.error}"
                )
            self.add([*reading.kept, *reading.new])
            if reading.new and self._cursor is not None:
                self._save_cache(self._cursor)
            return self.train()
        finally:
            self._ready.set()

    def add(self, records: Iterable[Record]) -> None:
        """Count records in; `train` makes the model of them."""
        with self._lock:
            for record in records:
                self._records[record.record_id] = record
            for record_id in list(self._records)[: max(0, len(self._records) - MOST_RECORDS)]:
                del self._records[record_id]

    def train(self) -> Verdict:
        """Train a challenger on all that is known; it takes over unless it is worse."""
        with self._training:
            with self._lock:
                known = list(self._records.values())
                new = [r for r in known if self._is_new(r)]
            if not new:
                nothing = ForecastLoss(0, 0.0, 0.0)
                return Verdict(new_records=0, promoted=False, challenger=nothing, champion=nothing)
            records = evidence(known)
            _, held = held_out(new)
            held_ids = {record.record_id for record in held}
            seen = [record for record in records if record.record_id not in held_ids]
            challenger = loss(SizingModel.prior().train(seen), held)
            champion = loss(self._model, held)
            promoted = may_take_over(challenger, champion)
            version = None
            if promoted:
                self._model = SizingModel.prior().train(records)
                version = self._keep(records, challenger, champion)
            self._judged.update(record.record_id for record in new)
            return Verdict(
                new_records=len(new),
                promoted=promoted,
                challenger=challenger,
                champion=champion,
                version=version,
            )

    def model(self, timeout_s: float = 60.0) -> SizingModel:
        """Return the model in use, once it was read."""
        self._ready.wait(timeout_s)
        return self._model

    def _is_new(self, record: Record) -> bool:
        if record.record_id in self._judged:
            return False
        return self._judged_until is None or record.ended_at > self._judged_until

    # -- the registry ----------------------------------------------------------------------------

    def _take_champion(self) -> bool:
        if self._registry is None:
            return False
        try:
            found = self._registry.champion()
            if found is None:
                return False
            model, records = from_files(found[1])
            if is_poisoned(model, records):
                raise ModelError("it forecasts its own evidence worse than no evidence would")
        except (HistoryError, ModelError) as error:
            warnings.warn(
                f"the stored sizing model isn't used, forecasts start from the laws alone: {error}",
                stacklevel=2,
            )
            return False
        self._model = model
        self.add(records)
        self._judged.update(record.record_id for record in records)
        self._judged_until = max((record.ended_at for record in records), default=None)
        return True

    def _keep(
        self, records: list[Record], challenger: ForecastLoss, champion: ForecastLoss
    ) -> int | None:
        if self._registry is None:
            return None
        metrics = {
            "records": float(len(records)),
            "held_out_fits": float(challenger.fits),
            "loss_runtime": challenger.runtime,
            "loss_memory": challenger.memory,
            "loss_runtime_before": champion.runtime,
            "loss_memory_before": champion.memory,
        }
        about = {"fitcast": __version__, "cursor": self._cursor, **metrics}
        try:
            report = markdown(report_of(records)).encode()
            version = self._registry.register(
                {**to_files(records, about), REPORT_FILE: report},
                metrics=metrics,
                tags={"fitcast.version": __version__, "fitcast.cursor": self._cursor or ""},
            )
            self._registry.promote(version)
        except HistoryError as error:
            self._on_trouble(f"the new sizing model is used, but couldn't be kept: {error}")
            return None
        return version

    # -- the cache -------------------------------------------------------------------------------

    def _save_cache(self, cursor: str) -> None:
        with self._lock:
            records = list(self._records.values())
        try:
            self._cache.save(records, cursor)
        except OSError as error:
            self._on_trouble(f"the history read can't be kept for the next session: {error}")
