"""What users see of their workflows: the queue's row, and the run behind it where there is one.

A workflow that runs in this process is told by its run. One that waits has its row alone; of one
that is over, or that another replica runs, there are the row and its folder, where the results of
its fits are. Not in: routes (:mod:`fitcast.scheduler.broker.api`).
"""

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Final

from fitcast.errors import FitcastError
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.store import StoredWorkflow
from fitcast.scheduler.forecast.eta import Eta
from fitcast.scheduler.kept.workflow_folder import End
from fitcast.scheduler.run.runs import Run
from fitcast.scheduler.run.views import WorkflowView
from fitcast.scheduler.session.documents import (
    Changes,
    eta_document,
    eta_from,
    fit_document,
    fit_of,
    told_of_error,
    workflow_document,
)
from fitcast.scheduler.session.keeping import opened, run_of

log = logging.getLogger(__name__)

FROM_FOLDERS: Final = 64
"""Of so many workflows that don't run here what was read from their folders is held."""

_STATES: Final = {State.UPLOADING: "preparing", State.QUEUED: "queued", State.RUNNING: "running"}


class Views:
    """Views of workflows.

    Parameters
    ----------
    service : Service
        What there is.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = Lock()
        self._read: OrderedDict[str, Run] = OrderedDict()
        self._changes: OrderedDict[str, Changes] = OrderedDict()

    def document(self, row: StoredWorkflow) -> dict[str, Any]:
        """Return a workflow without its fits; nothing is opened for it."""
        run = self._service.engine.run(row.workflow_id)
        told = _of_row(row, self._service.files.folder(row.workflow_id).forecast_s())
        if run is not None and row.state is State.RUNNING and not run.is_over:
            told |= {
                name: value
                for name, value in workflow_document(run.view()).items()
                if name in ("state", "fits", "eta", "notes")
            }
        if run is not None:
            told["best_index"] = run.chosen()
        elif row.state.is_terminal:
            told["best_index"] = self._service.files.folder(row.workflow_id).best_index()
        return told

    def view(self, row: StoredWorkflow) -> WorkflowView | None:
        """Return all that is known of a workflow's fits; None before any could run."""
        if row.state is State.UPLOADING:
            return None
        run = self._service.engine.run(row.workflow_id)
        if run is not None and (row.state is not State.QUEUED or not run.is_over):
            return run.view()
        return self._from_folder(row)

    def fits(self, row: StoredWorkflow, since: str) -> dict[str, Any]:
        """Return the fits that changed since a cursor, and the next cursor."""
        view = self.view(row)
        if view is None:
            return {"fits": [], "next": ""}
        with self._lock:
            changes = self._changes.setdefault(row.workflow_id, Changes())
            self._changes.move_to_end(row.workflow_id)
            while len(self._changes) > 4 * FROM_FOLDERS:
                self._changes.popitem(last=False)
            rows, cursor = changes.since(view, since)
        return {"fits": [fit_document(one) for one in rows], "next": cursor}

    def forget(self, workflow_id: str) -> None:
        """Hold nothing of a workflow."""
        with self._lock:
            self._read.pop(workflow_id, None)
            self._changes.pop(workflow_id, None)

    def _from_folder(self, row: StoredWorkflow) -> WorkflowView | None:
        with self._lock:
            run = self._read.get(row.workflow_id)
            if run is None:
                run = self._opened(row)
                if run is None:
                    return None
                self._read[row.workflow_id] = run
                while len(self._read) > FROM_FOLDERS:
                    self._read.popitem(last=False)
            self._read.move_to_end(row.workflow_id)
            if not run.is_over:
                assert run.store is not None
                for one in run.store.load_new()[0]:
                    run.take_in(one)
                _follow(run, row.running_fits)
                run.note_state(_STATES.get(row.state, "running"))
                if row.state.is_terminal:
                    run.leave(
                        End(
                            row.state.value,
                            row.ended_at or datetime.now(UTC),
                            row.error_type,
                            row.error,
                        )
                    )
            return run.view()

    def _opened(self, row: StoredWorkflow) -> Run | None:
        try:
            kept = opened(self._service.files.root, row.workflow_id, key=self._service.key(row))
        except FitcastError as error:
            log.warning("workflow %s can't be shown: %s", row.workflow_id, error)
            return None
        return run_of(kept)


def _follow(run: Run, running: Sequence[Mapping[str, Any]]) -> None:
    """Take in which fits run, as the replica tells that runs them."""
    told = {str(one["fit_id"]): one for one in running}
    for fit_id, one in told.items():
        if fit_id not in run.view().rows:  # chosen late
            fit = run.submission.fit_named(fit_id)
            if fit is None:
                continue
            run.add([fit])
        if run.view().rows[fit_id].outcome is None:
            run.follow(fit_id, **fit_of(one))
    for row in run.view().running():
        if row.fit.fit_id not in told:
            run.follow(row.fit.fit_id, state="waiting")


def _of_row(row: StoredWorkflow, forecast_s: tuple[float, float, float] | None) -> dict[str, Any]:
    is_over = row.state.is_terminal
    eta: Eta | None = None
    if row.eta_s is not None and row.eta_at is not None and not is_over:
        eta = eta_from(row.eta_s, row.eta_at).left_at(datetime.now(UTC))
    foretold_s = forecast_s or row.forecast_s  # with its wait, once that was forecast
    forecast = None if foretold_s is None else eta_document(eta_from(foretold_s, row.created_at))
    notes: list[str] = []
    if row.state is State.UPLOADING and not row.is_announced:
        notes.append("a worker prepares it from its description")
    if row.state is State.QUEUED:
        notes.append(row.error or "it waits for its turn on the platform")
    state = "cancelled" if row.state is State.EXPIRED else row.state.value
    return {
        "workflow_id": row.workflow_id,
        "workflow_name": row.name,
        "user": row.user,
        "state": _STATES.get(row.state, state),
        "is_over": is_over,
        "priority": row.priority,
        "fits": {
            "done": row.fits_done,
            "running": len(row.running_fits),
            "total": max(row.fits_total, row.fits_done),  # a refit comes on top
        },
        "eta": None if eta is None else eta_document(eta),
        "forecast": forecast,
        "notes": notes,
        "submitted_at": row.created_at.isoformat(),
        "queued_at": _text(row.queued_at),
        "started_at": _text(row.started_at),
        "ended_at": _text(row.ended_at),
        "stored_bytes": row.stored_bytes,
        "error": told_of_error(row.error_type, row.error),
        "best_index": None,
    }


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
