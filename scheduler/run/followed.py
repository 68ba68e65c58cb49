"""What a handle needs of a workflow, whichever process runs it."""

from datetime import datetime
from typing import Protocol

from fitcast.scheduler.forecast.eta import Eta
from fitcast.scheduler.kept.results import KeptPredictions
from fitcast.scheduler.run.runs import SweepObjects
from fitcast.scheduler.run.views import WorkflowView
from fitcast.trainer.sweep.submission import Submission


class Over(Protocol):
    """The end of a workflow."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for it, at most so long; return whether it has come."""


class Foretold(Protocol):
    """The ETA given at submission."""

    def result(self) -> Eta:
        """Return it; from the one moment it isn't known, wait for it."""


class Followed(Protocol):
    """A workflow that may be followed."""

    @property
    def workflow_id(self) -> str:
        """Its name."""

    @property
    def submission(self) -> Submission:
        """What runs."""

    @property
    def objects(self) -> SweepObjects:
        """What of the user's it was made of."""

    @property
    def surroundings(self) -> bytes:
        """Of the user's code."""

    @property
    def over(self) -> Over:
        """Its result is final."""

    @property
    def is_over(self) -> bool:
        """Whether its result is final."""

    @property
    def forecast(self) -> Foretold:
        """The ETA given at submission."""

    def view(self) -> WorkflowView:
        """Return it as it is now."""

    def now(self) -> datetime:
        """Return the time by a clock that never goes back."""

    def chosen(self) -> int | None:
        """Return the index of the best candidate; None if none was chosen yet."""

    def predicted(self, fit_id: str) -> KeptPredictions | None:
        """Return what a fit predicted, if it succeeded and its predictions are kept."""

    def model(self) -> bytes | None:
        """Return the refitted estimator, pickled; None if there is none."""
