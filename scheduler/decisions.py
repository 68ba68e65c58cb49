"""Which fit next, where, with how much; and what to do now that this happened.

A deterministic state machine: `Decisions.handle` takes an event and the time and returns actions.
No Dask, no clock, no threads: the dispatcher drives it with real workers, the simulator in
virtual time, tests by hand.

The rules, in order:

* workflows share the workers: the one with the fewest CPUs in use goes first;
* within a workflow, the fit with the longest forecast goes first (Graham's LPT rule);
* a fit goes to the smallest worker that is safe for it: its memory reservation is the upper
  quantile of the forecast, and the reservations on a worker never exceed the worker;
* a fit that finds no room keeps its place: smaller ones may pass it on the worker that it waits
  for only if they are forecast to end before it could start (EASY backfilling, Lifka 1995);
* one thread while there are more fits than cores, more as the queue drains and if they help;
* growing follows proof: out of memory gets more memory, out of time more time (once), a lost
  worker costs nothing until the fit has taken down `MOST_WORKERS_LOST`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from fitcast.history.records import Estimate, Outcome
from fitcast.scheduler.events import (
    Action,
    AttemptEnded,
    CancelRequested,
    ChooseFinal,
    Close,
    Event,
    FinalChosen,
    FitKey,
    Kill,
    Reforecast,
    Settle,
    Start,
    Submitted,
    WorkerJoined,
    WorkerLeft,
)
from fitcast.scheduler.pools import WorkerSize

MOST_WORKERS_LOST = 3
"""A fit that was running on this many lost workers is poison and not tried again."""

OUT_OF_MEMORY_GROWTH = 2.0
"""Factor on the memory limit after an attempt proven to have run out of memory."""

LEAST_DEADLINE_S = 300.0
"""No attempt is given less time than this, unless the user says so."""

DEADLINE_FACTOR = 20.0
"""An attempt may take this many times its P90 forecast before it counts as hung."""

LONGER_RETRY_FACTOR = 5.0
"""The one retry after running out of time gets this many times longer."""

LEAST_PARALLEL_FRACTION = 0.3
"""Below this, a second core for a fit is better left idle."""

LOOK_AHEAD = 256
"""How many waiting fits of a workflow are looked at for backfilling at one event."""


@dataclass(slots=True)
class FitState:
    """A fit's place in the plan."""

    key: FitKey
    estimate: Estimate
    attempt: int = 0
    running_on: str | None = None
    threads: int = 1
    memory_limit_bytes: int = 0
    started_s: float = 0.0
    least_memory_bytes: int = 0  # learned from running out of memory
    timeouts: int = 0
    workers_lost: int = 0
    outcome: Outcome | None = None

    def runtime_s(self, threads: int) -> float:
        """Return the median forecast of the runtime with `threads` threads (Amdahl)."""
        fraction = self.estimate.parallel_fraction
        return self.estimate.runtime_s_p50 * (1.0 - fraction + fraction / threads)

    def copy(self) -> "FitState":
        """Return an independent copy, for simulating what comes next."""
        return FitState(
            self.key,
            self.estimate,
            self.attempt,
            self.running_on,
            self.threads,
            self.memory_limit_bytes,
            self.started_s,
            self.least_memory_bytes,
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

    def copy(self) -> "WorkerState":
        """Return an independent copy, for simulating what comes next."""
        return WorkerState(self.size, self.free_cpus, self.free_memory_bytes, set(self.running))


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


class Decisions:
    """The state of a plan and the rules by which it moves."""

    def __init__(self) -> None:
        self.workers: dict[str, WorkerState] = {}
        self.workflows: dict[str, WorkflowState] = {}

    def copy(self) -> "Decisions":
        """Return an independent copy, for simulating what comes next."""
        twin = Decisions()
        twin.workers = {address: worker.copy() for address, worker in self.workers.items()}
        twin.workflows = {key: workflow.copy() for key, workflow in self.workflows.items()}
        return twin

    def running(self) -> Iterator[FitState]:
        """Yield the fits that have an attempt under way."""
        for worker in self.workers.values():
            for key in worker.running:
                yield self.workflows[key.workflow_id].fits[key.fit_id]

    def handle(self, event: Event, now_s: float) -> list[Action]:
        """Take in what happened and say what is to be done now.

        Parameters
        ----------
        event : Event
            What happened.
        now_s : float
            Time of the event in seconds, from any fixed origin.

        Returns
        -------
        list of Action
            To be carried out in this order.
        """
        actions: list[Action] = []
        match event:
            case WorkerJoined():
                self.join(event.worker)
            case WorkerLeft():
                actions += self._leave(event.address)
            case Submitted():
                self._submit(event)
            case Reforecast():
                self._reforecast(event)
            case FinalChosen():
                actions += self._choose_final(event)
            case AttemptEnded():
                actions += self._end(event)
            case CancelRequested():
                actions += self._cancel(event.workflow_id)
        actions += self._close()
        actions += self.place(now_s)
        return actions

    # -- workers -----------------------------------------------------------------------------

    def join(self, size: WorkerSize) -> None:
        """Count a worker in, without starting anything on it yet."""
        held = sum(workflow.dataset_bytes for workflow in self.workflows.values())
        self.workers.setdefault(
            size.address, WorkerState(size, size.cpus, size.memory_bytes - held)
        )

    def _leave(self, address: str) -> list[Action]:
        worker = self.workers.pop(address, None)
        if worker is None:
            return []
        actions: list[Action] = []
        for key in sorted(worker.running):
            workflow = self.workflows[key.workflow_id]
            fit = workflow.fits[key.fit_id]
            workflow.cpus_in_use -= fit.threads
            fit.running_on = None
            fit.workers_lost += 1
            actions += self._lost(workflow, fit)
        return actions

    # -- workflows ---------------------------------------------------------------------------

    def _submit(self, event: Submitted) -> None:
        if event.workflow_id in self.workflows:
            return
        fits = {
            fit_id: FitState(FitKey(event.workflow_id, fit_id), estimate)
            for fit_id, estimate in event.estimates.items()
        }
        workflow = WorkflowState(
            fits=fits,
            waiting=list(fits),
            dataset_bytes=event.dataset_bytes,
            memory_bytes=event.memory_bytes,
            deadline_s=event.deadline_s,
            final=event.final,
            unsettled=len(fits),
        )
        workflow.sort()
        self.workflows[event.workflow_id] = workflow
        for worker in self.workers.values():
            worker.free_memory_bytes -= event.dataset_bytes

    def _reforecast(self, event: Reforecast) -> None:
        workflow = self.workflows.get(event.workflow_id)
        if workflow is None:
            return
        for fit_id, estimate in event.estimates.items():
            fit = workflow.fits.get(fit_id)
            if fit is not None and fit.outcome is None:
                fit.estimate = estimate
        workflow.sort()

    def _choose_final(self, event: FinalChosen) -> list[Action]:
        workflow = self.workflows.get(event.workflow_id)
        if workflow is None or not workflow.final:
            return []
        workflow.final = False
        if event.fit_id is not None and event.estimate is not None:
            key = FitKey(event.workflow_id, event.fit_id)
            workflow.fits[event.fit_id] = FitState(key, event.estimate)
            workflow.waiting.append(event.fit_id)
            workflow.unsettled += 1
        return []

    def _cancel(self, workflow_id: str) -> list[Action]:
        workflow = self.workflows.get(workflow_id)
        if workflow is None:
            return []
        actions: list[Action] = []
        workflow.final = False
        workflow.waiting.clear()
        for fit in workflow.fits.values():
            if fit.outcome is not None:
                continue
            if fit.running_on is not None:
                actions.append(Kill(fit.key, fit.attempt, fit.running_on))
                self._release(workflow, fit)
            actions.append(self._settle(workflow, fit, Outcome.CANCELLED, "cancelled"))
        return actions

    def _close(self) -> list[Action]:
        actions: list[Action] = []
        for workflow_id, workflow in list(self.workflows.items()):
            if workflow.unsettled:
                continue
            if workflow.final:
                actions.append(ChooseFinal(workflow_id))
                continue
            del self.workflows[workflow_id]
            for worker in self.workers.values():
                worker.free_memory_bytes += workflow.dataset_bytes
            actions.append(Close(workflow_id))
        return actions

    # -- attempts ----------------------------------------------------------------------------

    def _end(self, event: AttemptEnded) -> list[Action]:
        workflow = self.workflows.get(event.key.workflow_id)
        fit = workflow.fits.get(event.key.fit_id) if workflow else None
        if workflow is None or fit is None:
            return []
        if fit.attempt != event.attempt or fit.running_on is None or fit.outcome is not None:
            return []  # a late report of an attempt that was given up
        self._release(workflow, fit)
        match event.outcome:
            case Outcome.OUT_OF_MEMORY:
                return self._out_of_memory(workflow, fit, event.peak_memory_bytes)
            case Outcome.OUT_OF_TIME:
                return self._out_of_time(workflow, fit)
            case Outcome.WORKER_LOST:
                fit.workers_lost += 1
                return self._lost(workflow, fit)
            case outcome:
                return [self._settle(workflow, fit, outcome)]

    def _release(self, workflow: WorkflowState, fit: FitState) -> None:
        worker = self.workers[fit.running_on] if fit.running_on else None
        fit.running_on = None
        workflow.cpus_in_use -= fit.threads
        if worker is not None:
            worker.running.discard(fit.key)
            worker.free_cpus += fit.threads
            worker.free_memory_bytes += fit.memory_limit_bytes

    def _settle(
        self, workflow: WorkflowState, fit: FitState, outcome: Outcome, reason: str = ""
    ) -> Settle:
        fit.outcome = outcome
        workflow.unsettled -= 1
        return Settle(fit.key, fit.attempt, outcome, reason)

    def _again(self, workflow: WorkflowState, fit: FitState) -> list[Action]:
        workflow.waiting.append(fit.key.fit_id)
        workflow.sort()
        return []

    def _lost(self, workflow: WorkflowState, fit: FitState) -> list[Action]:
        if fit.workers_lost < MOST_WORKERS_LOST:
            return self._again(workflow, fit)
        reason = f"its worker was lost {fit.workers_lost} times while it ran; not tried again"
        return [self._settle(workflow, fit, Outcome.WORKER_LOST, reason)]

    def _out_of_memory(
        self, workflow: WorkflowState, fit: FitState, peak_memory_bytes: int
    ) -> list[Action]:
        most = self._most_memory_bytes(workflow)
        used = max(fit.memory_limit_bytes, peak_memory_bytes)
        if workflow.memory_bytes is not None or fit.memory_limit_bytes >= most:
            bound = "the bound given" if workflow.memory_bytes is not None else "the largest worker"
            reason = (
                f"needs more than {used / 2**20:,.0f} MiB, {bound}; "
                f"about {used * OUT_OF_MEMORY_GROWTH / 2**20:,.0f} MiB would be tried next"
            )
            return [self._settle(workflow, fit, Outcome.OUT_OF_MEMORY, reason)]
        fit.least_memory_bytes = int(used * OUT_OF_MEMORY_GROWTH)
        return self._again(workflow, fit)

    def _out_of_time(self, workflow: WorkflowState, fit: FitState) -> list[Action]:
        fit.timeouts += 1
        if fit.timeouts == 1 and workflow.deadline_s is None:
            return self._again(workflow, fit)
        reason = "ran out of the time given" if workflow.deadline_s else "ran out of time twice"
        return [self._settle(workflow, fit, Outcome.OUT_OF_TIME, reason)]

    # -- placement ---------------------------------------------------------------------------

    def _most_memory_bytes(self, workflow: WorkflowState) -> int:
        held = sum(other.dataset_bytes for other in self.workflows.values())
        sizes = [worker.size.memory_bytes - held for worker in self.workers.values()]
        return max(sizes, default=0)

    def _need_bytes(self, workflow: WorkflowState, fit: FitState, most_bytes: int) -> int:
        if workflow.memory_bytes is not None:
            return min(workflow.memory_bytes, most_bytes)
        forecast = fit.estimate.peak_memory_bytes_p95
        return max(1, min(max(forecast, fit.least_memory_bytes), most_bytes))

    def _deadline_s(self, workflow: WorkflowState, fit: FitState) -> float:
        if workflow.deadline_s is not None:
            return workflow.deadline_s
        forecast = max(LEAST_DEADLINE_S, DEADLINE_FACTOR * fit.estimate.runtime_s_p90)
        return forecast * LONGER_RETRY_FACTOR**fit.timeouts

    def place(self, now_s: float) -> list[Action]:
        """Start what there is room for."""
        actions: list[Action] = []
        if not any(worker.free_cpus > 0 for worker in self.workers.values()):
            return actions
        reserved: dict[str, tuple[float, int]] = {}  # worker → when and what a blocked fit needs
        blocked: set[str] = set()
        while True:
            ready = [
                (workflow.cpus_in_use, order, workflow)
                for order, (workflow_id, workflow) in enumerate(self.workflows.items())
                if workflow.waiting and workflow_id not in blocked
            ]
            if not ready:
                return actions
            _, _, workflow = min(ready)
            start = self._place_next(workflow, reserved, now_s)
            if start is None:
                blocked.add(next(iter(workflow.fits.values())).key.workflow_id)
            else:
                actions.append(start)
                if not any(worker.free_cpus > 0 for worker in self.workers.values()):
                    return actions

    def _place_next(
        self, workflow: WorkflowState, reserved: dict[str, tuple[float, int]], now_s: float
    ) -> Start | None:
        most = self._most_memory_bytes(workflow)
        waiting = workflow.waiting
        for index in range(len(waiting) - 1, max(-1, len(waiting) - 1 - LOOK_AHEAD), -1):
            fit = workflow.fits[waiting[index]]
            need = self._need_bytes(workflow, fit, most)
            worker = self._room_for(fit, need, reserved, now_s)
            if worker is not None:
                del waiting[index]
                return self._start(workflow, fit, worker, need, now_s)
            if not reserved:
                self._reserve(need, reserved, now_s)
        return None

    def _room_for(
        self, fit: FitState, need: int, reserved: dict[str, tuple[float, int]], now_s: float
    ) -> WorkerState | None:
        best: tuple[int, int, int] | None = None
        chosen: WorkerState | None = None
        for worker in self.workers.values():
            if worker.free_cpus < 1 or worker.free_memory_bytes < need:
                continue
            if worker.size.address in reserved:
                start_s, wanted = reserved[worker.size.address]
                passes = now_s + fit.runtime_s(1) <= start_s
                beside = worker.free_memory_bytes - need >= wanted and worker.free_cpus > 1
                if not (passes or beside):
                    continue
            # The cheapest safe worker first; among equals the least busy.
            cost = worker.size.memory_bytes // worker.size.cpus
            rank = (cost, -worker.free_cpus, -worker.free_memory_bytes)
            if best is None or rank < best:
                best, chosen = rank, worker
        return chosen

    def _reserve(self, need: int, reserved: dict[str, tuple[float, int]], now_s: float) -> None:
        """Keep room for a fit that must wait, on the worker where it can start soonest."""
        soonest: tuple[float, str] | None = None
        for address, worker in self.workers.items():
            free, cpus = worker.free_memory_bytes, worker.free_cpus
            ends = sorted(
                (fit.started_s + fit.runtime_s(fit.threads), fit.memory_limit_bytes, fit.threads)
                for key in worker.running
                for fit in (self.workflows[key.workflow_id].fits[key.fit_id],)
            )
            start_s = now_s
            for end_s, memory_bytes, threads in ends:
                if free >= need and cpus >= 1:
                    break
                free, cpus = free + memory_bytes, cpus + threads
                start_s = max(now_s, end_s)
            if free >= need and cpus >= 1 and (soonest is None or (start_s, address) < soonest):
                soonest = (start_s, address)
        if soonest is not None:
            reserved[soonest[1]] = (soonest[0], need)

    def _start(
        self, workflow: WorkflowState, fit: FitState, worker: WorkerState, need: int, now_s: float
    ) -> Start:
        threads = self._threads(workflow, fit, worker)
        slice_bytes = worker.size.memory_bytes * threads // worker.size.cpus
        if need < slice_bytes and not self._is_tight(workflow, slice_bytes):
            # Nobody waits for the rest of this slice: a wrong forecast then costs no retry.
            idle_cpus = worker.free_cpus - threads
            keep = slice_bytes // threads * idle_cpus
            need = max(need, min(slice_bytes, worker.free_memory_bytes - keep))
        fit.attempt += 1
        fit.running_on = worker.size.address
        fit.threads = threads
        fit.memory_limit_bytes = need
        fit.started_s = now_s
        worker.free_cpus -= threads
        worker.free_memory_bytes -= need
        worker.running.add(fit.key)
        workflow.cpus_in_use += threads
        return Start(
            key=fit.key,
            attempt=fit.attempt,
            worker=worker.size.address,
            pool=worker.size.pool,
            threads=threads,
            memory_limit_bytes=need,
            deadline_s=self._deadline_s(workflow, fit),
        )

    def _is_tight(self, workflow: WorkflowState, slice_bytes: int) -> bool:
        """Whether a bound was set or a waiting fit needs more than its share of a worker."""
        if workflow.memory_bytes is not None:
            return True
        return any(
            max(fit.estimate.peak_memory_bytes_p95, fit.least_memory_bytes) > slice_bytes
            for other in self.workflows.values()
            for fit in (other.fits[fit_id] for fit_id in other.waiting[-LOOK_AHEAD:])
        )

    def _threads(self, workflow: WorkflowState, fit: FitState, worker: WorkerState) -> int:
        if fit.estimate.parallel_fraction < LEAST_PARALLEL_FRACTION or worker.free_cpus == 1:
            return 1
        waiting = sum(len(other.waiting) for other in self.workflows.values())
        free = sum(other.free_cpus for other in self.workers.values())
        return max(1, min(worker.free_cpus, free // (waiting + 1)))
