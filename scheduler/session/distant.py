"""A workflow that another process of this user runs, ran, or left.

It is followed by its folder, which this user may read, and by asking the background process, if
that has it. Of a workflow that another client runs there is the folder alone. Not in: handing
workflows over (:mod:`fitcast.scheduler.session.background.starting`).
"""

from pathlib import Path
from typing import Any

from fitcast.errors import UnknownWorkflowError, WorkflowHeldError
from fitcast.scheduler.session.background.calls import Calls, UnreachableError
from fitcast.scheduler.session.keeping import Opened, eta_at_submission, run_of
from fitcast.scheduler.session.told import ToldRun


class DistantRun(ToldRun):
    """A workflow of another process of this user.

    Parameters
    ----------
    opened : Opened
        The workflow.
    home : Path
        The home that its folder is in.
    """

    def __init__(self, opened: Opened, home: Path) -> None:
        run = run_of(opened)
        run.forecast.set_result(eta_at_submission(opened))
        super().__init__(run)
        self._folder = opened.folder
        self._calls = Calls(home)

    def chosen(self) -> int | None:
        """Return the index of the best candidate; None if none was chosen yet."""
        known = self._folder.best_index()
        return self._run.chosen() if known is None else known

    def cancel(self) -> None:
        """Have it given up by the background process.

        Raises
        ------
        WorkflowHeldError
            Another client runs it.
        """
        if self.look():
            return
        try:
            self._calls.cancel(self.workflow_id)
        except (UnreachableError, UnknownWorkflowError):
            if self.look(wait_s=0.0):
                return
            raise WorkflowHeldError(
                f"workflow {self.workflow_id} is run by another client of yours, not by the "
                "background process: cancel it there, or end that process"
            ) from None

    def _asked(self, wait_s: float) -> tuple[dict[str, Any], dict[str, Any]] | None:
        try:
            told = self._calls.workflow(self.workflow_id, wait_s)
            return told, self._calls.fits(self.workflow_id, self._cursor)
        except (UnreachableError, UnknownWorkflowError):
            return None

    def _take_in(self, told: dict[str, Any], changed: dict[str, Any]) -> None:
        if told["state"] == "interrupted":  # it is ending, or somebody else goes on with it
            self._take_in_silence()
        else:
            super()._take_in(told, changed)

    def _take_in_silence(self) -> None:
        """See who runs it, and how it ended if nobody does."""
        is_held = self._folder.is_held()
        self._read_kept()  # what is committed by now is all there is, if nobody runs it
        if is_held:
            self._run.note_state("running")
            rest = self._run.rest()  # who runs it knows better, but isn't asked
            if rest is not None:
                self._run.note_eta(rest)
            return
        self._live.clear()
        for fit_id, row in self._run.view().rows.items():
            if row.state == "running":
                self._run.follow(fit_id, state="waiting")
        self._run.note_waits("told", ())
        self._run.leave(self._folder.end())
