"""Which fits run one after another in the same process: short ones, and those that share work.

Pure. A process of its own costs a fit tens of milliseconds, and as many of touching memory anew;
or seconds, where libraries are imported that can't be forked: what a fit is spared that follows is
learned as fits report (:mod:`fitcast.scheduler.forecast.process_start`), and short is what is short
beside it;
work that candidates have in common (the fitted steps of a pipeline before the last, the bins of a
boosting) is done once if they follow each other. What speaks against it is the end of the queue,
where other cores idle: a batch is at most a fair part of what is left (guided self-scheduling:
Polychronopoulos and Kuck, IEEE Transactions on Computers, 1987).
"""

from fitcast.scheduler.plan.fit_state import FitState
from fitcast.scheduler.plan.plan_state import PlanState
from fitcast.scheduler.plan.workflow_state import WorkflowState

SHORT_S = 1.0
"""Fits forecast to take less share a process: its start costs them more than 3 % ..."""

LONG_START_S = 0.2
"""A start that takes longer than this is of imports, and its share of a fit tells the rest: ..."""

WORTH_SHARE = 0.1
"""... if it is at least so much of what a fit takes that follows, the fit follows."""

WORTH_STARTS = 4.0
"""A core has one process for all that is left for it, if that isn't more than so many starts."""

SURE_RATIO = 2.5
"""... if their P90 is at most this many times their median: others wait for them."""

LATE_FACTOR = 3.0
LATE_S = 1.0
"""A batch that takes longer than so many times its forecast, and this, gives back what is left."""

MOST_FITS = 400
LEAST_SHORT_BATCH_S = 0.15
MOST_SHORT_BATCH_S = 4.0
"""So long nothing is heard of the fits of a batch: that much may be lost, and no more."""

LEAST_SHARE = 0.05
LEAST_SHARED_S = 0.005
"""Work in common that is less is not worth the waiting for each other."""

LEAST_OWN_SHARE = 0.1
"""At least this part of what a fit doesn't share stays when it follows another."""

MOST_MEMORY_RATIO = 1.1
"""Fits that need more than this times the first one's memory don't follow it."""


def followers_of(
    state: PlanState, workflow: WorkflowState, fit: FitState, within_s: float, now_s: float
) -> list[FitState]:
    """Return the waiting fits that should follow a fit in its process, in order.

    Parameters
    ----------
    state : PlanState
        The plan.
    workflow : WorkflowState
        Of the fit, which still waits.
    fit : FitState
        The first of its process; with one thread.
    within_s : float
        Forecast seconds that all of them may take; infinite if nothing else waits for the place.
    now_s : float
        The time on the plan's own clock.
    """
    if not fit.is_fresh:
        return []
    backlog_s = sum(other.waiting.backlog_s() for other in state.workflows.values())
    fair_s = backlog_s / max(1, state.cpus)
    if _starts_long(fit):
        found = workflow.waiting.shorter(fit, MOST_FITS)
        same = [one for one in (workflow.fits[fit_id] for fit_id in found) if _starts_long(one)]
        if _shares(fit):
            same.sort(key=lambda one: not _share_alike(fit, one))
        limit_s = min(_with_one_start_s(state, workflow, fit, now_s), within_s)
    elif _shares(fit):
        assert fit.common_work is not None
        found = workflow.waiting.sharing(fit.common_work.name)
        chosen = (workflow.fits[fit_id] for fit_id in found if fit_id != fit.fit_id)
        same = [one for one in chosen if _shares(one)]
        same.sort(key=lambda one: (-one.estimate.runtime_s_p50, one.order))
        # In parts, each part does the work anew: followers may take a good part of what it costs.
        together_s = (1.0 + 0.5 * fit.common_work.share) * fit.estimate.runtime_s_p50
        limit_s = min(max(0.5 * fair_s, together_s), within_s)
    elif _is_short(fit):
        same = [workflow.fits[fit_id] for fit_id in workflow.waiting.shorter(fit, MOST_FITS)]
        same = [one for one in same if _is_short(one)]
        fair_s *= follows_in_s(fit) / fit.estimate.runtime_s_p50
        limit_s = min(max(0.25 * fair_s, LEAST_SHORT_BATCH_S), MOST_SHORT_BATCH_S, within_s)
    else:
        return []
    return _within(fit, same, limit_s)


def follows_in_s(fit: FitState) -> float:
    """Return the forecast runtime of a fit that follows others.

    Its process is started already, and work in common is done.
    """
    share = 0.0 if fit.common_work is None or not _shares(fit) else fit.common_work.share
    alone_s = fit.estimate.runtime_s_p50
    own_s = (1.0 - share) * alone_s
    return max(own_s - fit.process_start_s, LEAST_OWN_SHARE * own_s)


def _within(fit: FitState, others: list[FitState], limit_s: float) -> list[FitState]:
    total_s = fit.estimate.runtime_s_p50
    most_bytes = MOST_MEMORY_RATIO * fit.wanted_bytes()
    chosen: list[FitState] = []
    for one in others:
        if len(chosen) + 1 >= MOST_FITS:
            break
        took_s = follows_in_s(one)
        if not one.is_fresh or one.wanted_bytes() > most_bytes or total_s + took_s > limit_s:
            continue
        chosen.append(one)
        total_s += took_s
    return chosen


def _with_one_start_s(
    state: PlanState, workflow: WorkflowState, fit: FitState, now_s: float
) -> float:
    """Return how long a process may take whose start takes long.

    Each further process costs a start, so little that is left is left to one per core; what runs
    counts, as cores that are busy for longer take no part.
    """
    own_s, start_s = follows_in_s(fit), fit.process_start_s
    waits_s = workflow.waiting.backlog_s() * own_s / fit.estimate.runtime_s_p50
    others = (one for one in state.workflows.values() if one is not workflow)
    waits_s += sum(other.waiting.backlog_s() for other in others)
    runs_s = max(0.0, state.cpu_ends_s - state.cpus_in_use * now_s)
    fair_s = (waits_s + runs_s) / max(1, state.cpus)
    most_s = max(MOST_SHORT_BATCH_S, start_s / WORTH_SHARE)
    own_limit_s = min(max(0.5 * fair_s, min(fair_s, WORTH_STARTS * start_s)), most_s)
    return fit.estimate.runtime_s_p50 - own_s + own_limit_s


def _starts_long(fit: FitState) -> bool:
    start_s = fit.process_start_s
    return start_s >= LONG_START_S and start_s >= WORTH_SHARE * follows_in_s(fit)


def _share_alike(fit: FitState, other: FitState) -> bool:
    mine, its = fit.common_work, other.common_work
    return mine is not None and its is not None and mine.name == its.name


def _is_short(fit: FitState) -> bool:
    estimate = fit.estimate
    median_s = estimate.runtime_s_p50
    return median_s < SHORT_S and estimate.runtime_s_p90 <= SURE_RATIO * median_s


def _shares(fit: FitState) -> bool:
    if fit.common_work is None:
        return False
    shared_s = fit.common_work.share * fit.estimate.runtime_s_p50
    return fit.common_work.share >= LEAST_SHARE and shared_s >= LEAST_SHARED_S
