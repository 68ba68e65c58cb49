"""A fit's place in a plan: its forecast, where it runs, what went wrong, what it needs next.

Only state. What moves it is in :mod:`fitcast.scheduler.plan.decisions`.
"""

from dataclasses import dataclass, fields
from operator import attrgetter

from fitcast.history.records import Estimate, Outcome
from fitcast.scheduler.plan.events import CommonWork, FitKey
from fitcast.scheduler.plan.memory_load import MemoryDemand, demand_of
from fitcast.sizing.allocation import attempt_bytes

THREADS_START_S = 0.05
"""What starting a second thread costs a fit: its process was forked with one."""


@dataclass(slots=True)
class FitState:
    """A fit's place in the plan."""

    key: FitKey
    estimate: Estimate
    order: int = 0  # of submission
    fold: int | None = None  # whose rows it shares with other fits; None if it shares none
    candidate: int | None = None  # whose folds err together; None if it stands alone
    common_work: CommonWork | None = None
    process_start_s: float = 0.0  # that it is spared in the process of another
    attempt: int = 0
    running_on: str | None = None
    threads: int = 1  # that its process has; 0 while it follows another fit in theirs
    share_bytes: int = 0
    held: MemoryDemand | None = None  # what its worker counts; None while it follows another fit
    follows: FitKey | None = None  # in whose process it runs
    started_s: float = 0.0
    process_ratio: float = 1.0  # its process, followers included, over it alone with one thread
    least_memory_bytes: int = 0  # proved too little by running out of memory
    memory_failures: int = 0
    timeouts: int = 0
    workers_lost: int = 0
    failed_in_company: bool = False  # in the process of another, which may be to blame
    outcome: Outcome | None = None
    wanted_memory_bytes: int = 0  # by the next attempt; 0 until it is first asked for
    wanted_demand: MemoryDemand | None = None

    @property
    def fit_id(self) -> str:
        """Its name within the workflow."""
        return self.key.fit_id

    @property
    def is_fresh(self) -> bool:
        """Whether nothing has gone wrong with it: others may run in its process."""
        went_wrong = self.memory_failures or self.timeouts or self.workers_lost
        return not (went_wrong or self.failed_in_company)

    @property
    def ends_s(self) -> float:
        """Forecast of when its process will be done, on the plan's own clock."""
        return self.started_s + self.process_ratio * self.estimate.runtime_s_p50

    def reforecast(self, estimate: Estimate) -> None:
        """Take a corrected forecast."""
        self.estimate, self.wanted_memory_bytes, self.wanted_demand = estimate, 0, None

    def ran_out_of_memory(self, used_bytes: int) -> None:
        """Note how much memory was too little."""
        self.least_memory_bytes = max(self.least_memory_bytes, used_bytes)
        self.memory_failures += 1
        self.wanted_memory_bytes, self.wanted_demand = 0, None

    def wanted_bytes(self) -> int:
        """Return the memory that the next attempt should get, whatever there is."""
        if self.wanted_memory_bytes == 0:
            self.wanted_memory_bytes = attempt_bytes(
                self.estimate, self.least_memory_bytes, self.memory_failures
            )
        return self.wanted_memory_bytes

    def demand(self) -> MemoryDemand:
        """Return what it adds to a sum; after running out of memory all that it should get."""
        if self.wanted_demand is None:
            alone = self.candidate is None
            group = (self.key.workflow_id, self.key.fit_id if alone else self.candidate)
            if self.memory_failures:
                self.wanted_demand = MemoryDemand(float(self.wanted_bytes()), 0.0, group)
            else:
                self.wanted_demand = demand_of(self.estimate, group)
        return self.wanted_demand

    def runtime_s(self, threads: int) -> float:
        """Return the median forecast of the runtime with `threads` threads (Amdahl)."""
        if threads <= 1:
            return self.estimate.runtime_s_p50
        fraction = self.estimate.parallel_fraction
        scaled = self.estimate.runtime_s_p50 * (1.0 - fraction + fraction / threads)
        return scaled + THREADS_START_S

    def copy(self) -> "FitState":
        """Return an independent copy, for simulating what comes next."""
        return FitState(*_values(self))


# Copied by the hundred thousand: dataclasses.replace takes three times as long.
_values = attrgetter(*(field.name for field in fields(FitState)))
