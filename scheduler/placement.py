"""Which fit next, where, with how much: the rules by which waiting fits get workers.

Pure: `place` changes a plan's state and returns what to start. What happens to fits that run is
in :mod:`fitcast.scheduler.decisions`.

The rules, in order:

* workflows share the workers: the one with the fewest CPUs in use goes first;
* within a workflow, the fit with the longest forecast goes first (Graham's LPT rule); where the
  data is large, fits of a fold whose rows are in use go before, as long as no fit is so long that
  it must not wait;
* a fit goes to the smallest worker that is safe for it: its memory reservation is the one that is
  expected to waste least, retries included (:mod:`fitcast.sizing.allocation`), and the reservations
  on a worker never exceed the worker;
* a fit that finds no room keeps its place: smaller ones may pass it on the worker that it waits
  for only if they are forecast to end before it could start (EASY backfilling, Lifka 1995);
* one thread while there are more fits than cores, more as the queue drains and if they help.
"""

from dataclasses import dataclass, field

from fitcast.scheduler.events import Start
from fitcast.scheduler.plan_state import FitState, PlanState, WorkerState, WorkflowState

LEAST_PARALLEL_FRACTION = 0.3
"""Below this, a second core for a fit is better left idle."""

LOOK_AHEAD = 256
"""How many waiting fits of a workflow are looked at for backfilling at one event."""

LARGE_DATASET_BYTES = 64 * 2**20
"""From here on, the rows of a fold are worth keeping its fits together."""

LONG_SHARE = 0.5
"""A fit that takes this share of all that is left on every core goes first, whatever its fold."""


@dataclass(slots=True)
class _Round:
    """One round of placing."""

    state: PlanState
    now_s: float
    most_bytes: int
    reserved: dict[str, tuple[float, int]] = field(default_factory=dict)
    # worker → when, and how much, the fit that waits for it needs


def place(state: PlanState, now_s: float) -> list[Start]:
    """Start what there is room for.

    Parameters
    ----------
    state : PlanState
        Changed: what is started is reserved.
    now_s : float
        The time in seconds, on the plan's own clock.

    Returns
    -------
    list of Start
        To be carried out in this order.
    """
    starts: list[Start] = []
    turn = _Round(state, now_s, state.most_memory_bytes())
    blocked: set[str] = set()
    while state.has_free_cpu():
        ready = [
            (workflow.cpus_in_use, order, workflow_id)
            for order, (workflow_id, workflow) in enumerate(state.workflows.items())
            if workflow.waiting and workflow_id not in blocked
        ]
        if not ready:
            break
        workflow_id = min(ready)[2]
        start = _place_next(turn, state.workflows[workflow_id])
        if start is None:
            blocked.add(workflow_id)
        else:
            starts.append(start)
    return starts


def _place_next(turn: _Round, workflow: WorkflowState) -> Start | None:
    waiting = workflow.waiting
    nearest = range(len(waiting) - 1, max(-1, len(waiting) - 1 - LOOK_AHEAD), -1)
    if _keeps_folds_together(turn, workflow):
        for index in nearest:
            start = _started(turn, workflow, index, held_only=True)
            if start is not None:
                return start
    for index in nearest:
        start = _started(turn, workflow, index)
        if start is not None:
            return start
        if not turn.reserved:
            fit = workflow.fits[waiting[index]]
            _reserve(turn, workflow.need_bytes(fit, turn.most_bytes))
    return None


def _keeps_folds_together(turn: _Round, workflow: WorkflowState) -> bool:
    if workflow.dataset_bytes < LARGE_DATASET_BYTES:
        return False
    if not any(worker.folds.total() for worker in turn.state.workers.values()):
        return False
    left_s = sum(workflow.fits[fit_id].estimate.runtime_s_p50 for fit_id in workflow.waiting)
    cpus = sum(worker.size.cpus for worker in turn.state.workers.values())
    longest_s = workflow.fits[workflow.waiting[-1]].estimate.runtime_s_p50
    return longest_s < LONG_SHARE * left_s / cpus


