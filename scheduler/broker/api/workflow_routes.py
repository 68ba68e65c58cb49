"""Routes of workflows that are there: how they stand, what they gave, cancelling, removing."""

import asyncio
import base64
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from fitcast.scheduler.broker.api.answers import PlainJson
from fitcast.scheduler.broker.api.authentication import Reader, Submitter
from fitcast.scheduler.broker.api.described import (
    OF_A_WORKFLOW,
    FilesTold,
    FitsTold,
    KeyTold,
    LinkTold,
    LogsTold,
    Responses,
    WorkflowId,
    WorkflowsPage,
    WorkflowTold,
    refusals,
)
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.views import Views
from fitcast.scheduler.session.logs import logs_of

LONGEST_WAIT_S: Final = 30.0
PAGE: Final = 200
_LOOK_EVERY_S: Final = 0.2

_SEALED: Final = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_FILE: Final[Responses] = {
    200: {"description": "The file", "content": _SEALED},
    206: {"description": "The range of it", "content": _SEALED},
}

Wait = Annotated[float, Query(ge=0.0, le=LONGEST_WAIT_S)]


def workflow_routes(service: Service, views: Views) -> APIRouter:
    """Return the routes."""
    router = APIRouter(
        prefix="/v1/workflows", default_response_class=PlainJson, responses=OF_A_WORKFLOW
    )

    @router.get("", response_model=WorkflowsPage)
    def workflows(
        caller: Reader,
        after: Annotated[str, Query(max_length=100)] = "",
        limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
    ) -> PlainJson:
        """List the caller's workflows, newest first; `after` is the `next` of the page before."""
        rows = service.store.workflows(caller.user.user_id, limit=limit, after=after or None)
        following = rows[-1].workflow_id if len(rows) == limit else ""
        return PlainJson({"workflows": [views.document(row) for row in rows], "next": following})

    @router.get("/{workflow_id}", response_model=WorkflowTold)
    async def workflow(
        caller: Reader, request: Request, workflow_id: WorkflowId, wait_s: Wait = 0.0
    ) -> PlainJson:
        """Tell how a workflow stands; after `wait_s`, or sooner if it is over then."""
        until_s = time.monotonic() + wait_s
        while True:
            row = await run_in_threadpool(service.mine, caller.user, workflow_id)
            told = await run_in_threadpool(views.document, row)
            left_s = until_s - time.monotonic()
            if told["is_over"] or left_s <= 0.0 or request.app.state.is_ending():
                return PlainJson(told)
            if await request.is_disconnected():
                return PlainJson(told)
            await asyncio.sleep(min(_LOOK_EVERY_S, left_s))

    @router.get("/{workflow_id}/fits", response_model=FitsTold)
    def fits(
        caller: Reader, workflow_id: WorkflowId, since: Annotated[str, Query(max_length=100)] = ""
    ) -> PlainJson:
        """Return the fits that changed since a cursor."""
        return PlainJson(views.fits(service.mine(caller.user, workflow_id), since))

    @router.get(
        "/{workflow_id}/submission",
        response_model=dict[str, Any],
        responses=refusals(409),
    )
    def submission(caller: Reader, workflow_id: WorkflowId) -> PlainJson:
        """Return what was submitted, and what its fits were forecast to cost."""
        return PlainJson(service.submission(service.mine(caller.user, workflow_id)))

    @router.get("/{workflow_id}/key", response_model=KeyTold, responses=refusals(500))
    def key(caller: Submitter, workflow_id: WorkflowId) -> PlainJson:
        """Return the key of the caller's own workflow; noted in the audit log."""
        row = service.mine(caller.user, workflow_id)
        service.store.note_audit(caller.user.name, "key", workflow_id, "given")
        return PlainJson({"key": base64.b64encode(service.key(row)).decode()})

    @router.get("/{workflow_id}/mlflow", response_model=LinkTold)
    def mlflow(caller: Reader, workflow_id: WorkflowId) -> PlainJson:
        """Return where it is seen in the platform's MLflow."""
        row = service.mine(caller.user, workflow_id)
        return PlainJson({"url": service.engine.url(row.workflow_id)})

    @router.get("/{workflow_id}/logs", response_model=LogsTold)
    def logs(
        caller: Reader,
        workflow_id: WorkflowId,
        fit: Annotated[str | None, Query(max_length=100)] = None,
    ) -> PlainJson:
        """Return what fits wrote."""
        view = views.view(service.mine(caller.user, workflow_id))
        return PlainJson({"logs": "" if view is None else logs_of(view, fit)})

    @router.get("/{workflow_id}/files", response_model=FilesTold)
    def files(caller: Reader, workflow_id: WorkflowId) -> PlainJson:
        """List the sealed files of its results."""
        row = service.mine(caller.user, workflow_id)
        return PlainJson({"files": service.files.names(row.workflow_id)})

    @router.get(
        "/{workflow_id}/files/{name}", response_class=FileResponse, responses=_FILE | refusals(416)
    )
    def file(caller: Reader, workflow_id: WorkflowId, name: str) -> Response:
        """Return a sealed file, or a range of it."""
        row = service.mine(caller.user, workflow_id)
        return FileResponse(
            service.path(row, name),
            media_type="application/octet-stream",
            headers={"Cache-Control": "private, no-store"},
        )

    @router.post("/{workflow_id}/cancel", response_model=WorkflowTold)
    def cancel(caller: Submitter, workflow_id: WorkflowId) -> PlainJson:
        """Give a workflow up."""
        return PlainJson(views.document(service.cancel(caller.user, workflow_id)))

    @router.post("/{workflow_id}/resume", response_model=WorkflowTold, responses=refusals(409))
    def resume(caller: Submitter, workflow_id: WorkflowId) -> PlainJson:
        """Let a workflow go on; what isn't over does so by itself."""
        return PlainJson(views.document(service.resume(caller.user, workflow_id)))

    @router.delete(
        "/{workflow_id}",
        status_code=204,
        response_class=Response,
        responses=refusals(409, 507),
    )
    def remove(caller: Submitter, workflow_id: WorkflowId) -> Response:
        """Remove all of a workflow that is over."""
        service.remove(caller.user, workflow_id)
        views.forget(workflow_id)
        return Response(status_code=204)

    return router
