"""A workflow's place in a plan: where it is in its life, its fits, those that wait.

Only state. What moves it is in :mod:`fitcast.scheduler.plan.lifecycle` (the workflow) and
:mod:`fitcast.scheduler.plan.decisions` (its fits).
"""

from dataclasses import dataclass, field, replace
from enum import Enum

from fitcast.errors import FitcastError
from fitcast.history.records import Outcome
from fitcast.scheduler.plan.events import OfWorkflow
from fitcast.scheduler.plan.fit_state import FitState
from fitcast.scheduler.plan.memory_load import MemoryDemand
from fitcast.scheduler.plan.waiting import WaitingFits

DEADLINE_FACTOR = 20.0
"""An attempt may take this many times its P90 forecast before it counts as hung."""

LEAST_DEADLINE_S = 300.0
"""No attempt is given less time than this, unless the user says so."""

LONGER_RETRY_FACTOR = 5.0
"""The one retry after running out of time gets this many times longer."""

ALONE_AFTER_LOST = 2
"""A fit that ran on so many lost workers gets the next to itself: no neighbour is blamed then."""


class Phase(Enum):
    """Where a workflow is in its life; failing and being cancelled lead to draining from each."""

    SEALING = "sealing"  # its dataset is being encrypted
    QUEUED = "queued"  # until some worker can hold its dataset beside those that are open
    OPENING = "opening"  # its own cluster is being made
    ACTIVE = "active"  # its fits are placed
    DRAINING = "draining"  # all fits are settled; what was asked for is still to be answered
    RECORDED = "recorded"  # the history has its end; dataset and workers are being removed


@dataclass(slots=True)
class WorkflowState:
    """A workflow's fits, those that wait, and what its user set."""

    workflow_id: str
    fits: dict[str, FitState]
    dataset_bytes: int
    memory_bytes: int | None
    deadline_s: float | None
    rounds: int  # that are still to be chosen
    unsettled: int
    process_start_s: float = 0.0  # that a fit is spared in the process of another
    own_workers: bool = False
    share_of: str = ""  # the user whose share of the workers it has
    priority: int = 0  # within that user's own work
    phase: Phase = Phase.SEALING
    pending: set[OfWorkflow] = field(default_factory=set)  # asked for and not answered yet
    cancelled: bool = False
    concluded: bool = False
    workers_opened: bool = False  # its own cluster was asked for, and isn't gone yet
    dataset_removed: bool = False
    error: FitcastError | None = None  # why it can't go on
    waiting: WaitingFits = field(default_factory=WaitingFits)
    occupying: int = 0  # fits with an attempt that holds something
    cpus_in_use: int = 0
    held_bytes: float = 0.0  # memory that its running fits are forecast to need
    sorted_for: int = -1  # version of the workers that the waiting fits are sorted for
    sizes: frozenset[int] = frozenset()  # memory of the workers that hold its dataset
    home_bytes: int = 0  # of them, the size on which its largest fit finds room
    most_bytes: int = 0  # for a fit alone on the largest of them, beside the datasets there
    alone_bytes: int = 0  # the same if no other dataset were there, on any worker
    least_need_bytes: int = 1
    largest_need_bytes: int = 1

    @property
    def is_open(self) -> bool:
        """Whether workers hold its dataset, or will."""
        return bool(self.sizes) or self.phase is Phase.ACTIVE

    @property
    def is_ending(self) -> bool:
        """Whether every fit is settled, and nothing is started any more."""
        return self.phase in (Phase.DRAINING, Phase.RECORDED)

    def note_needs(self) -> None:
        """Note the least and the most memory that a fit of it needs in all likelihood."""
        if self.memory_bytes is not None:
            self.least_need_bytes = self.largest_need_bytes = self.memory_bytes
            return
        needs = [
            self.need_bytes(fit) if fit.memory_failures else fit.estimate.peak_memory_bytes_p50
            for fit in self.fits.values()
            if fit.outcome is None
        ]
        self.least_need_bytes = max(1, min(needs, default=1))
        self.largest_need_bytes = max(1, max(needs, default=1))

    def need_bytes(self, fit: FitState, most_bytes: int | None = None) -> int:
        """Return what a fit alone should have.

        A forecast is held to what there is, `most_bytes` or else what the workers have now; what
        was proved isn't: such a fit waits until other datasets make room for it.
        """
        most = self.most_bytes if most_bytes is None else most_bytes
        if fit.memory_failures:
            most = max(most, self.alone_bytes)
        if self.memory_bytes is not None:
            return max(1, min(self.memory_bytes, most))
        return max(1, min(fit.wanted_bytes(), most))

    def demand(self, fit: FitState) -> MemoryDemand:
        """Return what a fit adds to the sum on a worker."""
        demand = fit.demand()
        wanted = demand.mean_bytes if self.memory_bytes is None else float(self.memory_bytes)
        most = max(self.most_bytes, self.alone_bytes if fit.memory_failures else 0)
        if fit.workers_lost >= ALONE_AFTER_LOST or wanted > most:
            return MemoryDemand(float(most), 0.0, demand.group)
        return demand if self.memory_bytes is None else MemoryDemand(wanted, 0.0, demand.group)

    def attempt_deadline_s(self, fit: FitState) -> float:
        """Return how long the next attempt of a fit may take, in seconds."""
        if self.deadline_s is not None:
            return self.deadline_s
        forecast = max(LEAST_DEADLINE_S, DEADLINE_FACTOR * fit.estimate.runtime_s_p90)
        return forecast * LONGER_RETRY_FACTOR**fit.timeouts

    def settle(self, fit: FitState, outcome: Outcome) -> None:
        """Give a fit its final outcome."""
        fit.outcome = outcome
        self.unsettled -= 1

    def copy(self) -> "WorkflowState":
        """Return an independent copy, for simulating what comes next."""
        fits = {
            # One that is settled changes no more, unless its attempt's end is still to come.
            fit_id: fit if fit.outcome is not None and fit.running_on is None else fit.copy()
            for fit_id, fit in self.fits.items()
        }
        return replace(self, fits=fits, waiting=self.waiting.copy(), pending=set(self.pending))
