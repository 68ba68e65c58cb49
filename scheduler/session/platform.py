"""What a client stands for: this machine and its backends, or a platform that many share.

In: what both can do. Not in: how: :mod:`fitcast.scheduler.session.own_platform`,
:mod:`fitcast.scheduler.session.remote.platform`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from fitcast.scheduler.forecast.sweep_estimate import SweepEstimate
from fitcast.scheduler.plan.pools import Pool
from fitcast.scheduler.session.workflow import Workflow

if TYPE_CHECKING:
    from fitcast.trainer.sweep.prepared import Sweep


class Platform(Protocol):
    """Where a client's workflows run; see `Client` for what each method does."""

    @property
    def tracking_uri(self) -> str:
        """The MLflow store; empty where that is none of the user's business."""

    @property
    def troubles(self) -> tuple[str, ...]:
        """What the user was told about the history."""

    def estimate(
        self, sweep: "Sweep", pools: Sequence[Pool] | None, *, probe: bool
    ) -> SweepEstimate:
        """Forecast a sweep."""

    def submit(self, sweep: "Sweep", *, probe: bool, detach: bool) -> Workflow:
        """Start a sweep."""

    def resume(self, workflow_id: str, sweep: "Sweep | None") -> Workflow:
        """Go on with a workflow."""

    def workflow(self, workflow_id: str) -> Workflow:
        """Return the handle of a workflow."""

    def workflows(self) -> list[Workflow]:
        """Return all workflows, oldest first."""

    def remove(self, workflow_id: str) -> None:
        """Remove all that is kept of a workflow."""

    def forget(self, workflow_id: str) -> None:
        """Let go of a workflow in this process."""

    def learn(self) -> int:
        """Train on all that is known."""

    def flush(self, timeout_s: float) -> bool:
        """Wait until the history has everything."""

    def close(self) -> None:
        """End what was started for this client."""
