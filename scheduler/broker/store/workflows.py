"""Workflows from their submission to the queue, and from their end to their removal.

In: taking one in, looking at it, removing it, wrapping its key again. Not in: what is sent with it
(:mod:`fitcast.scheduler.broker.store.uploads`), who runs it
(:mod:`fitcast.scheduler.broker.store.queue`).
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache, partial
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Select, bindparam, delete, select, update

from fitcast.errors import (
    AuthenticationError,
    BrokerError,
    IdempotencyError,
    InvalidInputError,
    UnknownUserError,
    UnknownWorkflowError,
    WorkflowStateError,
)
from fitcast.scheduler.broker.lifecycle import TERMINAL, State
from fitcast.scheduler.broker.store.clocks import wall_s
from fitcast.scheduler.broker.store.database import Together, Writing
from fitcast.scheduler.broker.store.descriptions import end_prepared
from fitcast.scheduler.broker.store.engines import is_postgresql
from fitcast.scheduler.broker.store.parts import StorePart
from fitcast.scheduler.broker.store.records import (
    Holdings,
    NewWorkflow,
    StoredWorkflow,
    User,
)
from fitcast.scheduler.broker.store.rows import (
    fetched,
    insert_or_skip,
    plain,
    stored_workflows,
    user_of,
    values_of,
    whole,
    workflow_of,
)
from fitcast.scheduler.broker.store.tables import EVENTS, USERS, WORKFLOWS
from fitcast.scheduler.broker.store.taken_in_together import Incoming, taken_in_together
from fitcast.scheduler.broker.store.tokens import revoke_preparing
from fitcast.scheduler.broker.store.users import holdings_of

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_IDS_AT_ONCE: Final = 500
_KEY: Final = re.compile(r"[\x21-\x7e]{1,200}")
_W: Final = WORKFLOWS.c
_EMPTY: Final = {
    "fits_done": 0,
    "used_cpus": 0.0,
    "used_memory_bytes": 0.0,
    "used_gpus": 0.0,
    "dataset_received": 0,
    "sweep_received": 0,
    "fence": 0,
    "cancel_asked": False,
    "error_type": "",
    "error": "",
    "state": State.UPLOADING,
}
_UNSET: Final = dict.fromkeys(_W.keys())
# Made once: to put such statements together costs more than to do them
_USER: Final = select(USERS).where(USERS.c.user_id == bindparam("of"))
_USER_ALONE: Final = _USER.with_for_update(key_share=True)


@cache
def _insertion(dialect: str, is_whole: bool) -> Any:
    now: dict[str, Any] = {"created_at_s": wall_s(), "touched_at_s": wall_s()}
    if is_whole:
        due_in_s = bindparam("due_in_s", type_=_W.alone_s.type)
        now |= {"queued_at_s": wall_s(), "due_at_s": wall_s() + due_in_s}
    return insert_or_skip(dialect, WORKFLOWS).values(**now).returning(_W.created_at_s)


class WorkflowPart(StorePart):
    """Workflows that come in, are looked at and go."""

    def add(
        self,
        user_id: int,
        new: NewWorkflow,
        admits: Callable[[User, Holdings], None] | None = None,
        *,
        is_whole: bool = False,
    ) -> StoredWorkflow:
        """Take a submission in, or return what the same request made before.

        Parameters
        ----------
        user_id : int
            Whose.
        new : NewWorkflow
            What was handed in.
        admits : callable, optional
            Asked, with what a user has whose quota bounds it, within the transaction; it refuses by
            raising. Two submissions of a user at once can't both take the last of a quota.
        is_whole : bool
            Whether its sealed files are on the disk already: it is queued at once.

        Raises
        ------
        IdempotencyError
            The user gave that idempotency key to another request before.
        WorkflowStateError
            There is a workflow of that id.
        AuthenticationError
            The user is disabled.
        """
        if not _ID.fullmatch(new.workflow_id):
            raise InvalidInputError(f"{new.workflow_id!r:.120} can be no workflow's id")
        if new.idempotency_key is not None and not _KEY.fullmatch(new.idempotency_key):
            raise InvalidInputError(
                "an idempotency key has 1 to 200 printable characters of ASCII and no blanks"
            )
        values = values_of(new)
        given = {**values, **_EMPTY, "user_id": user_id, **(whole(values) if is_whole else {})}

        def work(writing: Writing) -> StoredWorkflow:
            connection = writing.connection
            user = _user(connection, _USER, user_id)
            if admits is not None and user.quota.bounds_submissions:
                user = _user(connection, _USER_ALONE, user_id)
                try:
                    admits(user, holdings_of(connection, user_id))
                except BrokerError:  # what was let in before is no more than there is
                    before = _same_request(connection, user_id, new)
                    if before is None:
                        raise
                    return before
            if user.disabled_at is not None:
                raise AuthenticationError(f"user {user.name!r} is disabled: ask an admin")
            inserted = connection.execute(
                _insertion(connection.dialect.name, is_whole),
                {**given, "due_in_s": values["alone_s"]} if is_whole else given,
            )
            made = inserted.scalar_one_or_none()
            if made is None:
                before = _same_request(connection, user_id, new)
                if before is not None:
                    return before
                raise WorkflowStateError(
                    f"there is a workflow {new.workflow_id!r} already: give it another id"
                )
            writing.note(
                "state",
                workflow_id=new.workflow_id,
                user_id=user_id,
                data={"state": given["state"]},
            )
            names = {"user_name": user.name, "group_name": user.group, "lease_until_at_s": None}
            times = {"created_at_s": made, "queued_at_s": made if is_whole else None}
            return workflow_of({**_UNSET, **given, **names, **times})

        several = is_postgresql(self._database.engine)
        together = Together(taken_in_together, Incoming(given)) if several else None
        return self._database.write(work, together)

    def made_before(self, user_id: int, key: str, request_sha256: str) -> StoredWorkflow | None:
        """Return what a request of a user's made when it came before; None if it didn't.

        Raises
        ------
        IdempotencyError
            The user gave that idempotency key to another request.
        """
        return self._database.read(
            lambda connection: _made_before(connection, user_id, key, request_sha256)
        )

    def get(self, workflow_id: str, user_id: int | None = None) -> StoredWorkflow:
        """Return a workflow, if need be of that user alone.

        Raises
        ------
        UnknownWorkflowError
            There is none, or it is another user's.
        """
        return self._database.read(lambda connection: fetched(connection, workflow_id, user_id))

    def workflows(
        self,
        user_id: int | None = None,
        states: Iterable[State] | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[StoredWorkflow]:
        """Return workflows, newest first.

        Parameters
        ----------
        user_id : int, optional
            Of that user alone.
        states : iterable of State, optional
            In these states alone.
        limit : int
            How many at most.
        after : str, optional
            The id of the last one that was seen.

        Raises
        ------
        UnknownWorkflowError
            There is no workflow `after` any more, or it is another user's.
        """

        def work(connection: Connection) -> list[StoredWorkflow]:
            query = stored_workflows().order_by(_W.row_id.desc()).limit(limit)
            query = query.where(_W.prepares.is_(None))  # of those, one sees what they prepare
            if user_id is not None:
                query = query.where(_W.user_id == user_id)
            if states is not None:
                query = query.where(_W.state.in_([str(state) for state in states]))
            if after is not None:
                seen = select(_W.row_id).where(_W.workflow_id == plain(after))
                if user_id is not None:
                    seen = seen.where(_W.user_id == user_id)
                row_id = connection.execute(seen).scalar()
                if row_id is None:
                    raise UnknownWorkflowError(
                        f"there is no workflow {after!r:.120} any more: list from the beginning"
                    )
                query = query.where(_W.row_id < row_id)
            return [workflow_of(row) for row in connection.execute(query).mappings()]

        return self._database.read(work)

    # -- the end -------------------------------------------------------------------------------

    def ended(self, older_than_s: float, limit: int = 100) -> list[StoredWorkflow]:
        """Return workflows that ended so long ago, the first that came first."""

        def work(connection: Connection) -> list[StoredWorkflow]:
            ended = _W.state.in_([str(one) for one in TERMINAL])
            query = stored_workflows().where(ended, _W.ended_at_s < wall_s() - older_than_s)
            rows = connection.execute(query.order_by(_W.row_id).limit(limit)).mappings()
            return [workflow_of(row) for row in rows]

        return self._database.read(work)

    def ended_uploads(self, limit: int = 100) -> list[StoredWorkflow]:
        """Return workflows that ended before they were whole and still take room."""

        def work(connection: Connection) -> list[StoredWorkflow]:
            ended = _W.state.in_([str(State.EXPIRED), str(State.CANCELLED), str(State.FAILED)])
            query = stored_workflows().where(ended, _W.queued_at_s.is_(None), _W.stored_bytes > 0)
            rows = connection.execute(query.order_by(_W.row_id).limit(limit)).mappings()
            return [workflow_of(row) for row in rows]

        return self._database.read(work)

    def known(self, workflow_ids: Collection[str]) -> set[str]:
        """Return those of some ids that are workflows'."""
        ids, found = sorted(workflow_ids), set[str]()
        for start in range(0, len(ids), _IDS_AT_ONCE):
            query = select(_W.workflow_id).where(
                _W.workflow_id.in_(ids[start : start + _IDS_AT_ONCE])
            )
            found |= self._database.read(partial(_ids_of, query))
        return found

    def set_stored_bytes(self, workflow_id: str, stored_bytes: int) -> None:
        """Note how much of the disk a workflow takes."""

        def work(writing: Writing) -> None:
            writing.connection.execute(
                update(WORKFLOWS)
                .where(_W.workflow_id == workflow_id)
                .values(stored_bytes=stored_bytes)
            )

        self._database.write(work)

    def remove(self, workflow_id: str, user_id: int | None = None) -> None:
        """Remove a workflow that has ended: row, key and events; its id alone is told once more.

        Raises
        ------
        WorkflowStateError
            It hasn't ended.
        UnknownWorkflowError
            There is none, or it is another user's.
        """

        def work(writing: Writing) -> None:
            connection = writing.connection
            workflow = fetched(connection, workflow_id, user_id)
            gone = connection.execute(
                delete(WORKFLOWS)
                .where(_W.workflow_id == workflow_id, _W.state.in_([str(one) for one in TERMINAL]))
                .returning(_W.row_id)
            ).scalar()
            if gone is None:
                raise WorkflowStateError(
                    f"workflow {workflow_id} is {workflow.state}: cancel it, or wait for its end, "
                    "and then remove it"
                )
            connection.execute(delete(EVENTS).where(EVENTS.c.workflow_id == workflow_id))
            writing.note("removed", workflow_id=workflow_id, user_id=workflow.user_id, data={})

        self._database.write(work)
        self._database.forget()

    # -- keys ----------------------------------------------------------------------------------

    def rewrap(
        self,
        wrapped_again: Callable[[StoredWorkflow], tuple[bytes, str] | None],
        at_once: int = 100,
    ) -> int:
        """Give each workflow's key in another wrapping; return how many were changed.

        It may be interrupted and begun anew, and run while others do.

        Parameters
        ----------
        wrapped_again : callable
            Returns the key of a workflow in its new wrapping and the version of that; None if it
            is to stay as it is.
        at_once : int
            How many are changed in a transaction.
        """
        changed, last = 0, 0
        while True:
            rows = self._database.read(partial(_rows_after, last, at_once))
            if not rows:
                self._database.forget()  # what the old key opens
                return changed
            last = rows[-1]["row_id"]
            pairs = [(row, wrapped_again(workflow_of(row))) for row in rows]
            news = [(row, new) for row, new in pairs if new is not None]
            if news:
                changed += self._database.write(partial(_replace_keys, news))


