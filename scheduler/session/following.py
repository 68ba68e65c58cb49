"""The workflows of a home, for whoever doesn't run them: found, followed, removed.

It needs no engine, workers or history. Not in: how one is followed
(:mod:`fitcast.scheduler.session.distant`).
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from fitcast.errors import FitcastError, HistoryError
from fitcast.scheduler.kept.workflow_folder import WorkflowFolder, folders
from fitcast.scheduler.session.distant import DistantRun
from fitcast.scheduler.session.keeping import opened, remove_workflow
from fitcast.scheduler.session.workflow import Workflow


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A workflow that was taken in and hasn't ended for good."""

    workflow_id: str
    is_held: bool  # a process runs it


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptWorkflow:
    """What is kept of a workflow, and how it stands; of a damaged one its size alone is known."""

    workflow_id: str
    workflow_name: str = ""
    state: str = "unreadable"  # or running, or how it ended
    fits: int = 0
    kept_bytes: int
    submitted_at: datetime | None = None


class Following:
    """What is kept of workflows in a home.

    Parameters
    ----------
    home : Path
        The home.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._root = home / "workflows"

    def ids(self) -> list[str]:
        """Return all that somebody may ask for, oldest first."""
        return [folder.workflow_id for folder in self.folders()]

    def folders(self) -> Iterator[WorkflowFolder]:
        """Yield the folders of all that somebody may ask for, oldest first."""
        return (folder for folder in folders(self._root) if not folder.is_passing)

    def kept(self) -> list[KeptWorkflow]:
        """Return what is kept of each, oldest first, without opening anything that is sealed."""
        return [_kept(folder) for folder in self.folders()]

    def run(self, workflow_id: str) -> DistantRun:
        """Return a workflow to be followed.

        Raises
        ------
        SubmissionError, SealError
            There is none, or what is kept of it can't be read.
        """
        return DistantRun(opened(self._root, workflow_id), self._home)

    def workflow(self, workflow_id: str) -> Workflow:
        """Return a handle on it that has no history; see `run`."""
        run = self.run(workflow_id)
        return Workflow(run, lambda _: run.cancel(), lambda _: None, _no_history)

    def unfinished(self, digest: str) -> list[Unfinished]:
        """Return what there is of the very same sweep that hasn't ended for good, oldest first."""
        found = []
        for folder in self.folders():
            with suppress(FitcastError):  # what can't be read can't be gone on with
                if folder.final_end() is not None:
                    continue
                if folder.accepted().submission.digest == digest:
                    found.append(Unfinished(folder.workflow_id, folder.is_held()))
        return found

    def remove(self, workflow_id: str) -> None:
        """Remove all of a workflow that nobody runs; see `remove_workflow`."""
        remove_workflow(self._root, workflow_id)


def _kept(folder: WorkflowFolder) -> KeptWorkflow:
    workflow_id, kept_bytes = folder.workflow_id, folder.kept_bytes()
    try:
        end, accepted = folder.end(), folder.accepted()
    except FitcastError:
        return KeptWorkflow(workflow_id=workflow_id, kept_bytes=kept_bytes)
    ended = "interrupted" if end is None else end.state
    return KeptWorkflow(
        workflow_id=workflow_id,
        workflow_name=accepted.submission.name,
        state="running" if folder.is_held() else ended,
        fits=accepted.submission.fits_to_run,
        kept_bytes=kept_bytes,
        submitted_at=accepted.submitted_at,
    )


def _no_history(*_: Any, **__: Any) -> NoReturn:
    raise HistoryError("models are logged by a Client: client.workflow(id).result().log_model()")
