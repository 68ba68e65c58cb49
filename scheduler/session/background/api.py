"""The control API of a process that runs workflows: what may be asked of it, and who may ask.

In: routes, and the check of who is at the other end. Plain JSON in and out; nothing that comes in
is ever unpickled, a workflow is named by its id alone. Not in: the process
(:mod:`fitcast.scheduler.session.background.process`), the other end
(:mod:`fitcast.scheduler.session.background.calls`).
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from threading import Lock
from typing import Any, Final, cast

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.h11_impl import H11Protocol

from fitcast.errors import FitcastError, UnknownWorkflowError
from fitcast.scheduler.run.runs import Run
from fitcast.scheduler.session.background.idleness import Idleness
from fitcast.scheduler.session.background.place import user_of
from fitcast.scheduler.session.documents import (
    Changes,
    error_document,
    fit_document,
    told_error,
    workflow_document,
)
from fitcast.scheduler.session.engine import Engine
from fitcast.scheduler.session.logs import logs_of
from fitcast.version import __version__

log = logging.getLogger(__name__)

LONGEST_WAIT_S: Final = 30.0
"""So long a request may wait for a workflow's end."""

_LOOK_EVERY_S: Final = 0.1


class OwnersProtocol(H11Protocol):
    """Talks to processes of this user alone."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or end it."""
        if user_of(transport.get_extra_info("socket")) != os.geteuid():
            log.warning("a process of another user was refused")
            transport.abort()
            return
        super().connection_made(transport)


def control_api(engine: Engine, idleness: Idleness, settings: Mapping[str, str]) -> FastAPI:
    """Return the API of an engine.

    Parameters
    ----------
    engine : Engine
        Runs workflows.
    idleness : Idleness
        Is told of requests, and may end the process between them.
    settings : mapping
        What others compare theirs with; see
        :func:`fitcast.scheduler.session.background.starting.settings_marks`.
    """
    app = FastAPI(title="fitcast", version=__version__, docs_url=None, redoc_url=None)
    changes: dict[str, Changes] = {}
    changing, resuming = Lock(), Lock()

    def run_of(workflow_id: str) -> Run:
        run = engine.run(workflow_id)
        if run is None:
            raise UnknownWorkflowError(f"workflow {workflow_id} doesn't run in this process")
        return run

    @app.middleware("http")
    async def counted(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        if not idleness.begin(time.monotonic()):
            told = told_error("ending", "BackgroundError", "this process is ending: start another")
            return JSONResponse(told, 503)
        try:
            return await call(request)
        finally:
            idleness.end(time.monotonic())

    @app.get("/v1/health")
    def health() -> dict[str, Any]:
        return {
            "version": __version__,
            "pid": os.getpid(),
            "settings": dict(settings),
            "running": sum(not run.is_over for run in engine.runs()),
            "troubles": engine.troubles[-20:],
        }

    @app.get("/v1/workflows")
    def workflows() -> dict[str, Any]:
        return {"workflows": [workflow_document(run.view()) for run in engine.runs()]}

    @app.get("/v1/workflows/{workflow_id}")
    async def workflow(
        workflow_id: str, wait_s: float = Query(0.0, ge=0.0, le=LONGEST_WAIT_S)
    ) -> dict[str, Any]:
        run = run_of(workflow_id)
        until_s = time.monotonic() + wait_s
        while not run.is_over and time.monotonic() < until_s and not idleness.is_ending:
            await asyncio.sleep(min(_LOOK_EVERY_S, wait_s))
        return workflow_document(run.view())

    @app.get("/v1/workflows/{workflow_id}/fits")
    def fits(workflow_id: str, since: str = "") -> dict[str, Any]:
        view = run_of(workflow_id).view()
        with changing:
            rows, cursor = changes.setdefault(workflow_id, Changes()).since(view, since)
        return {"fits": [fit_document(row) for row in rows], "next": cursor}

    @app.get("/v1/workflows/{workflow_id}/logs")
    def logs(workflow_id: str, fit: str | None = None) -> dict[str, Any]:
        return {"logs": logs_of(run_of(workflow_id).view(), fit)}

    @app.post("/v1/workflows/{workflow_id}/cancel")
    def cancel(workflow_id: str) -> dict[str, Any]:
        run = run_of(workflow_id)
        if not run.is_over:
            engine.cancel(workflow_id)
        return workflow_document(run.view())

    @app.post("/v1/workflows/{workflow_id}/resume")
    def resume(workflow_id: str) -> dict[str, Any]:
        with resuming:  # who asks twice gets the same
            run = engine.run(workflow_id)
            if run is None or run.is_over:
                run = engine.resume(workflow_id)
                changes.pop(workflow_id, None)
        return workflow_document(run.view())

    @app.exception_handler(FitcastError)
    def refused(request: Request, error: Exception) -> JSONResponse:
        status, told = error_document(cast(FitcastError, error))
        return JSONResponse(told, status)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(told_error("invalid_request", "InvalidInputError", str(error)), 422)

    @app.exception_handler(HTTPException)
    def unknown(request: Request, error: Exception) -> JSONResponse:
        found = cast(HTTPException, error)
        told = told_error("no_such_route", "FitcastError", str(found.detail))
        return JSONResponse(told, found.status_code)

    @app.exception_handler(Exception)
    def failed(request: Request, error: Exception) -> JSONResponse:
        said = f"fitcast failed: {type(error).__name__}: {error}. Its log has the traceback"
        return JSONResponse(told_error("internal", "InternalError", said), 500)

    return app
