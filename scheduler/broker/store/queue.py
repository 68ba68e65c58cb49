"""The queue: who may run what, for how long, and what becomes of it.

A replica *claims* a queued workflow and has it by a *lease*, which it renews. The lease has a
*fence*, a number that rises with each claim: whoever comes with an older one has lost the workflow,
however late they notice. A lease that lapsed by the database's clock lets others take the workflow
back into the queue, where it keeps its place.

Not in: which one is to be claimed (:mod:`fitcast.scheduler.broker.fair_share`).
"""

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, case, delete, func, select, text, true, update

from fitcast.errors import LostLeaseError, WorkflowStateError
from fitcast.scheduler.broker.lifecycle import State, after_replica, check_transition
from fitcast.scheduler.broker.store.clocks import lease_clock_s, wall_s
from fitcast.scheduler.broker.store.database import Writing
from fitcast.scheduler.broker.store.descriptions import preparation
from fitcast.scheduler.broker.store.parts import StorePart
from fitcast.scheduler.broker.store.records import Progress, StoredWorkflow
from fitcast.scheduler.broker.store.rows import (
    fetched,
    fetched_all,
    plain,
    stored_workflows,
    values_of_demand,
    values_of_quantiles,
    values_of_used,
    workflow_of,
)
from fitcast.scheduler.broker.store.tables import EVENTS, USERS, WORKFLOWS, is_in
from fitcast.scheduler.broker.store.workflows import note_state

_W: Final = WORKFLOWS.c
_USES_NOTHING: Final = {
    "used_cpus": 0.0,
    "used_memory_bytes": 0.0,
    "used_gpus": 0.0,
    "running_fits": None,
}
_PROGRESS: Final = "progress"
_PLAN_ANEW: Final = text("SET LOCAL plan_cache_mode = force_custom_plan")


