"""A workflow as the client holds it: its fits, their attempts, its records, its state.

Data under one lock: the dispatcher writes, handles (:mod:`fitcast.scheduler.session.workflow`)
read.
"""

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from fitcast.errors import FitcastError, WorkflowCancelledError, WorkflowFailedError
from fitcast.history.records import Estimate, Outcome, Record
from fitcast.scheduler.forecast.eta import Eta
from fitcast.scheduler.forecast.tables import forecast_cells
from fitcast.scheduler.plan.events import SharedWork, Start
from fitcast.sizing.laws.families import with_threads
from fitcast.sizing.learning.correction import SweepCorrection
from fitcast.trainer.attempt.spec import Measured
from fitcast.trainer.sealing import SealedDataset
from fitcast.trainer.sweep.prepared import Fit, PreparedSweep
from fitcast.trainer.sweep.results import best_candidate, tabulate


@dataclass(slots=True)
class FitRow:
    """A fit as `Workflow.fits` shows it."""

    fit: Fit
    estimate: Estimate  # as forecast at submission, one thread
    state: str = "waiting"  # waiting | running | done
    outcome: Outcome | None = None
    attempts: int = 0
    pool: str = ""
    worker: str = ""
    threads: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    measured: Measured | None = None
    error: str = ""

    def cells(self) -> dict[str, Any]:
        """Return the row of `Workflow.fits`."""
        measured, estimate = self.measured, self.estimate
        return {
            "fit_id": self.fit.fit_id,
            "candidate": self.fit.candidate.label,
            "fold": self.fit.fold,
            "state": self.state,
            "outcome": None if self.outcome is None else self.outcome.value,
            "attempts": self.attempts,
            "pool": self.pool or None,
            "worker": self.worker or None,
            "threads": self.threads or None,
            "runtime_s": measured.runtime_s if measured else float("nan"),
            "shared_s": measured.shared_s if measured else float("nan"),
            "cpu_s": measured.cpu_s if measured else float("nan"),
            "peak_memory_bytes": measured.peak_memory_bytes if measured else 0,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            **forecast_cells(estimate),
            "error": self.error or None,
        }


@dataclass(eq=False)
class Run:
    """Everything that is known of one submitted workflow."""

    workflow_id: str
    prepared: PreparedSweep
    correction: SweepCorrection
    rows: dict[str, FitRow]
    final_estimate: Estimate | None  # what the refit is expected to cost
    submitted_at: datetime
    state: str = "preparing"  # preparing | running | succeeded | failed | cancelled
    eta: Eta | None = None
    records: list[Record] = field(default_factory=list)
    sealed: SealedDataset | None = None
    model: bytes | None = None
    error: FitcastError | None = None
    notes: tuple[str, ...] = ()  # what keeps its workers away
    shared_work: dict[str, SharedWork] = field(default_factory=dict)  # by fit_id, where there is
    process_start_s: float = 0.0  # that a fit is spared in the process of another
    ended_at: datetime | None = None
    done: threading.Event = field(default_factory=threading.Event)
    noted: threading.Event = field(default_factory=threading.Event)  # its end, for the history
    _forecast: "Future[Eta]" = field(default_factory=Future)
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def forecast_eta(self) -> Eta:
        """The ETA as forecast at submission; waits for the moment that making it takes."""
        return self._forecast.result(60)

    def forecast_made(self, eta: Eta) -> None:
        """Take the ETA forecast at submission."""
        self._forecast.set_result(eta)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.done.is_set()

    def measured(self) -> dict[str, Measured]:
        """Return what the successful and failed fits gave, by fit_id."""
        return {fit_id: row.measured for fit_id, row in self.rows.items() if row.measured}

    def note_start(self, fit_id: str, state: str, attempt: int, start: Start) -> None:
        """Note that an attempt was sent to a worker."""
        with self.lock:
            if self.state == "preparing":
                self.state = "running"
            row = self.rows[fit_id]
            row.state, row.attempts = state, attempt
            row.pool, row.worker, row.threads = start.pool, start.worker, start.threads
            row.started_at = datetime.now(UTC)

    def note_waiting(self, fit_id: str) -> None:
        """Note that a fit's turn never came: it waits as before."""
        with self.lock:
            self.rows[fit_id].state = "waiting"

    def note_end(self, fit_id: str, measured: Measured, record: Record) -> None:
        """Note how an attempt ended; what becomes of its fit is told by `settle`."""
        row = self.rows[fit_id]
        with self.lock:
            row.measured, row.ended_at, row.state = measured, measured.ended_at, "waiting"
            row.error = f"{measured.error_type}: {measured.error_message}".strip(": ")
            self.records.append(record)
            if measured.model is not None:
                self.model = measured.model

    def settle(self, fit_id: str, outcome: Outcome, reason: str) -> None:
        """Note what finally became of a fit."""
        row = self.rows[fit_id]
        with self.lock:
            row.state, row.outcome = "done", outcome
            if row.started_at and (row.ended_at is None or row.ended_at < row.started_at):
                row.ended_at = datetime.now(UTC)  # given up: nothing more is heard of it
            if reason:
                row.error = f"{row.error}; {reason}" if row.error else reason

    def choose_final(self) -> Fit | None:
        """Return the fit of the best candidate on all rows; None if there is no best."""
        scored = self.measured()
        if not any(measured.outcome is Outcome.SUCCEEDED for measured in scored.values()):
            return None
        try:
            best = best_candidate(self.prepared, tabulate(self.prepared, scored))
            fit = self.prepared.refit_fit(self.prepared.candidates[best])
        except Exception as error:
            self.error = WorkflowFailedError(f"the best candidate can't be chosen: {error}")
            return None
        assert self.final_estimate is not None
        with self.lock:
            self.rows[fit.fit_id] = FitRow(fit, self.final_estimate)
        return fit

    def conclude(self) -> None:
        """Note the end that its settled fits stand for."""
        outcomes = [row.outcome for row in self.rows.values()]
        if Outcome.SUCCEEDED in outcomes and Outcome.CANCELLED not in outcomes:
            self.end("failed" if self.error else "succeeded", self.error)
        elif Outcome.CANCELLED in outcomes:
            state = "failed" if self.error else "cancelled"
            self.end(state, WorkflowCancelledError(f"workflow {self.workflow_id} was cancelled"))
        else:
            errors = [row.error for row in self.rows.values() if row.error]
            said = f", for example: {errors[0]}" if errors else ""
            self.end("failed", WorkflowFailedError(f"no fit succeeded{said}"))

    def end(self, state: str, error: FitcastError | None = None) -> None:
        """Note the end, once."""
        with self.lock:
            if not self.done.is_set():
                self.state, self.ended_at = state, datetime.now(UTC)
                self.error = self.error or error
                self.done.set()


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
    estimate = run.rows[fit.fit_id].estimate
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
