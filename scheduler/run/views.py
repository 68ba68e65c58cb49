"""A workflow as everybody but its dispatcher sees it: unchangeable, whole, of one moment."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from fitcast.errors import FitcastError
from fitcast.history.records import Estimate, Outcome, Record
from fitcast.scheduler.forecast.eta import Eta
from fitcast.scheduler.forecast.tables import forecast_cells
from fitcast.trainer.attempt.spec import Measured
from fitcast.trainer.sweep.submission import Fit

NOT_A_NUMBER = float("nan")


@dataclass(frozen=True, slots=True)
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
        """Return the row of `Workflow.fits`; what wasn't measured is missing."""
        measured = self.measured
        # An attempt of which nothing is known but that it is over has held no memory either.
        seen = measured is not None and measured.peak_memory_bytes > 0
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
            "runtime_s": measured.runtime_s if measured else NOT_A_NUMBER,
            "shared_s": measured.shared_s if measured else NOT_A_NUMBER,
            "cpu_s": measured.cpu_s if measured and seen else NOT_A_NUMBER,
            "peak_memory_bytes": measured.peak_memory_bytes if measured and seen else NOT_A_NUMBER,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            **forecast_cells(self.estimate),
            "error": self.error or None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowView:
    """A workflow at one moment."""

    workflow_id: str
    name: str
    state: str  # preparing | queued | running | succeeded | failed | cancelled | interrupted
    rows: Mapping[str, FitRow]  # by fit_id, in order of submission
    records: tuple[Record, ...]
    eta: Eta | None  # the latest forecast; None before the first
    notes: tuple[str, ...]  # what it waits for
    submitted_at: datetime
    ended_at: datetime | None
    is_over: bool
    error: FitcastError | None
    to_come: int = 0  # fits that are chosen later, the refit apart

    def left(self, now: datetime) -> Eta | None:
        """Return the ETA as of a moment; None if it isn't known, or over for good.

        Of one that was interrupted: when it would be done if it were gone on with then.
        """
        if self.eta is None or (self.is_over and self.state != "interrupted"):
            return None
        if self.state == "interrupted" and not math.isnan(self.eta.p50_s):
            return replace(self.eta, finish_at=now + timedelta(seconds=self.eta.p50_s))
        return self.eta.left_at(now)

    def measured(self) -> dict[str, Measured]:
        """Return what the successful and failed fits gave, by fit_id."""
        return {fit_id: row.measured for fit_id, row in self.rows.items() if row.measured}

    def running(self) -> list[FitRow]:
        """Return the fits that run."""
        return [row for row in self.rows.values() if row.state == "running"]

    def counts(self) -> tuple[int, int, int]:
        """Return how many fits are done, running, and there in all or to come."""
        states = [row.state for row in self.rows.values()]
        return states.count("done"), states.count("running"), len(states) + self.to_come
