"""Live events, as browsers and scripts follow them (server-sent events).

    id: 17
    event: state
    data: {"workflow_id": "…", "at": "…", "state": "running"}

Kinds: ``state``; ``progress`` with the fits that are done and the ETA from then on (P10, P50 and
P90, in seconds); ``cancel_asked``; ``removed``. A stream goes on after the event whose number is in
``Last-Event-ID``. It ends by itself after some minutes, so that a token that was revoked opens
nothing for longer; clients come back with the last number.

Not in: where events come from (:mod:`fitcast.scheduler.broker.api.event_hub`).
"""

import asyncio
import json
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Send

from fitcast.errors import BrokerStoreError, InvalidInputError
from fitcast.scheduler.broker.api.authentication import Reader
from fitcast.scheduler.broker.api.described import ASKED, OF_A_WORKFLOW, WorkflowId, refusals
from fitcast.scheduler.broker.api.event_hub import EventHub
from fitcast.scheduler.broker.api.metrics import EVENT_STREAM, Metrics
from fitcast.scheduler.broker.lifecycle import TERMINAL
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.store import StoredEvent

log = logging.getLogger(__name__)

OPEN_FOR_S: Final = 300.0
STALLED_S: Final = 60.0
"""A reader that takes nothing for so long is hung up on."""

_COME_BACK_MS: Final = 2000
_LAST: Final = 2**63 - 1
_ENDS: Final = frozenset(state.value for state in TERMINAL)
_TOLD: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "Events", "content": {EVENT_STREAM: {"schema": {"type": "string"}}}}
}
_OVER: Final[dict[int | str, dict[str, Any]]] = {204: {"description": "Nothing more will come"}}

LastEvent = Annotated[str | None, Header(alias="Last-Event-ID", max_length=40)]
After = Annotated[int | None, Query(ge=0, le=_LAST, description="As Last-Event-ID")]


@dataclass(frozen=True, slots=True)
class _Followed:
    """Which events a stream has."""

    owner: int
    after: int
    user_id: int | None
    workflow_id: str | None = None


def event_routes(service: Service, hub: EventHub, metrics: Metrics) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v1", default_response_class=Response)

    @router.get(
        "/events", responses=ASKED | refusals(429) | _TOLD, response_class=StreamingResponse
    )
    async def events(
        caller: Reader, last_event_id: LastEvent = None, after: After = None
    ) -> Response:
        """Follow the caller's workflows, everybody's for administrators; from now on by default."""
        hub.check_room(caller.user.user_id)
        seen = _seen(last_event_id, after)
        if seen is None:
            seen = await hub.last_seq()
        whose = None if caller.is_admin else caller.user.user_id
        return EventStream(hub, metrics, _Followed(caller.user.user_id, seen, whose))

    @router.get(
        "/workflows/{workflow_id}/events",
        responses=OF_A_WORKFLOW | refusals(429) | _TOLD | _OVER,
        response_class=StreamingResponse,
    )
    async def events_of_one(
        caller: Reader,
        workflow_id: WorkflowId,
        last_event_id: LastEvent = None,
        after: After = None,
    ) -> Response:
        """Follow a workflow from its beginning, or from an event, to its end; 204 after that."""
        hub.check_room(caller.user.user_id)
        row = await run_in_threadpool(service.mine, caller.user, workflow_id)
        seen = _seen(last_event_id, after) or 0
        if row.state in TERMINAL:
            left = await run_in_threadpool(
                service.store.events_after, seen, row.user_id, row.workflow_id, 1
            )
            if not left:
                return Response(status_code=204)  # by which a browser knows not to come back
        followed = _Followed(caller.user.user_id, seen, row.user_id, row.workflow_id)
        return EventStream(hub, metrics, followed)

    return router


class EventStream(StreamingResponse):
    """Answers with events until there is nothing more to come, or nobody takes them.

    One piece is on its way at a time: whoever doesn't read holds the next one up, not memory.
    """

    media_type = EVENT_STREAM

    def __init__(self, hub: EventHub, metrics: Metrics, followed: _Followed) -> None:
        super().__init__((), headers={"X-Accel-Buffering": "no"})
        self._hub = hub
        self._metrics = metrics
        self._followed = followed

    async def stream_response(self, send: Send) -> None:
        """Send it all."""
        self._metrics.event_streams.inc()
        try:
            await self._sent(send)
        except TimeoutError:
            log.info("a reader of events took none for %.0f s: it is hung up on", STALLED_S)
        finally:
            self._metrics.event_streams.dec()

    async def _sent(self, send: Send) -> None:
        one = self._followed
        began_s = time.monotonic()

        async def out(message: Message) -> None:
            async with asyncio.timeout(STALLED_S):
                await send(message)

        async def piece(text: str) -> None:
            body = text.encode("ascii")
            await out({"type": "http.response.body", "body": body, "more_body": True})

        await out(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        # the number alone is no event, but what a reader comes back with
        await piece(f"retry: {_COME_BACK_MS}\nid: {one.after}\n\n")
        following = self._hub.follow(one.owner, one.after, one.user_id, one.workflow_id)
        try:
            async with aclosing(following):
                async for event in following:
                    await piece(": still here\n\n" if event is None else told_event(event))
                    over = event is not None and one.workflow_id is not None and _is_last(event)
                    if over or time.monotonic() - began_s > OPEN_FOR_S:
                        break
        except BrokerStoreError as error:
            log.warning("a stream of events ends: %s", error)
        await out({"type": "http.response.body", "body": b"", "more_body": False})


def told_event(event: StoredEvent) -> str:
    """Return an event as it is sent: ASCII, and no line that a value could add to."""
    told = {"workflow_id": event.workflow_id, "at": event.at.isoformat(), **event.data}
    kind = event.kind if event.kind.isidentifier() else "other"
    return f"id: {event.seq}\nevent: {kind}\ndata: {json.dumps(told)}\n\n"


def _is_last(event: StoredEvent) -> bool:
    return event.kind == "removed" or (event.kind == "state" and event.data.get("state") in _ENDS)


def _seen(last_event_id: str | None, after: int | None) -> int | None:
    if not last_event_id:
        return after
    if not (last_event_id.isascii() and last_event_id.isdecimal()) or int(last_event_id) > _LAST:
        raise InvalidInputError(
            f"Last-Event-ID {last_event_id!r} is none of this platform's: leave it out to follow "
            "from now on"
        )
    return int(last_event_id)
