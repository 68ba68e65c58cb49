"""How many threads a fit gets: as many as end the whole soonest.

Pure. In: the choice for a fit about to start. Not in: how much faster it gets, which its estimate
says (:meth:`fitcast.scheduler.plan.plan_state.FitState.runtime_s`).

Threads never help a fit in proportion, so one thread each is best as long as there are more fits
than cores. More are worth it where a fit alone would take longer than everything on all cores:
towards the end, or for one that is longer than all others together. The choice is the first step
of two-phase scheduling of moldable jobs (Ludwig and Tiwari, SODA 1994): find the least makespan
``L`` such that, with every fit given the fewest threads that end it within ``L``, all of them
fit on the cores for ``L``.
"""

import math

from fitcast.scheduler.plan.fit_state import THREADS_START_S, FitState
from fitcast.scheduler.plan.plan_state import PlanState

LEAST_PARALLEL_FRACTION = 0.3
"""Below this, a second core for a fit is better left idle."""

LOOKED_AT = 12
"""Of more long fits every second, third … stands for its neighbours."""

_HALVINGS = 20


def best_threads(state: PlanState, fit: FitState, most: int, now_s: float) -> int:
    """Return how many threads a fit should get that is next to start.

    Parameters
    ----------
    state : PlanState
        Where it still waits.
    fit : FitState
        The fit.
    most : int
        CPUs of the worker.
    now_s : float
        The time in seconds, on the plan's own clock.
    """
    if most <= 1 or fit.estimate.parallel_fraction < LEAST_PARALLEL_FRACTION:
        return 1
    alone_s = fit.runtime_s(1)
    cpus = max(1, state.cpus)
    queues = [(workflow, workflow.waiting) for workflow in state.workflows.values()]
    left_s = sum(waiting.backlog_s() for _, waiting in queues)
    if alone_s <= left_s / cpus:
        return 1
    left_s += max(0.0, state.cpu_ends_s - now_s * state.cpus_in_use)
    if alone_s <= left_s / cpus:
        return 1
    long = [
        workflow.fits[fit_id]
        for workflow, waiting in queues
        for fit_id in waiting.longer_than(left_s / cpus, cpus)
    ]
    stands_for = 1 + (len(long) - 1) // LOOKED_AT
    long = long[::stands_for]
    low, high = left_s / cpus, max(one.runtime_s(1) for one in [fit, *long])
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if _area_s(long, stands_for, left_s, middle, most) <= middle * cpus:
            high = middle
        else:
            low = middle
    return _fewest(fit, high, most)


def _fewest(fit: FitState, within_s: float, most: int) -> int:
    """Return the fewest threads that end a fit within a time, else those that end it soonest."""
    if fit.estimate.parallel_fraction < LEAST_PARALLEL_FRACTION:
        return 1
    alone_s, fraction = fit.estimate.runtime_s_p50, fit.estimate.parallel_fraction
    if alone_s <= within_s or most <= 1:
        return 1
    # More threads are never slower than two: Amdahl's law solved for their number.
    share = (within_s - THREADS_START_S) / max(alone_s, 1e-9) - (1.0 - fraction)
    if share * most >= fraction:
        return min(most, max(2, math.ceil(fraction / share - 1e-9)))
    return most if fit.runtime_s(most) < alone_s else 1


def _area_s(
    long: list[FitState], stands_for: int, left_s: float, within_s: float, most: int
) -> float:
    area_s = left_s
    for fit in long:
        threads = _fewest(fit, within_s, most)
        took_s = fit.runtime_s(threads)
        if took_s > within_s * 1.0001:
            return float("inf")
        area_s += stands_for * (threads * took_s - fit.runtime_s(1))
    return area_s
