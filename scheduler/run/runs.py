"""A workflow as its dispatcher holds it: its fits, their attempts, its records, its state.

One thread writes, the dispatcher's; everybody else reads :class:`~fitcast.scheduler.run.views`.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fitcast.errors import (
    FitcastError,
    WorkflowCancelledError,
    WorkflowFailedError,
    WorkflowInterruptedError,
    error_named,
)
from fitcast.history.records import REFIT_FOLD, Estimate, Outcome, Record
from fitcast.scheduler.forecast.eta import Eta
from fitcast.scheduler.forecast.late_rounds import LateRound, late_rounds, typical_of
from fitcast.scheduler.forecast.process_start import StartsSeen
from fitcast.scheduler.forecast.rest import eta_of_rest
from fitcast.scheduler.kept.results import KeptAttempt, KeptPredictions, ResultStore
from fitcast.scheduler.kept.workflow_folder import End, WorkflowFolder
from fitcast.scheduler.plan.events import CommonWork, Conclude, Start
from fitcast.scheduler.run.views import FitRow, WorkflowView
from fitcast.sizing.learning.correction import SweepCorrection
from fitcast.trainer.attempt.spec import RESULT_BYTES, JobBytes, Measured
from fitcast.trainer.sealing import SealedDataset
from fitcast.trainer.sweep.submission import Fit, Submission


class SweepObjects(Protocol):
    """The user's objects of a sweep; only where that user's own code may run."""

    @property
    def params(self) -> Sequence[dict[str, Any]]:
        """The grid's setting of each candidate."""

    @property
    def test_rows(self) -> Sequence[npt.NDArray[np.intp]]:
        """The rows that each fold tests."""


