"""What is kept of workflows: taken in, added to while they run, opened again, removed.

In: the steps in which a workflow's folder takes part. Not in: what is in it
(:mod:`fitcast.scheduler.kept`), when they are taken (:mod:`fitcast.scheduler.session.engine`).
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fitcast.errors import (
    FitcastError,
    SealError,
    StoreError,
    SubmissionError,
    WorkflowInterruptedError,
)
from fitcast.history.records import Outcome
from fitcast.scheduler.forecast.eta import Eta
from fitcast.scheduler.kept.accepted import Accepted
from fitcast.scheduler.kept.committer import Committer
from fitcast.scheduler.kept.results import Ended, KeptAttempt, ResultStore
from fitcast.scheduler.kept.workflow_folder import End, WorkflowFolder, folders
from fitcast.scheduler.run.runs import Run
from fitcast.scheduler.session.late_ends import LateEnds
from fitcast.sizing.learning.correction import SweepCorrection
from fitcast.trainer.sealing import SealedDataset, remove, seal, verify
from fitcast.trainer.sweep.prepared_sweep import PreparedSweep
from fitcast.trainer.sweep.sealed_sweep import OpenedSweep, seal_sweep


@dataclass(frozen=True, slots=True)
class Opened:
    """A workflow of an earlier process."""

    folder: WorkflowFolder
    accepted: Accepted
    objects: OpenedSweep
    store: ResultStore
    key: bytes = field(repr=False)
    attempts: tuple[KeptAttempt, ...]
    damaged: tuple[str, ...]  # what can't be used of what was kept

    @property
    def done(self) -> frozenset[str]:
        """The fits that aren't run again."""
        return frozenset(one.fit_id for one in self.attempts if one.is_final)


