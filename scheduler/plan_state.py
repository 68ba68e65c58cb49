"""What a plan knows: fits, workers and workflows, and what is reserved where.

Only state and the sums over it. What moves it is in :mod:`fitcast.scheduler.decisions`, where a
fit goes in :mod:`fitcast.scheduler.placement`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from fitcast.history.records import Estimate, Outcome
from fitcast.scheduler.events import FitKey
from fitcast.scheduler.pools import WorkerSize
from fitcast.sizing.allocation import attempt_bytes

DEADLINE_FACTOR = 20.0
"""An attempt may take this many times its P90 forecast before it counts as hung."""

LEAST_DEADLINE_S = 300.0
"""No attempt is given less time than this, unless the user says so."""

LONGER_RETRY_FACTOR = 5.0
"""The one retry after running out of time gets this many times longer."""


@dataclass(slots=True)
class FitState:
    """A fit's place in the plan."""

    key: FitKey
    estimate: Estimate
    fold: int | None = None  # whose rows it shares with other fits; None if it shares none
    attempt: int = 0
    running_on: str | None = None
    threads: int = 1
    memory_limit_bytes: int = 0
    started_s: float = 0.0
    least_memory_bytes: int = 0  # proved too little by running out of memory
    memory_failures: int = 0
    wanted_memory_bytes: int = 0  # by the next attempt; 0 until it is first asked for
    timeouts: int = 0
    workers_lost: int = 0
    outcome: Outcome | None = None

    def reforecast(self, estimate: Estimate) -> None:
        """Take a corrected forecast."""
        self.estimate, self.wanted_memory_bytes = estimate, 0

    def ran_out_of_memory(self, used_bytes: int) -> None:
        """Note how much memory was too little."""
        self.least_memory_bytes = max(self.least_memory_bytes, used_bytes)
        self.memory_failures += 1
        self.wanted_memory_bytes = 0

    def wanted_bytes(self) -> int:
        """Return the memory that the next attempt should get, whatever there is."""
        if self.wanted_memory_bytes == 0:
            self.wanted_memory_bytes = attempt_bytes(
                self.estimate, self.least_memory_bytes, self.memory_failures
            )
        return self.wanted_memory_bytes

    def runtime_s(self, threads: int) -> float:
        """Return the median forecast of the runtime with `threads` threads (Amdahl)."""
        fraction = self.estimate.parallel_fraction
        return self.estimate.runtime_s_p50 * (1.0 - fraction + fraction / threads)

    def copy(self) -> "FitState":
        """Return an independent copy, for simulating what comes next."""
        return FitState(
            self.key,
            self.estimate,
            self.fold,
            self.attempt,
            self.running_on,
            self.threads,
            self.memory_limit_bytes,
            self.started_s,
            self.least_memory_bytes,
            self.memory_failures,
            self.wanted_memory_bytes,
            self.timeouts,
            self.workers_lost,
            self.outcome,
        )


@dataclass(slots=True)
class WorkerState:
    """A worker and what is reserved on it."""

    size: WorkerSize
    free_cpus: int
    free_memory_bytes: int
    running: set[FitKey] = field(default_factory=set)
    folds: Counter[tuple[str, int]] = field(default_factory=Counter)  # running fits by fold

    def take(self, fit: FitState) -> None:
        """Reserve what a fit was given."""
        self.free_cpus -= fit.threads
        self.free_memory_bytes -= fit.memory_limit_bytes
        self.running.add(fit.key)
        if fit.fold is not None:
            self.folds[fit.key.workflow_id, fit.fold] += 1

    def give_back(self, fit: FitState) -> None:
        """Free what a fit was given."""
        self.free_cpus += fit.threads
        self.free_memory_bytes += fit.memory_limit_bytes
        self.running.discard(fit.key)
        if fit.fold is not None:
            self.folds[fit.key.workflow_id, fit.fold] -= 1

    def holds(self, fit: FitState) -> bool:
        """Tell whether a running fit has the rows of this one's fold in use."""
        return fit.fold is not None and self.folds[fit.key.workflow_id, fit.fold] > 0

    def copy(self) -> "WorkerState":
        """Return an independent copy, for simulating what comes next."""
        return WorkerState(
            self.size,
            self.free_cpus,
            self.free_memory_bytes,
            set(self.running),
            Counter(self.folds),
        )


@dataclass(slots=True)
class WorkflowState:
    """A workflow's fits; `waiting` is sorted so that the next to start is last."""

    fits: dict[str, FitState]
    waiting: list[str]
    dataset_bytes: int
    memory_bytes: int | None
    deadline_s: float | None
    final: bool  # a last fit is still to be chosen
    unsettled: int
    cpus_in_use: int = 0

    def sort(self) -> None:
        """Put the longest forecast last; among equals the first submitted."""
        order = {fit_id: place for place, fit_id in enumerate(self.fits)}
        self.waiting.sort(
            key=lambda fit_id: (self.fits[fit_id].estimate.runtime_s_p50, -order[fit_id])
        )

    def need_bytes(self, fit: FitState, most_bytes: int) -> int:
        """Return the memory to reserve for a fit; `most_bytes` is what the largest worker has."""
        if self.memory_bytes is not None:
            return min(self.memory_bytes, most_bytes)
        return max(1, min(fit.wanted_bytes(), most_bytes))

    def attempt_deadline_s(self, fit: FitState) -> float:
        """Return how long the next attempt of a fit may take, in seconds."""
        if self.deadline_s is not None:
            return self.deadline_s
        forecast = max(LEAST_DEADLINE_S, DEADLINE_FACTOR * fit.estimate.runtime_s_p90)
        return forecast * LONGER_RETRY_FACTOR**fit.timeouts

    def copy(self) -> "WorkflowState":
        """Return an independent copy, for simulating what comes next."""
        fits = {
            fit_id: fit if fit.outcome is not None else fit.copy()
            for fit_id, fit in self.fits.items()
        }
        return WorkflowState(
            fits,
            list(self.waiting),
            self.dataset_bytes,
            self.memory_bytes,
            self.deadline_s,
            self.final,
            self.unsettled,
            self.cpus_in_use,
        )


@dataclass(slots=True)
class PlanState:
    """All workers and all workflows."""

    workers: dict[str, WorkerState] = field(default_factory=dict)
    workflows: dict[str, WorkflowState] = field(default_factory=dict)

    def fit(self, key: FitKey) -> FitState:
        """Return the fit of this key."""
        return self.workflows[key.workflow_id].fits[key.fit_id]

    def running(self) -> Iterator[FitState]:
        """Yield the fits that have an attempt under way."""
        for worker in self.workers.values():
            for key in worker.running:
                yield self.fit(key)

    def has_free_cpu(self) -> bool:
        """Tell whether any worker could start anything."""
        return any(worker.free_cpus > 0 for worker in self.workers.values())

    def most_memory_bytes(self) -> int:
        """Return what a fit alone on the largest worker could have, beside the datasets."""
        held = sum(workflow.dataset_bytes for workflow in self.workflows.values())
        sizes = [worker.size.memory_bytes - held for worker in self.workers.values()]
        return max(sizes, default=0)

    def copy(self) -> "PlanState":
        """Return an independent copy, for simulating what comes next."""
        return PlanState(
            {address: worker.copy() for address, worker in self.workers.items()},
            {key: workflow.copy() for key, workflow in self.workflows.items()},
        )