class Run:
    """Everything that is known of one submitted workflow.

    Parameters
    ----------
    workflow_id : str
        Its name.
    submission : Submission
        What runs.
    objects : SweepObjects
        What of the user's it was made of.
    jobs : sequence of JobBytes
        Of its candidates.
    surroundings : bytes
        Of the user's code, as where it was submitted.
    correction : SweepCorrection, optional
        Corrects its forecasts by what was seen; belongs to the thread of live ETAs from now on.
        None for a workflow that doesn't run here.
    estimates : mapping
        What each fit was forecast to cost at submission, by fit_id.
    final_estimate : Estimate, optional
        What the refit is expected to cost.
    submitted_at : datetime
        When, UTC.
    opened : int
        How many processes had it before this one.
    """

    def __init__(
        self,
        *,
        workflow_id: str,
        submission: Submission,
        objects: SweepObjects,
        jobs: Sequence[JobBytes] = (),
        surroundings: bytes = b"",
        correction: SweepCorrection | None,
        estimates: Mapping[str, Estimate],
        final_estimate: Estimate | None,
        submitted_at: datetime,
        opened: int = 0,
    ) -> None:
        self.workflow_id = workflow_id
        self.submission = submission
        self.objects = objects
        self.jobs = jobs
        self.surroundings = surroundings
        self.surroundings_elsewhere = b""  # for workers that another process starts, if they differ
        self.final_estimate = final_estimate
        self.submitted_at = submitted_at
        self.opened = opened
        self._correction = correction
        self._opened_at = datetime.now(UTC) if opened else submitted_at
        self._opened_s = time.monotonic()
        self.sealed: SealedDataset | None = None
        self.key = b""
        self.store: ResultStore | None = None  # where results are kept, once it is accepted
        self.folder: WorkflowFolder | None = None  # likewise
        self.best_index: int | None = None  # of the best candidate, once it is chosen
        self.round_number = 0  # of the last round that was chosen; 0 is there from the start
        self.next_fits: Sequence[Fit] | None = None  # of that round
        # What fits are expected to cost by now, and the refit by who is the best
        self.expected_now: Mapping[str, Estimate] = estimates
        self.refits: Mapping[int, Estimate] = {} if final_estimate is None else {0: final_estimate}
        self.common_work: dict[str, CommonWork] = {}  # by fit_id, where there is
        self.result_bytes = RESULT_BYTES  # what each fit may give
        self.starts = StartsSeen(0.0)  # what a fit is spared in the process of another
        self.given_up = threading.Event()  # nobody is to be asked for its best candidate
        self.is_interrupted = False  # what runs it ends before it does
        self.captured = threading.Event()  # nothing of the user's is read any more
        self.over = threading.Event()  # its result is final
        self.recorded = threading.Event()  # the history was told of its end, or never will be
        self.closed = threading.Event()  # nothing of it is left to do
        self.forecast: Future[Eta] = Future()  # as made at submission
        self._lock = threading.Lock()
        self._estimates = estimates
        self._rows = {
            fit.fit_id: FitRow(fit, estimates[fit.fit_id]) for fit in submission.first_fits
        }
        self._kept: dict[str, KeptAttempt] = {}  # the last of each fit
        self._records: list[Record] = []
        self._state = "preparing"
        self._eta: Eta | None = None
        self._notes: dict[str, tuple[str, ...]] = {}  # by who says so
        self._ended_at: datetime | None = None
        self._error: FitcastError | None = None
        self._view: WorkflowView | None = None  # unless something has changed since

    @property
    def correction(self) -> SweepCorrection:
        """What corrects its forecasts."""
        assert self._correction is not None, "it doesn't run here"
        return self._correction

    # -- for everybody ---------------------------------------------------------------------------

    def now(self) -> datetime:
        """Return the time by the clock as it was when it came here: it never goes back."""
        return self._opened_at + timedelta(seconds=time.monotonic() - self._opened_s)

    def view(self) -> WorkflowView:
        """Return it as it is now."""
        with self._lock:
            if self._view is None:
                self._view = WorkflowView(
                    workflow_id=self.workflow_id,
                    name=self.submission.name,
                    state=self._state,
                    rows=MappingProxyType(dict(self._rows)),
                    to_come=self._to_come(),
                    records=tuple(self._records),
                    eta=self._eta,
                    notes=tuple(note for notes in self._notes.values() for note in notes),
                    submitted_at=self.submitted_at,
                    ended_at=self._ended_at,
                    is_over=self.over.is_set(),
                    error=self._error,
                )
            return self._view

    @property
    def is_over(self) -> bool:
        """Whether its result is final."""
        return self.over.is_set()

    def first_estimates(self) -> dict[str, Estimate]:
        """Return what each fit on a fold was forecast to cost at submission, by fit_id."""
        return dict(self._estimates)

    def expected(self, fit: Fit) -> Estimate | None:
        """Return what a fit that is chosen late is expected to cost; None if nobody knows."""
        if fit.fold != REFIT_FOLD:
            return self.expected_now.get(fit.fit_id, self._estimates.get(fit.fit_id))
        return self.refits.get(self.submission.origin(fit.candidate.index), self.final_estimate)

    def later(self) -> tuple[LateRound, ...]:
        """Return the rounds after the first, as far as their candidates aren't known yet."""
        fits = [row.fit for row in self.view().rows.values()]
        return late_rounds(
            self.submission,
            {**self._estimates, **self.expected_now},
            self.refits,
            self.common_work,
            begun={fit.candidate.index for fit in fits if fit.fold != REFIT_FOLD},
        )

    def _to_come(self) -> int:
        """Return how many fits are still to be chosen; without the refit."""
        if self.over.is_set() and self._state != "interrupted":
            return 0
        there = sum(row.fit.fold != REFIT_FOLD for row in self._rows.values())
        return max(0, self.submission.fits_to_run - there)

    def outcomes(self) -> list[Outcome | None]:
        """Return what became of each fit."""
        return [row.outcome for row in self.view().rows.values()]

    def chosen(self) -> int | None:
        """Return the index of the best candidate; None if none was chosen yet."""
        refits = (row for row in self.view().rows.values() if row.fit.fold == REFIT_FOLD)
        found = next((row.fit.candidate.index for row in refits), None)
        return found if self.best_index is None else self.best_index

    def predicted(self, fit_id: str) -> KeptPredictions | None:
        """Return what a fit predicted, if it succeeded and its predictions are kept."""
        kept = self._kept.get(fit_id)
        if kept is None or kept.predictions is None or self.store is None:
            return None
        if kept.measured.outcome is not Outcome.SUCCEEDED:
            return None
        return KeptPredictions(self.store, kept.predictions)

    def model(self) -> bytes | None:
        """Return the refitted estimator, pickled; None if there is none."""
        for kept in list(self._kept.values()):
            if kept.record.fold == REFIT_FOLD and kept.model is not None and self.store is not None:
                return self.store.model(kept.model)
        return None

    # -- for its dispatcher ----------------------------------------------------------------------

    @property
    def state(self) -> str:
        """Where it is in its life, as views tell it."""
        return self._state

    def row(self, fit_id: str) -> FitRow:
        """Return what is known of a fit."""
        return self._rows[fit_id]

    def _change(self, **changes: Any) -> None:
        with self._lock:
            for name, value in changes.items():
                setattr(self, f"_{name}", value)
            self._view = None

    def _change_row(self, fit_id: str, **changes: Any) -> None:
        with self._lock:
            self._rows[fit_id] = replace(self._rows[fit_id], **changes)
            self._view = None

    def note_state(self, state: str) -> None:
        """Note where it is in its life."""
        if state != self._state and not self.is_over:
            self._change(state=state)

    def note_eta(self, eta: Eta) -> None:
        """Note the latest forecast of its end; one that comes after that is late."""
        if not self.is_over:
            self._change(eta=eta)

    def note_waits(self, who: str, notes: tuple[str, ...]) -> None:
        """Note what it waits for, as far as one part of fitcast knows; nothing, if empty."""
        with self._lock:  # from several threads
            if self._notes.get(who, ()) != notes:
                self._notes = {**self._notes, who: notes}
                self._view = None

    def note_start(self, fit_id: str, state: str, attempt: int, start: Start) -> None:
        """Note that an attempt was sent to a worker."""
        self.note_state("running")
        self._change_row(
            fit_id,
            state=state,
            attempts=attempt,
            pool=start.pool,
            worker=start.worker,
            threads=start.threads,
            started_at=self.now(),
        )

    def note_waiting(self, fit_id: str) -> None:
        """Note that a fit's turn never came: it waits as before."""
        if self._rows[fit_id].outcome is None:
            self._change_row(fit_id, state="waiting")

    def is_kept(self, fit_id: str) -> bool:
        """Tell whether a fit has its result already."""
        kept = self._kept.get(fit_id)
        return kept is not None and kept.measured.outcome is Outcome.SUCCEEDED

    def note_end(
        self, fit_id: str, measured: Measured, record: Record, kept: KeptAttempt | None = None
    ) -> None:
        """Note how an attempt ended; what becomes of its fit is told by `settle`."""
        row = self._rows[fit_id]
        state = "waiting" if row.outcome is None else row.state
        error = f"{measured.error_type}: {measured.error_message}".strip(": ")
        self._change_row(
            fit_id, measured=measured, ended_at=measured.ended_at, state=state, error=error
        )
        with self._lock:
            self._records.append(record)
            if kept is not None:
                self._kept[fit_id] = kept

    def take_in(self, kept: KeptAttempt) -> None:
        """Take in an attempt that an earlier process kept."""
        fit_id, record = kept.fit_id, kept.record
        if fit_id not in self._rows:
            fit = self.submission.fit_named(fit_id)
            assert fit is not None
            estimate = self._estimates.get(fit_id) or record.estimate
            assert estimate is not None
            with self._lock:
                self._rows[fit_id] = FitRow(fit, estimate)
        self._change_row(
            fit_id,
            attempts=max(record.attempt, self._rows[fit_id].attempts),
            pool=record.pool,
            worker=record.worker,
            threads=record.request.threads,
            started_at=record.started_at,
        )
        self.note_end(fit_id, kept.measured, record, kept)
        if kept.is_final:
            self.settle(fit_id, record.outcome, "")

    def follow(self, fit_id: str, **told: Any) -> None:
        """Take in what another process, which runs it, told of a fit."""
        self._change_row(fit_id, **told)

    def settle(self, fit_id: str, outcome: Outcome, reason: str) -> None:
        """Note what finally became of a fit."""
        row = self._rows[fit_id]
        ended_at, error = row.ended_at, row.error
        if row.started_at and (ended_at is None or ended_at < row.started_at):
            ended_at = self.now()  # given up: it ends now
        if reason:
            error = f"{error}; {reason}" if error else reason
        self._change_row(fit_id, state="done", outcome=outcome, ended_at=ended_at, error=error)

    def note_best(self, index: int) -> None:
        """Note which candidate is the best, so that nobody has to choose it again."""
        self.best_index = index
        if self.folder is not None:
            self.folder.note_best(index)

    def add(self, fits: Sequence[Fit]) -> None:
        """Take fits in that were chosen late; those that it has stay as they are."""
        with self._lock:
            for fit in fits:
                estimate = self._estimates.get(fit.fit_id) or self.expected(fit)
                if fit.fit_id not in self._rows and estimate is not None:
                    self._rows[fit.fit_id] = FitRow(fit, estimate)
            self._view = None

    def conclude(self, how: Conclude) -> None:
        """Note the end that its settled fits stand for."""
        rows = self._rows.values()
        outcomes = [row.outcome for row in rows]
        if how.cancelled and self.is_interrupted:
            self.interrupt()
        elif how.cancelled or Outcome.CANCELLED in outcomes:
            cancelled = WorkflowCancelledError(f"workflow {self.workflow_id} was cancelled")
            self.end("failed" if how.error else "cancelled", how.error or cancelled)
        elif Outcome.SUCCEEDED in outcomes:
            self.end("failed" if how.error else "succeeded", how.error)
        else:
            errors = [row.error for row in rows if row.error]
            said = f", for example: {errors[0]}" if errors else ""
            self.end("failed", how.error or WorkflowFailedError(f"no fit succeeded{said}"))

    def interrupt(self) -> None:
        """Note that it ends here, but may be gone on with elsewhere."""
        if not self.is_over:
            self._change(eta=self.rest() or self._eta)
        how = f"client.resume({self.workflow_id!r}), or `fitcast resume {self.workflow_id}`"
        self.end(
            "interrupted",
            WorkflowInterruptedError(
                f"workflow {self.workflow_id} was interrupted before it was done: {how} goes on "
                "with what isn't"
            ),
        )

    def rest(self) -> Eta | None:
        """Return the ETA of what isn't done; None if there was no forecast."""
        if not self.forecast.done() or self.forecast.exception() is not None:
            return None
        rows = list(self._rows.values())
        expected_s = [row.estimate.runtime_s_p50 for row in rows]
        done = (Outcome.SUCCEEDED, Outcome.FAILED)
        took_s = [r.measured.runtime_s if r.measured and r.outcome in done else None for r in rows]
        late = self.later()
        to_come = self._to_come()
        rounds = late[: len(late) - bool(self.refits)]
        typical = typical_of(rounds)[-to_come:] if to_come else []
        if self.refits and all(row.fit.fold != REFIT_FOLD for row in rows):
            typical += late[-1].typical()
        expected_s += (one.runtime_s_p50 for one in typical)
        took_s += [None] * len(typical)
        return eta_of_rest(self.forecast.result(), expected_s, took_s, self.now())

    def leave(self, end: End | None) -> None:
        """Take in how it ended in an earlier process; None if that had no time to say."""
        if end is None or end.state == "interrupted":
            self.interrupt()
            known = [record.ended_at for record in self._records]  # nothing later is known of it
            self._change(ended_at=max([self.submitted_at, *known]) if end is None else end.ended_at)
            return
        error = error_named(end.error_type, end.error) if end.error_type else None
        self.end(end.state, error)
        self._change(ended_at=end.ended_at)

    def end(self, state: str, error: FitcastError | None = None) -> None:
        """Note the end, once."""
        if not self.over.is_set():
            self._change(state=state, ended_at=self.now(), error=error, notes={})
            self.over.set()
            self._change()  # views made from now on say so
            self.captured.set()
