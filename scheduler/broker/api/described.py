"""What the broker answers, as its description (OpenAPI) has it: documents, errors, headers.

Answers are made elsewhere and sent as they are; the tests hold them against what stands here. Not
in: what is asked (:mod:`fitcast.scheduler.broker.api` has it with each route).
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import Path
from pydantic import BaseModel, Field

Bytes = Annotated[int, Field(ge=0)]
Seconds = float | None
"""None is not known, or never."""

WorkflowId = Annotated[str, Path(min_length=1, max_length=100, description="Of a workflow")]

Responses = dict[int | str, dict[str, Any]]


class ErrorTold(BaseModel):
    """What went wrong, and what to do."""

    code: Annotated[str, Field(pattern=r"^[a-z_]+$", description="For programs")]
    type: Annotated[str, Field(description="The error that fitcast's own client raises")]
    message: str


class Refusal(BaseModel):
    """How every request is refused."""

    error: ErrorTold


class EtaTold(BaseModel):
    """When something is done: with 10, 50 and 90 % certainty, in seconds."""

    p10_s: Seconds
    p50_s: Seconds
    p90_s: Seconds
    finish_at: datetime


class FitCounts(BaseModel):
    """How many fits."""

    done: Bytes
    running: Bytes
    total: Bytes


class EndedWith(BaseModel):
    """The error that a workflow ended with."""

    type: str
    message: str


class WorkflowTold(BaseModel):
    """A workflow, without its fits."""

    workflow_id: str
    workflow_name: str
    user: str
    state: Literal["preparing", "queued", "running", "succeeded", "failed", "cancelled"]
    is_over: bool
    priority: int
    fits: FitCounts
    eta: EtaTold | None
    forecast: EtaTold | None
    notes: list[str]
    submitted_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    stored_bytes: Bytes
    error: EndedWith | None
    best_index: int | None


class WorkflowsTold(BaseModel):
    """Workflows."""

    workflows: list[WorkflowTold]


class WorkflowsPage(WorkflowsTold):
    """A page of workflows."""

    next: str


class FitsTold(BaseModel):
    """Fits that changed, with the columns of `Workflow.fits`."""

    fits: list[dict[str, Any]]
    next: str


class KeyTold(BaseModel):
    """A workflow's key."""

    key: Annotated[str, Field(description="32 bytes as base64")]


class LinkTold(BaseModel):
    """Where a workflow is seen in MLflow."""

    url: str | None


class LogsTold(BaseModel):
    """What fits wrote."""

    logs: str


class FilesTold(BaseModel):
    """Names and bytes of files."""

    files: dict[str, Bytes]


class Received(BaseModel):
    """How far an upload has come."""

    received: Bytes


class ReceivedOf(Received):
    """How far an upload has come, and how far it goes."""

    total: Bytes


class PoolTold(BaseModel):
    """A kind of workers."""

    name: str
    cpus: int
    memory_bytes: int


class EstimatesTold(BaseModel):
    """What fits are forecast to cost."""

    estimates: dict[str, Any]
    process_start_s: float
    pools: list[PoolTold]
    ready_in_s: float


class CapsTold(BaseModel):
    """What one submission may have."""

    fits: int
    upload_bytes: int


class AboutTold(BaseModel):
    """What the platform is, and who asks."""

    version: str
    user: str
    group: str
    pools: list[PoolTold]
    caps: CapsTold


class LearnedTold(BaseModel):
    """How many records the sizing model knows."""

    records: Bytes


class FlushedTold(BaseModel):
    """Whether the history has all."""

    flushed: bool


class UserTold(BaseModel):
    """A user."""

    user: str
    group: str
    weight: float
    is_admin: bool
    disabled: bool
    cpu_s_lately: float


class UsersTold(BaseModel):
    """All users."""

    users: list[UserTold]


class AuditedTold(BaseModel):
    """Who did what."""

    id: int
    at: datetime
    actor: str
    action: str
    target: str
    outcome: str


class AuditTold(BaseModel):
    """What was done."""

    entries: list[AuditedTold]


class Health(BaseModel):
    """How the process fares."""

    status: str


class CallerTold(BaseModel):
    """Who looks."""

    name: str
    group: str
    is_admin: bool


class QueueTold(BaseModel):
    """The queue, of everybody."""

    uploading: Bytes
    queued: Bytes
    running: Bytes
    longest_wait_s: float
    mean_wait_s: float


class PoolUseTold(BaseModel):
    """A pool, and what of it is used."""

    pool: str
    workers: Bytes
    cpus: Bytes
    memory_bytes: Bytes
    fits: Bytes
    used_cpus: Bytes
    used_memory_bytes: float


class ShownWorkflow(WorkflowTold):
    """A workflow as the status page shows it."""

    stage: Literal["uploading", "queued", "running", "succeeded", "failed", "cancelled", "expired"]
    place: int | None
    mlflow: bool


class StatusTold(BaseModel):
    """How the platform stands."""

    user: CallerTold
    queue: QueueTold
    pools: list[PoolUseTold]
    workflows: list[ShownWorkflow]
    now: float


_SAID: Final = {
    400: "It can't be done",
    401: "The token is missing, or none that is good",
    403: "The token may not do that",
    404: "There is none, or it is another's",
    408: "Nothing more came; it can be gone on with",
    409: "It doesn't go with how things stand",
    413: "It is more than the platform takes at once",
    416: "The file has no such range",
    422: "It can't be understood",
    429: "A limit is reached",
    500: "The platform failed",
    503: "The platform can't answer now",
    507: "The platform's disk is full",
}
_LATER: Final = frozenset({429, 503, 507})
_RETRY: Final = {
    "Retry-After": {
        "description": "Seconds after which to try again",
        "schema": {"type": "integer", "minimum": 1},
    }
}


def refusals(*statuses: int) -> Responses:
    """Return how requests are refused with these statuses."""
    told: Responses = {}
    for status in sorted(statuses):
        told[status] = {"model": Refusal, "description": _SAID[status]}
        if status in _LATER:
            told[status]["headers"] = _RETRY
    return told


def no_content(said: str) -> dict[str, Any]:
    """Return the description of an answer without a body."""
    return {"description": said}


ASKED: Final = refusals(401, 403, 422, 503)
"""How any request may be refused that wants a token."""

OF_A_WORKFLOW: Final = refusals(401, 403, 404, 422, 503)
"""How one may be that names a workflow."""
