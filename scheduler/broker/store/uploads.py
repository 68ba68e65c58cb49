"""What is sent with a submission, piece by piece, until the whole of it may be queued."""

from typing import Final

from sqlalchemy import select, update

from fitcast.errors import UploadError, WorkflowStateError
from fitcast.scheduler.broker.lifecycle import State, check_transition
from fitcast.scheduler.broker.store.clocks import wall_s
from fitcast.scheduler.broker.store.database import Writing
from fitcast.scheduler.broker.store.parts import StorePart
from fitcast.scheduler.broker.store.records import UPLOADS, StoredWorkflow
from fitcast.scheduler.broker.store.rows import fetched, fetched_all
from fitcast.scheduler.broker.store.tables import WORKFLOWS, is_in
from fitcast.scheduler.broker.store.workflows import note_state

_W: Final = WORKFLOWS.c


class UploadPart(StorePart):
    """Uploads: how much of each is here."""

    def note_received(self, workflow_id: str, upload: str, offset: int, n_bytes: int) -> int:
        """Note that a piece of an upload is on the disk; return how much of it is.

        Raises
        ------
        UploadError
            The piece doesn't begin where the last one ended, or goes beyond what was announced.
        WorkflowStateError
            Nothing of the workflow is being uploaded.
        UnknownWorkflowError
            There is no such workflow.
        """
        if upload not in UPLOADS:
            raise UploadError(f"there is no upload {upload!r:.50}, but {' and '.join(UPLOADS)}")
        if offset < 0 or n_bytes < 0:
            raise UploadError("a piece has an offset and a size of 0 or more")
        received, whole = _W[f"{upload}_received"], _W[f"{upload}_bytes"]

        def work(writing: Writing) -> int:
            now = writing.connection.execute(
                update(WORKFLOWS)
                .where(
                    _W.workflow_id == workflow_id,
                    is_in(State.UPLOADING),
                    received == offset,
                    whole - offset >= n_bytes,
                )
                .values({received.name: offset + n_bytes, "touched_at_s": wall_s()})
                .returning(received)
            ).scalar()
            if now is not None:
                return int(now)
            workflow = fetched(writing.connection, workflow_id)
            _check_uploads(workflow)
            here = workflow.received[upload]
            if here != offset:
                raise UploadError(
                    f"{here} bytes of the {upload} are here: go on from there, not from {offset}"
                )
            size = workflow.dataset_bytes if upload == "dataset" else workflow.sweep_bytes
            raise UploadError(
                f"the {upload} was announced with {size} bytes: a piece ends at {offset + n_bytes}"
            )

        return self._database.write(work)

    def accept(self, workflow_id: str) -> StoredWorkflow:
        """Let a workflow that is here as a whole into the queue; one that was let in stays so.

        From then on it is not lost.

        Raises
        ------
        UploadError
            Some of it is missing.
        WorkflowStateError
            It was cancelled, or has expired.
        UnknownWorkflowError
            There is no such workflow.
        """

        def work(writing: Writing) -> StoredWorkflow:
            taken = writing.connection.execute(
                update(WORKFLOWS)
                .where(
                    _W.workflow_id == workflow_id,
                    is_in(State.UPLOADING),
                    _W.sweep_bytes > 0,  # else it is only described so far
                    _W.dataset_received == _W.dataset_bytes,
                    _W.sweep_received == _W.sweep_bytes,
                )
                .values(
                    state=State.QUEUED,
                    queued_at_s=wall_s(),
                    due_at_s=wall_s() + _W.alone_s,
                    touched_at_s=wall_s(),
                )
                .returning(_W.row_id)
            ).scalar()
            workflow = fetched(writing.connection, workflow_id)
            if taken is not None:
                note_state(writing, workflow)
            elif workflow.queued_at is None:
                if workflow.state is not State.UPLOADING:
                    check_transition(workflow_id, workflow.state, State.QUEUED)
                if not workflow.is_announced:
                    raise UploadError(
                        f"workflow {workflow_id} is being prepared from its description: it is "
                        "queued by itself once that is done"
                    )
                raise UploadError(
                    f"of the dataset {workflow.received['dataset']} of {workflow.dataset_bytes} "
                    f"bytes are here, of the sweep {workflow.received['sweep']} of "
                    f"{workflow.sweep_bytes}: send the rest first"
                )
            return workflow

        return self._database.write(work)

    def expire_uploads(self, idle_s: float, limit: int = 100) -> list[StoredWorkflow]:
        """Give up uploads of which nothing came in for some time; return them."""

        def work(writing: Writing) -> list[StoredWorkflow]:
            preparing = WORKFLOWS.alias()
            prepared = (
                select(preparing.c.row_id)
                .where(
                    preparing.c.prepares == _W.workflow_id,
                    preparing.c.state.in_([State.QUEUED, State.RUNNING]),
                )
                .exists()
            )
            idle = (
                select(_W.row_id)
                .where(is_in(State.UPLOADING), _W.touched_at_s < wall_s() - idle_s, ~prepared)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            rows = writing.connection.execute(idle).scalars().all()
            if not rows:
                return []
            ids = writing.connection.execute(
                update(WORKFLOWS)
                .where(_W.row_id.in_(rows), is_in(State.UPLOADING))
                .values(state=State.EXPIRED, ended_at_s=wall_s())
                .returning(_W.workflow_id)
            ).scalars()
            expired = fetched_all(writing.connection, ids)
            for workflow in expired:
                note_state(writing, workflow)
            return expired

        return self._database.write(work)


def _check_uploads(workflow: StoredWorkflow) -> None:
    if workflow.state is not State.UPLOADING:
        raise WorkflowStateError(
            f"workflow {workflow.workflow_id} is {workflow.state}: nothing of it is uploaded any "
            "more"
        )
