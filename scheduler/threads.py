"""How many threads a fit gets: as many as end the whole soonest.

Pure. In: the choice for a fit about to start. Not in: how much faster it gets, which its estimate
says (:meth:`fitcast.scheduler.plan_state.FitState.runtime_s`).

Threads never help a fit in proportion, so one thread each is best as long as there are more fits
than cores. More are worth it where a fit alone would take longer than everything on all cores:
towards the end, or for one that is longer than all others together. The choice is the first step
of two-phase scheduling of moldable jobs (Ludwig and Tiwari, SODA 1994): find the least makespan
``L`` such that, with every fit given the fewest threads that end it within ``L``, all of them
fit on the cores for ``L``.
"""

from fitcast.scheduler.plan_state import FitState, PlanState

LEAST_PARALLEL_FRACTION = 0.3
"""Below this, a second core for a fit is better left idle."""

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
    low, high = left_s / cpus, max(one.runtime_s(1) for one in [fit, *long])
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if _area_s(long, left_s, middle, most) <= middle * cpus:
            high = middle
        else:
            low = middle
    return _fewest(fit, high, most)


def _fewest(fit: FitState, within_s: float, most: int) -> int:
    """Return the fewest threads that end a fit within a time, else those that end it soonest."""
    if fit.estimate.parallel_fraction < LEAST_PARALLEL_FRACTION:
        return 1
    soonest = 1
    for threads in range(1, most + 1):
        if fit.runtime_s(threads) <= within_s:
            return threads
        if fit.runtime_s(threads) < fit.runtime_s(soonest):
            soonest = threads
    return soonest


def _area_s(long: list[FitState], left_s: float, within_s: float, most: int) -> float:
    area_s = left_s
    for fit in long:
        threads = _fewest(fit, within_s, most)
        took_s = fit.runtime_s(threads)
        if took_s > within_s * 1.0001:
            return float("inf")
        area_s += threads * took_s - fit.runtime_s(1)
    return area_s
