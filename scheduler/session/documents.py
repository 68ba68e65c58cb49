"""What is told of workflows to other processes: plain JSON, and back into views.

In: the documents of the control API and of the broker's. Not in: their routes
(:mod:`fitcast.scheduler.session.background.api`, :mod:`fitcast.scheduler.broker.api`).
"""

import math
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from fitcast.errors import (
    AuthenticationError,
    BrokerError,
    BrokerStoreError,
    BrokerUnreachableError,
    BusyError,
    FitcastError,
    ForbiddenError,
    IdempotencyError,
    IdentityProviderError,
    InvalidInputError,
    KeyEncryptionError,
    LimitError,
    LostLeaseError,
    SealError,
    StoreError,
    SubmissionError,
    TooLargeError,
    UnknownFitError,
    UnknownUserError,
    UnknownWorkflowError,
    UploadError,
    UploadStalledError,
    WorkflowHeldError,
    WorkflowStateError,
)
from fitcast.history.records import Outcome
from fitcast.scheduler.forecast.eta import Eta
from fitcast.scheduler.run.views import FitRow, WorkflowView

_CODES: Final[tuple[tuple[type[FitcastError], int, str], ...]] = (
    (AuthenticationError, 401, "not_authenticated"),
    (ForbiddenError, 403, "not_allowed"),
    (TooLargeError, 413, "too_large"),
    (LimitError, 429, "limit"),
    (IdempotencyError, 409, "idempotency"),
    (LostLeaseError, 409, "moved"),
    (UploadStalledError, 408, "stalled"),
    (UploadError, 409, "upload"),
    (BusyError, 503, "busy"),
    (WorkflowStateError, 409, "state"),
    (UnknownUserError, 404, "unknown_user"),
    (UnknownFitError, 404, "unknown_fit"),
    (KeyEncryptionError, 500, "key"),
    (BrokerStoreError, 503, "store_away"),
    (IdentityProviderError, 503, "identity_provider_away"),
    (BrokerUnreachableError, 503, "away"),
    (BrokerError, 409, "conflict"),
    (UnknownWorkflowError, 404, "unknown_workflow"),
    (WorkflowHeldError, 409, "held_elsewhere"),
    (SubmissionError, 409, "cannot_be_resumed"),
    (SealError, 422, "altered"),
    (StoreError, 507, "store"),
    (InvalidInputError, 422, "invalid"),
    (FitcastError, 400, "refused"),
)
"""Status and code of each kind of error, the first that fits."""


def workflow_document(view: WorkflowView) -> dict[str, Any]:
    """Return a workflow without its fits."""
    done, running, total = view.counts()
    eta = view.eta
    return {
        "workflow_id": view.workflow_id,
        "workflow_name": view.name,
        "state": view.state,
        "is_over": view.is_over,
        "fits": {"done": done, "running": running, "total": total},
        "eta": None if eta is None else eta_document(eta),
        "notes": list(view.notes),
        "submitted_at": view.submitted_at.isoformat(),
        "ended_at": _plain(view.ended_at),
        "error": None
        if view.error is None
        else told_of_error(type(view.error).__name__, str(view.error)),
    }


def told_of_error(kind: str, message: str) -> dict[str, str] | None:
    """Return the error that a workflow ended with; None if there was none."""
    return {"type": kind, "message": message} if kind else None


def eta_document(eta: Eta) -> dict[str, Any]:
    """Return a forecast of an end."""
    return {
        "p10_s": _plain(eta.p10_s),
        "p50_s": _plain(eta.p50_s),
        "p90_s": _plain(eta.p90_s),
        "finish_at": eta.finish_at.isoformat(),
    }


def eta_of(told: Mapping[str, Any]) -> Eta:
    """Return what :func:`eta_document` told."""
    p10_s, p50_s, p90_s = (
        math.nan if told[name] is None else float(told[name])
        for name in ("p10_s", "p50_s", "p90_s")
    )
    return Eta(p10_s, p50_s, p90_s, datetime.fromisoformat(told["finish_at"]))


def eta_from(seconds: tuple[float, float, float], since: datetime) -> Eta:
    """Return an ETA of P10, P50 and P90 in seconds from a time on."""
    p10_s, p50_s, p90_s = seconds
    later = timedelta(seconds=p50_s if math.isfinite(p50_s) else 0.0)
    return Eta(p10_s, p50_s, p90_s, since + later)


def fit_document(row: FitRow) -> dict[str, Any]:
    """Return a fit, with the columns of `Workflow.fits`."""
    return {name: _plain(value) for name, value in row.cells().items()}


def fit_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what :func:`fit_document` told of a fit's way, by the fields of a row."""
    return {
        "state": str(told["state"]),
        "outcome": None if told["outcome"] is None else Outcome(told["outcome"]),
        "attempts": int(told["attempts"]),
        "pool": told["pool"] or "",
        "worker": told["worker"] or "",
        "threads": told["threads"] or 0,
        "started_at": _time(told["started_at"]),
        "ended_at": _time(told["ended_at"]),
        "error": told["error"] or "",
    }


def error_document(error: FitcastError) -> tuple[int, dict[str, Any]]:
    """Return an error of ours, and the HTTP status it goes with."""
    status, code = next((status, code) for kind, status, code in _CODES if isinstance(error, kind))
    return status, told_error(code, type(error).__name__, str(error))


def told_error(code: str, kind: str, message: str) -> dict[str, Any]:
    """Return an error as it is told."""
    return {"error": {"code": code, "type": kind, "message": message}}


class Changes:
    """Tells which fits of a workflow changed since a reader asked last."""

    def __init__(self) -> None:
        self._origin = os.urandom(8).hex()  # a cursor of another process begins anew
        self._version = 0
        self._rows: dict[str, tuple[FitRow, int]] = {}

    def since(self, view: WorkflowView, cursor: str) -> tuple[list[FitRow], str]:
        """Return the rows that changed since a cursor was given, and the next one."""
        self._version += 1
        for fit_id, row in view.rows.items():
            known = self._rows.get(fit_id)
            if known is None or known[0] is not row:
                self._rows[fit_id] = (row, self._version)
        origin, _, number = cursor.partition(":")
        known_version = int(number) if origin == self._origin and number.isdecimal() else 0
        changed = [row for row, version in self._rows.values() if version > known_version]
        return changed, f"{self._origin}:{self._version}"


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    return value


def _time(told: str | None) -> datetime | None:
    return None if told is None else datetime.fromisoformat(told)
