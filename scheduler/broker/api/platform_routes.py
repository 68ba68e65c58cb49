"""Routes of the platform itself: what it is, whether it is well, its history, its queue."""

from typing import Annotated

from fastapi import APIRouter, Query

from fitcast.errors import BrokerStoreError
from fitcast.scheduler.broker.api.answers import PlainJson
from fitcast.scheduler.broker.api.authentication import Admin, Reader, Submitter
from fitcast.scheduler.broker.api.described import (
    ASKED,
    AboutTold,
    AuditTold,
    FlushedTold,
    Health,
    LearnedTold,
    UsersTold,
    WorkflowsTold,
)
from fitcast.scheduler.broker.api.workflow_routes import LONGEST_WAIT_S
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.views import Views

QUEUE_SHOWN = 10_000


def platform_routes(service: Service, views: Views) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v1", default_response_class=PlainJson, responses=ASKED)

    @router.get("/about", response_model=AboutTold)
    def about(caller: Reader) -> PlainJson:
        """Tell what the platform is, and who asks."""
        return PlainJson(service.about(caller.user))

    @router.post("/learn", response_model=LearnedTold)
    def learn(caller: Submitter) -> PlainJson:
        """Train the sizing model on all that is known now."""
        return PlainJson({"records": service.engine.learn()})

    @router.get("/history/flushed", response_model=FlushedTold)
    def flushed(
        caller: Reader, wait_s: Annotated[float, Query(ge=0.0, le=LONGEST_WAIT_S)] = 0.0
    ) -> PlainJson:
        """Tell whether the history has all of what ran here."""
        return PlainJson({"flushed": service.engine.flush(wait_s)})

    @router.get("/queue", response_model=WorkflowsTold)
    def queue(caller: Reader) -> PlainJson:
        """List what runs and what waits: everybody's for administrators, else the caller's."""
        rows = [*service.store.running(), *service.store.queued(QUEUE_SHOWN)]
        if not caller.is_admin:
            rows = [row for row in rows if row.user_id == caller.user.user_id]
        return PlainJson({"workflows": [views.document(row) for row in rows]})

    @router.get("/users", response_model=UsersTold)
    def users(caller: Admin) -> PlainJson:
        """List the users, with what they used lately."""
        used = {account.user: account.usage for account in service.store.accounts()}
        return PlainJson(
            {
                "users": [
                    {
                        "user": user.name,
                        "group": user.group,
                        "weight": user.weight,
                        "is_admin": user.is_admin,
                        "disabled": user.disabled_at is not None,
                        "cpu_s_lately": used[user.name].cpus if user.name in used else 0.0,
                    }
                    for user in service.store.users()
                ]
            }
        )

    @router.get("/audit", response_model=AuditTold)
    def audit(
        caller: Admin,
        after: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    ) -> PlainJson:
        """List who did what."""
        entries = service.store.audit_entries(limit, after or None)
        return PlainJson(
            {
                "entries": [
                    {
                        "id": one.entry_id,
                        "at": one.at.isoformat(),
                        "actor": one.actor,
                        "action": one.action,
                        "target": one.target,
                        "outcome": one.outcome,
                    }
                    for one in entries
                ]
            }
        )

    return router


def health_routes(service: Service) -> APIRouter:
    """Return the routes that need no token: whether it lives, and whether it can work."""
    router = APIRouter(default_response_class=PlainJson)

    @router.get("/healthz", response_model=Health)
    async def healthz() -> PlainJson:
        """Tell that the process answers."""
        return PlainJson({"status": "ok"})

    @router.get("/readyz", response_model=Health, responses={503: {"model": Health}})
    def readyz() -> PlainJson:
        """Tell whether the database answers, too."""
        try:
            service.store.check()
        except BrokerStoreError:
            return PlainJson({"status": "the database doesn't answer"}, 503)
        return PlainJson({"status": "ready"})

    return router
