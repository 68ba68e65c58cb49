"""A workflow as its dispatcher holds it: its fits, their attempts, its records, its state.

One thread writes, the dispatcher's; everybody else reads :class:`~fitcast.scheduler.run.views`.
"""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from importlib.metadata import version
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from fitcast.errors import FitcastError, WorkflowCancelledError, WorkflowFailedError
from fitcast.history.records import Estimate, Outcome, Record
from fitcast.scheduler.forecast.eta import Eta
from fitcast.scheduler.plan.events import CommonWork, Conclude, Start
from fitcast.scheduler.run.views import FitRow, WorkflowView
from fitcast.sizing.laws.families import with_threads
from fitcast.sizing.learning.correction import SweepCorrection
from fitcast.trainer.attempt.spec import RESULT_BYTES, Measured
from fitcast.trainer.sealing import SealedDataset
from fitcast.trainer.sweep.prepared import Fit, PreparedSweep
from fitcast.trainer.sweep.results import best_candidate, tabulate


class Run:
    """Everything that is known of one submitted workflow.

    Parameters
    ----------
    workflow_id : str
        Its name.
    prepared : PreparedSweep
        What runs.
    correction : SweepCorrection
        Corrects its forecasts by what was seen; belongs to the thread of live ETAs from now on.
    estimates : mapping
        What each fit was forecast to cost at submission, by fit_id.
    final_estimate : Estimate, optional
        What the refit is expected to cost.
    submitted_at : datetime
        When, UTC.
    """

    def __init__(
        self,
        *,
        workflow_id: str,
        prepared: PreparedSweep,
        correction: SweepCorrection,
        estimates: Mapping[str, Estimate],
        final_estimate: Estimate | None,
        submitted_at: datetime,
    ) -> None:
        self.workflow_id = workflow_id
        self.prepared = prepared
        self.correction = correction
        self.final_estimate = final_estimate
        self.submitted_at = submitted_at
        self._submitted_s = time.monotonic()
        self.sealed: SealedDataset | None = None
        self.key = b""
        self.final_fit: Fit | None = None  # of the best candidate, once it is chosen
        self.common_work: dict[str, CommonWork] = {}  # by fit_id, where there is
        self.result_bytes = RESULT_BYTES  # what each fit may give
        self.surroundings = b""  # of the user's code, as where it was submitted
        self.process_start_s = 0.0  # that a fit is spared in the process of another
        self.captured = threading.Event()  # nothing of the user's is read any more
        self.over = threading.Event()  # its result is final
        self.recorded = threading.Event()  # the history was told of its end, or never will be
        self.closed = threading.Event()  # nothing of it is left to do
        self.forecast: Future[Eta] = Future()  # as made at submission
        self._lock = threading.Lock()
        self._rows = {fit.fit_id: FitRow(fit, estimates[fit.fit_id]) for fit in prepared.fits}
        self._records: list[Record] = []
        self._state = "preparing"
        self._eta: Eta | None = None
        self._notes: dict[str, tuple[str, ...]] = {}  # by who says so
        self._ended_at: datetime | None = None
        self._error: FitcastError | None = None
        self._model: bytes | None = None
        self._view: WorkflowView | None = None  # unless something has changed since

    # -- for everybody ---------------------------------------------------------------------------

    def now(self) -> datetime:
        """Return the time by the clock as it was at submission: it never goes back."""
        return self.submitted_at + timedelta(seconds=time.monotonic() - self._submitted_s)

    def view(self) -> WorkflowView:
        """Return it as it is now."""
        with self._lock:
            if self._view is None:
                self._view = WorkflowView(
                    workflow_id=self.workflow_id,
                    name=self.prepared.name,
                    state=self._state,
                    rows=MappingProxyType(dict(self._rows)),
                    records=tuple(self._records),
                    eta=self._eta,
                    notes=tuple(note for notes in self._notes.values() for note in notes),
                    submitted_at=self.submitted_at,
                    ended_at=self._ended_at,
                    is_over=self.over.is_set(),
                    error=self._error,
                    model=self._model,
                )
            return self._view

    @property
    def is_over(self) -> bool:
        """Whether its result is final."""
        return self.over.is_set()

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
        """Note the latest forecast of its end."""
        self._change(eta=eta)

    def note_waits(self, who: str, notes: tuple[str, ...]) -> None:
        """Note what it waits for, as far as one part of fitcast knows; nothing, if empty."""
        if self._notes.get(who, ()) != notes:
            self._change(notes={**self._notes, who: notes})

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

    def note_end(self, fit_id: str, measured: Measured, record: Record) -> None:
        """Note how an attempt ended; what becomes of its fit is told by `settle`."""
        row = self._rows[fit_id]
        state = "waiting" if row.outcome is None else row.state
        error = f"{measured.error_type}: {measured.error_message}".strip(": ")
        self._change_row(
            fit_id, measured=measured, ended_at=measured.ended_at, state=state, error=error
        )
        with self._lock:
            self._records.append(record)
            if measured.model is not None:
                self._model = measured.model

    def settle(self, fit_id: str, outcome: Outcome, reason: str) -> None:
        """Note what finally became of a fit."""
        row = self._rows[fit_id]
        ended_at, error = row.ended_at, row.error
        if row.started_at and (ended_at is None or ended_at < row.started_at):
            ended_at = self.now()  # given up: it ends now
        if reason:
            error = f"{error}; {reason}" if error else reason
        self._change_row(fit_id, state="done", outcome=outcome, ended_at=ended_at, error=error)

    def choose_final(self) -> Fit | None:
        """Return the fit of the best candidate on all rows; None if there is no best.

        Raises
        ------
        WorkflowFailedError
            The user's own rule for it failed.
        """
        scored = self.view().measured()
        if not any(measured.outcome is Outcome.SUCCEEDED for measured in scored.values()):
            return None
        try:
            best = best_candidate(self.prepared, tabulate(self.prepared, scored))
            return self.prepared.refit_fit(self.prepared.candidates[best])
        except Exception as error:
            raise WorkflowFailedError(f"the best candidate can't be chosen: {error}") from error

    def add_final(self, fit: Fit) -> None:
        """Take the fit of the best candidate on all rows in."""
        assert self.final_estimate is not None
        with self._lock:
            self._rows[fit.fit_id] = FitRow(fit, self.final_estimate)
            self._view = None

    def conclude(self, how: Conclude) -> None:
        """Note the end that its settled fits stand for."""
        rows = self._rows.values()
        outcomes = [row.outcome for row in rows]
        if how.cancelled or Outcome.CANCELLED in outcomes:
            cancelled = WorkflowCancelledError(f"workflow {self.workflow_id} was cancelled")
            self.end("failed" if how.error else "cancelled", how.error or cancelled)
        elif Outcome.SUCCEEDED in outcomes:
            self.end("failed" if how.error else "succeeded", how.error)
        else:
            errors = [row.error for row in rows if row.error]
            said = f", for example: {errors[0]}" if errors else ""
            self.end("failed", how.error or WorkflowFailedError(f"no fit succeeded{said}"))

    def end(self, state: str, error: FitcastError | None = None) -> None:
        """Note the end, once."""
        if not self.over.is_set():
            self._change(state=state, ended_at=self.now(), error=error, notes={})
            self.over.set()
            self._change()  # views made from now on say so
            self.captured.set()


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that fits' costs depend on."""
    return {name: version(name) for name in ("fitcast", "scikit-learn", "xgboost", "lightgbm")}


