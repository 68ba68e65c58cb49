"""Rows of the tables as what the store gives out, and what it takes as values of rows."""

import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Select, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from fitcast.errors import InvalidInputError, UnknownWorkflowError
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.quotas import Quota
from fitcast.scheduler.broker.resources import Demand, Resources
from fitcast.scheduler.broker.store.clocks import lease_clock_s, wall_s
from fitcast.scheduler.broker.store.records import (
    AuditEntry,
    NewWorkflow,
    StoredEvent,
    StoredWorkflow,
    Token,
    User,
)
from fitcast.scheduler.broker.store.tables import USERS, WORKFLOWS

_LARGEST_INTEGER: Final = 2**63 - 1
_LARGEST_PRIORITY: Final = 2**31 - 1
_LARGEST_NUMBER: Final = 1e300
_LONGEST_TEXT: Final = 20_000


# -- what comes out ----------------------------------------------------------------------------


def stored_workflows() -> Select[Any]:
    """Return the query for workflows that :func:`workflow_of` reads."""
    # by the time of day, whichever clock leases go by
    until_s = WORKFLOWS.c.lease_until_s + (wall_s() - lease_clock_s())
    return select(
        WORKFLOWS,
        USERS.c.name.label("user_name"),
        USERS.c.group_name,
        until_s.label("lease_until_at_s"),
    ).join_from(WORKFLOWS, USERS)


