"""How many workers each pool should have for what is left to do. Pure.

A pool grows while its workers would be busy for as long as one takes to start, and never so far
that only the longest fit would be waited for: beyond that, more workers end nothing sooner.
Fits count where they are cheapest, in the next pool if that one is full.

Not in: which fit goes to which worker (:mod:`fitcast.scheduler.plan.placement`), how workers come.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fitcast.scheduler.plan.plan_state import PlanState, WorkerState
from fitcast.scheduler.plan.pools import Pool

IDLE_FOR_S = 20.0
"""A worker that nothing ran on for so long is given back if it isn't wanted."""


@dataclass(slots=True)
class _Room:
    """A pool while work is dealt out."""

    pool: Pool
    memory_bytes: int  # of one worker, for fits
    most: int
    worker_s: float = 0.0  # that were dealt to it

    def share(self, need_bytes: int) -> float:
        """Return how much of a worker a fit with one thread takes."""
        return max(1.0 / self.pool.cpus, need_bytes / self.memory_bytes)


def wanted_workers(
    state: PlanState, pools: Sequence[Pool], most: Mapping[str, int], start_s: float, now_s: float
) -> dict[str, int]:
    """Return how many workers each pool should have.

    Parameters
    ----------
    state : PlanState
        What runs and what waits.
    pools : sequence of Pool
        All that there are.
    most : mapping
        How many workers each may have, by name; missing ones as many as the pool has.
    start_s : float
        How long a worker takes to start, in seconds.
    now_s : float
        The time on the plan's own clock.
    """
    held = sum(one.dataset_bytes for one in state.workflows.values() if one.is_open)
    rooms = [
        _Room(pool, pool.memory_bytes - held, most.get(pool.name, pool.workers))
        for pool in pools
        if pool.memory_bytes > held
    ]
    if not rooms:
        return {pool.name: 0 for pool in pools}
    largest = max(room.memory_bytes for room in rooms)
    left = list(_left(state, largest, now_s))
    horizon_s = max([start_s, *(runtime_s for _, runtime_s in left)])
    for need, runtime_s in sorted(left, reverse=True):
        _deal(rooms, need, runtime_s, horizon_s)
    wanted = {pool.name: 0 for pool in pools}
    for room in rooms:
        if room.worker_s > 0.0:
            count = math.ceil(round(room.worker_s / horizon_s, 6))
            wanted[room.pool.name] = min(max(1, count), room.most)
    if not any(wanted.values()) and any(one.rounds for one in state.workflows.values()):
        # The next round is chosen once all others are done: somebody is to be there for it.
        here = max(state.workers.values(), key=lambda one: one.memory_bytes, default=None)
        if here is not None:
            wanted[here.size.pool] = 1
    return wanted


@dataclass(frozen=True, slots=True)
class Allotment:
    """What a workflow with workers of its own may use at once, beside others."""

    cpus: float
    memory_bytes: float


def held_to(
    wanted: Mapping[str, int], pools: Sequence[Pool], allotment: Allotment
) -> dict[str, int]:
    """Return how many of the wanted workers each pool should have within an allotment.

    Pools keep their proportions as far as whole workers can. One worker stays of each pool that is
    wanted: another one couldn't hold the fits that it is for, and they would wait for ever.

    Examples
    --------
    >>> pools = [Pool("small", 1, 2**30), Pool("large", 4, 2**33)]
    >>> held_to({"small": 8, "large": 2}, pools, Allotment(cpus=8.0, memory_bytes=2.0**40))
    {'small': 4, 'large': 1}
    """
    by_name = {pool.name: pool for pool in pools}
    held = {name: min(count, 1) for name, count in wanted.items()}
    cpus = allotment.cpus - sum(by_name[one].cpus for one, count in held.items() if count)
    memory = allotment.memory_bytes - sum(
        by_name[one].memory_bytes for one, count in held.items() if count
    )
    growing = {name for name, count in wanted.items() if count > held[name]}
    while growing:
        name = min(growing, key=lambda one: (held[one] / wanted[one], one))
        pool = by_name[name]
        if pool.cpus > cpus or pool.memory_bytes > memory:
            growing.discard(name)
            continue
        held[name] += 1
        cpus -= pool.cpus
        memory -= pool.memory_bytes
        if held[name] == wanted[name]:
            growing.discard(name)
    return held


def surplus(
    workers: Iterable[WorkerState],
    wanted: Mapping[str, int],
    idle_since_s: Mapping[str, float],
    now_s: float,
) -> list[str]:
    """Return the idle workers that are too many for their pools, the longest idle first."""
    extra: dict[str, int] = {}
    idle: list[tuple[float, str, str]] = []
    for worker in workers:
        pool = worker.size.pool
        extra[pool] = extra.get(pool, -wanted.get(pool, 0)) + 1
        since_s = idle_since_s.get(worker.size.address)
        if not worker.running and since_s is not None and now_s - since_s >= IDLE_FOR_S:
            idle.append((since_s, worker.size.address, pool))
    chosen = []
    for _, address, pool in sorted(idle):
        if extra[pool] > 0:
            extra[pool] -= 1
            chosen.append(address)
    return chosen


def _left(state: PlanState, largest: int, now_s: float) -> Iterable[tuple[int, float]]:
    """Yield memory and seconds that each unfinished fit still needs."""
    for workflow in state.workflows.values():
        for fit in workflow.fits.values():
            if fit.outcome is not None:
                continue
            runtime_s = fit.estimate.runtime_s_p50
            if fit.running_on is not None:
                runtime_s = max(0.1 * runtime_s, fit.started_s + runtime_s - now_s)
            yield workflow.need_bytes(fit, largest), runtime_s


def _deal(rooms: Sequence[_Room], need: int, runtime_s: float, horizon_s: float) -> None:
    """Count a fit in the cheapest pool that is safe for it and isn't full, else the least full."""
    best: tuple[bool, float, _Room] | None = None
    for room in rooms:
        if room.memory_bytes < need or room.most < 1:
            continue
        share = room.share(need)
        load_s = (room.worker_s + share * runtime_s) / room.most
        full = load_s > horizon_s
        rank = load_s if full else room.pool.cost_per_hour * share
        if best is None or (full, rank) < best[:2]:
            best = (full, rank, room)
    if best is not None:
        best[2].worker_s += best[2].share(need) * runtime_s
