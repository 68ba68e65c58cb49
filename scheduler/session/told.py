"""A workflow that another process runs, as that process tells of it.

What ended fits gave is read from its result store; where it is, and what runs at this moment, is
told. In: how both become one view, looking again, waiting for the end. Not in: who is asked, and
what is known if nobody tells: :mod:`fitcast.scheduler.session.distant` for other processes of this
user, :mod:`fitcast.scheduler.session.remote.remote_run` for a shared platform.
"""

import time
from abc import ABC, abstractmethod
from datetime import datetime
from threading import RLock
from typing import Any, Final

from fitcast.scheduler.kept.results import KeptPredictions
from fitcast.scheduler.kept.workflow_folder import End
from fitcast.scheduler.run.followed import Foretold
from fitcast.scheduler.run.runs import Run, SweepObjects
from fitcast.scheduler.run.views import WorkflowView
from fitcast.scheduler.session.documents import eta_of, fit_of
from fitcast.trainer.sweep.submission import Submission

FRESH_S: Final = 0.5
"""What was seen so short a time ago isn't looked for again."""

LOOK_EVERY_S: Final = 1.0
ASK_FOR_S: Final = 20.0
"""So long one request waits for the end."""


class ToldRun(ABC):
    """A workflow of another process; looks again whenever it is asked and was not just before.

    Implements :class:`fitcast.scheduler.run.followed.Followed`, without a thread of its own. Once
    it is over it stays as it was: if somebody goes on with it, that is for a new one to see.

    Parameters
    ----------
    run : Run
        What is kept of it; its store is read from.
    """

    def __init__(self, run: Run) -> None:
        assert run.store is not None
        self._run: Final = run
        self._store = run.store
        self._lock = RLock()
        self._looked_s = -LOOK_EVERY_S
        self._cursor = ""
        self._live: dict[str, dict[str, Any]] = {}  # the last that was told of each fit
        self._is_told = False
        self.over = _Over(self)

    # -- what handles ask ------------------------------------------------------------------------

    @property
    def workflow_id(self) -> str:
        """Its name."""
        return self._run.workflow_id

    @property
    def submission(self) -> Submission:
        """What runs."""
        return self._run.submission

    @property
    def objects(self) -> SweepObjects:
        """What of the user's it was made of."""
        return self._run.objects

    @property
    def surroundings(self) -> bytes:
        """Of the user's code."""
        return self._run.surroundings

    @property
    def forecast(self) -> Foretold:
        """The ETA given at submission."""
        return self._run.forecast

    @property
    def is_over(self) -> bool:
        """Whether its result is final."""
        self.look()
        return self._run.is_over

    def view(self) -> WorkflowView:
        """Return it as it is now."""
        self.look()
        return self._run.view()

    def now(self) -> datetime:
        """Return the time by a clock that never goes back."""
        return self._run.now()

    def chosen(self) -> int | None:
        """Return the index of the best candidate; None if none was chosen yet."""
        return self._run.chosen()

    def predicted(self, fit_id: str) -> KeptPredictions | None:
        """Return what a fit predicted, if it succeeded and its predictions are kept."""
        return self._run.predicted(fit_id)

    def model(self) -> bytes | None:
        """Return the refitted estimator, pickled; None if there is none."""
        return self._run.model()

    @abstractmethod
    def cancel(self) -> None:
        """Have it given up."""

    # -- looking ---------------------------------------------------------------------------------

    def look(self, wait_s: float | None = None) -> bool:
        """See where it is, and wait for its end at most so long; return whether it has come."""
        with self._lock:
            if self._run.is_over:
                return True
            if wait_s is None and time.monotonic() - self._looked_s < FRESH_S:
                return False
        told = self._asked(wait_s or 0.0)
        with self._lock:
            if not self._run.is_over:
                if told is None:
                    self._take_in_silence()
                else:
                    self._take_in(*told)
                self._looked_s = time.monotonic()
                self._is_told = told is not None
            return self._run.is_over

    @property
    def is_told(self) -> bool:
        """Whether who runs it tells of it, as far as was seen last."""
        return self._is_told

    @abstractmethod
    def _asked(self, wait_s: float) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return what is told of it and of its fits, if anything is."""

    @abstractmethod
    def _take_in_silence(self) -> None:
        """Take in that nothing is told of it."""

    def _take_in(self, told: dict[str, Any], changed: dict[str, Any]) -> None:
        """Take in what was told of it."""
        fits = {row["fit_id"]: fit_of(row) for row in changed["fits"]}
        for row in changed["fits"]:
            self._know(row)
        kept = self._read_kept()  # may fail; what changed is told again then
        self._cursor = changed["next"]
        self._live |= fits
        for fit_id in {*kept, *fits}:
            if fit_id in self._live:
                self._run.follow(fit_id, **self._live[fit_id])
        if not told["is_over"]:
            self._run.note_state(told["state"])
            if told["eta"] is not None:
                self._run.note_eta(eta_of(told["eta"]))
            self._run.note_waits("told", tuple(told["notes"]))
            return
        error = told["error"] or {"type": "", "message": ""}
        ended_at = datetime.fromisoformat(told["ended_at"])
        self._run.leave(End(told["state"], ended_at, error["type"], error["message"]))

    def _know(self, row: dict[str, Any]) -> None:
        """Know a fit that was chosen late."""
        if row["fit_id"] in self._run.view().rows:
            return
        fit = self.submission.fit_named(row["fit_id"])
        if fit is not None:
            self._run.add([fit])

    def _read_kept(self) -> list[str]:
        attempts, _ = self._store.load_new()
        for one in attempts:
            self._run.take_in(one)
        return [one.fit_id for one in attempts]


class _Over:
    """The end of a workflow that is told of, waited for by asking."""

    def __init__(self, run: ToldRun) -> None:
        self._run = run

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end, at most so long; return whether it has come."""
        end_s = None if timeout is None else time.monotonic() + timeout
        while True:
            left_s = ASK_FOR_S if end_s is None else max(0.0, end_s - time.monotonic())
            if self._run.look(wait_s=min(left_s, ASK_FOR_S)):
                return True
            if end_s is not None and time.monotonic() >= end_s:
                return False
            if not self._run.is_told:
                time.sleep(min(left_s, LOOK_EVERY_S))
