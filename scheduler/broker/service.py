"""What users ask of the broker, done: between the routes, and the store, the keys and the engine.

Everything is asked for somebody, and what isn't theirs isn't there for them. In: estimates,
submissions and what they need, results, cancelling, removing. Not in: who asks
(:mod:`fitcast.scheduler.broker.api.authentication`), what runs next
(:mod:`fitcast.scheduler.broker.serving.claims`).
"""

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool

from fitcast.errors import LimitError, SubmissionError, UploadError, WorkflowStateError
from fitcast.history.records import Record
from fitcast.scheduler.broker.announcement import Announcement, Caps, check_fits
from fitcast.scheduler.broker.demands import demand_of
from fitcast.scheduler.broker.files import WorkflowFiles
from fitcast.scheduler.broker.keys import KeyEncryptionKeys, key_context
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.quotas import why_not_submitted
from fitcast.scheduler.broker.store import (
    UPLOADS,
    BrokerStore,
    Holdings,
    NewWorkflow,
    StoredWorkflow,
    User,
)
from fitcast.scheduler.forecast.sweep_forecast import SweepForecast, forecast_sweep
from fitcast.scheduler.kept.accepted import (
    Accepted,
    accepted_to_json,
    estimates_to_json,
)
from fitcast.scheduler.run.views import FitRow
from fitcast.scheduler.session.engine import Engine
from fitcast.scheduler.session.remote.platform import pools_to
from fitcast.sizing.learning.model import SizingModel
from fitcast.trainer.sweep.submission_file import from_json
from fitcast.version import __version__


