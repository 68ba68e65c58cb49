"""What a dispatcher lets others do for a workflow: whatever takes time or knows other systems.

Each step is one call, on one of an executor's threads; whatever it raises fails that step, and so
that workflow alone.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, assert_never

from fitcast.errors import FitcastError
from fitcast.history.records import Record
from fitcast.scheduler.backends.protocol import Workers
from fitcast.scheduler.kept.results import Ended, KeptAttempt
from fitcast.scheduler.plan import events
from fitcast.scheduler.run.attempts import DaskAttempts
from fitcast.scheduler.run.executor import Executor
from fitcast.scheduler.run.next_round import choose_next, told_of
from fitcast.scheduler.run.runs import Run
from fitcast.scheduler.run.worker_set import WorkerSet
from fitcast.trainer.attempt.spec import Measured

log = logging.getLogger(__name__)


Kept: TypeAlias = Callable[[Sequence[KeptAttempt] | FitcastError], None]
"""What is called once results are kept, or can't be."""


class Steps(Protocol):
    """The steps of a workflow's life that are not fits."""

    def seal(self, run: Run) -> None:
        """Encrypt its dataset; nothing of the user's is read any more afterwards."""

    def workers_for(self, run: Run) -> Workers:
        """Return workers for it alone, which aren't started yet."""

    def record(self, run: Run) -> None:
        """Hand its end to the history."""

    def remove_dataset(self, run: Run) -> None:
        """Remove its sealed dataset and its key."""

    def keep(self, run: Run, ended: Sequence[Ended], then: Kept) -> None:
        """Keep attempts' results, then call `then`, from any thread; returns at once."""

    def give_up_keeping(self, run: Run) -> None:
        """Let go of what of it is still to be kept."""

    def note_attempt(self, run: Run, record: Record, measured: Measured) -> None:
        """Hand an attempt to the history; called on the dispatcher's thread, returns at once."""

    def closed(self, run: Run) -> None:
        """Note that nothing of it is left; called on the dispatcher's thread, returns at once."""


_WHAT = {
    events.Seal: "the dataset can't be sealed",
    events.OpenWorkers: "workers can't be started",
    events.ChooseNext: "the next round can't be chosen",
    events.RecordEnd: "the workflow's end can't be recorded",
    events.ReleaseDataset: "workers can't let go of the dataset",
    events.RemoveDataset: "the sealed dataset can't be removed",
    events.CloseWorkers: "the workflow's workers can't be ended",
    events.ExplainLoss: "it can't be told why a worker is gone",
}


def as_ours(action: events.SlowAction, error: BaseException) -> FitcastError:
    """Return an error of ours that says which step failed, and why; log where it comes from."""
    if isinstance(error, FitcastError):
        log.info("%s failed", action, exc_info=error)
        return error
    log.error("%s failed", action, exc_info=error)
    made = FitcastError(f"{_WHAT[type(action)]}: {type(error).__name__}: {error}")
    made.__cause__ = error
    return made


class StepRunner:
    """Lets the steps of workflows' lives be done, and reports what becomes of each.

    Parameters
    ----------
    steps : Steps
        What is done.
    executor : Executor
        Where.
    workers : WorkerSet
        What workflows with workers of their own open and close.
    attempts : DaskAttempts
        By which workers let go of a dataset, and are asked for the best candidate.
    post : callable
        ``post(event)``, from any thread.
    """

    def __init__(
        self,
        steps: Steps,
        executor: Executor,
        workers: WorkerSet,
        attempts: DaskAttempts,
        post: Callable[[events.Event], None],
    ) -> None:
        self._steps = steps
        self._executor = executor
        self._workers = workers
        self._attempts = attempts
        self._post = post

    def start(self, run: Run, action: events.OfWorkflow) -> None:
        """Let a step of a workflow's life be done; whatever becomes of it is reported."""

        def do() -> None:
            try:
                event = self._do(run, action)
            except BaseException as error:
                self._post(events.ActionFailed(action, as_ours(action, error)))
            else:
                self._post(event)

        self._executor.submit(do)

    def _do(self, run: Run, action: events.OfWorkflow) -> events.Event:
        """Do a step of a workflow's life, on an executor's thread; return what it leads to."""
        name = run.workflow_id
        match action:
            case events.Seal():
                try:
                    self._steps.seal(run)
                finally:
                    run.captured.set()
                return events.Sealed(name)
            case events.OpenWorkers():
                self._workers.open(self._steps.workers_for(run))
                return events.WorkersOpened(name)
            case events.ChooseNext():
                run.next_fits = fits = choose_next(run, self._attempts)
                return events.NextChosen(name, None if fits is None else told_of(run, fits))
            case events.RecordEnd():
                self._steps.record(run)
                return events.Recorded(name)
            case events.ReleaseDataset():
                self._release(run)
                return events.DatasetReleased(name)
            case events.RemoveDataset():
                try:
                    self._release(run)
                finally:
                    self._steps.remove_dataset(run)
                return events.DatasetRemoved(name)
            case events.CloseWorkers():
                self._workers.close()
                return events.WorkersClosed(name)
            case _:
                assert_never(action)

    def _release(self, run: Run) -> None:
        if run.sealed is not None:
            self._attempts.release_dataset(run.sealed.dataset_id)
