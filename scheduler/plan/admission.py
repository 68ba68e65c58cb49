"""Which workflow leaves the queue: one that some worker can hold beside those that are open. Pure.

A worker holds the dataset of every workflow whose fits it runs, until the workflow ends. Whoever
opened all that is submitted would soon have no room left for fits, and nothing would ever end. So
workflows wait in the order of their submission; the first is admitted once

* its largest fit finds room on some worker (its *home*) beside the datasets held there, and
* wherever its dataset is held, the largest fit of each workflow at home there still finds room, and
  the smallest of every other.

Workers are told apart by their memory alone: those of one size hold the same datasets. A dataset
counts as held from then on, so nothing is placed in its way; the first fit that comes opens it.

Forecasts may be wrong: fits that turn out to need more than the datasets leave can block each other
for good. Then the youngest workflow is sent back to the queue (`blocking`), so that the oldest can
go on. What was done of it stays done.

Not in: which fit goes where (:mod:`fitcast.scheduler.plan.placement`), the rest of a workflow's
life (:mod:`fitcast.scheduler.plan.lifecycle`).
"""

from collections.abc import Iterable, Iterator

from fitcast.scheduler.plan.plan_state import PlanState
from fitcast.scheduler.plan.workflow_state import Phase, WorkflowState


def next_admitted(state: PlanState) -> WorkflowState | None:
    """Return the workflow that may leave the queue now; None if there is none, or it must wait."""
    first = next(_queue(state), None)
    if first is None or not _may_open(state, first):
        return None
    return first


def let_hold(state: PlanState, workflow: WorkflowState) -> None:
    """Let those workers hold a workflow's dataset that can, now that it is admitted."""
    sizes = {size for size in state.memory_sizes() if _can_hold(state, size, workflow)}
    state.hold(workflow, sizes)
    workflow.home_bytes = max(sizes, key=lambda size: size - state.held[size], default=0)


def hold_anew(state: PlanState) -> None:
    """Let workflows that are open use what room others left, and workers that are new."""
    for workflow in state.workflows.values():
        if workflow.phase is Phase.ACTIVE:
            more = state.memory_sizes() - workflow.sizes
            gained = {size for size in more if _can_hold(state, size, workflow)}
            if gained:
                state.hold(workflow, workflow.sizes | gained)
                at_home = workflow.home_bytes - state.held[workflow.home_bytes]
                if at_home < workflow.largest_need_bytes or not workflow.home_bytes:
                    workflow.home_bytes = max(
                        workflow.sizes, key=lambda size: size - state.held[size]
                    )
    state.note_room()


def waits_for(state: PlanState, workflow: WorkflowState) -> str:
    """Return in words what keeps a workflow in the queue; empty if it isn't there."""
    if workflow.phase is not Phase.QUEUED:
        return ""
    queue = [one.workflow_id for one in _queue(state)]
    if queue and queue[0] != workflow.workflow_id:
        before = queue.index(workflow.workflow_id) if workflow.workflow_id in queue else 1
        return f"it waits in the queue behind {before} other workflow{'s' if before > 1 else ''}"
    sizes = state.memory_sizes()
    if not sizes:
        return "it waits for the first worker"
    largest = max(sizes, key=lambda size: size - state.held[size])
    return (
        f"it waits until other workflows end: its dataset of {_mib(workflow.dataset_bytes)} and a "
        f"fit of {_mib(workflow.largest_need_bytes)} don't fit beside the datasets of "
        f"{_mib(state.held[largest])} on a worker of {_mib(largest)}"
    )


def blocking(state: PlanState) -> WorkflowState | None:
    """Return the workflow that must give its place up so that any can go on; usually none.

    That is so if nothing runs, fits wait, and one could start if it were for its own dataset alone.
    """
    if any(one.occupying or one.pending for one in state.workflows.values()):
        return None
    holding = [one for one in state.workflows.values() if one.sizes]
    if len(holding) < 2:
        return None
    for workflow in state.active():
        if workflow.waiting and _could_start_alone(state, workflow):
            others = [one for one in holding if one is not workflow and one.phase is Phase.ACTIVE]
            return others[-1] if others else None
    return None


def _queue(state: PlanState) -> Iterator[WorkflowState]:
    return (
        one for one in state.workflows.values() if one.phase is Phase.QUEUED and not one.pending
    )


def _may_open(state: PlanState, workflow: WorkflowState) -> bool:
    """Tell whether some worker has room for it; the only workflow takes whatever there is."""
    if workflow.own_workers or not any(one.is_open for one in _others(state, workflow)):
        return True
    return any(
        size - state.held[size] - workflow.dataset_bytes >= workflow.largest_need_bytes
        and _can_hold(state, size, workflow)
        for size in state.memory_sizes()
    )


def _can_hold(state: PlanState, size: int, workflow: WorkflowState) -> bool:
    room = size - state.held[size] - workflow.dataset_bytes
    others = [one for one in _others(state, workflow) if size in one.sizes]
    if not others:
        return room > 0
    if room < workflow.least_need_bytes:
        return False
    return all(
        room >= (one.largest_need_bytes if one.home_bytes == size else one.least_need_bytes)
        for one in others
    )


def _others(state: PlanState, workflow: WorkflowState) -> Iterable[WorkflowState]:
    return (one for one in state.workflows.values() if one is not workflow)


def _could_start_alone(state: PlanState, workflow: WorkflowState) -> bool:
    most = max((memory for _, memory in state.kinds), default=0) - workflow.dataset_bytes
    return any(
        workflow.need_bytes(workflow.fits[fit_id], max(1, most)) <= most
        for fit_id in workflow.waiting
    )


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
