"""A workflow's life: from its submission until nothing is left of it. Pure.

    sealing → queued → opening → active → draining → recorded → closed

Sealing comes first, so that whoever submits may change the data once that is done; opening is for
workflows with workers of their own. Whatever goes wrong on the way, and a cancel, leads to
draining: its fits are settled, what runs is ended, and everything that was asked for is answered
before the end is recorded and the dataset removed. So nothing comes late, and nothing stays behind.

Not in: fits and attempts (:mod:`fitcast.scheduler.plan.decisions`), who leaves the queue
(:mod:`fitcast.scheduler.plan.admission`).
"""

from collections.abc import Iterator, Mapping
from typing import assert_never

from fitcast.errors import FitcastError
from fitcast.history.records import Outcome
from fitcast.scheduler.plan import admission
from fitcast.scheduler.plan.events import (
    Action,
    ChooseNext,
    Close,
    CloseWorkers,
    Conclude,
    FitKey,
    InterruptChoice,
    InterruptOpening,
    Kill,
    LateFit,
    OfWorkflow,
    OpenWorkers,
    RecordEnd,
    ReleaseDataset,
    RemoveDataset,
    Seal,
    Settle,
    Submitted,
)
from fitcast.scheduler.plan.fit_state import FitState
from fitcast.scheduler.plan.plan_state import PlanState
from fitcast.scheduler.plan.workflow_state import Phase, WorkflowState


def begin(state: PlanState, event: Submitted) -> list[Action]:
    """Take a workflow into the plan; one that is known already stays as it is."""
    if event.workflow_id in state.workflows:
        return []
    fits = {
        fit_id: FitState(
            FitKey(event.workflow_id, fit_id),
            estimate,
            order=order,
            fold=event.folds.get(fit_id),
            candidate=event.candidates.get(fit_id),
            common_work=event.common_work.get(fit_id),
            process_start_s=event.process_start_s,
            attempt=event.attempts.get(fit_id, 0),
        )
        for order, (fit_id, estimate) in enumerate(event.estimates.items())
    }
    workflow = WorkflowState(
        workflow_id=event.workflow_id,
        fits=fits,
        dataset_bytes=event.dataset_bytes,
        memory_bytes=event.memory_bytes,
        deadline_s=event.deadline_s,
        rounds=event.rounds,
        unsettled=len(fits),
        process_start_s=event.process_start_s,
        own_workers=event.own_workers,
        share_of=event.share_of,
        priority=event.priority,
    )
    workflow.note_needs()
    state.workflows[event.workflow_id] = workflow
    state.note_room()
    if state.failure is not None:
        return give_up(state, workflow, state.failure)
    if event.sealed:
        workflow.phase = Phase.QUEUED
        return []
    return [_ask(workflow, Seal(event.workflow_id))]


def sealed(workflow: WorkflowState) -> None:
    """Note that its dataset is ready for workers."""
    if workflow.phase is Phase.SEALING:
        workflow.phase = Phase.QUEUED


def activate(state: PlanState, workflow: WorkflowState) -> None:
    """Let its fits be placed."""
    if workflow.phase not in (Phase.QUEUED, Phase.OPENING):
        return
    workflow.phase = Phase.ACTIVE
    admission.let_hold(state, workflow)
    state.note_room()
    state.let_wait(workflow)


def begin_round(
    state: PlanState, workflow: WorkflowState, fits: Mapping[str, LateFit] | None
) -> None:
    """Take the fits of the next round in; None says that none follows."""
    asked = ChooseNext(workflow.workflow_id)
    if asked not in workflow.pending:
        return
    workflow.pending.discard(asked)
    if not workflow.rounds:  # it was given up meanwhile
        return
    workflow.rounds = 0 if fits is None else workflow.rounds - 1
    added = [
        FitState(
            FitKey(workflow.workflow_id, fit_id),
            told.estimate,
            order=order,
            fold=told.fold,
            candidate=told.candidate,
            common_work=told.common_work,
            process_start_s=workflow.process_start_s,
            attempt=told.attempt,
        )
        for order, (fit_id, told) in enumerate((fits or {}).items(), len(workflow.fits))
    ]
    if not added:
        return
    workflow.fits |= {fit.fit_id: fit for fit in added}
    workflow.unsettled += len(added)
    workflow.note_needs()
    admission.hold_anew(state)
    for fit in added:
        state.wait(workflow, fit)


