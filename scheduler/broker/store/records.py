"""What the store gives out: frozen, and nothing of SQLAlchemy in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.quotas import Quota
from fitcast.scheduler.broker.resources import Demand, Resources

SCOPES: Final = frozenset({"submit", "read", "admin"})
"""What a user's token may be good for."""

PREPARE: Final = "prepare"
"""The scope of a token that may bring one workflow alone: the one that its label names."""

UPLOADS: Final = ("dataset", "sweep")
"""The sealed files that come with a submission."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Someone who may submit."""

    user_id: int
    name: str
    group: str  # "" is none
    weight: float
    is_admin: bool
    created_at: datetime
    disabled_at: datetime | None
    quota: Quota


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token of a user's; its secret is known to nobody but the user."""

    token_id: int
    user_id: int
    label: str
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWorkflow:
    """A submission as it is handed in, before its sealed files are."""

    workflow_id: str
    name: str
    priority: int = 0
    fits_total: int
    demand: Demand
    forecast_s: tuple[float, float, float] | None = None  # P10, P50, P90 of its runtime
    dataset_bytes: int
    dataset_sha256: str
    sweep_bytes: int
    sweep_sha256: str
    wrapped_key: bytes = field(repr=False)
    key_version: str
    idempotency_key: str | None = None
    request_sha256: str
    prepares: str | None = None  # the workflow that this one makes of its description


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWorkflow:
    """A workflow as the database has it."""

    workflow_id: str
    user_id: int
    user: str
    group: str
    name: str
    state: State
    priority: int
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None  # of the first replica that had it
    ended_at: datetime | None
    fits_total: int
    fits_done: int
    demand: Demand  # what is left to do
    used: Resources  # now, while it runs
    forecast_s: tuple[float, float, float] | None
    eta_s: tuple[float, float, float] | None  # P10, P50, P90, from eta_at on
    eta_at: datetime | None
    stored_bytes: int
    replica: str | None
    fence: int  # rises with each claim; whoever has an older one has lost it
    lease_until: datetime | None
    cancel_asked: bool
    error_type: str
    error: str
    wrapped_key: bytes = field(repr=False)
    key_version: str
    received: Mapping[str, int]  # bytes of each upload that are here
    dataset_bytes: int
    dataset_sha256: str
    sweep_bytes: int
    sweep_sha256: str
    idempotency_key: str | None
    request_sha256: str
    prepares: str | None  # the workflow that this one makes of its description
    running_fits: Sequence[Mapping[str, Any]]  # as its replica told them last, while it runs

    @property
    def is_announced(self) -> bool:
        """Whether it is known what it consists of: of a description it isn't at first."""
        return self.sweep_bytes > 0

    def announced_bytes(self, upload: str) -> int:
        """Return how many bytes an upload has in all."""
        return self.dataset_bytes if upload == "dataset" else self.sweep_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a running workflow is, as its replica tells it."""

    fits_done: int
    demand_left: Demand
    eta_s: tuple[float, float, float] | None  # P10, P50, P90, from now on
    used: Resources  # now
    stored_bytes: int | None = None  # as last told if None
    running_fits: Sequence[Mapping[str, Any]] | None = None  # plain JSON; as last told if None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What a user has of all that a quota bounds."""

    queued_fits: int = 0  # of workflows that haven't ended, without those that are done
    running_cpus: float = 0.0
    running_memory_bytes: float = 0.0
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLoad:
    """How much there is of what hasn't ended, of everybody together."""

    uploading: int
    queued: int
    running: int
    longest_wait_s: float  # of what is queued now
    mean_wait_s: float
    used: Resources  # by what runs


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """Something that happened to a workflow or a user; later ones have a higher `seq`."""

    seq: int
    at: datetime
    kind: str
    workflow_id: str | None
    user_id: int | None
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what."""

    entry_id: int
    at: datetime
    actor: str
    action: str
    target: str
    outcome: str
    detail: str
