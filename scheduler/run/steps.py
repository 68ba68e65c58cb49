"""What a dispatcher lets others do for a workflow: whatever takes time or knows other systems.

Each step is one call, on one of an executor's threads; whatever it raises fails that step, and so
that workflow alone.
"""

import logging
from typing import Protocol

from fitcast.errors import FitcastError
from fitcast.history.records import Record as FitRecord
from fitcast.scheduler.backends.protocol import Workers
from fitcast.scheduler.plan.events import (
    ChooseFinal,
    CloseWorkers,
    ExplainLoss,
    OpenWorkers,
    Record,
    ReleaseDataset,
    RemoveDataset,
    Seal,
    SlowAction,
)
from fitcast.scheduler.run.runs import Run
from fitcast.trainer.attempt.spec import Measured

log = logging.getLogger(__name__)


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

    def note_attempt(self, run: Run, record: FitRecord, measured: Measured) -> None:
        """Hand an attempt to the history; called on the dispatcher's thread, returns at once."""

    def closed(self, run: Run) -> None:
        """Note that nothing of it is left; called on the dispatcher's thread, returns at once."""


_WHAT = {
    Seal: "the dataset can't be sealed",
    OpenWorkers: "workers can't be started",
    ChooseFinal: "the best candidate can't be chosen",
    Record: "the workflow's end can't be recorded",
    ReleaseDataset: "workers can't let go of the dataset",
    RemoveDataset: "the sealed dataset can't be removed",
    CloseWorkers: "the workflow's workers can't be ended",
    ExplainLoss: "it can't be told why a worker is gone",
}


def as_ours(action: SlowAction, error: BaseException) -> FitcastError:
    """Return an error of ours that says which step failed, and why; log where it comes from."""
    if isinstance(error, FitcastError):
        log.info("%s failed", action, exc_info=error)
        return error
    log.error("%s failed", action, exc_info=error)
    made = FitcastError(f"{_WHAT[type(action)]}: {type(error).__name__}: {error}")
    made.__cause__ = error
    return made
