"""What to do now that this happened: the rules by which a plan goes on.

A deterministic state machine: `Decisions.handle` applies an event and returns the actions that
follow from it. No Dask, no clock, no threads: the dispatcher drives it with real workers, the
simulator in virtual time, tests by hand. In: workers, fits and their attempts. Which fit goes where
is decided in :mod:`fitcast.scheduler.plan.placement`, how a workflow begins and ends in
:mod:`fitcast.scheduler.plan.lifecycle`, when it leaves the queue in
:mod:`fitcast.scheduler.plan.admission`.

Growing follows proof: out of memory gets more memory, out of time more time (once), a lost worker
costs nothing until the fit has taken down `MOST_WORKERS_LOST`. What would end a fit that follows
others in their process is tried once alone before it counts: they may be to blame.
"""

from collections.abc import Iterator
from typing import assert_never

from fitcast.history.records import Outcome
from fitcast.scheduler.plan import admission, lifecycle
from fitcast.scheduler.plan.events import (
    Abandoned,
    Action,
    ActionFailed,
    AllWorkersLost,
    AttemptEnded,
    CancelRequested,
    CloseWorkers,
    DatasetReleased,
    DatasetRemoved,
    Event,
    ExplainLoss,
    Kill,
    NextChosen,
    OfWorkflow,
    OpenWorkers,
    Recorded,
    RecordEnd,
    Reforecast,
    ReleaseDataset,
    RemoveDataset,
    Seal,
    Sealed,
    Settle,
    SharesChanged,
    StartLearned,
    Submitted,
    WorkerExpected,
    WorkerJoined,
    WorkerLeft,
    WorkerLost,
    WorkersClosed,
    WorkersOpened,
)
from fitcast.scheduler.plan.fit_state import FitState
from fitcast.scheduler.plan.invariants import check
from fitcast.scheduler.plan.placement import place
from fitcast.scheduler.plan.plan_state import PlanState, WorkerState
from fitcast.scheduler.plan.pools import WorkerSize
from fitcast.scheduler.plan.workflow_state import WorkflowState

MOST_WORKERS_LOST = 3
"""A fit that was running on this many lost workers is poison and not tried again."""
_NO_MORE = 1.25  # an attempt that used up to so much of what the one before used made no headway


