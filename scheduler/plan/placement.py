"""Which fit next, where, with how much: the rules by which waiting fits get workers.

Pure: `place` changes a plan's state and returns what to start. What happens to fits that run is
in :mod:`fitcast.scheduler.plan.decisions`.

The rules, in order:

* workflows share the workers: the one with the fewest CPUs in use goes first; where users have
  shares, one of the user with the smallest (:mod:`fitcast.scheduler.plan.turns`);
* within a workflow, the longest first, and before them those that can run in few places, if the end
  waits for them or they are long themselves (:mod:`fitcast.scheduler.plan.waiting`); where the data
  is large, fits of a fold whose rows are in use go before, as long as none is too long to wait;
* a fit goes where it leaves memory for the cores beside it, elsewhere only if no other can start
  or it is too long to wait;
* a fit goes to the cheapest worker that is safe for it: alone it finds there the memory that is
  expected to waste least, retries included (:mod:`fitcast.sizing.allocation`), and the sum with
  those that run there stays within the worker (:mod:`fitcast.scheduler.plan.memory_load`);
* a fit that finds no room keeps its place: others may pass it on the worker that it waits for only
  if they are forecast to end before it could start, or fit in beside it (EASY backfilling, Lifka
  1995);
* one thread while there is more to do than cores (:mod:`fitcast.scheduler.plan.threads`);
* fits that are short beside what starting a process costs, and fits with work in common, share one
  (:mod:`fitcast.scheduler.plan.batching`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from fitcast.scheduler.plan.batching import LATE_FACTOR, LATE_S, followers_of, follows_in_s
from fitcast.scheduler.plan.events import FitKey, Follower, Start
from fitcast.scheduler.plan.fit_state import FitState
from fitcast.scheduler.plan.memory_load import MemoryDemand
from fitcast.scheduler.plan.plan_state import (
    PlanState,
    Reservation,
    WorkerState,
)
from fitcast.scheduler.plan.threads import best_threads
from fitcast.scheduler.plan.turns import next_turn
from fitcast.scheduler.plan.workflow_state import WorkflowState

LARGE_DATASET_BYTES = 64 * 2**20
"""From here on, the rows of a fold are worth keeping its fits together."""

LONG_SHARE = 0.3
"""A fit that takes this share of all that is left on every core is not put off."""

RESERVE_AMONG = 64
"""How many workers are looked at to find where a fit that must wait can start soonest."""

MANY_ARRIVED = 16
"""From so many fits on that wait anew, every worker is looked at for all that wait."""

WORTH_WAITING = 0.95
"""A fit waits for more threads if it then ends within this share of the time to its end now."""


@dataclass(slots=True)
class _Turn:
    """One turn of placing: the workers that may have room, and what is the same for all fits."""

    state: PlanState
    now_s: float
    open: dict[str, WorkerState]


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
    # Where nothing changed since the last turn nothing fits now either, unless it came meanwhile.
    if len(state.arrived) > MANY_ARRIVED:
        state.changed.update(dict.fromkeys(state.workers))
        state.arrived.clear()
    looked_at = [state.workers[address] for address in state.changed]
    arrived = list(state.arrived)
    state.changed.clear()
    state.arrived.clear()
    free = {worker.size.address: worker for worker in looked_at if worker.free_cpus > 0}
    if not free and not arrived:
        return []
    free |= _dropped_reservation(state, looked_at)
    for workflow in state.active():
        if workflow.sorted_for != state.version and workflow.waiting:
            state.sort(workflow)
    state.changed.clear()
    turn = _Turn(state, now_s, free)
    starts = _on_open(turn)
    for key in arrived:
        its = state.workflows.get(key.workflow_id)
        if its is None or key.fit_id not in its.waiting:
            continue
        rest = [worker for worker in state.workers.values() if worker.free_cpus > 0]
        start = _started(turn, its, its.fits[key.fit_id], rest)
        if start is not None:
            starts.append(start)
    return starts


def _on_open(turn: _Turn) -> list[Start]:
    """Start what there is room for on the workers that are looked at."""
    state = turn.state
    starts: list[Start] = []
    blocked: set[str] = set()
    while turn.open:
        workflow_id = next_turn(state, blocked)
        if workflow_id is None:
            break
        start = _next(turn, state.workflows[workflow_id])
        if start is None:
            blocked.add(workflow_id)
        else:
            starts.append(start)
    return starts


def _dropped_reservation(state: PlanState, looked_at: list[WorkerState]) -> dict[str, WorkerState]:
    """Forget a reservation that no longer holds, and return the worker whose room is free again.

    If its fit still waits, it is looked at first and may renew it.
    """
    reserved = state.reservation
    if reserved is None:
        return {}
    workflow = state.workflows.get(reserved.key.workflow_id)
    gone = workflow is None or reserved.key.fit_id not in workflow.waiting
    if gone or any(worker.size.address == reserved.worker for worker in looked_at):
        state.reservation = None
        worker = state.workers[reserved.worker]
        return {reserved.worker: worker} if worker.free_cpus > 0 else {}
    return {}


def _next(turn: _Turn, workflow: WorkflowState) -> Start | None:
    """Start the first waiting fit of a workflow that finds room."""
    waiting = workflow.waiting
    among = [one for one in turn.open.values() if one.size.memory_bytes in workflow.sizes]
    if not among:
        return None
    if _keeps_folds_together(turn, workflow):
        for fit_id, _ in waiting.in_order():
            fit = workflow.fits[fit_id]
            holding = [worker for worker in among if worker.holds(fit)]
            if holding and (start := _started(turn, workflow, fit, holding)) is not None:
                return start
    # Capped as demands are: a fit that needs more than any worker has gets all of one.
    room = max(
        math.inf if not worker.running else worker.memory_bytes - worker.load.mean_bytes()
        for worker in among
    )
    long_s = LONG_SHARE * _left_s(turn, workflow)
    unbalanced: list[FitState] = []
    for fit_id, is_critical in waiting.in_order(room, long_s):
        fit = workflow.fits[fit_id]
        start = None
        if fit.demand().mean_bytes <= room or workflow.memory_bytes is not None:
            balanced = _balanced(turn, workflow, fit, among)
            start = _started(turn, workflow, fit, balanced)
            if start is None and len(balanced) < len(among):
                if not is_critical and fit.estimate.runtime_s_p50 < long_s:
                    unbalanced.append(fit)
                    continue
                start = _started(turn, workflow, fit, among)
        if start is not None:
            return start
        if turn.state.reservation is None and not unbalanced:
            _reserve(turn, workflow, fit)
    for fit in unbalanced:
        start = _started(turn, workflow, fit, among)
        if start is not None:
            return start
        if turn.state.reservation is None:
            _reserve(turn, workflow, fit)
    return None


def _balanced(
    turn: _Turn, workflow: WorkflowState, fit: FitState, among: list[WorkerState]
) -> list[WorkerState]:
    """Return the workers on which a fit leaves memory for the cores beside it.

    It goes there first: three large ones on a worker of four cores would leave the fourth idle.
    """
    need = fit.demand().mean_bytes
    if workflow.memory_bytes is not None or need > turn.state.most_bytes_per_cpu(workflow):
        return among  # it does so nowhere
    return [
        worker
        for worker in among
        if need * worker.free_cpus <= worker.memory_bytes - worker.load.mean_bytes()
    ]


def _keeps_folds_together(turn: _Turn, workflow: WorkflowState) -> bool:
    if workflow.dataset_bytes < LARGE_DATASET_BYTES:
        return False
    if not any(worker.folds.total() for worker in turn.open.values()):
        return False
    return workflow.waiting.longest_s() < LONG_SHARE * _left_s(turn, workflow)


def _is_long(turn: _Turn, workflow: WorkflowState, fit: FitState) -> bool:
    return fit.estimate.runtime_s_p50 >= LONG_SHARE * _left_s(turn, workflow)


def _left_s(turn: _Turn, workflow: WorkflowState) -> float:
    """Return how long what waits and what runs takes on all cores, in seconds."""
    state = turn.state
    running_s = max(0.0, state.cpu_ends_s - state.cpus_in_use * turn.now_s)
    return (workflow.waiting.backlog_s() + running_s) / max(1, state.cpus)


def _started(
    turn: _Turn, workflow: WorkflowState, fit: FitState, among: list[WorkerState]
) -> Start | None:
    """Start a waiting fit if there is room for it on one of these workers."""
    need = workflow.need_bytes(fit)
    demand = workflow.demand(fit)
    best: tuple[bool, float, int, float] | None = None
    chosen: WorkerState | None = None
    for worker in among:
        if worker.size.memory_bytes not in workflow.sizes or not worker.has_room(demand, need):
            continue
        if _passing_s(turn, fit, worker, demand) is None:
            continue
        # The cheapest safe worker first; among equals the least busy. What is lost of a long fit
        # with a worker that is taken away can't be made up for.
        size = worker.size
        cost = (size.cost_per_hour or 0.0) * max(1.0 / size.cpus, need / size.memory_bytes)
        risky = size.spot and _is_long(turn, workflow, fit)
        rank = (risky, cost, -worker.free_cpus, worker.load.upper_bytes())
        if best is None or rank < best:
            best, chosen = rank, worker
    if chosen is None:
        return None
    threads = _threads(turn, workflow, fit, chosen, demand)
    if threads == 0:
        return None
    return _start(turn, workflow, fit, chosen, demand, need, threads)


def _passing_s(
    turn: _Turn, fit: FitState, worker: WorkerState, demand: MemoryDemand
) -> float | None:
    """Return what a fit may take on a worker for what waits for it; None if it must not pass."""
    reserved = turn.state.reservation
    if reserved is None or reserved.worker != worker.size.address or reserved.key == fit.key:
        return math.inf
    if reserved.cpus_left > 0 and reserved.load.upper_with(demand) <= worker.memory_bytes:
        return math.inf
    window_s = reserved.start_s - turn.now_s
    return window_s if fit.runtime_s(1) <= window_s else None


def _threads(
    turn: _Turn, workflow: WorkflowState, fit: FitState, worker: WorkerState, demand: MemoryDemand
) -> int:
    """Return with how many threads a fit starts on a worker now; 0 if it should wait for more."""
    if _passing_s(turn, fit, worker, demand) != math.inf:
        return 1
    wanted = best_threads(turn.state, fit, worker.size.cpus, turn.now_s)
    if wanted <= worker.free_cpus:
        return wanted
    cpus, free_s = worker.free_cpus, turn.now_s
    for other in _by_end(turn, worker):
        if cpus >= wanted:
            break
        cpus, free_s = cpus + other.threads, max(free_s, other.ends_s)
    waits_s = free_s - turn.now_s + fit.runtime_s(wanted)
    if turn.state.reservation is None and waits_s < WORTH_WAITING * fit.runtime_s(worker.free_cpus):
        _reserve_on(turn, worker, fit, demand, wanted)
        return 0
    return worker.free_cpus


def _by_end(turn: _Turn, worker: WorkerState) -> list[FitState]:
    """Return what holds room on a worker, the first to end first."""
    running = [turn.state.fit(key) for key in worker.running]
    return sorted((fit for fit in running if fit.held is not None), key=lambda fit: fit.ends_s)


def _reserve(turn: _Turn, workflow: WorkflowState, fit: FitState) -> None:
    """Keep room for a fit that must wait, on the worker where it can start soonest."""
    need = workflow.need_bytes(fit)
    demand = workflow.demand(fit)
    best: Reservation | None = None
    for worker in islice(_large_enough(turn, workflow, need), RESERVE_AMONG):
        found = _reservation(turn, worker, fit, demand, 1)
        if best is None or found.start_s < best.start_s:
            best = found
    turn.state.reservation = best


def _large_enough(turn: _Turn, workflow: WorkflowState, need_bytes: int) -> Iterator[WorkerState]:
    """Yield workers that could hold a fit, those that are looked at first."""
    for worker in (*turn.open.values(), *turn.state.workers.values()):
        holds = worker.size.memory_bytes in workflow.sizes
        if holds and worker.memory_bytes >= need_bytes:
            yield worker


def _reserve_on(
    turn: _Turn, worker: WorkerState, fit: FitState, demand: MemoryDemand, cpus: int
) -> None:
    turn.state.reservation = _reservation(turn, worker, fit, demand, cpus)


def _reservation(
    turn: _Turn, worker: WorkerState, fit: FitState, demand: MemoryDemand, cpus: int
) -> Reservation:
    """Return when a fit could start on a worker, and what is left beside it from then on."""
    load, free, start_s = worker.load.copy(), worker.free_cpus, turn.now_s
    ending = _by_end(turn, worker)
    left = len(ending)
    for other in ending:
        if free >= cpus and (left == 0 or load.upper_with(demand) <= worker.memory_bytes):
            break
        assert other.held is not None
        load.remove(other.held)
        free, start_s, left = free + other.threads, max(start_s, other.ends_s), left - 1
    load.add(demand)
    return Reservation(fit.key, worker.size.address, start_s, free - cpus, load)


def _start(
    turn: _Turn,
    workflow: WorkflowState,
    fit: FitState,
    worker: WorkerState,
    demand: MemoryDemand,
    need: int,
    threads: int,
) -> Start:
    state = turn.state
    reserved = state.reservation
    passing_s = _passing_s(turn, fit, worker, demand)
    following = []
    if threads == 1:
        within_s = math.inf if passing_s is None else passing_s
        following = followers_of(state, workflow, fit, within_s, turn.now_s)
    took_s = fit.runtime_s(threads) + sum(map(follows_in_s, following))
    if reserved is not None and reserved.key == fit.key:
        state.reservation = None
        kept = state.workers[reserved.worker]
        if kept.free_cpus > 0:  # what was kept there is free for others
            turn.open[reserved.worker] = kept
    elif (
        reserved is not None
        and reserved.worker == worker.size.address
        and turn.now_s + took_s > reserved.start_s
    ):  # it will run beside what waits
        reserved.cpus_left -= threads
        reserved.load.add(demand)
    for one in (fit, *following):
        workflow.waiting.remove(one)
        one.attempt += 1
        one.threads, one.held = (threads, demand) if one is fit else (0, None)
        one.follows = None if one is fit else fit.key
        one.share_bytes = need
        one.started_s = turn.now_s
        one.process_ratio = took_s / max(one.estimate.runtime_s_p50, 1e-9)
        state.occupy(workflow, one, worker)
    if worker.free_cpus == 0:
        turn.open.pop(worker.size.address, None)
    bounded = workflow.memory_bytes is not None
    return Start(
        key=fit.key,
        attempt=fit.attempt,
        worker=worker.size.address,
        pool=worker.size.pool,
        threads=threads,
        memory_limit_bytes=need if bounded else max(need, worker.memory_bytes),
        share_bytes=need,
        deadline_s=workflow.attempt_deadline_s(fit),
        followers=tuple(_follower(workflow, one, took_s) for one in following),
    )


def _follower(workflow: WorkflowState, fit: FitState, batch_s: float) -> Follower:
    return Follower(
        FitKey(*fit.key),
        fit.attempt,
        workflow.attempt_deadline_s(fit),
        fit.estimate.runtime_s_p50 - follows_in_s(fit),
        LATE_S + LATE_FACTOR * batch_s,
    )