def fetched(connection: Connection, workflow_id: str, user_id: int | None = None) -> StoredWorkflow:
    """Return a workflow, if need be of that user alone.

    Raises
    ------
    UnknownWorkflowError
        There is none, or it is another user's.
    """
    query = stored_workflows().where(WORKFLOWS.c.workflow_id == plain(workflow_id))
    if user_id is not None:
        query = query.where(WORKFLOWS.c.user_id == user_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise UnknownWorkflowError(
            f"there is no workflow {workflow_id!r:.120} here; `fitcast workflows` lists those "
            "there are"
        )
    return workflow_of(row)


def fetched_all(connection: Connection, workflow_ids: Iterable[str]) -> list[StoredWorkflow]:
    """Return those of some workflows that there are, in order of arrival."""
    query = (
        stored_workflows()
        .where(WORKFLOWS.c.workflow_id.in_(list(workflow_ids)))
        .order_by(WORKFLOWS.c.row_id)
    )
    return [workflow_of(row) for row in connection.execute(query).mappings()]


def workflow_of(row: Mapping[Any, Any]) -> StoredWorkflow:
    """Return a workflow from its row."""
    return StoredWorkflow(
        workflow_id=row["workflow_id"],
        user_id=row["user_id"],
        user=row["user_name"],
        group=row["group_name"],
        name=row["name"],
        state=State(row["state"]),
        priority=row["priority"],
        created_at=at(row["created_at_s"]),
        queued_at=at_or_none(row["queued_at_s"]),
        started_at=at_or_none(row["started_at_s"]),
        ended_at=at_or_none(row["ended_at_s"]),
        fits_total=row["fits_total"],
        fits_done=row["fits_done"],
        demand=Demand(
            cpu_s=row["demand_cpu_s"],
            memory_byte_s=row["demand_memory_byte_s"],
            gpu_s=row["demand_gpu_s"],
            most=Resources(row["most_cpus"], row["most_memory_bytes"], row["most_gpus"]),
            frees_in_s=row["demand_frees_in_s"],
        ),
        used=Resources(row["used_cpus"], row["used_memory_bytes"], row["used_gpus"]),
        forecast_s=_quantiles(row, "forecast"),
        eta_s=_quantiles(row, "eta"),
        eta_at=at_or_none(row["eta_at_s"]),
        stored_bytes=row["stored_bytes"],
        replica=row["replica"],
        fence=row["fence"],
        lease_until=at_or_none(row["lease_until_at_s"]),
        cancel_asked=row["cancel_asked"],
        error_type=row["error_type"],
        error=row["error"],
        wrapped_key=bytes(row["wrapped_key"]),
        key_version=row["key_version"],
        received={"dataset": row["dataset_received"], "sweep": row["sweep_received"]},
        dataset_bytes=row["dataset_bytes"],
        dataset_sha256=row["dataset_sha256"],
        sweep_bytes=row["sweep_bytes"],
        sweep_sha256=row["sweep_sha256"],
        idempotency_key=row["idempotency_key"],
        request_sha256=row["request_sha256"],
        prepares=row["prepares"],
        running_fits=json.loads(row["running_fits"] or "[]"),
    )


def user_of(row: RowMapping) -> User:
    """Return a user from their row."""
    return User(
        user_id=row["user_id"],
        name=row["name"],
        group=row["group_name"],
        weight=row["weight"],
        is_admin=row["is_admin"],
        created_at=at(row["created_at_s"]),
        disabled_at=at_or_none(row["disabled_at_s"]),
        quota=Quota(
            running_cpus=row["quota_running_cpus"],
            running_memory_bytes=row["quota_running_memory_bytes"],
            queued_fits=row["quota_queued_fits"],
            stored_bytes=row["quota_stored_bytes"],
        ),
    )


def token_of(row: RowMapping) -> Token:
    """Return a token from its row."""
    return Token(
        token_id=row["token_id"],
        user_id=row["user_id"],
        label=row["label"],
        scopes=frozenset(row["scopes"].split()),
        created_at=at(row["created_at_s"]),
        expires_at=at_or_none(row["expires_at_s"]),
        revoked_at=at_or_none(row["revoked_at_s"]),
        last_used_at=at_or_none(row["last_used_at_s"]),
    )


def event_of(row: RowMapping) -> StoredEvent:
    """Return an event from its row."""
    return StoredEvent(
        seq=row["seq"],
        at=at(row["at_s"]),
        kind=row["kind"],
        workflow_id=row["workflow_id"],
        user_id=row["user_id"],
        data=json.loads(row["data"]),
    )


def audit_entry_of(row: RowMapping) -> AuditEntry:
    """Return an entry of the audit log from its row."""
    return AuditEntry(
        entry_id=row["entry_id"],
        at=at(row["at_s"]),
        actor=row["actor"],
        action=row["action"],
        target=row["target"],
        outcome=row["outcome"],
        detail=row["detail"],
    )


def at(at_s: float) -> datetime:
    """Return a time of day."""
    return datetime.fromtimestamp(at_s, UTC)


def at_or_none(at_s: float | None) -> datetime | None:
    """Return a time of day, if there is one."""
    return None if at_s is None else at(at_s)


def _quantiles(row: Mapping[Any, Any], what: str) -> tuple[float, float, float] | None:
    p10_s, p50_s, p90_s = (row[f"{what}_{p}_s"] for p in ("p10", "p50", "p90"))
    return None if p50_s is None else (p10_s, p50_s, p90_s)


# -- what goes in ------------------------------------------------------------------------------


def insert_or_skip(dialect: str, table: Table) -> Any:
    """Return an insert that leaves out what is there already."""
    if dialect == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def values_of(new: NewWorkflow) -> dict[str, Any]:
    """Return the columns that a submission fills.

    Raises
    ------
    InvalidInputError
        A number is beyond what a column can hold.
    """
    if not -_LARGEST_PRIORITY <= new.priority <= _LARGEST_PRIORITY:
        raise InvalidInputError("a priority must lie between -2147483647 and 2147483647")
    for name in ("fits_total", "dataset_bytes", "sweep_bytes"):
        if not 0 <= getattr(new, name) <= _LARGEST_INTEGER:
            raise InvalidInputError(f"{name} must lie between 0 and {_LARGEST_INTEGER}")
    return {
        "workflow_id": new.workflow_id,
        "name": plain(new.name, 1000),
        "priority": new.priority,
        "fits_total": new.fits_total,
        "alone_s": _alone_s(new.demand),
        **values_of_demand(new.demand),
        "whole_cpu_s": amount(new.demand.cpu_s),
        "whole_memory_byte_s": amount(new.demand.memory_byte_s),
        "whole_gpu_s": amount(new.demand.gpu_s),
        **values_of_quantiles("forecast", new.forecast_s),
        "dataset_bytes": new.dataset_bytes,
        "dataset_sha256": plain(new.dataset_sha256, 64),
        "sweep_bytes": new.sweep_bytes,
        "sweep_sha256": plain(new.sweep_sha256, 64),
        "stored_bytes": min(new.dataset_bytes + new.sweep_bytes, _LARGEST_INTEGER),
        "wrapped_key": new.wrapped_key,
        "key_version": new.key_version,
        "idempotency_key": new.idempotency_key,
        "request_sha256": new.request_sha256,
        "prepares": new.prepares,
    }


def whole(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that say that all of it is here, and that it waits."""
    return {
        "state": State.QUEUED,
        "dataset_received": values["dataset_bytes"],
        "sweep_received": values["sweep_bytes"],
    }


def _alone_s(demand: Demand) -> float:
    """Return how long all of it takes with all that it can use at once."""
    most = demand.most
    pairs = (
        (demand.cpu_s, most.cpus),
        (demand.memory_byte_s, most.memory_bytes),
        (demand.gpu_s, most.gpus),
    )
    return amount(max(work / at_once if at_once > 0 else 0.0 for work, at_once in pairs))


def values_of_demand(demand: Demand) -> dict[str, float]:
    """Return the columns for what is left to do."""
    return {
        "demand_cpu_s": amount(demand.cpu_s),
        "demand_memory_byte_s": amount(demand.memory_byte_s),
        "demand_gpu_s": amount(demand.gpu_s),
        "most_cpus": amount(demand.most.cpus),
        "most_memory_bytes": amount(demand.most.memory_bytes),
        "most_gpus": amount(demand.most.gpus),
        "demand_frees_in_s": amount(demand.frees_in_s),
    }


def values_of_used(used: Resources) -> dict[str, float]:
    """Return the columns for what a workflow uses now."""
    return {
        "used_cpus": amount(used.cpus),
        "used_memory_bytes": amount(used.memory_bytes),
        "used_gpus": amount(used.gpus),
    }


def values_of_quantiles(
    what: str, quantiles_s: tuple[float, float, float] | None
) -> dict[str, float | None]:
    """Return the columns of a forecast; one that isn't finite isn't known."""
    names = [f"{what}_p10_s", f"{what}_p50_s", f"{what}_p90_s"]
    if quantiles_s is None or not all(math.isfinite(one) for one in quantiles_s):
        return dict.fromkeys(names)
    return dict(zip(names, map(float, quantiles_s), strict=True))


def amount(value: float) -> float:
    """Return an amount that every database can hold: a wrong one isn't to end a workflow."""
    return 0.0 if math.isnan(value) else min(max(float(value), 0.0), _LARGEST_NUMBER)


def plain(text: str, longest: int = _LONGEST_TEXT) -> str:
    """Return a text that every database can hold."""
    return (
        text[:longest]
        .encode("utf-8", "replace")
        .decode()
        .replace("\0", "\N{REPLACEMENT CHARACTER}")
    )
