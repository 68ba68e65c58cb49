"""What a plan knows: workers and workflows, and what is reserved where.

Only state and the sums over it. What moves it is in :mod:`fitcast.scheduler.plan.decisions`, where
a fit goes in :mod:`fitcast.scheduler.plan.placement`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from fitcast.history.records import Estimate
from fitcast.scheduler.plan.events import FitKey
from fitcast.scheduler.plan.fit_state import FitState
from fitcast.scheduler.plan.memory_load import Demand, MemoryLoad
from fitcast.scheduler.plan.pools import WorkerSize, cost_per_hour
from fitcast.scheduler.plan.waiting import WaitingFits

DEADLINE_FACTOR = 20.0
"""An attempt may take this many times its P90 forecast before it counts as hung."""

LEAST_DEADLINE_S = 300.0
"""No attempt is given less time than this, unless the user says so."""

LONGER_RETRY_FACTOR = 5.0
"""The one retry after running out of time gets this many times longer."""

ALONE_AFTER_LOST = 2
"""A fit that ran on so many lost workers gets the next to itself: no neighbour is blamed then."""


@dataclass(slots=True)
class WorkerState:
    """A worker and what is reserved on it."""

    size: WorkerSize
    free_cpus: int
    memory_bytes: int  # for fits: what the datasets leave
    load: MemoryLoad = field(default_factory=MemoryLoad)
    running: set[FitKey] = field(default_factory=set)
    folds: Counter[tuple[str, int]] = field(default_factory=Counter)  # running fits by fold

    def has_room(self, demand: Demand, need_bytes: int) -> bool:
        """Tell whether a fit could start: alone safe here, and in sum with those that run."""
        if self.free_cpus < 1 or self.memory_bytes < need_bytes:
            return False
        return not self.running or self.load.upper_with(demand) <= self.memory_bytes

    def take(self, fit: FitState) -> None:
        """Reserve what a fit was given."""
        self.running.add(fit.key)
        if fit.held is not None:
            self.free_cpus -= fit.threads
            self.load.add(fit.held)
        if fit.fold is not None:
            self.folds[fit.key.workflow_id, fit.fold] += 1

    def give_back(self, fit: FitState) -> None:
        """Free what a fit was given."""
        self.running.discard(fit.key)
        if fit.held is not None:
            self.free_cpus += fit.threads
            self.load.remove(fit.held)
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
            self.memory_bytes,
            self.load.copy(),
            set(self.running),
            Counter(self.folds),
        )


@dataclass(slots=True)
class WorkflowState:
    """A workflow's fits, those that wait, and what its user set."""

    fits: dict[str, FitState]
    dataset_bytes: int
    memory_bytes: int | None
    deadline_s: float | None
    final: bool  # a last fit is still to be chosen
    unsettled: int
    waiting: WaitingFits = field(default_factory=WaitingFits)
    cpus_in_use: int = 0
    sorted_for: int = -1  # version of the workers that the waiting fits are sorted for

    def need_bytes(self, fit: FitState, most_bytes: int) -> int:
        """Return what a fit alone should have; `most_bytes` is what the largest worker has."""
        if self.memory_bytes is not None:
            return min(self.memory_bytes, most_bytes)
        return max(1, min(fit.wanted_bytes(), most_bytes))

    def demand(self, fit: FitState, most_bytes: int) -> Demand:
        """Return what a fit adds to the sum on a worker."""
        demand = fit.demand()
        wanted = demand.mean_bytes if self.memory_bytes is None else float(self.memory_bytes)
        if fit.workers_lost >= ALONE_AFTER_LOST or wanted > most_bytes:
            return Demand(float(most_bytes), 0.0, demand.group)
        return demand if self.memory_bytes is None else Demand(wanted, 0.0, demand.group)

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
        return replace(self, fits=fits, waiting=self.waiting.copy())