class QueuePart(StorePart):
    """What waits, and who runs what."""

    # -- looking -------------------------------------------------------------------------------

    def queue_heads(self, without: Collection[str] = ()) -> list[StoredWorkflow]:
        """Return what is first in each user's queue: by priority, then by when it is due.

        It is due as long after it was queued as it takes alone, so a short one passes an own long
        one, but not for ever. As many are returned as there are users, however much they have
        queued. Users that are disabled have no turn.

        Parameters
        ----------
        without : collection of str
            Workflows that are passed over for now; others of their users go first.
        """
        head = WORKFLOWS.alias()
        passed = [head.c.workflow_id.not_in(sorted(without))] if without else []
        first = (
            select(head.c.row_id)
            .where(head.c.user_id == USERS.c.user_id, is_in(State.QUEUED, head), *passed)
            .order_by(head.c.priority.desc(), head.c.due_at_s, head.c.row_id)
            .limit(1)
            .correlate(USERS)
            .scalar_subquery()
        )

        def work(connection: Connection) -> list[StoredWorkflow]:
            if connection.dialect.name == "postgresql":
                # a plan that was made while the queue was short would read all of a long one
                connection.execute(_PLAN_ANEW)
            firsts = select(first.label("row_id")).where(USERS.c.disabled_at_s.is_(None)).subquery()
            query = (
                stored_workflows()
                .join(firsts, firsts.c.row_id == _W.row_id)
                .order_by(_W.queued_at_s, _W.row_id)
            )
            return [workflow_of(row) for row in connection.execute(query).mappings()]

        return self._database.read(work)

    def queued(self, limit: int | None = None) -> list[StoredWorkflow]:
        """Return what waits, the longest first."""
        return self._in_state(State.QUEUED, limit, (_W.queued_at_s, _W.row_id))

    def running(self, replica: str | None = None) -> list[StoredWorkflow]:
        """Return what runs, all of it or one replica's, in order of arrival."""
        condition = true() if replica is None else _W.replica == replica
        return self._in_state(State.RUNNING, None, (_W.row_id,), condition)

    def _in_state(
        self,
        state: State,
        limit: int | None,
        order: tuple[Any, ...],
        condition: ColumnElement[bool] | None = None,
    ) -> list[StoredWorkflow]:
        query = stored_workflows().where(is_in(state)).order_by(*order).limit(limit)
        if condition is not None:
            query = query.where(condition)
        return self._database.read(
            lambda connection: [workflow_of(row) for row in connection.execute(query).mappings()]
        )

    # -- by the replica that runs it -----------------------------------------------------------

    def claim(self, workflow_id: str, replica: str, lease_s: float) -> StoredWorkflow | None:
        """Take a workflow out of the queue, to run it; None if it isn't there any more."""

        def work(writing: Writing) -> StoredWorkflow | None:
            connection = writing.connection
            waits = (
                select(_W.row_id)
                .where(_W.workflow_id == workflow_id, is_in(State.QUEUED))
                .with_for_update(skip_locked=True)  # whoever has it locked is claiming it
            )
            taken = connection.execute(
                update(WORKFLOWS)
                .where(_W.row_id == waits.scalar_subquery(), is_in(State.QUEUED))
                .values(
                    state=State.RUNNING,
                    replica=replica,
                    fence=_W.fence + 1,
                    lease_until_s=lease_clock_s() + lease_s,
                    started_at_s=func.coalesce(_W.started_at_s, wall_s()),
                    error="",  # what held it up before
                )
                .returning(_W.row_id)
            ).scalar()
            if taken is None:
                return None
            workflow = fetched(connection, workflow_id)
            note_state(writing, workflow)
            return workflow

        return self._database.write(work)

    def renew(
        self, replica: str, lease_s: float, held: Mapping[str, tuple[int, Progress]]
    ) -> set[str]:
        """Keep what a replica runs, and tell how far it is; return what is still the replica's.

        Parameters
        ----------
        replica : str
            Which.
        lease_s : float
            For how long it keeps them.
        held : mapping
            The fence and the progress of each workflow, by id.
        """

        def work(writing: Writing) -> set[str]:
            # in one order for all, so that no two of them wait for each other
            ids = sorted(held)
            return {one for one in ids if _is_renewed(writing, replica, lease_s, one, *held[one])}

        return self._database.write(work) if held else set()

    def give_back(
        self,
        workflow_id: str,
        fence: int,
        reason: str = "",
        *,
        waits_anew: bool = False,
        note: str = "",
    ) -> bool:
        """Put a workflow back into the queue; False if it is another replica's by now.

        One whose cancel was asked for is cancelled by that.

        Parameters
        ----------
        workflow_id : str
            Which.
        fence : int
            Of the claim by which it was had.
        reason : str
            Why, for whoever follows it.
        waits_anew : bool
            It is queued from now on, as one that gave way is; else it has its old place.
        note : str
            What holds it up, for its user to see while it waits.
        """

        def work(writing: Writing) -> bool:
            ours = (_W.workflow_id == workflow_id) & (_W.fence == fence)
            return bool(_left(writing, ours, reason, waits_anew, note))

        return self._database.write(work)

    def end(
        self,
        workflow_id: str,
        fence: int,
        state: State,
        error_type: str = "",
        error: str = "",
        fits_done: int | None = None,
    ) -> StoredWorkflow:
        """Say how a workflow ended, and after how many fits; the same again changes nothing.

        Raises
        ------
        LostLeaseError
            It is another replica's by now, or was put back into the queue.
        WorkflowStateError
            That is no end.
        UnknownWorkflowError
            There is no such workflow.
        """
        check_transition(workflow_id, State.RUNNING, state)
        if not state.is_terminal:
            raise WorkflowStateError(f"{state} is no end of a workflow: give it back instead")

        done = {} if fits_done is None else {"fits_done": fits_done}

        def work(writing: Writing) -> StoredWorkflow:
            ended = writing.connection.execute(
                update(WORKFLOWS)
                .where(
                    _W.workflow_id == workflow_id,
                    _W.fence == fence,
                    is_in(State.RUNNING),
                )
                .values(
                    state=state,
                    ended_at_s=wall_s(),
                    lease_until_s=None,
                    error_type=plain(error_type, 200),
                    error=plain(error),
                    **done,
                    **_USES_NOTHING,
                )
                .returning(_W.row_id)
            ).scalar()
            workflow = fetched(writing.connection, workflow_id)
            if ended is not None:
                note_state(writing, workflow)
            elif workflow.fence != fence or workflow.state is not state:
                raise LostLeaseError(
                    f"workflow {workflow_id} isn't this replica's any more: it is {workflow.state}"
                )
            return workflow

        return self._database.write(work)

    # -- by anyone who may ---------------------------------------------------------------------

    def take_lapsed(self, replica: str | None = None, limit: int = 100) -> list[StoredWorkflow]:
        """Put workflows whose lease lapsed back into the queue; return them.

        Parameters
        ----------
        replica : str, optional
            A replica that begins anew, under its old name: what it had is put back whether its
            leases lapsed or not.
        limit : int
            How many at most.
        """

        def work(writing: Writing) -> list[StoredWorkflow]:
            lapsed = _W.lease_until_s < lease_clock_s()
            if replica is not None:
                lapsed |= _W.replica == replica
            found = (
                select(_W.row_id)
                .where(is_in(State.RUNNING), lapsed)
                .order_by(_W.row_id)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            ids = writing.connection.execute(found).scalars().all()
            return _left(writing, _W.row_id.in_(ids), "lost") if ids else []

        return self._database.write(work)

    def ask_cancel(self, workflow_id: str, user_id: int | None = None) -> StoredWorkflow:
        """Cancel a workflow that doesn't run; ask the replica of one that does.

        One that has ended stays as it is.

        Raises
        ------
        UnknownWorkflowError
            There is none, or it is another user's.
        """

        def work(writing: Writing) -> StoredWorkflow:
            workflow = fetched(writing.connection, workflow_id, user_id)
            preparing = preparation(writing.connection, workflow_id)
            workflow = _cancelled(writing, workflow)
            if preparing is not None:
                _cancelled(writing, preparing)
            return workflow

        return self._database.write(work)


def _cancelled(writing: Writing, workflow: StoredWorkflow) -> StoredWorkflow:
    """Cancel what doesn't run, ask for it of what does; return it as it is then."""
    connection, workflow_id = writing.connection, workflow.workflow_id
    runs = is_in(State.RUNNING)
    waits = _W.state.in_([State.UPLOADING, State.QUEUED])
    changed = connection.execute(
        update(WORKFLOWS)
        .where(_W.workflow_id == workflow_id, waits | (runs & _W.cancel_asked.is_(False)))
        .values(
            cancel_asked=True,
            state=case((waits, State.CANCELLED), else_=_W.state),
            ended_at_s=case((waits, wall_s()), else_=_W.ended_at_s),
        )
        .returning(_W.row_id)
    ).scalar()
    if changed is None:
        return workflow if workflow.state.is_terminal else fetched(connection, workflow_id)
    workflow = fetched(connection, workflow_id)
    if workflow.state is State.CANCELLED:
        note_state(writing, workflow)
    else:
        writing.note("cancel_asked", workflow_id=workflow_id, user_id=workflow.user_id, data={})
    return workflow


def _is_renewed(
    writing: Writing,
    replica: str,
    lease_s: float,
    workflow_id: str,
    fence: int,
    progress: Progress,
) -> bool:
    values: dict[str, Any] = {
        "fits_done": progress.fits_done,
        **values_of_demand(progress.demand_left),
        **values_of_used(progress.used),
        **values_of_quantiles("eta", progress.eta_s),
    }
    if progress.running_fits is not None:
        running = list(progress.running_fits)
        values["running_fits"] = json.dumps(running) if running else None
    if progress.stored_bytes is not None:
        values["stored_bytes"] = progress.stored_bytes
    user_id = writing.connection.execute(
        update(WORKFLOWS)
        .where(
            _W.workflow_id == workflow_id,
            _W.fence == fence,
            _W.replica == replica,
            is_in(State.RUNNING),
        )
        .values(lease_until_s=lease_clock_s() + lease_s, eta_at_s=wall_s(), **values)
        .returning(_W.user_id)
    ).scalar()
    if user_id is None:
        return False
    # of how far it is the last word counts: earlier ones go, or the table would fill with them
    writing.connection.execute(
        delete(EVENTS).where(EVENTS.c.workflow_id == workflow_id, EVENTS.c.kind == _PROGRESS)
    )
    known = values["eta_p50_s"] is not None
    eta_s = [values[f"eta_{p}_s"] for p in ("p10", "p50", "p90")] if known else None
    writing.note(
        _PROGRESS,
        workflow_id=workflow_id,
        user_id=user_id,
        data={"fits_done": progress.fits_done, "eta_s": eta_s},
    )
    return True


def _left(
    writing: Writing,
    condition: ColumnElement[bool],
    reason: str,
    waits_anew: bool = False,
    note: str = "",
) -> list[StoredWorkflow]:
    """Put running workflows back into the queue, or end those whose cancel was asked for."""
    asked = _W.cancel_asked.is_(True)
    anew = {"queued_at_s": wall_s(), "due_at_s": wall_s() + _W.alone_s} if waits_anew else {}
    ids = writing.connection.execute(
        update(WORKFLOWS)
        .where(condition, is_in(State.RUNNING))
        .values(
            state=case(
                (asked, after_replica(cancel_asked=True)),
                else_=after_replica(cancel_asked=False),
            ),
            ended_at_s=case((asked, wall_s()), else_=None),
            error=case((asked, ""), else_=plain(note)),
            replica=None,
            lease_until_s=None,
            **_USES_NOTHING,
            **anew,
        )
        .returning(_W.workflow_id)
    ).scalars()
    left = fetched_all(writing.connection, ids)
    for workflow in left:
        note_state(writing, workflow, reason)
    return left
