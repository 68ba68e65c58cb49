"""What always holds in a plan's state: checked in tests, restored after an internal error. Pure.

Sums are kept as events come, since counting anew would cost too much; here they are counted anew.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from fitcast.scheduler.plan.fit_state import FitState
from fitcast.scheduler.plan.memory_load import MemoryLoad
from fitcast.scheduler.plan.plan_state import PlanState, WorkerState
from fitcast.scheduler.plan.workflow_state import Phase, WorkflowState

_ROUNDING = 1e-6  # of sums of floats, relative


class InvariantError(Exception):
    """A plan contradicts itself: a fault of fitcast."""


def check(state: PlanState) -> None:
    """Check a plan.

    Raises
    ------
    InvariantError
        Something doesn't hold; the message says all that doesn't.
    """
    wrong = [*_workers(state), *_sums(state)]
    for workflow in state.workflows.values():
        wrong += (f"workflow {workflow.workflow_id!r}: {what}" for what in _workflow(workflow))
    if wrong:
        raise InvariantError("; ".join(wrong))


def restore(state: PlanState) -> None:
    """Make a plan agree with itself again, after an error in the middle of a change.

    What each fit says of itself counts, sums and queues follow from it.
    """
    state.reservation = None
    for workflow in state.workflows.values():
        for fit in workflow.fits.values():
            on = fit.running_on
            if on is not None and on not in state.workers and on not in state.lost:
                fit.running_on = None
        running = [fit for fit in workflow.fits.values() if fit.running_on is not None]
        workflow.unsettled = sum(fit.outcome is None for fit in workflow.fits.values())
        workflow.occupying = len(running)
        workflow.cpus_in_use = sum(fit.threads for fit in running)
        workflow.held_bytes = _held_bytes(running)
    state.held = Counter(_held(state))
    state.cpus = sum(worker.size.cpus for worker in state.workers.values())
    state.cpus_in_use = sum(one.cpus_in_use for one in state.workflows.values())
    state.cpu_ends_s = sum(fit.threads * fit.ends_s for fit in _running(state))
    for address, worker in state.lost.items():
        worker.running &= {fit.key for fit in _running(state) if fit.running_on == address}
    for address, worker in state.workers.items():
        left = state.lost[address].running if address in state.lost else set()
        worker.running, worker.load, worker.folds = set(), MemoryLoad(), Counter()
        worker.free_cpus = worker.size.cpus
        worker.memory_bytes = worker.size.memory_bytes - state.held[worker.size.memory_bytes]
        for fit in _running(state):
            if fit.running_on == address and fit.key not in left:
                worker.take(fit)
    state.note_room()
    for workflow in state.workflows.values():
        workflow.waiting.clear()
        if workflow.phase is Phase.ACTIVE:
            state.let_wait(workflow)


def _running(state: PlanState) -> Iterator[FitState]:
    for workflow in state.workflows.values():
        for fit in workflow.fits.values():
            if fit.running_on is not None:
                yield fit


def _held(state: PlanState) -> Counter[int]:
    held: Counter[int] = Counter()
    for workflow in state.workflows.values():
        for size in workflow.sizes:
            held[size] += workflow.dataset_bytes
    return held


def _held_bytes(running: Iterable[FitState]) -> float:
    return sum(fit.held.mean_bytes for fit in running if fit.held is not None)


def _workers(state: PlanState) -> Iterator[str]:
    by_worker: dict[str, list[FitState]] = {}
    for fit in _running(state):
        by_worker.setdefault(fit.running_on or "", []).append(fit)
    for address in by_worker:
        if address not in state.workers and address not in state.lost:
            yield f"fits run on {address!r}, which isn't there"
    for address, worker in state.workers.items():
        left = state.lost[address].running if address in state.lost else set()
        own = [fit for fit in by_worker.get(address, ()) if fit.key not in left]
        yield from (f"worker {address!r}: {what}" for what in _worker(state, worker, own))


def _worker(state: PlanState, worker: WorkerState, own: list[FitState]) -> Iterator[str]:
    if worker.running != {fit.key for fit in own}:
        yield f"it lists {sorted(worker.running)} as running, not {sorted(f.key for f in own)}"
    free = worker.size.cpus - sum(fit.threads for fit in own)
    if worker.free_cpus != free or free < 0:
        yield f"{worker.free_cpus} CPUs count as free, not {free}"
    left = worker.size.memory_bytes - state.held[worker.size.memory_bytes]
    if worker.memory_bytes != left:
        yield f"{worker.memory_bytes} bytes count as left by datasets, not {left}"
    load = MemoryLoad()
    for fit in own:
        if fit.held is not None:
            load.add(fit.held)
    if abs(load.mean_bytes() - worker.load.mean_bytes()) > 1.0 + _ROUNDING * load.mean_bytes():
        yield f"{worker.load.mean_bytes():,.0f} bytes count as used, not {load.mean_bytes():,.0f}"


def _sums(state: PlanState) -> Iterator[str]:
    for user, weight in state.weights.items():
        if not 0.0 < weight < math.inf:
            yield f"the weight of user {user!r} is {weight}"
    if +state.held != +_held(state):
        yield f"datasets count as {+state.held} bytes, not {+_held(state)}"
    sums = {
        "cpus": sum(worker.size.cpus for worker in state.workers.values()),
        "cpus_in_use": sum(fit.threads for fit in _running(state)),
    }
    for name, right in sums.items():
        if getattr(state, name) != right:
            yield f"{name} is {getattr(state, name)}, not {right}"
    ends_s = sum(fit.threads * fit.ends_s for fit in _running(state))
    if abs(state.cpu_ends_s - ends_s) > 1e-3 + _ROUNDING * abs(ends_s):
        yield f"cpu_ends_s is {state.cpu_ends_s}, not {ends_s}"


def _workflow(workflow: WorkflowState) -> Iterator[str]:
    fits = workflow.fits.values()
    sums = {
        "unsettled": sum(fit.outcome is None for fit in fits),
        "occupying": sum(fit.running_on is not None for fit in fits),
        "cpus_in_use": sum(fit.threads for fit in fits if fit.running_on is not None),
    }
    for name, right in sums.items():
        if getattr(workflow, name) != right:
            yield f"{name} is {getattr(workflow, name)}, not {right}"
    held = _held_bytes(fit for fit in fits if fit.running_on is not None)
    if abs(workflow.held_bytes - held) > 1.0 + _ROUNDING * held:
        yield f"{workflow.held_bytes:,.0f} bytes count as held, not {held:,.0f}"
    wait = {f.fit_id for f in fits if f.outcome is None and f.running_on is None}
    wait = wait if workflow.phase is Phase.ACTIVE else set()
    if set(workflow.waiting) != wait:
        yield f"{sorted(workflow.waiting)} wait, not {sorted(wait)}"
    starts_s = {fit.process_start_s for fit in fits if fit.outcome is None}
    if starts_s - {workflow.process_start_s}:
        yield f"fits count {sorted(starts_s)} s for a process, not {workflow.process_start_s}"
    if workflow.is_ending and workflow.unsettled:
        yield f"it is {workflow.phase.value} with {workflow.unsettled} fits to settle"
    if workflow.rounds < 0 or (workflow.is_ending and workflow.rounds):
        yield f"it is {workflow.phase.value} with {workflow.rounds} rounds to come"
    if workflow.phase is Phase.RECORDED and workflow.occupying:
        yield f"its end is recorded while {workflow.occupying} fits hold something"
    if (
        workflow.phase is not Phase.ACTIVE
        and workflow.sizes
        and not (workflow.is_ending or workflow.pending)
    ):
        yield f"its dataset is held though it is {workflow.phase.value}"