@dataclass(slots=True)
class Reservation:
    """Room that is kept for a fit that can't start yet, on the worker where it can soonest."""

    key: FitKey
    worker: str
    start_s: float
    cpus_left: int  # beside it, from then on
    load: MemoryLoad  # of what runs then, itself included


@dataclass(slots=True)
class PlanState:
    """All workers and all workflows."""

    workers: dict[str, WorkerState] = field(default_factory=dict)
    workflows: dict[str, WorkflowState] = field(default_factory=dict)
    changed: dict[str, None] = field(default_factory=dict)  # workers that may have room anew
    arrived: dict[FitKey, None] = field(default_factory=dict)  # fits that wait anew
    reservation: Reservation | None = None
    cpus: int = 0  # of all workers
    cpus_in_use: int = 0
    cpu_ends_s: float = 0.0  # sum over running fits of threads × forecast end
    version: int = 0  # of the workers: raised when classes of waiting fits may have changed
    kinds: Counter[tuple[int, int]] = field(default_factory=Counter)  # (CPUs, memory) → workers
    kinds_sorted_for: Counter[tuple[int, int]] = field(default_factory=Counter)
    away: Counter[int] = field(default_factory=Counter)  # memory of workers that will be back

    # -- workers -----------------------------------------------------------------------------

    def join(self, size: WorkerSize) -> None:
        """Count a worker in."""
        if size.address in self.workers:
            return
        if size.cost_per_hour is None:
            size = replace(size, cost_per_hour=cost_per_hour(size.cpus, size.memory_bytes))
        self.away -= Counter([size.memory_bytes])  # none below zero are kept
        free = size.memory_bytes - self.held_bytes()
        self.workers[size.address] = WorkerState(size, size.cpus, free)
        self.changed[size.address] = None
        self.cpus += size.cpus
        self.kinds[size.cpus, size.memory_bytes] += 1
        self._note_kinds()

    def expect(self, size: WorkerSize) -> None:
        """Count on a worker that may come."""
        self.away[size.memory_bytes] += 1

    def leave(self, address: str, *, returns: bool = False) -> WorkerState | None:
        """Count a worker out; its fits are for the caller to take off it."""
        worker = self.workers.pop(address, None)
        if worker is None:
            return None
        if returns:
            self.away[worker.size.memory_bytes] += 1
        self.changed.pop(address, None)
        if self.reservation is not None and self.reservation.worker == address:
            self.reservation = None
        self.cpus -= worker.size.cpus
        kind = (worker.size.cpus, worker.size.memory_bytes)
        self.kinds[kind] -= 1
        if not self.kinds[kind]:
            del self.kinds[kind]
        self._note_kinds()
        return worker

    def _note_kinds(self) -> None:
        before, now = self.kinds_sorted_for, self.kinds
        alike = before.keys() == now.keys()
        # Sorting 100,000 fits anew for each of 1,000 workers would take longer than they come.
        if not alike or any(abs(now[kind] - before[kind]) > 0.1 * before[kind] for kind in now):
            self.kinds_sorted_for = Counter(now)
            self.version += 1

    def slots(self, need_bytes: int) -> int:
        """Return how many fits that each need so much memory could run at once."""
        held = self.held_bytes()
        return sum(
            count * min(cpus, max(0, memory_bytes - held) // need_bytes)
            for (cpus, memory_bytes), count in self.kinds.items()
        )

    def held_bytes(self) -> int:
        """Return what the datasets take of each worker's memory."""
        return sum(workflow.dataset_bytes for workflow in self.workflows.values())

    def most_memory_bytes(self) -> int:
        """Return what a fit alone on the largest worker could have, beside the datasets.

        Workers that will be back count: what needs one of them waits for it.
        """
        here = max((memory for _, memory in self.kinds), default=0)
        return max(here, max(self.away, default=0)) - self.held_bytes()

    def most_bytes_per_cpu(self) -> float:
        """Return the most memory per CPU that a worker has, beside the datasets."""
        held = self.held_bytes()
        return max(((memory - held) / cpus for cpus, memory in self.kinds), default=0.0)

    # -- workflows ---------------------------------------------------------------------------

    def open(self, workflow_id: str, workflow: WorkflowState) -> None:
        """Take in a workflow; its dataset takes memory of every worker."""
        self.workflows[workflow_id] = workflow
        for address, worker in self.workers.items():
            worker.memory_bytes -= workflow.dataset_bytes
            self.changed[address] = None

    def close(self, workflow_id: str) -> None:
        """Forget a workflow."""
        workflow = self.workflows.pop(workflow_id)
        for address, worker in self.workers.items():
            worker.memory_bytes += workflow.dataset_bytes
            self.changed[address] = None

    def sort(self, workflow: WorkflowState) -> None:
        """Put the waiting fits of a workflow in order for the workers there are."""
        waiting = [workflow.fits[fit_id] for fit_id in workflow.waiting]
        self.enqueue(workflow, waiting)

    def enqueue(self, workflow: WorkflowState, fits: list[FitState]) -> None:
        """Let these fits wait, and no others."""
        most = self.most_memory_bytes()
        needs = {fit.fit_id: workflow.need_bytes(fit, max(most, 1)) for fit in fits}
        slots = {need: self.slots(need) for need in set(needs.values())}
        workflow.waiting.fill((fit, slots[needs[fit.fit_id]]) for fit in fits)
        workflow.sorted_for = self.version
        self.changed.update(dict.fromkeys(self.workers))

    def wait(self, workflow: WorkflowState, fit: FitState) -> None:
        """Let a fit wait (again)."""
        need = workflow.need_bytes(fit, max(1, self.most_memory_bytes()))
        workflow.waiting.add(fit, self.slots(need))
        self.arrived[fit.key] = None

    # -- fits --------------------------------------------------------------------------------

    def reforecast(self, fit: FitState, estimate: Estimate) -> None:
        """Give a fit a corrected forecast; if it waits, its workflow is to be sorted anew."""
        runs = fit.threads if fit.running_on is not None else 0
        self.cpu_ends_s -= runs * fit.ends_s
        fit.reforecast(estimate)
        self.cpu_ends_s += runs * fit.ends_s

    def fit(self, key: FitKey) -> FitState:
        """Return the fit of this key."""
        return self.workflows[key.workflow_id].fits[key.fit_id]

    def running(self) -> Iterator[FitState]:
        """Yield the fits that have an attempt under way."""
        for worker in self.workers.values():
            for key in worker.running:
                yield self.fit(key)

    def occupy(self, workflow: WorkflowState, fit: FitState, worker: WorkerState) -> None:
        """Reserve on a worker what a fit was given."""
        fit.running_on = worker.size.address
        worker.take(fit)
        workflow.cpus_in_use += fit.threads
        self.cpus_in_use += fit.threads
        self.cpu_ends_s += fit.threads * fit.ends_s

    def vacate(self, workflow: WorkflowState, fit: FitState) -> None:
        """Free what a fit was given."""
        worker = self.workers.get(fit.running_on or "")
        fit.running_on = None
        workflow.cpus_in_use -= fit.threads
        self.cpus_in_use -= fit.threads
        self.cpu_ends_s -= fit.threads * fit.ends_s
        if worker is not None:
            worker.give_back(fit)
            self.changed[worker.size.address] = None

    def copy(self) -> "PlanState":
        """Return an independent copy, for simulating what comes next."""
        reserved = self.reservation
        return replace(
            self,
            workers={address: worker.copy() for address, worker in self.workers.items()},
            workflows={key: workflow.copy() for key, workflow in self.workflows.items()},
            changed=dict(self.changed),
            arrived=dict(self.arrived),
            reservation=reserved and replace(reserved, load=reserved.load.copy()),
            kinds=Counter(self.kinds),
            away=Counter(self.away),
        )