def _started(
    turn: _Round, workflow: WorkflowState, index: int, *, held_only: bool = False
) -> Start | None:
    """Start the waiting fit at an index if there is room for it."""
    fit = workflow.fits[workflow.waiting[index]]
    need = workflow.need_bytes(fit, turn.most_bytes)
    worker = _room_for(turn, fit, need, held_only)
    if worker is None:
        return None
    del workflow.waiting[index]
    return _start(turn, workflow, fit, worker, need)


def _room_for(turn: _Round, fit: FitState, need: int, held_only: bool) -> WorkerState | None:
    best: tuple[int, int, int] | None = None
    chosen: WorkerState | None = None
    for worker in turn.state.workers.values():
        if worker.free_cpus < 1 or worker.free_memory_bytes < need:
            continue
        if held_only and not worker.holds(fit):
            continue
        if worker.size.address in turn.reserved:
            start_s, wanted = turn.reserved[worker.size.address]
            passes = turn.now_s + fit.runtime_s(1) <= start_s
            beside = worker.free_memory_bytes - need >= wanted and worker.free_cpus > 1
            if not (passes or beside):
                continue
        # The cheapest safe worker first; among equals the least busy.
        cost = worker.size.memory_bytes // worker.size.cpus
        rank = (cost, -worker.free_cpus, -worker.free_memory_bytes)
        if best is None or rank < best:
            best, chosen = rank, worker
    return chosen


def _reserve(turn: _Round, need: int) -> None:
    """Keep room for a fit that must wait, on the worker where it can start soonest."""
    soonest: tuple[float, str] | None = None
    for address, worker in turn.state.workers.items():
        free, cpus = worker.free_memory_bytes, worker.free_cpus
        ends = sorted(
            (fit.started_s + fit.runtime_s(fit.threads), fit.memory_limit_bytes, fit.threads)
            for fit in map(turn.state.fit, worker.running)
        )
        start_s = turn.now_s
        for end_s, memory_bytes, threads in ends:
            if free >= need and cpus >= 1:
                break
            free, cpus = free + memory_bytes, cpus + threads
            start_s = max(turn.now_s, end_s)
        if free >= need and cpus >= 1 and (soonest is None or (start_s, address) < soonest):
            soonest = (start_s, address)
    if soonest is not None:
        turn.reserved[soonest[1]] = (soonest[0], need)


def _start(
    turn: _Round, workflow: WorkflowState, fit: FitState, worker: WorkerState, need: int
) -> Start:
    threads = _threads(turn.state, fit, worker)
    slice_bytes = worker.size.memory_bytes * threads // worker.size.cpus
    if need < slice_bytes and not _is_tight(turn.state, workflow, slice_bytes):
        # Nobody waits for the rest of this slice: a wrong forecast then costs no retry.
        idle_cpus = worker.free_cpus - threads
        keep = slice_bytes // threads * idle_cpus
        need = max(need, min(slice_bytes, worker.free_memory_bytes - keep))
    fit.attempt += 1
    fit.running_on = worker.size.address
    fit.threads = threads
    fit.memory_limit_bytes = need
    fit.started_s = turn.now_s
    worker.take(fit)
    workflow.cpus_in_use += threads
    return Start(
        key=fit.key,
        attempt=fit.attempt,
        worker=worker.size.address,
        pool=worker.size.pool,
        threads=threads,
        memory_limit_bytes=need,
        deadline_s=workflow.attempt_deadline_s(fit),
    )


def _is_tight(state: PlanState, workflow: WorkflowState, slice_bytes: int) -> bool:
    """Whether a bound was set or a waiting fit needs more than its share of a worker."""
    if workflow.memory_bytes is not None:
        return True
    return any(
        fit.wanted_bytes() > slice_bytes
        for other in state.workflows.values()
        for fit in (other.fits[fit_id] for fit_id in other.waiting[-LOOK_AHEAD:])
    )


def _threads(state: PlanState, fit: FitState, worker: WorkerState) -> int:
    if fit.estimate.parallel_fraction < LEAST_PARALLEL_FRACTION or worker.free_cpus == 1:
        return 1
    waiting = sum(len(other.waiting) for other in state.workflows.values())
    free = sum(other.free_cpus for other in state.workers.values())
    return max(1, min(worker.free_cpus, free // (waiting + 1)))