def _user(connection: Connection, query: Select[Any], user_id: int) -> User:
    row = connection.execute(query, {"of": user_id}).mappings().one_or_none()
    if row is None:
        raise UnknownUserError(f"there is no user {user_id}")
    return user_of(row)


def note_state(writing: Writing, workflow: StoredWorkflow, reason: str = "") -> None:
    """Append an event that says in which state a workflow is now; what it prepares ends with it."""
    data: dict[str, object] = {"state": workflow.state}
    if workflow.error_type:
        data["error_type"] = workflow.error_type
    if reason:
        data["reason"] = reason
    writing.note("state", workflow_id=workflow.workflow_id, user_id=workflow.user_id, data=data)
    if workflow.prepares is not None and workflow.state.is_terminal:
        revoke_preparing(writing, workflow)
        prepared = end_prepared(writing, workflow)
        if prepared is not None:
            note_state(writing, prepared, reason)


def _same_request(connection: Connection, user_id: int, new: NewWorkflow) -> StoredWorkflow | None:
    """Return what the same request made before."""
    if new.idempotency_key is None:
        return None
    return _made_before(connection, user_id, new.idempotency_key, new.request_sha256)


def _made_before(
    connection: Connection, user_id: int, key: str, request_sha256: str
) -> StoredWorkflow | None:
    query = stored_workflows().where(_W.user_id == user_id, _W.idempotency_key == plain(key))
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    if row["request_sha256"] != request_sha256:
        raise IdempotencyError(
            f"the idempotency key {key!r:.220} was used for another request before: "
            "give each submission a key of its own"
        )
    return workflow_of(row)


def _ids_of(query: Select[Any], connection: Connection) -> set[str]:
    return {row[0] for row in connection.execute(query)}


def _rows_after(row_id: int, limit: int, connection: Connection) -> Sequence[RowMapping]:
    query = stored_workflows().where(_W.row_id > row_id).order_by(_W.row_id).limit(limit)
    return connection.execute(query).mappings().all()


def _replace_keys(news: Sequence[tuple[RowMapping, tuple[bytes, str]]], writing: Writing) -> int:
    """Replace wrapped keys that are still what they were; return how many."""
    changed = 0
    for row, (key, version) in news:
        replaced = (
            update(WORKFLOWS)
            .where(_W.row_id == row["row_id"], _W.wrapped_key == row["wrapped_key"])
            .values(wrapped_key=key, key_version=version)
        )
        changed += len(writing.connection.execute(replaced.returning(_W.row_id)).all())
    return changed