def give_up(
    state: PlanState, workflow: WorkflowState, error: FitcastError | None = None
) -> list[Action]:
    """Settle what is left of a workflow, and end what runs; without an error it is cancelled."""
    if workflow.is_ending:
        return []
    workflow.cancelled, workflow.error = error is None, error
    workflow.rounds = 0
    workflow.waiting.clear()
    actions: list[Action] = []
    if any(isinstance(asked, OpenWorkers) for asked in workflow.pending):
        actions.append(InterruptOpening(workflow.workflow_id))
    if ChooseNext(workflow.workflow_id) in workflow.pending:
        actions.append(InterruptChoice(workflow.workflow_id))
    reason = "cancelled" if error is None else f"cancelled: {error}"
    for fit in workflow.fits.values():
        if fit.outcome is not None:
            continue
        # Followers go with the leader of their process; those of lost workers are gone.
        if fit.running_on is not None and fit.follows is None and not state.is_lost(fit):
            actions.append(Kill(fit.key, fit.attempt, fit.running_on))
        workflow.settle(fit, Outcome.CANCELLED)
        actions.append(Settle(fit.key, fit.attempt, Outcome.CANCELLED, reason))
    return actions


def answered(state: PlanState, workflow: WorkflowState, action: OfWorkflow) -> None:
    """Note that a slow action of a workflow was carried out."""
    workflow.pending.discard(action)
    match action:
        case Seal():
            sealed(workflow)
        case OpenWorkers():
            activate(state, workflow)
        case ChooseNext():
            pass
        case RecordEnd():
            workflow.phase = Phase.RECORDED
        case ReleaseDataset():
            _release(state, workflow)
        case RemoveDataset():
            _release(state, workflow)
            workflow.dataset_removed = True
        case CloseWorkers():
            workflow.workers_opened = False
        case _:
            assert_never(action)


def failed(
    state: PlanState, workflow: WorkflowState, action: OfWorkflow, error: FitcastError
) -> list[Action]:
    """Note that a slow action of a workflow failed."""
    match action:
        case Seal() | OpenWorkers():
            workflow.pending.discard(action)
            return give_up(state, workflow, error)
        case ChooseNext():
            workflow.pending.discard(action)
            workflow.rounds, workflow.error = 0, error  # the results that are there stay
        case RecordEnd() | ReleaseDataset() | RemoveDataset() | CloseWorkers():
            # Said in the log; nothing else can be done, and the workflow goes on.
            answered(state, workflow, action)
        case _:
            assert_never(action)
    return []


def advance(state: PlanState) -> Iterator[Action]:
    """Move every workflow on as far as it goes without any new event."""
    for workflow in list(state.workflows.values()):
        yield from _end(state, workflow)
    while (first := admission.next_admitted(state)) is not None:
        if first.own_workers and not first.workers_opened:
            first.phase, first.workers_opened = Phase.OPENING, True
            yield _ask(first, OpenWorkers(first.workflow_id))
        else:
            activate(state, first)


def make_room(state: PlanState) -> Iterator[Action]:
    """Send a workflow back to the queue if nothing could go on otherwise."""
    if (workflow := admission.blocking(state)) is not None:
        workflow.phase = Phase.QUEUED
        workflow.waiting.clear()
        yield _ask(workflow, ReleaseDataset(workflow.workflow_id))


def _end(state: PlanState, workflow: WorkflowState) -> Iterator[Action]:
    """Bring a workflow whose fits are all settled nearer to its end."""
    name = workflow.workflow_id
    if workflow.unsettled:
        return
    if workflow.rounds:
        if ChooseNext(name) not in workflow.pending:
            yield _ask(workflow, ChooseNext(name))
        return
    if not workflow.is_ending:
        workflow.phase = Phase.DRAINING
    if not workflow.concluded:
        workflow.concluded = True
        yield Conclude(name, workflow.error, workflow.cancelled)
    if workflow.pending or workflow.occupying:
        return
    if workflow.phase is Phase.DRAINING:
        yield _ask(workflow, RecordEnd(name))
    elif not workflow.dataset_removed:
        yield _ask(workflow, RemoveDataset(name))
    elif workflow.workers_opened:
        yield _ask(workflow, CloseWorkers(name))
    else:
        del state.workflows[name]
        state.note_room()
        yield Close(name)


def _ask(workflow: WorkflowState, action: OfWorkflow) -> OfWorkflow:
    workflow.pending.add(action)
    return action


def _release(state: PlanState, workflow: WorkflowState) -> None:
    if workflow.sizes:
        state.hold(workflow, ())
        workflow.home_bytes = 0
        admission.hold_anew(state)