def record_of(
    run: Run,
    fit: Fit,
    attempt: int,
    measured: Measured,
    *,
    pool: str,
    worker: str,
    host: str,
    threads: int,
    memory_limit_bytes: int,
    deadline_s: float | None,
    versions: dict[str, str],
    machine_speed: float,
) -> Record:
    """Return the record of an attempt: request, cost, end, and what had been forecast."""
    estimate = run.row(fit.fit_id).estimate
    return Record(
        record_id=uuid4().hex,
        workflow_id=run.workflow_id,
        workflow_name=run.prepared.name,
        dataset=run.prepared.dataset,
        candidate=fit.candidate.label,
        candidate_index=fit.candidate.index,
        fold=fit.fold,
        attempt=attempt,
        request=replace(fit.request, threads=threads),
        estimate=with_threads(estimate, threads),
        outcome=measured.outcome,
        runtime_s=measured.runtime_s,
        cpu_s=measured.cpu_s,
        peak_memory_bytes=measured.peak_memory_bytes,
        base_memory_bytes=measured.base_memory_bytes,
        memory_limit_bytes=memory_limit_bytes,
        deadline_s=deadline_s,
        pool=pool,
        worker=worker,
        host=host,
        started_at=measured.started_at,
        ended_at=measured.ended_at,
        scores=dict(measured.scores),
        error_type=measured.error_type,
        error_message=measured.error_message,
        versions=versions,
        machine_speed=machine_speed,
        shared_s=measured.shared_s,
    )