class Keeper:
    """Keeps workflows in folders of their own.

    Parameters
    ----------
    root : Path
        The folder of all workflows.
    on_trouble : callable
        ``on_trouble(workflow_id, text)``, from any thread, when results can't be kept for now; with
        an empty text once they can again.
    """

    def __init__(self, root: Path, on_trouble: Callable[[str, str], None]) -> None:
        self._root = root
        self._committer = Committer(on_trouble)
        self._ends = LateEnds(on_trouble)
        self._passing: dict[str, WorkflowFolder] = {}

    # -- a workflow's life -----------------------------------------------------------------------

    def take_in(self, run: Run, prepared: PreparedSweep, dataset_uri: str | None) -> None:
        """Seal a sweep and its dataset, and write its submission down.

        Parameters
        ----------
        run
            The workflow; it knows its key and its store afterwards.
        prepared
            The sweep.
        dataset_uri
            Where its dataset is sealed; None for its folder.

        Raises
        ------
        StoreError, SealError
            It can't be kept. Nothing of it is left then.
        """
        folder = WorkflowFolder(self._root, run.workflow_id)
        key = folder.make()
        uri = dataset_uri or folder.dataset_uri
        try:
            run.sealed = _sealed(prepared, uri, key, run.workflow_id)
            around = run.surroundings_elsewhere or run.surroundings
            sweep = seal_sweep(prepared, around, folder.sweep_uri, key, workflow_id=run.workflow_id)
            folder.accept(
                Accepted(
                    workflow_id=run.workflow_id,
                    submitted_at=run.submitted_at,
                    submission=run.submission,
                    estimates=run.first_estimates(),
                    final_estimate=run.final_estimate,
                    result_bytes=run.result_bytes,
                    dataset=run.sealed,
                    sweep=sweep,
                )
            )
        except BaseException:
            with suppress(FitcastError):
                remove(uri)
            with suppress(FitcastError):
                folder.remove()
            raise
        folder.note_opened()
        run.key, run.folder = key, folder
        run.store = ResultStore(folder.results_uri, key, run.workflow_id)

    def let_go(self, run: Run) -> None:
        """Leave a workflow that was taken in to another process."""
        if run.folder is not None:
            run.folder.release()

    def keep(
        self,
        run: Run,
        ended: Sequence[Ended],
        then: Callable[[Sequence[KeptAttempt] | FitcastError], None],
    ) -> None:
        """Keep attempts' results, then call `then`; returns at once."""
        assert run.store is not None
        self._committer.commit(run.store, ended, then)

    def give_up(self, run: Run) -> None:
        """Let go of what of it is still to be kept."""
        self._committer.give_up(run.workflow_id)

    def end(self, run: Run) -> None:
        """Write down how a workflow ended; then remove its dataset unless it may be gone on with.

        An end that can't be written now is written later.
        """
        view, folder = run.view(), run.folder
        if folder is None:
            return
        can_resume = isinstance(view.error, WorkflowInterruptedError) or (
            view.state == "failed" and any(o is Outcome.CANCELLED for o in run.outcomes())
        )
        end = End(
            view.state,
            view.ended_at or datetime.now(UTC),
            "" if view.error is None else type(view.error).__name__,
            "" if view.error is None else str(view.error),
            can_resume,
        )

        def then() -> None:  # not before the end is on the disk: else there's nothing to go on with
            if not can_resume and run.sealed is not None:
                remove(run.sealed.uri)

        self._ends.note(folder, end, then)

    def opened(
        self, workflow_id: str, prepared: PreparedSweep | None = None, key: bytes | None = None
    ) -> Opened:
        """Open a workflow of an earlier process to run it; see :func:`opened`."""
        return opened(self._root, workflow_id, to_run=True, prepared=prepared, key=key)

    def let_pass(self, run: Run) -> None:
        """Remove a workflow with this process: nobody will ask for it any more."""
        if run.folder is not None:
            self._passing[run.workflow_id] = run.folder
            run.folder.note_passing()

    def tidy(self, keep_days: float) -> list[str]:
        """Remove what nobody runs and was left for so long, or isn't wanted; return which.

        Not those without a key of their own: a broker has it, in whose queue they may wait.
        """
        removed = []
        for folder in folders(self._root):
            if not folder.has_key:
                continue
            with suppress(OSError, FitcastError):
                age_days = (time.time() - folder.path.stat().st_mtime) / 86_400.0
                if (folder.is_passing or age_days > keep_days) and not folder.is_held():
                    remove_workflow(self._root, folder.workflow_id)
                    removed.append(folder.workflow_id)
        return removed

    def close(self, timeout_s: float) -> None:
        """Bring onto disk what can be, and remove what nobody will ask for."""
        self._committer.close(timeout_s)
        self._ends.close()
        for folder in self._passing.values():
            with suppress(FitcastError):
                folder.remove()


def opened(
    root: Path,
    workflow_id: str,
    *,
    to_run: bool = False,
    prepared: PreparedSweep | None = None,
    key: bytes | None = None,
) -> Opened:
    """Open a workflow; to run it, this process holds it from then on.

    Parameters
    ----------
    root
        The folder of all workflows.
    workflow_id
        Which.
    to_run
        Whether it is to be gone on with.
    prepared
        What it was made of, in case its dataset is gone.
    key
        Its key, where that isn't kept in its folder.

    Raises
    ------
    SubmissionError
        There is none, it is damaged, it can't be gone on with, or another process runs it.
    SealError
        What is sealed of it was altered.
    """
    folder = WorkflowFolder(root, workflow_id)
    accepted = folder.accepted()
    if to_run:
        folder.hold()
    try:
        if to_run:
            _check_resumable(folder)
        key = key or folder.key()
        store = ResultStore(folder.results_uri, key, workflow_id)
        objects = OpenedSweep(accepted.sweep.uri, key, accepted.sweep.dataset_id)
        attempts, damaged = store.load(tidy=to_run)
        if to_run:
            accepted = _with_dataset(folder, accepted, key, prepared)
            attempts, altered = _whole(store, attempts)
            damaged += altered
    except BaseException:
        folder.release()
        raise
    return Opened(folder, accepted, objects, store, key, tuple(attempts), tuple(damaged))


