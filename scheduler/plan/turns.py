"""Whose turn it is: the workflow that is given the next fit's room. Pure.

Without users' weights it is the one with the fewest CPUs in use. With weights
(:class:`fitcast.scheduler.plan.events.SharesChanged`) it is one of the user with the smallest
dominant share of CPUs and memory in use, over their weight (Ghodsi et al., NSDI 2011); among the
user's own the highest priority goes first, then the fewest CPUs in use.

Not in: which fit of it, where (:mod:`fitcast.scheduler.plan.placement`), what weights come from.
"""

from collections.abc import Container

from fitcast.scheduler.plan.plan_state import PlanState


def next_turn(state: PlanState, blocked: Container[str] = ()) -> str | None:
    """Return the workflow that goes next; None if no fit waits.

    Parameters
    ----------
    state : PlanState
        What waits and what is in use.
    blocked : container of str
        Workflows that found no room in this turn.
    """
    if state.weights:
        return _by_shares(state, blocked)
    ready = [
        (workflow.cpus_in_use, order, workflow_id)
        for order, (workflow_id, workflow) in enumerate(state.workflows.items())
        if workflow.waiting and workflow_id not in blocked
    ]
    return min(ready)[2] if ready else None


def levels(state: PlanState) -> dict[str, float]:
    """Return each user's dominant share of what is in use, over their weight."""
    cpus: dict[str, int] = {}
    memory: dict[str, float] = {}
    for workflow in state.workflows.values():
        user = workflow.share_of
        cpus[user] = cpus.get(user, 0) + workflow.cpus_in_use
        memory[user] = memory.get(user, 0.0) + workflow.held_bytes
    all_cpus = max(1, state.cpus)
    all_memory = max(1, sum(count * size for (_, size), count in state.kinds.items()))
    return {
        user: max(cpus[user] / all_cpus, memory[user] / all_memory) / state.weights.get(user, 1.0)
        for user in cpus
    }


def _by_shares(state: PlanState, blocked: Container[str]) -> str | None:
    level = levels(state)
    ready = [
        (level[workflow.share_of], -workflow.priority, workflow.cpus_in_use, order, workflow_id)
        for order, (workflow_id, workflow) in enumerate(state.workflows.items())
        if workflow.waiting and workflow_id not in blocked
    ]
    return min(ready)[-1] if ready else None
