"""What to do now that this happened: the rules by which a plan goes on.

A deterministic state machine: `Decisions.handle` takes an event and the time and returns actions.
No Dask, no clock, no threads: the dispatcher drives it with real workers, the simulator in
virtual time, tests by hand. Which fit goes where is decided in
:mod:`fitcast.scheduler.plan.placement`.

Growing follows proof: out of memory gets more memory, out of time more time (once), a lost worker
costs nothing until the fit has taken down `MOST_WORKERS_LOST`.
"""

from collections.abc import Iterator

from fitcast.history.records import Outcome
from fitcast.scheduler.plan.events import (
    Action,
    AttemptEnded,
    CancelRequested,
    ChooseFinal,
    Close,
    Event,
    FinalChosen,
    FitKey,
    Kill,
    Reforecast,
    Settle,
    Submitted,
    WorkerJoined,
    WorkerLeft,
)
from fitcast.scheduler.plan.fit_state import FitState
from fitcast.scheduler.plan.placement import place
from fitcast.scheduler.plan.plan_state import PlanState, WorkerState, WorkflowState
from fitcast.scheduler.plan.pools import WorkerSize

MOST_WORKERS_LOST = 3
"""A fit that was running on this many lost workers is poison and not tried again."""


class Decisions:
    """The state of a plan and the rules by which it moves."""

    def __init__(self, state: PlanState | None = None) -> None:
        self.state = state or PlanState()

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
        """Take in what happened and say what is to be done now.

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
        actions: list[Action] = []
        match event:
            case WorkerJoined():
                self.join(event.worker)
            case WorkerLeft():
                actions += self._leave(event)
            case Submitted():
                self.submit(event)
            case Reforecast():
                self._reforecast(event)
            case FinalChosen():
                actions += self._choose_final(event)
            case AttemptEnded():
                actions += self._end(event)
            case CancelRequested():
                actions += self._cancel(event)
        actions += self._close()
        actions += self.place(now_s)
        return actions

    # -- workers -----------------------------------------------------------------------------

    def join(self, size: WorkerSize) -> None:
        """Count a worker in, without starting anything on it yet."""
        self.state.join(size)

    def _leave(self, event: WorkerLeft) -> list[Action]:
        worker = self.state.leave(event.address, returns=event.returns)
        if worker is None:
            return []
        actions: list[Action] = []
        leaders = [key for key in worker.running if self.state.fit(key).follows is None]
        for key in sorted(worker.running):
            workflow = self.workflows[key.workflow_id]
            fit = workflow.fits[key.fit_id]
            follows = fit.follows is not None
            self.state.vacate(workflow, fit)
            if event.preempted or follows:  # only the leader of a process can be to blame
                actions += self._again(workflow, fit)
            elif event.out_of_memory and len(leaders) == 1:  # else another may be to blame
                actions += self._out_of_memory(workflow, fit, worker.memory_bytes)
            else:
                fit.workers_lost += 1
                actions += self._lost(workflow, fit)
        return actions

    # -- workflows ---------------------------------------------------------------------------

    def submit(self, event: Submitted) -> None:
        """Take a workflow in, without starting anything of it yet."""
        if event.workflow_id in self.workflows:
            return
        fits = {
            fit_id: FitState(
                FitKey(event.workflow_id, fit_id),
                estimate,
                order,
                event.folds.get(fit_id),
                event.candidates.get(fit_id),
                event.shared.get(fit_id),
                event.process_start_s,
            )
            for order, (fit_id, estimate) in enumerate(event.estimates.items())
        }
        workflow = WorkflowState(
            fits=fits,
            dataset_bytes=event.dataset_bytes,
            memory_bytes=event.memory_bytes,
            deadline_s=event.deadline_s,
            final=event.final,
            unsettled=len(fits),
        )
        self.state.open(event.workflow_id, workflow)
        self.state.enqueue(workflow, list(fits.values()))

    def _reforecast(self, event: Reforecast) -> None:
        workflow = self.workflows.get(event.workflow_id)
        if workflow is None:
            return
        for fit_id, estimate in event.estimates.items():
            fit = workflow.fits.get(fit_id)
            if fit is not None and fit.outcome is None:
                self.state.reforecast(fit, estimate)
                fit.shared = event.shared.get(fit_id, fit.shared)
        self.state.sort(workflow)

    def _choose_final(self, event: FinalChosen) -> list[Action]:
        workflow = self.workflows.get(event.workflow_id)
        if workflow is None or not workflow.final:
            return []
        workflow.final = False
        if event.fit_id is not None and event.estimate is not None:
            key = FitKey(event.workflow_id, event.fit_id)
            fit = workflow.fits[event.fit_id] = FitState(key, event.estimate)
            workflow.unsettled += 1
            self.state.wait(workflow, fit)
        return []

    def _cancel(self, event: CancelRequested) -> list[Action]:
        workflow = self.workflows.get(event.workflow_id)
        if workflow is None:
            return []
        actions: list[Action] = []
        workflow.final = False
        workflow.waiting.clear()
        for fit in workflow.fits.values():
            if fit.outcome is not None:
                continue
            if fit.running_on is not None:
                actions.append(Kill(fit.key, fit.attempt, fit.running_on))
                self.state.vacate(workflow, fit)
            actions.append(self._settle(workflow, fit, Outcome.CANCELLED, event.reason))
        return actions

    def _close(self) -> list[Action]:
        actions: list[Action] = []
        for workflow_id, workflow in list(self.workflows.items()):
            if workflow.unsettled:
                continue
            if workflow.final:
                actions.append(ChooseFinal(workflow_id))
                continue
            self.state.close(workflow_id)
            actions.append(Close(workflow_id))
        return actions

    # -- attempts ----------------------------------------------------------------------------

    def _end(self, event: AttemptEnded) -> list[Action]:
        workflow = self.workflows.get(event.key.workflow_id)
        fit = workflow.fits.get(event.key.fit_id) if workflow else None
        if workflow is None or fit is None:
            return []
        if fit.attempt != event.attempt or fit.running_on is None or fit.outcome is not None:
            return []  # a late report of an attempt that was given up
        self.state.vacate(workflow, fit)
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

    def _settle(
        self, workflow: WorkflowState, fit: FitState, outcome: Outcome, reason: str = ""
    ) -> Settle:
        fit.outcome = outcome
        workflow.unsettled -= 1
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
        most = self.state.most_memory_bytes()
        used = max(peak_memory_bytes, 1)
        if workflow.memory_bytes is not None or fit.share_bytes >= most or used >= most:
            used = max(used, fit.share_bytes)
            bound = "the bound given" if workflow.memory_bytes is not None else "the largest worker"
            fit.ran_out_of_memory(used)
            reason = (
                f"needs more than {used / 2**20:,.0f} MiB, {bound}; "
                f"about {fit.wanted_bytes() / 2**20:,.0f} MiB would be tried next"
            )
            return [self._settle(workflow, fit, Outcome.OUT_OF_MEMORY, reason)]
        fit.ran_out_of_memory(used)
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
