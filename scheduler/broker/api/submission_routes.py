"""Routes by which workflows come: announced, uploaded piece by piece, committed; or described.

Forecasts, which go before that, too.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Header, Request
from starlette.concurrency import run_in_threadpool

from fitcast.errors import (
    ForbiddenError,
    InvalidInputError,
    TooLargeError,
    UploadStalledError,
)
from fitcast.scheduler.broker.announcement import (
    LEAST_PRIORITY,
    MOST_PRIORITY,
    Caps,
    announcement_of,
    body_of,
)
from fitcast.scheduler.broker.api.answers import PlainJson
from fitcast.scheduler.broker.api.authentication import Bringer, Caller, Reader, Submitter
from fitcast.scheduler.broker.api.described import (
    ASKED,
    OF_A_WORKFLOW,
    EstimatesTold,
    Received,
    ReceivedOf,
    WorkflowId,
    WorkflowTold,
    refusals,
)
from fitcast.scheduler.broker.describing import Descriptions
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.uploads_under_way import UploadsUnderWay
from fitcast.scheduler.broker.views import Views
from fitcast.trainer.sweep.described import SweepDescription

Upload = Literal["dataset", "sweep"]
UPLOAD_TYPE = "application/offset+octet-stream"


def _sweep_schema() -> dict[str, Any]:
    """Return what a described sweep looks like, with its definitions inside."""
    schema = SweepDescription.model_json_schema()
    schema["properties"]["priority"] = {
        "type": "integer",
        "minimum": LEAST_PRIORITY,
        "maximum": MOST_PRIORITY,
    }
    defined = schema.pop("$defs")

    def inlined(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return inlined(defined[value["$ref"].rpartition("/")[2]])
            return {name: inlined(one) for name, one in value.items()}
        return [inlined(one) for one in value] if isinstance(value, list) else value

    inline: dict[str, Any] = inlined(schema)
    return inline


_JSON_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}
_SWEEP_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _sweep_schema()}},
    }
}
_UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {UPLOAD_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


def submission_routes(service: Service, views: Views, descriptions: Descriptions) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v1", default_response_class=PlainJson)
    under_way = UploadsUnderWay(service.caps.uploads)

    @router.post(
        "/estimates",
        response_model=EstimatesTold,
        responses=ASKED | refusals(404, 408, 409, 413),
        openapi_extra=_JSON_BODY,
    )
    async def estimates(caller: Reader, request: Request) -> PlainJson:
        """Forecast a sweep; no data is needed, and nothing is run."""
        told = body_of(await _body(request, service.caps.body_bytes, service.caps.stall_s))
        probes = told.get("probes", [])
        if not isinstance(probes, list) or not all(isinstance(one, str) for one in probes):
            raise InvalidInputError("probes must be a list of ids of workflows")
        found = await run_in_threadpool(
            service.estimates, caller.user, told.get("submission"), probes
        )
        return PlainJson(found)

    @router.post(
        "/workflows",
        status_code=201,
        response_model=WorkflowTold,
        responses=ASKED | refusals(408, 409, 413, 429, 500, 507),
        openapi_extra=_JSON_BODY,
    )
    async def create(
        caller: Bringer,
        request: Request,
        idempotency_key: Annotated[str, Header(min_length=1, max_length=200)],
    ) -> PlainJson:
        """Announce a workflow; the same announcement again gives the same workflow."""
        body = body_of(await _body(request, service.caps.body_bytes, service.caps.stall_s))
        announced = announcement_of(body, service.caps)
        _check_may_bring(caller, announced.workflow_id, service.caps)
        row = await run_in_threadpool(
            service.begin,
            caller.user,
            announced,
            idempotency_key,
            is_described=caller.prepares is not None,
        )
        return PlainJson(views.document(row), 201)

    @router.post(
        "/sweeps",
        status_code=201,
        response_model=WorkflowTold,
        responses=ASKED | refusals(408, 409, 413, 429, 500, 507),
        openapi_extra=_SWEEP_BODY,
    )
    async def describe(
        caller: Submitter,
        request: Request,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
    ) -> PlainJson:
        """Submit a sweep as plain JSON; a worker prepares it, and then it is queued."""
        told = body_of(await _body(request, service.caps.body_bytes, service.caps.stall_s))
        key = idempotency_key or uuid4().hex
        row = await run_in_threadpool(descriptions.begin, caller.user, told, key)
        return PlainJson(views.document(row), 201)

    @router.get(
        "/workflows/{workflow_id}/uploads/{upload}",
        response_model=ReceivedOf,
        responses=OF_A_WORKFLOW,
    )
    def received(caller: Bringer, workflow_id: WorkflowId, upload: Upload) -> PlainJson:
        """Tell how many bytes of an upload have arrived."""
        row = service.mine(caller.user, workflow_id)
        total = row.announced_bytes(upload)
        return PlainJson({"received": row.received.get(upload, 0), "total": total})

    @router.patch(
        "/workflows/{workflow_id}/uploads/{upload}",
        response_model=Received,
        responses=OF_A_WORKFLOW | refusals(408, 409, 413, 429, 507),
        openapi_extra=_UPLOAD_BODY,
    )
    async def receive(
        caller: Bringer,
        request: Request,
        workflow_id: WorkflowId,
        upload: Upload,
        upload_offset: Annotated[int, Header(ge=0)],
    ) -> PlainJson:
        """Take bytes of an upload from an offset on; what came before a break is kept."""
        with under_way.one_of(caller.user.user_id):
            row = await run_in_threadpool(service.mine, caller.user, workflow_id)
            pieces = _pieces(request, service.caps.stall_s)
            reached = await service.receive(
                row, upload, upload_offset, pieces, lambda: under_way.gathered_bytes
            )
        return PlainJson({"received": reached})

    @router.post(
        "/workflows/{workflow_id}/commit",
        response_model=WorkflowTold,
        responses=OF_A_WORKFLOW | refusals(409, 500, 507),
    )
    def commit(caller: Bringer, workflow_id: WorkflowId) -> PlainJson:
        """Queue a workflow once all of it has arrived; it is verified first."""
        return PlainJson(views.document(service.commit(service.mine(caller.user, workflow_id))))

    return router


def _check_may_bring(caller: Caller, workflow_id: str, caps: Caps) -> None:
    caller.check_brings(workflow_id)
    if caller.prepares is None and not caps.pickled:
        raise ForbiddenError(
            "this platform takes sweeps as plain JSON alone, by POST /v1/sweeps or "
            "`fitcast submit sweep.json`: nothing that Python pickled"
        )


async def _body(request: Request, most: int, stall_s: float) -> bytes:
    """Return a body that isn't too large; never more than that is held."""
    said = request.headers.get("Content-Length", "0")
    data = bytearray()
    if said.isdecimal() and int(said) <= most:
        async for piece in _pieces(request, stall_s):
            data += piece
            if len(data) > most:
                break
        else:
            return bytes(data)
    raise TooLargeError(
        f"the body has more than {most:,} bytes, which is all that is taken at once"
    )


async def _pieces(request: Request, stall_s: float) -> AsyncIterator[bytes]:
    """Yield what comes of a body.

    Raises
    ------
    UploadStalledError
        Nothing came for too long.
    """
    pieces = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(stall_s):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise UploadStalledError(
                f"nothing more came for {stall_s:g} s: ask how far it is, and go on from there"
            ) from None
        if piece:
            yield piece
