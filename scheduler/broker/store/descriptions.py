"""Workflows that came as a description, and those that prepare them.

Two rows belong together: the workflow that its user sees, of which nothing is here yet, and
another one that prepares it on a worker, by announcing and uploading it as a user's client would.
Where the second ends without that, the first ends the same way.

Not in: what a description says (:mod:`fitcast.trainer.sweep.described`).
"""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, select, update

from fitcast.errors import WorkflowStateError
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.store.clocks import wall_s
from fitcast.scheduler.broker.store.database import Writing
from fitcast.scheduler.broker.store.parts import StorePart
from fitcast.scheduler.broker.store.records import Holdings, NewWorkflow, StoredWorkflow, User
from fitcast.scheduler.broker.store.rows import (
    fetched,
    stored_workflows,
    user_of,
    values_of,
    whole,
    workflow_of,
)
from fitcast.scheduler.broker.store.tables import USERS, WORKFLOWS, is_in
from fitcast.scheduler.broker.store.users import holdings_of

_W: Final = WORKFLOWS.c
_KEPT: Final = frozenset({"workflow_id", "idempotency_key", "request_sha256", "prepares"})


class DescriptionPart(StorePart):
    """What was described, and what prepares it."""

    def announce(
        self,
        user_id: int,
        new: NewWorkflow,
        admits: Callable[[User, Holdings], None],
        *,
        is_whole: bool = False,
    ) -> StoredWorkflow:
        """Say what a described workflow consists of; one that is queued or further stays so.

        Again, by a worker that began anew, it counts as told last, and the upload begins anew.

        Parameters
        ----------
        user_id : int
            Whose.
        new : NewWorkflow
            What is known of it now.
        admits : callable
            Asked, with what the user has, within the transaction; it refuses by raising.
        is_whole : bool
            Whether its sealed files are on the disk already: it is queued at once.

        Raises
        ------
        WorkflowStateError
            It was cancelled, or has expired.
        UnknownWorkflowError
            There is no such workflow, or it is another user's.
        """
        values = {name: value for name, value in values_of(new).items() if name not in _KEPT}

        def work(writing: Writing) -> StoredWorkflow:
            connection = writing.connection
            locked = select(USERS).where(USERS.c.user_id == user_id)
            user = user_of(
                connection.execute(locked.with_for_update(key_share=True)).mappings().one()
            )
            workflow = fetched(connection, new.workflow_id, user_id)
            if workflow.state is not State.UPLOADING:
                if workflow.queued_at is None:
                    raise WorkflowStateError(
                        f"workflow {new.workflow_id} is {workflow.state}: nothing of it is wanted"
                    )
                return workflow
            admits(user, holdings_of(connection, user_id))
            received: dict[str, Any] = {"dataset_received": 0, "sweep_received": 0}
            if is_whole:
                due_at_s = wall_s() + values["alone_s"]
                received = {**whole(values), "queued_at_s": wall_s(), "due_at_s": due_at_s}
            connection.execute(
                update(WORKFLOWS)
                .where(_W.workflow_id == new.workflow_id, is_in(State.UPLOADING))
                .values(**values, **received, touched_at_s=wall_s())
            )
            workflow = fetched(connection, new.workflow_id)
            if is_whole:
                writing.note(
                    "state",
                    workflow_id=new.workflow_id,
                    user_id=user_id,
                    data={"state": workflow.state},
                )
            return workflow

        return self._database.write(work)

    def preparation_of(self, workflow_id: str) -> StoredWorkflow | None:
        """Return what prepares a workflow, or did; None if nothing does."""
        return self._database.read(lambda connection: preparation(connection, workflow_id))


def preparation(connection: Connection, workflow_id: str) -> StoredWorkflow | None:
    """Return what prepares a workflow, or did, the last that was begun."""
    query = stored_workflows().where(_W.prepares == workflow_id)
    row: Any = connection.execute(query.order_by(_W.row_id.desc()).limit(1)).mappings().first()
    return None if row is None else workflow_of(row)


def end_prepared(writing: Writing, ended: StoredWorkflow) -> StoredWorkflow | None:
    """End the workflow that one was to prepare, if it isn't here as a whole; return it then."""
    assert ended.prepares is not None
    newest = preparation(writing.connection, ended.prepares)
    if newest is not None and newest.workflow_id != ended.workflow_id:
        return None  # another one does it now
    is_cancelled = ended.state in (State.CANCELLED, State.EXPIRED)
    error = ended.error or "it was prepared, and nothing came of that: hand it in again"
    row_id = writing.connection.execute(
        update(WORKFLOWS)
        .where(_W.workflow_id == ended.prepares, is_in(State.UPLOADING))
        .values(
            state=State.CANCELLED if is_cancelled else State.FAILED,
            ended_at_s=wall_s(),
            error_type="" if is_cancelled else ended.error_type or "WorkflowFailedError",
            error="" if is_cancelled else error,
        )
        .returning(_W.row_id)
    ).scalar()
    return None if row_id is None else fetched(writing.connection, ended.prepares)
