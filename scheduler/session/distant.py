"""A workflow that another process runs, ran, or left: followed by its folder and by asking.

What ended fits gave is read from the workflow's folder, which this user may; where it is, and what
runs at this moment, is told by the background process, if that has it. Of a workflow that another
client runs there is the folder alone. Not in: handing workflows over
(:mod:`fitcast.scheduler.session.background.starting`).
"""

import time
from datetime import datetime
from pathlib import Path
from threading import RLock
from typing import Any, Final

from fitcast.errors import UnknownWorkflowError, WorkflowHeldError
from fitcast.history.records import REFIT_FOLD
from fitcast.scheduler.kept.results import KeptPredictions
from fitcast.scheduler.kept.workflow_folder import End
from fitcast.scheduler.run.followed import Foretold
from fitcast.scheduler.run.runs import Run, SweepObjects
from fitcast.scheduler.run.views import WorkflowView
from fitcast.scheduler.session.background.calls import Calls, UnreachableError
from fitcast.scheduler.session.background.documents import eta_of, fit_of
from fitcast.scheduler.session.keeping import Opened, eta_at_submission, run_of
from fitcast.trainer.sweep.submission import Submission

FRESH_S: Final = 0.5
"""What was seen so short a time ago isn't looked for again."""

LOOK_EVERY_S: Final = 1.0
ASK_FOR_S: Final = 20.0
"""So long one request waits for the end."""


class DistantRun:
    """A workflow of another process; looks again whenever it is asked and was not just before.

    Implements :class:`fitcast.scheduler.run.followed.Followed`, without a thread of its own. Once
    it is over it stays as it was: if somebody goes on with it, that is for a new one to see.

    Parameters
    ----------
    opened : Opened
        The workflow.
    home : Path
        The home that its folder is in.
    """

    def __init__(self, opened: Opened, home: Path) -> None:
        self._run: Final[Run] = run_of(opened)
        self._run.forecast.set_result(eta_at_submission(opened))
        self._folder = opened.folder
        self._store = opened.store
        self._calls = Calls(home)
        self._lock = RLock()
        self._looked_s = -LOOK_EVERY_S
        self._cursor = ""
        self._live: dict[str, dict[str, Any]] = {}  # the last that was told of each fit
        self._is_told = False  # the background process runs it
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
        known = self._folder.best_index()
        return self._run.chosen() if known is None else known

    def predicted(self, fit_id: str) -> KeptPredictions | None:
        """Return what a fit predicted, if it succeeded and its predictions are kept."""
        return self._run.predicted(fit_id)

    def model(self) -> bytes | None:
        """Return the refitted estimator, pickled; None if there is none."""
        return self._run.model()

    def cancel(self) -> None:
        """Have it given up by the background process.

        Raises
        ------
        WorkflowHeldError
            Another client runs it.
        """
        if self.look():
            return
        try:
            self._calls.cancel(self.workflow_id)
        except (UnreachableError, UnknownWorkflowError):
            if self.look(wait_s=0.0):
                return
            raise WorkflowHeldError(
                f"workflow {self.workflow_id} is run by another client of yours, not by the "
                "background process: cancel it there, or end that process"
            ) from None

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
                    self._look_at_folder()
                else:
                    self._take_in(*told)
                self._looked_s = time.monotonic()
                self._is_told = told is not None
            return self._run.is_over

    @property
    def is_told(self) -> bool:
        """Whether the background process runs it, as far as was seen last."""
        return self._is_told

    def _asked(self, wait_s: float) -> tuple[dict[str, Any], dict[str, Any]] | None:
        try:
            told = self._calls.workflow(self.workflow_id, wait_s)
            return told, self._calls.fits(self.workflow_id, self._cursor)
        except (UnreachableError, UnknownWorkflowError):
            return None

    def _take_in(self, told: dict[str, Any], changed: dict[str, Any]) -> None:
        """Take in what the background process told of it."""
        if told["state"] == "interrupted":  # it is ending, or somebody else goes on with it
            self._look_at_folder()
            return
        self._cursor = changed["next"]
        fits = {row["fit_id"]: fit_of(row) for row in changed["fits"]}
        for row in changed["fits"]:
            self._know(row)
        self._live |= fits
        for fit_id in {*self._read_kept(), *fits}:
            if fit_id in self._live:
                self._run.follow(fit_id, **self._live[fit_id])
        if not told["is_over"]:
            self._run.note_state(told["state"])
            if told["eta"] is not None:
                self._run.note_eta(eta_of(told["eta"]))
            self._run.note_waits("background", tuple(told["notes"]))
            return
        error = told["error"] or {"type": "", "message": ""}
        ended_at = datetime.fromisoformat(told["ended_at"])
        self._run.leave(End(told["state"], ended_at, error["type"], error["message"]))

    def _know(self, row: dict[str, Any]) -> None:
        """Know the fit of the best candidate, which the submission doesn't have."""
        view = self._run.view()
        if row["fit_id"] in view.rows or row["fold"] != REFIT_FOLD:
            return
        for candidate in self.submission.candidates:
            if candidate.label == row["candidate"]:
                self._run.add_final(self.submission.refit_fit(candidate.index))

    def _look_at_folder(self) -> None:
        """See who runs it, and how it ended if nobody does."""
        is_held = self._folder.is_held()
        self._read_kept()  # what is committed by now is all there is, if nobody runs it
        if is_held:
            self._run.note_state("running")
            rest = self._run.rest()  # who runs it knows better, but isn't asked
            if rest is not None:
                self._run.note_eta(rest)
            return
        self._live.clear()
        for fit_id, row in self._run.view().rows.items():
            if row.state == "running":
                self._run.follow(fit_id, state="waiting")
        self._run.note_waits("background", ())
        self._run.leave(self._folder.end())

    def _read_kept(self) -> list[str]:
        attempts, _ = self._store.load_new()
        for one in attempts:
            self._run.take_in(one)
        return [one.fit_id for one in attempts]


class _Over:
    """The end of a distant workflow, waited for by asking."""

    def __init__(self, run: DistantRun) -> None:
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
