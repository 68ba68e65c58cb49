"""Routes by which workflows come: announced, uploaded piece by piece, committed; or described.

Forecasts, which go before that, too.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Header, Request
from starlette.concurrency import run_in_threadpool

from fitcast.errors import (
    ForbiddenError,
    InvalidInputError,
    LimitError,
    UnknownWorkflowError,
)
from fitcast.scheduler.broker.announcement import Caps, announcement_of, body_of
from fitcast.scheduler.broker.api.answers import PlainJson
from fitcast.scheduler.broker.api.authentication import Bringer, Caller, Reader, Submitter
from fitcast.scheduler.broker.describing import Descriptions
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.views import Views
from fitcast.trainer.sweep.described import SweepDescription

Upload = Literal["dataset", "sweep"]
UPLOAD_TYPE = "application/offset+octet-stream"


def _sweep_schema() -> dict[str, Any]:
    """Return what a described sweep looks like, with its definitions inside."""
    schema = SweepDescription.model_json_schema()
    schema["properties"]["priority"] = {"type": "integer", "minimum": -100, "maximum": 100}
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

    @router.post("/estimates", openapi_extra=_JSON_BODY)
    async def estimates(caller: Reader, request: Request) -> PlainJson:
        """Forecast a sweep; no data is needed, and nothing is run."""
        told = body_of(await _body(request, service.caps.body_bytes))
        probes = told.get("probes", [])
        if not isinstance(probes, list) or not all(isinstance(one, str) for one in probes):
            raise InvalidInputError("probes must be a list of ids of workflows")
        found = await run_in_threadpool(
            service.estimates, caller.user, told.get("submission"), probes
        )
        return PlainJson(found)

    @router.post("/workflows", status_code=201, openapi_extra=_JSON_BODY)
    async def create(
        caller: Bringer,
        request: Request,
        idempotency_key: Annotated[str, Header(min_length=1, max_length=200)],
    ) -> PlainJson:
        """Announce a workflow; the same announcement again gives the same workflow."""
        body = body_of(await _body(request, service.caps.body_bytes))
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

    @router.post("/sweeps", status_code=201, openapi_extra=_SWEEP_BODY)
    async def describe(
        caller: Submitter,
        request: Request,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
    ) -> PlainJson:
        """Submit a sweep as plain JSON; a worker prepares it, and then it is queued."""
        told = body_of(await _body(request, service.caps.body_bytes))
        key = idempotency_key or uuid4().hex
        row = await run_in_threadpool(descriptions.begin, caller.user, told, key)
        return PlainJson(views.document(row), 201)

    @router.get("/workflows/{workflow_id}/uploads/{upload}")
    def received(caller: Bringer, workflow_id: str, upload: Upload) -> PlainJson:
        """Tell how many bytes of an upload have arrived."""
        row = service.mine(caller.user, workflow_id)
        total = row.announced_bytes(upload)
        return PlainJson({"received": row.received.get(upload, 0), "total": total})

    @router.patch("/workflows/{workflow_id}/uploads/{upload}", openapi_extra=_UPLOAD_BODY)
    async def receive(
        caller: Bringer,
        request: Request,
        workflow_id: str,
        upload: Upload,
        upload_offset: Annotated[int, Header(ge=0)],
    ) -> PlainJson:
        """Take bytes of an upload from an offset on; what came before a break is kept."""
        row = await run_in_threadpool(service.mine, caller.user, workflow_id)
        reached = await service.receive(row, upload, upload_offset, _pieces(request))
        return PlainJson({"received": reached})

    @router.post("/workflows/{workflow_id}/commit")
    def commit(caller: Bringer, workflow_id: str) -> PlainJson:
        """Queue a workflow once all of it has arrived; it is verified first."""
        return PlainJson(views.document(service.commit(service.mine(caller.user, workflow_id))))

    return router


def _check_may_bring(caller: Caller, workflow_id: str, caps: Caps) -> None:
    if caller.prepares is None:
        if not caps.pickled:
            raise ForbiddenError(
                "this platform takes sweeps as plain JSON alone, by POST /v1/sweeps or "
                "`fitcast submit sweep.json`: nothing that Python pickled"
            )
    elif caller.prepares != workflow_id:
        raise UnknownWorkflowError("this token is for another workflow, and for preparing it alone")


async def _body(request: Request, most: int) -> bytes:
    """Return a body that isn't too large; never more than that is held."""
    said = request.headers.get("Content-Length", "0")
    data = bytearray()
    if said.isdecimal() and int(said) <= most:
        async for piece in request.stream():
            data += piece
            if len(data) > most:
                break
        else:
            return bytes(data)
    raise LimitError(f"the body has more than {most:,} bytes, which is all that is taken at once")


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        if piece:
            yield piece