def _check_resumable(folder: WorkflowFolder) -> None:
    end = folder.final_end()
    if end is not None:
        raise SubmissionError(
            f"workflow {folder.workflow_id} has ended ({end.state}): its result is there, "
            f"client.workflow({folder.workflow_id!r}).result()"
        )


def remove_workflow(root: Path, workflow_id: str) -> None:
    """Remove all of a workflow that nobody runs.

    Raises
    ------
    SubmissionError
        There is none, or it is run.
    StoreError
        It can't be removed.
    """
    folder = WorkflowFolder(root, workflow_id)
    folder.hold()
    with suppress(FitcastError):
        remove(folder.accepted().dataset.uri)
    folder.remove()


def run_of(opened: Opened, correction: SweepCorrection | None = None) -> Run:
    """Return an opened workflow, with what is kept of its fits.

    Parameters
    ----------
    opened
        The workflow.
    correction
        As :class:`fitcast.scheduler.run.runs.Run` takes it; None if it doesn't run here.
    """
    accepted = opened.accepted
    run = Run(
        workflow_id=accepted.workflow_id,
        submission=accepted.submission,
        objects=opened.objects,
        jobs=opened.objects.jobs,
        surroundings=opened.objects.surroundings,
        correction=correction,
        estimates=accepted.estimates,
        final_estimate=accepted.final_estimate,
        submitted_at=accepted.submitted_at,
        opened=1,
    )
    run.result_bytes = accepted.result_bytes
    run.key, run.sealed = opened.key, accepted.dataset
    run.store, run.folder = opened.store, opened.folder
    run.best_index = opened.folder.best_index()
    for one in opened.attempts:
        run.take_in(one)
    run.captured.set()  # by the process that took it in
    return run


def eta_at_submission(opened: Opened) -> Eta:
    """Return the ETA given at submission; nothing is known if there was none."""
    p10_s, p50_s, p90_s = opened.folder.forecast_s() or (math.nan, math.nan, math.nan)
    later = timedelta(seconds=0.0 if math.isnan(p50_s) else p50_s)
    return Eta(p10_s, p50_s, p90_s, opened.accepted.submitted_at + later)


def _with_dataset(
    folder: WorkflowFolder, accepted: Accepted, key: bytes, prepared: PreparedSweep | None
) -> Accepted:
    """Make sure that its dataset is there, whole, if need be from what it was made of."""
    dataset = accepted.dataset
    if prepared is not None and prepared.submission.digest != accepted.submission.digest:
        raise SubmissionError(
            f"this sweep isn't the one of workflow {accepted.workflow_id}: its data, models, "
            "splits or settings differ. Give the sweep as it was, or submit this one anew"
        )
    try:
        verify(dataset.uri, key, dataset_id=dataset.dataset_id)
    except SealError as error:
        if prepared is None:
            raise SubmissionError(
                f"the dataset of workflow {accepted.workflow_id} can't be used ({error}). Give the "
                f"sweep that it was made of, client.resume({accepted.workflow_id!r}, sweep): it is "
                "gone on with if that is the same"
            ) from error
        sealed = _sealed(prepared, dataset.uri, key, accepted.workflow_id)
        accepted = replace(accepted, dataset=sealed)
        folder.accept(accepted)
    return accepted


def _sealed(prepared: PreparedSweep, uri: str, key: bytes, workflow_id: str) -> SealedDataset:
    """Seal the dataset of a sweep, and what its jobs refer to."""
    return seal(
        prepared.content, uri, key, workflow_id=workflow_id, attachments=prepared.attachments
    )


def _whole(
    store: ResultStore, attempts: Sequence[KeptAttempt]
) -> tuple[list[KeptAttempt], list[str]]:
    """Return the attempts all of which can be read, and what is said of the others."""
    whole, said = [], []
    for one in attempts:
        try:
            if one.predictions is not None:
                store.predictions(one.predictions)
            if one.model is not None:
                store.model(one.model)
        except (SealError, StoreError) as error:
            said.append(f"the result of {one.fit_id} can't be used, it is run again: {error}")
        else:
            whole.append(one)
    return whole, said
