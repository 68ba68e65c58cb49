"""What a plan knows: workers and workflows, and what is reserved where.

Only state and the sums over it. What moves it is in :mod:`fitcast.scheduler.plan.decisions`, where
a fit goes in :mod:`fitcast.scheduler.plan.placement`, which workflow leaves the queue in
:mod:`fitcast.scheduler.plan.admission`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from fitcast.errors import FitcastError
from fitcast.history.records import Estimate
from fitcast.scheduler.plan.events import FitKey
from fitcast.scheduler.plan.fit_state import FitState
from fitcast.scheduler.plan.memory_load import MemoryDemand, MemoryLoad
from fitcast.scheduler.plan.pools import WorkerSize, cost_per_hour
from fitcast.scheduler.plan.workflow_state import Phase, WorkflowState


@dataclass(slots=True)
class WorkerState:
    """A worker and what is reserved on it."""

    size: WorkerSize
    free_cpus: int
    memory_bytes: int  # for fits: what the datasets leave
    load: MemoryLoad = field(default_factory=MemoryLoad)
    running: set[FitKey] = field(default_factory=set)
    folds: Counter[tuple[str, int]] = field(default_factory=Counter)  # running fits by fold

    def has_room(self, demand: MemoryDemand, need_bytes: int) -> bool:
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
    lost: dict[str, WorkerState] = field(default_factory=dict)  # it isn't known yet why
    workflows: dict[str, WorkflowState] = field(default_factory=dict)  # in order of submission
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
    held: Counter[int] = field(default_factory=Counter)  # memory of a worker → its datasets' bytes
    weights: dict[str, float] = field(default_factory=dict)  # of users that share the workers
    failure: FitcastError | None = None  # why there will be no workers any more

    # -- workers -----------------------------------------------------------------------------

    def join(self, size: WorkerSize) -> None:
        """Count a worker in."""
        if size.address in self.workers:
            return
        if size.cost_per_hour is None:
            size = replace(size, cost_per_hour=cost_per_hour(size.cpus, size.memory_bytes))
        self.away -= Counter([size.memory_bytes])  # none below zero are kept
        free = size.memory_bytes - self.held[size.memory_bytes]
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

    def is_lost(self, fit: FitState) -> bool:
        """Tell whether a fit ran on a worker that is gone, nobody knows yet why."""
        worker = self.lost.get(fit.running_on or "")
        return worker is not None and fit.key in worker.running

    def memory_sizes(self) -> set[int]:
        """Return how much memory workers have: those that are here, and that may come."""
        return {memory for _, memory in self.kinds} | set(self.away)

    def slots(self, workflow: WorkflowState, need_bytes: int) -> int:
        """Return how many fits of a workflow that each need so much memory could run at once."""
        return sum(
            count * min(cpus, max(0, memory_bytes - self.held[memory_bytes]) // need_bytes)
            for (cpus, memory_bytes), count in self.kinds.items()
            if memory_bytes in workflow.sizes
        )

    def most_bytes_per_cpu(self, workflow: WorkflowState) -> float:
        """Return the most memory per CPU that a worker has for a workflow, beside the datasets."""
        return max(
            (
                (memory_bytes - self.held[memory_bytes]) / cpus
                for cpus, memory_bytes in self.kinds
                if memory_bytes in workflow.sizes
            ),
            default=0.0,
        )

    # -- datasets ----------------------------------------------------------------------------

    def hold(self, workflow: WorkflowState, sizes: Iterable[int]) -> None:
        """Let the workers of these sizes hold a workflow's dataset, and no others."""
        wanted = frozenset(sizes)
        for size in workflow.sizes ^ wanted:
            more = workflow.dataset_bytes if size in wanted else -workflow.dataset_bytes
            self.held[size] += more
            for address, worker in self.workers.items():
                if worker.size.memory_bytes == size:
                    worker.memory_bytes -= more
                    self.changed[address] = None
        workflow.sizes = wanted

    def note_room(self) -> None:
        """Note for every workflow what a fit of it can have, now and if it were alone."""
        sizes = self.memory_sizes()
        largest = max(sizes, default=0)
        for workflow in self.workflows.values():
            there = [size - self.held[size] for size in workflow.sizes & sizes]
            most = max(there, default=0)
            workflow.alone_bytes = max(0, largest - workflow.dataset_bytes)
            if most != workflow.most_bytes:
                workflow.most_bytes = most
                workflow.sorted_for = -1  # what fits where has changed
                self.changed.update(dict.fromkeys(self.workers))

    # -- workflows ---------------------------------------------------------------------------

    def active(self) -> Iterator[WorkflowState]:
        """Yield the workflows whose fits may be placed, in order of submission."""
        return (one for one in self.workflows.values() if one.phase is Phase.ACTIVE)

    def let_wait(self, workflow: WorkflowState) -> None:
        """Let all fits of a workflow wait that neither run nor are settled."""
        fits = workflow.fits.values()
        self.enqueue(workflow, [f for f in fits if f.outcome is None and f.running_on is None])

    def sort(self, workflow: WorkflowState) -> None:
        """Put the waiting fits of a workflow in order for the workers there are."""
        waiting = [workflow.fits[fit_id] for fit_id in workflow.waiting]
        self.enqueue(workflow, waiting)

    def enqueue(self, workflow: WorkflowState, fits: list[FitState]) -> None:
        """Let these fits wait, and no others."""
        needs = {fit.fit_id: workflow.need_bytes(fit) for fit in fits}
        slots = {need: self.slots(workflow, need) for need in set(needs.values())}
        workflow.waiting.fill((fit, slots[needs[fit.fit_id]]) for fit in fits)
        workflow.sorted_for = self.version
        self.changed.update(dict.fromkeys(self.workers))

    def wait(self, workflow: WorkflowState, fit: FitState) -> None:
        """Let a fit wait (again)."""
        if workflow.phase is not Phase.ACTIVE:
            return  # it does once its workflow is
        workflow.waiting.add(fit, self.slots(workflow, workflow.need_bytes(fit)))
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
        workflow.occupying += 1
        workflow.cpus_in_use += fit.threads
        if fit.held is not None:
            workflow.held_bytes += fit.held.mean_bytes
        self.cpus_in_use += fit.threads
        self.cpu_ends_s += fit.threads * fit.ends_s

    def vacate(self, workflow: WorkflowState, fit: FitState) -> None:
        """Free what a fit was given."""
        worker = self.workers.get(fit.running_on or "")
        lost = self.lost.get(fit.running_on or "")
        fit.running_on = None
        workflow.occupying -= 1
        workflow.cpus_in_use -= fit.threads
        if not workflow.occupying:
            workflow.held_bytes = 0.0  # rounding errors end here
        elif fit.held is not None:
            workflow.held_bytes -= fit.held.mean_bytes
        self.cpus_in_use -= fit.threads
        self.cpu_ends_s -= fit.threads * fit.ends_s
        if lost is not None and fit.key in lost.running:  # another may have its address by now
            lost.running.discard(fit.key)
        elif worker is not None:
            worker.give_back(fit)
            self.changed[worker.size.address] = None

    def copy(self) -> "PlanState":
        """Return an independent copy, for simulating what comes next."""
        reserved = self.reservation
        return replace(
            self,
            workers={address: worker.copy() for address, worker in self.workers.items()},
            lost={address: worker.copy() for address, worker in self.lost.items()},
            workflows={key: workflow.copy() for key, workflow in self.workflows.items()},
            changed=dict(self.changed),
            arrived=dict(self.arrived),
            reservation=reserved and replace(reserved, load=reserved.load.copy()),
            kinds=Counter(self.kinds),
            away=Counter(self.away),
            held=Counter(self.held),
        )