class Decisions:
    """The state of a plan and the rules by which it moves.

    Parameters
    ----------
    state : PlanState, optional
        Where to go on from; by default nothing is known.
    checked : bool
        Whether the state is checked against its invariants after every event, for tests.
    """

    def __init__(self, state: PlanState | None = None, *, checked: bool = False) -> None:
        self.state = state or PlanState()
        self._checked = checked

    @property
    def workers(self) -> dict[str, WorkerState]:
        """The workers, by address."""
        return self.state.workers

    @property
    def workflows(self) -> dict[str, WorkflowState]:
        """The workflows that aren't closed, by id."""
        return self.state.workflows

    def copy(self) -> "Decisions":
        """Return an independent copy, for simulating what comes next."""
        return Decisions(self.state.copy())

    def running(self) -> Iterator[FitState]:
        """Yield the fits that have an attempt under way."""
        return self.state.running()

    def handle(self, event: Event, now_s: float) -> list[Action]:
        """Apply an event; return the actions that follow from it.

        Parameters
        ----------
        event : Event
            What happened.
        now_s : float
            Time of the event in seconds, from any fixed origin.

        Returns
        -------
        list of Action
            To be carried out in this order.
        """
        actions = self._apply(event)
        actions += lifecycle.advance(self.state)
        actions += self.place(now_s)
        if not self.state.cpus_in_use:
            actions += lifecycle.make_room(self.state)
        if self._checked:
            check(self.state)
        return actions

    def _apply(self, event: Event) -> list[Action]:
        match event:
            case WorkerJoined():
                self.join(event.worker)
            case WorkerExpected():
                self.expect(event.worker)
            case WorkerLost():
                return self._lose(event)
            case WorkerLeft():
                return self._leave(event)
            case AllWorkersLost():
                return self._lose_all(event)
            case Submitted():
                return lifecycle.begin(self.state, event)
            case SharesChanged():
                self.state.weights = dict(event.weights)
            case Reforecast():
                self._reforecast(event)
            case StartLearned():
                self._learn_start(event)
            case NextChosen():
                self._begin_round(event)
            case AttemptEnded():
                return self._end(event)
            case CancelRequested():
                return self._give_up(event)
            case Abandoned():
                return self._give_up(event)
            case Sealed():
                self._answer(Seal(event.workflow_id))
            case WorkersOpened():
                self._answer(OpenWorkers(event.workflow_id))
            case Recorded():
                self._answer(RecordEnd(event.workflow_id))
            case DatasetReleased():
                self._answer(ReleaseDataset(event.workflow_id))
            case DatasetRemoved():
                self._answer(RemoveDataset(event.workflow_id))
            case WorkersClosed():
                self._answer(CloseWorkers(event.workflow_id))
            case ActionFailed():
                return self._fail(event)
            case _:
                assert_never(event)
        return []

    # -- workers -----------------------------------------------------------------------------

    def join(self, size: WorkerSize) -> None:
        """Count a worker in, without starting anything on it yet."""
        sizes = self.state.memory_sizes()
        self.state.join(size)
        if self.state.memory_sizes() != sizes:
            admission.hold_anew(self.state)

    def expect(self, size: WorkerSize) -> None:
        """Count on a worker that may come."""
        self.state.expect(size)
        admission.hold_anew(self.state)

    def _lose(self, event: WorkerLost) -> list[Action]:
        worker = self.state.leave(event.address, returns=event.returns)
        if worker is None:
            return []
        admission.hold_anew(self.state)
        if not worker.running:
            return []
        before = self.state.lost.get(event.address)
        if before is not None:  # under the same address; whatever is found out is of both
            worker.running |= before.running
        self.state.lost[event.address] = worker
        return [ExplainLoss(event.address, event.returns)]

    def _leave(self, event: WorkerLeft) -> list[Action]:
        worker = self.state.lost.get(event.address)
        if worker is None:
            worker = self.state.leave(event.address, returns=event.returns)
            admission.hold_anew(self.state)
        if worker is None:
            return []
        actions: list[Action] = []
        leaders = [key for key in worker.running if self.state.fit(key).follows is None]
        for key in sorted(worker.running):
            workflow = self.workflows[key.workflow_id]
            fit = workflow.fits[key.fit_id]
            follows = fit.follows is not None
            self.state.vacate(workflow, fit)
            if fit.outcome is not None:
                continue
            if event.preempted or follows:  # only the leader of a process can be to blame
                actions += self._again(workflow, fit)
            elif event.out_of_memory and len(leaders) == 1:  # else another may be to blame
                actions += self._out_of_memory(workflow, fit, worker.memory_bytes)
            else:
                fit.workers_lost += 1
                actions += self._lost(workflow, fit)
        self.state.lost.pop(event.address, None)
        return actions

    def _lose_all(self, event: AllWorkersLost) -> list[Action]:
        self.state.failure = event.error
        for address in (*self.state.workers, *self.state.lost):
            self._leave(WorkerLeft(address, preempted=True))
        workflows = self.workflows.values()
        return [a for one in workflows for a in lifecycle.give_up(self.state, one, event.error)]

    # -- workflows ---------------------------------------------------------------------------

    def submit(self, event: Submitted) -> list[Action]:
        """Take a workflow in, without starting anything of it yet."""
        return [*lifecycle.begin(self.state, event), *lifecycle.advance(self.state)]

    def _answer(self, action: OfWorkflow) -> None:
        workflow = self.workflows.get(action.workflow_id)
        if workflow is not None and action in workflow.pending:
            lifecycle.answered(self.state, workflow, action)

    def _fail(self, event: ActionFailed) -> list[Action]:
        action = event.action
        if isinstance(action, ExplainLoss):
            return self._leave(WorkerLeft(action.address, returns=action.returns))
        workflow = self.workflows.get(action.workflow_id)
        if workflow is None or action not in workflow.pending:
            return []
        return lifecycle.failed(self.state, workflow, action, event.error)

    def _give_up(self, event: CancelRequested | Abandoned) -> list[Action]:
        workflow = self.workflows.get(event.workflow_id)
        if workflow is None:
            return []
        error = event.error if isinstance(event, Abandoned) else None
        return lifecycle.give_up(self.state, workflow, error)

    def _reforecast(self, event: Reforecast) -> None:
        workflow = self.workflows.get(event.workflow_id)
        if workflow is None or workflow.is_ending:
            return
        for fit_id, estimate in event.estimates.items():
            fit = workflow.fits.get(fit_id)
            if fit is not None and fit.outcome is None:
                self.state.reforecast(fit, estimate)
                fit.common_work = event.common_work.get(fit_id, fit.common_work)
        self.state.sort(workflow)

    def _learn_start(self, event: StartLearned) -> None:
        workflow = self.workflows.get(event.workflow_id)
        if workflow is None:
            return
        workflow.process_start_s = event.process_start_s
        for fit in workflow.fits.values():
            if fit.outcome is None:
                fit.process_start_s = event.process_start_s

    def _begin_round(self, event: NextChosen) -> None:
        workflow = self.workflows.get(event.workflow_id)
        if workflow is not None:
            lifecycle.begin_round(self.state, workflow, event.fits)

    # -- attempts ----------------------------------------------------------------------------

    def _end(self, event: AttemptEnded) -> list[Action]:
        workflow = self.workflows.get(event.key.workflow_id)
        fit = workflow.fits.get(event.key.fit_id) if workflow else None
        if workflow is None or fit is None:
            return []
        if fit.attempt != event.attempt or fit.running_on is None:
            return self._late(workflow, fit, event)
        follows = fit.follows is not None
        self.state.vacate(workflow, fit)
        if fit.outcome is not None:
            return []  # it was given up, and now holds nothing any more
        if follows and self._would_end(workflow, fit, event):
            fit.failed_in_company = True
            return self._again(workflow, fit)
        match event.outcome:
            case Outcome.OUT_OF_MEMORY:
                return self._out_of_memory(workflow, fit, event.peak_memory_bytes)
            case Outcome.OUT_OF_TIME:
                return self._out_of_time(workflow, fit)
            case Outcome.WORKER_LOST:
                fit.workers_lost += 1
                return self._lost(workflow, fit)
            case Outcome.PREEMPTED:
                return self._again(workflow, fit)
            case outcome:
                return [self._settle(workflow, fit, outcome)]

    def _late(self, workflow: WorkflowState, fit: FitState, event: AttemptEnded) -> list[Action]:
        """Take in what became of an attempt whose worker was lost while its result was kept."""
        if event.outcome is not Outcome.SUCCEEDED or fit.outcome is not None:
            return []  # it was given up
        actions: list[Action] = []
        if fit.fit_id in workflow.waiting:
            workflow.waiting.remove(fit)
        elif fit.running_on and fit.follows is None and not self.state.is_lost(fit):
            actions.append(Kill(fit.key, fit.attempt, fit.running_on))
        return [*actions, self._settle(workflow, fit, event.outcome)]

    def _would_end(self, workflow: WorkflowState, fit: FitState, event: AttemptEnded) -> bool:
        """Tell whether an attempt that went wrong is the fit's last by what else holds."""
        match event.outcome:
            case Outcome.FAILED:
                return True
            case Outcome.OUT_OF_MEMORY:
                return self._is_at_bound(workflow, fit, event.peak_memory_bytes)
            case Outcome.OUT_OF_TIME:
                return workflow.deadline_s is not None
            case _:
                return False

    def _is_at_bound(self, workflow: WorkflowState, fit: FitState, used_bytes: int) -> bool:
        most = workflow.alone_bytes
        return workflow.memory_bytes is not None or fit.share_bytes >= most or used_bytes >= most

    def _settle(
        self, workflow: WorkflowState, fit: FitState, outcome: Outcome, reason: str = ""
    ) -> Settle:
        workflow.settle(fit, outcome)
        return Settle(fit.key, fit.attempt, outcome, reason)

    def _again(self, workflow: WorkflowState, fit: FitState) -> list[Action]:
        self.state.wait(workflow, fit)
        return []

    def _lost(self, workflow: WorkflowState, fit: FitState) -> list[Action]:
        if fit.workers_lost < MOST_WORKERS_LOST:
            return self._again(workflow, fit)
        reason = f"its worker was lost {fit.workers_lost} times while it ran; not tried again"
        return [self._settle(workflow, fit, Outcome.WORKER_LOST, reason)]

    def _out_of_memory(
        self, workflow: WorkflowState, fit: FitState, peak_memory_bytes: int
    ) -> list[Action]:
        used = max(peak_memory_bytes, 1)
        if fit.memory_failures and used <= _NO_MORE * fit.least_memory_bytes:
            # It asks for more than its share at one go: nothing shows how much that is.
            used = max(used, fit.share_bytes)
        if self._is_at_bound(workflow, fit, used):
            used = max(used, fit.share_bytes)
            bound = "the bound given" if workflow.memory_bytes is not None else "the largest worker"
            fit.ran_out_of_memory(used)
            reason = (
                f"needs more than {used / 2**20:,.0f} MiB, {bound}; "
                f"about {fit.wanted_bytes() / 2**20:,.0f} MiB would be tried next"
            )
            return [self._settle(workflow, fit, Outcome.OUT_OF_MEMORY, reason)]
        fit.ran_out_of_memory(used)
        workflow.largest_need_bytes = max(workflow.largest_need_bytes, workflow.need_bytes(fit))
        return self._again(workflow, fit)

    def _out_of_time(self, workflow: WorkflowState, fit: FitState) -> list[Action]:
        fit.timeouts += 1
        if fit.timeouts == 1 and workflow.deadline_s is None:
            return self._again(workflow, fit)
        reason = "ran out of the time given" if workflow.deadline_s else "ran out of time twice"
        return [self._settle(workflow, fit, Outcome.OUT_OF_TIME, reason)]

    # -- placement ---------------------------------------------------------------------------

    def place(self, now_s: float) -> list[Action]:
        """Start what there is room for."""
        return [*place(self.state, now_s)]