@dataclass(frozen=True, slots=True)
class Service:
    """What users ask of the broker.

    Parameters
    ----------
    store : BrokerStore
        Users and the queue.
    keys : KeyEncryptionKeys
        Wrap the keys of workflows.
    files : WorkflowFiles
        What users bring, and what fits gave.
    engine : Engine
        Forecasts, and runs workflows.
    caps : Caps
        What one request may ask for.
    """

    store: BrokerStore
    keys: KeyEncryptionKeys
    files: WorkflowFiles
    engine: Engine
    caps: Caps

    # -- forecasts -------------------------------------------------------------------------------

    def estimates(self, user: User, submission: Any, probes: Sequence[str]) -> dict[str, Any]:
        """Return what the fits of a submission are forecast to cost.

        Parameters
        ----------
        user
            Who asks.
        submission
            As :func:`fitcast.trainer.sweep.submission_file.to_json` writes it.
        probes
            Workflows of this user whose records are learned from first.

        Raises
        ------
        SubmissionError, TooLargeError, FitTooLargeError
            It can't be used, or is too large.
        """
        cast = self._forecast(submission, self._model(user, probes))
        return {
            "estimates": estimates_to_json(cast.submission.fits, cast.estimates, cast.final),
            "process_start_s": cast.process_start_s,
            "pools": pools_to(self.engine.pools),
            "ready_in_s": self.engine.ready_in_s(),
        }

    def _model(self, user: User, probes: Sequence[str]) -> SizingModel:
        model = self.engine.model()
        records: list[Record] = []
        for workflow_id in probes[:100]:
            self.store.get(workflow_id, user.user_id)  # it is theirs
            run = self.engine.run(workflow_id)
            if run is not None:
                records += run.view().records
        return model.train(records) if records else model

    def _forecast(self, submission: Any, model: SizingModel | None = None) -> SweepForecast:
        check_fits(submission, self.caps)
        read = from_json(submission)
        return forecast_sweep(model or self.engine.model(), read, self.engine.workers())

    # -- submitting ------------------------------------------------------------------------------

    def begin(
        self,
        user: User,
        announced: Announcement,
        idempotency_key: str,
        *,
        prepares: str | None = None,
        is_described: bool = False,
    ) -> StoredWorkflow:
        """Take an announcement in; the same one again gives the same workflow.

        Parameters
        ----------
        user
            Whose.
        announced
            What is to come.
        idempotency_key
            Of the request.
        prepares
            The workflow that this one is to make of its description.
        is_described
            Whether there is that workflow already, and this is what became of its description.

        Raises
        ------
        SubmissionError, TooLargeError, FitTooLargeError
            It can't be run here.
        LimitError
            The user has too much queued or stored.
        IdempotencyError
            Another one came with this key.
        """
        request_sha256 = _digest(announced)
        if not is_described:  # of that there is the workflow, under its description's key
            before = self.store.made_before(user.user_id, idempotency_key, request_sha256)
            if before is not None and not self._is_unstaged(before):
                return before
        cast = self._forecast(announced.submission)
        workflow_id = announced.workflow_id
        demand = demand_of(cast, self.engine.workers())
        more_fits = cast.submission.fits_to_run
        more_bytes = announced.dataset.sealed_bytes + announced.sweep.sealed_bytes

        def admits(whose: User, held: Holdings) -> None:
            refused = why_not_submitted(
                whose.quota,
                queued_fits=held.queued_fits,
                stored_bytes=held.stored_bytes,
                more_fits=more_fits,
                more_bytes=more_bytes,
            )
            if refused:
                raise LimitError(refused)

        context = key_context(user.user_id, workflow_id, announced.dataset.sealed_sha256)
        wrapped, version = self.keys.wrap(announced.key, context)
        eta = self.engine.eta(cast)
        new = NewWorkflow(
            workflow_id=workflow_id,
            name=cast.submission.name[:200],
            priority=announced.priority,
            fits_total=more_fits,
            demand=demand,
            forecast_s=(eta.p10_s, eta.p50_s, eta.p90_s),
            dataset_bytes=announced.dataset.sealed_bytes,
            dataset_sha256=announced.dataset.sealed_sha256,
            sweep_bytes=announced.sweep.sealed_bytes,
            sweep_sha256=announced.sweep.sealed_sha256,
            wrapped_key=wrapped,
            key_version=version,
            idempotency_key=idempotency_key,
            request_sha256=request_sha256,
            prepares=prepares,
        )
        take_in = self.store.announce if is_described else self.store.add
        contents = announced.contents
        if contents is not None and self._is_awaited(user, workflow_id, is_described=is_described):
            accepted = self._accepted(workflow_id, datetime.now(UTC), announced, cast)
            try:
                self.files.take_in(accepted, announced.key, contents)
                return take_in(user.user_id, new, admits, is_whole=True)
            except BaseException:
                if not self.store.known([workflow_id]):
                    self.files.remove(workflow_id)
                raise
        row = take_in(user.user_id, new, admits)
        if row.state is State.UPLOADING:
            self.files.stage(self._accepted(workflow_id, row.created_at, announced, cast))
        return row

    def _is_unstaged(self, row: StoredWorkflow) -> bool:
        """Tell whether the broker died between a workflow's row and its folder."""
        return row.state is State.UPLOADING and self.files.folder(row.workflow_id).staged() is None

    def _is_awaited(self, user: User, workflow_id: str, *, is_described: bool) -> bool:
        """Tell whether nothing is here yet of a workflow that may come."""
        if is_described:
            return self.mine(user, workflow_id).state is State.UPLOADING
        return not self.store.known([workflow_id])

    def _accepted(
        self,
        workflow_id: str,
        submitted_at: datetime,
        announced: Announcement,
        cast: SweepForecast,
    ) -> Accepted:
        folder = self.files.folder(workflow_id)
        return Accepted(
            workflow_id=workflow_id,
            submitted_at=submitted_at,
            submission=cast.submission,
            estimates=cast.estimates,
            final_estimate=cast.final,
            result_bytes=self.engine.result_bytes,
            dataset=announced.dataset.at(folder.dataset_uri, workflow_id),
            sweep=announced.sweep.at(folder.sweep_uri, workflow_id),
        )

    async def receive(
        self,
        row: StoredWorkflow,
        upload: str,
        offset: int,
        data: AsyncIterator[bytes],
        gathered_bytes: Callable[[], int],
    ) -> int:
        """Take bytes of an upload in; return how many have arrived.

        Those that came before it broke off, or nothing more came, have arrived, too.

        Raises
        ------
        WorkflowStateError, UploadError
            It isn't uploading, or the offset isn't where it stands.
        TooLargeError
            More came than was announced.
        StoreError
            The disk is full.
        """
        if row.state is not State.UPLOADING:
            raise WorkflowStateError(
                f"workflow {row.workflow_id} is complete: nothing more is taken in"
            )
        total = row.announced_bytes(upload)
        at = row.received.get(upload, 0)
        if offset != at:
            raise UploadError(f"{at:,} bytes of {upload!r} have arrived: go on from there")

        async def note(reached: int) -> int:
            return await run_in_threadpool(
                self.store.note_received, row.workflow_id, upload, offset, reached - offset
            )

        return await self.files.receive(
            row.workflow_id, upload, offset, total, data, note, gathered_bytes
        )

    def commit(self, row: StoredWorkflow) -> StoredWorkflow:
        """Queue what was uploaded, once it was found whole; again gives the same.

        Raises
        ------
        UploadError
            Something hasn't arrived.
        SealError
            It isn't what was sealed.
        """
        if row.state is not State.UPLOADING:
            return row
        for upload in UPLOADS:
            at, total = row.received.get(upload, 0), row.announced_bytes(upload)
            if at != total:
                raise UploadError(
                    f"{at:,} of {total:,} bytes of {upload!r} have arrived: upload the rest first"
                )
        self.files.complete(row.workflow_id, self.key(row))
        return self.store.accept(row.workflow_id)

    # -- what there is ---------------------------------------------------------------------------

    def mine(self, user: User, workflow_id: str) -> StoredWorkflow:
        """Return a workflow of a user.

        Raises
        ------
        UnknownWorkflowError
            There is none, or it is another's.
        """
        return self.store.get(workflow_id, user.user_id)

    def key(self, row: StoredWorkflow) -> bytes:
        """Return the key of a workflow."""
        context = key_context(row.user_id, row.workflow_id, row.dataset_sha256)
        return self.keys.unwrap(row.wrapped_key, row.key_version, context)

    def submission(self, row: StoredWorkflow) -> dict[str, Any]:
        """Return a workflow as it was taken in, without places of this machine."""
        if not row.is_announced:
            raise SubmissionError(
                f"workflow {row.workflow_id} couldn't be prepared: {row.error or row.state.value}"
                if row.state.is_terminal
                else f"workflow {row.workflow_id} is being prepared by a worker: ask again"
            )
        folder = self.files.folder(row.workflow_id)
        told = accepted_to_json(folder.staged() or folder.accepted())
        told["dataset"]["uri"] = told["sweep"]["uri"] = ""
        return told

    def path(self, row: StoredWorkflow, name: str) -> Path:
        """Return where a file lies that its owner may fetch."""
        return self.files.path(row.workflow_id, name)

    # -- its end ---------------------------------------------------------------------------------

    def cancel(self, user: User, workflow_id: str) -> StoredWorkflow:
        """Give a workflow up; one that is over stays as it is."""
        return self.store.ask_cancel(workflow_id, user.user_id)

    def resume(self, user: User, workflow_id: str) -> StoredWorkflow:
        """Refuse, or do nothing: what isn't over goes on by itself.

        Raises
        ------
        SubmissionError
            It has ended.
        """
        row = self.mine(user, workflow_id)
        if row.state in (State.QUEUED, State.RUNNING):
            return row
        raise SubmissionError(
            f"workflow {workflow_id} has ended ({row.state.value}): its result is there; submit "
            "the sweep anew to run it again"
            if row.state is not State.UPLOADING
            else f"workflow {workflow_id} was never uploaded wholly: submit the sweep anew"
        )

    def remove(self, user: User, workflow_id: str) -> None:
        """Remove all of a workflow that is over, or was never begun.

        Raises
        ------
        SubmissionError
            It is run, or waits.
        """
        row = self.mine(user, workflow_id)
        if row.state in (State.QUEUED, State.RUNNING):
            raise SubmissionError(
                f"workflow {workflow_id} isn't over ({row.state.value}): cancel it first"
            )
        if row.state is State.UPLOADING:  # nothing comes in any more while it is removed
            self.cancel(user, workflow_id)
        self.discard(workflow_id)

    def discard(self, workflow_id: str) -> None:
        """Remove all of a workflow that has ended; its row last, so that it can be done again.

        Raises
        ------
        WorkflowStateError
            It hasn't ended.
        StoreError
            Its files can't be removed.
        """
        if not self.store.get(workflow_id).state.is_terminal:
            raise WorkflowStateError(f"workflow {workflow_id} hasn't ended: cancel it first")
        preparation = self.store.preparation_of(workflow_id)
        if preparation is not None and preparation.state.is_terminal:
            self.discard(preparation.workflow_id)
        self.files.remove(workflow_id)
        self.store.remove(workflow_id)
        self.engine.let_go(workflow_id)

    def note_stored_bytes(self, workflow_id: str) -> None:
        """Note how much of the disk a workflow takes, for its user's quota."""
        self.store.set_stored_bytes(workflow_id, self.files.stored_bytes(workflow_id))

    # -- the platform ----------------------------------------------------------------------------

    def rows_running_here(self) -> list[FitRow]:
        """Return the fits that run in this process's workflows."""
        runs = [run for run in self.engine.runs() if not run.is_over]
        return [row for run in runs for row in run.view().running()]

    def about(self, user: User) -> dict[str, Any]:
        """Return what the platform is, and who asks."""
        return {
            "version": __version__,
            "user": user.name,
            "group": user.group,
            "pools": pools_to(self.engine.pools),
            "caps": {"fits": self.caps.fits, "upload_bytes": self.caps.upload_bytes},
        }


def _digest(announced: Announcement) -> str:
    """Return a digest of what was announced, its key too; it can't be turned back."""
    told: Mapping[str, Any] = announced.model_dump(mode="python")
    data = json.dumps({**told, "key": told["key"].hex()}, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()
