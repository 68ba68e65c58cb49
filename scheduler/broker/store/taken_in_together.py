"""Submissions that come at the same time, taken in by one statement: on PostgreSQL.

Each statement costs a way to the server and back, and the driver's work; of fifty submissions that
share a transaction that is most of what they cost. Here are the plain ones alone: what needs more
than a row, a user whose quota bounds them or a request that came before, is left to be done by
itself. In: the statement. Not in: what a submission is
(:mod:`fitcast.scheduler.broker.store.workflows`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, Double, bindparam, select
from sqlalchemy.dialects import postgresql

from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.store.clocks import wall_s
from fitcast.scheduler.broker.store.database import Writing
from fitcast.scheduler.broker.store.records import StoredWorkflow, User
from fitcast.scheduler.broker.store.rows import user_of, workflow_of
from fitcast.scheduler.broker.store.tables import USERS, WORKFLOWS

_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]
_UNSET: Final = dict.fromkeys(WORKFLOWS.c.keys())
_USERS: Final = select(USERS).where(USERS.c.user_id.in_(bindparam("of", expanding=True)))


@dataclass(frozen=True, slots=True)
class Incoming:
    """A submission, as the row that it is to become: but for times, which the database tells."""

    row: Mapping[str, Any]

    @property
    def user_id(self) -> int:
        """Whose."""
        return int(self.row["user_id"])


def taken_in_together(
    writing: Writing, submitted: Sequence[Incoming]
) -> list[StoredWorkflow | None]:
    """Take submissions in; return what became of each, None if it is to be done by itself."""
    connection = writing.connection
    ids = sorted({one.user_id for one in submitted})
    users = {
        row["user_id"]: user_of(row) for row in connection.execute(_USERS, {"of": ids}).mappings()
    }
    plain: dict[str, Incoming] = {}
    for one in submitted:
        user = users.get(one.user_id)
        if user is not None and user.disabled_at is None and not user.quota.bounds_submissions:
            plain.setdefault(one.row["workflow_id"], one)
    made = _made(connection, list(plain.values()))
    return [
        _as_stored(writing, one, users[one.user_id], made[one.row["workflow_id"]])
        if plain.get(one.row["workflow_id"]) is one and one.row["workflow_id"] in made
        else None
        for one in submitted
    ]


def _as_stored(writing: Writing, one: Incoming, user: User, created_at_s: float) -> StoredWorkflow:
    row = one.row
    writing.note(
        "state",
        workflow_id=row["workflow_id"],
        user_id=user.user_id,
        data={"state": row["state"]},
    )
    is_whole = row["state"] == State.QUEUED
    return workflow_of(
        {
            **_UNSET,
            **row,
            "user_name": user.name,
            "group_name": user.group,
            "lease_until_at_s": None,
            "created_at_s": created_at_s,
            "queued_at_s": created_at_s if is_whole else None,
        }
    )


def _made(connection: Connection, plain: Sequence[Incoming]) -> dict[str, float]:
    """Insert rows; return when each was made that wasn't there in some way already."""
    if not plain:
        return {}
    names = tuple(sorted(plain[0].row))
    columns = {name: [_sent(name, one.row[name]) for one in plain] for name in names}
    found = connection.exec_driver_sql(_statement(names), columns)
    return {row.workflow_id: float(row.created_at_s) for row in found}


def _sent(name: str, value: Any) -> Any:
    """Return a value as the driver takes it in a list, where all are of one type."""
    if isinstance(value, State):
        return value.value
    is_float = isinstance(WORKFLOWS.c[name].type, Double) and value is not None
    return float(value) if is_float else value


@cache
def _statement(names: tuple[str, ...]) -> str:
    """Return the statement: a list for each column, so it is the same for any number of rows."""
    lists = ", ".join(f"%({name})s::{WORKFLOWS.c[name].type.compile(_DIALECT)}[]" for name in names)
    now = str(wall_s().compile(dialect=_DIALECT))
    every = ", ".join(names)
    queued = f"CASE WHEN state = '{State.QUEUED}' THEN now_s"
    return (  # of names of columns and types alone
        f"INSERT INTO workflows ({every}, created_at_s, touched_at_s, queued_at_s, due_at_s) "  # noqa: S608
        f"SELECT {every}, now_s, now_s, {queued} END, {queued} + alone_s END "
        f"FROM (SELECT *, {now} AS now_s FROM unnest({lists}) AS given({every})) AS timed "
        "ON CONFLICT DO NOTHING RETURNING workflow_id, created_at_s"
    )
