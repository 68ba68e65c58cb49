"""Carries out decisions on real Dask workers: one thread, one queue of what was reported.

Thin: what to do is decided in :mod:`fitcast.scheduler.plan.decisions`; here each report becomes an
event, and each action that follows is carried out. Nothing slow runs on this thread: steps of a
workflow's life and calls to workers run on executors and report back
(:mod:`fitcast.scheduler.run.steps`, :mod:`fitcast.scheduler.run.worker_set`), results of fits
arrive by themselves (:mod:`fitcast.scheduler.run.attempts`).

An error of our own ends the workflow that it belongs to, through the decisions; others go on.
"""

import logging
import queue
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fitcast.errors import FitcastError, InternalError
from fitcast.history.records import Outcome, Record
from fitcast.scheduler.backends.host_load import HostLoad
from fitcast.scheduler.backends.protocol import Workers
from fitcast.scheduler.forecast.availability import OthersLoad
from fitcast.scheduler.forecast.process_start import StartsSeen
from fitcast.scheduler.kept.results import KeptAttempt
from fitcast.scheduler.plan import events
from fitcast.scheduler.plan.admission import waits_for
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.invariants import restore
from fitcast.scheduler.plan.pool_sizes import Allotment
from fitcast.scheduler.plan.pools import Pool
from fitcast.scheduler.plan.workflow_state import Phase
from fitcast.scheduler.run.attempts import DaskAttempts, ProcessEnded, ProcessFailed
from fitcast.scheduler.run.elastic import LOOK_EVERY_S
from fitcast.scheduler.run.event_log import EventLog
from fitcast.scheduler.run.executor import Executor
from fitcast.scheduler.run.live_eta import Forecast, LiveEta
from fitcast.scheduler.run.reports import Committed, Handed, Report, Stop, Tick, workflow_of
from fitcast.scheduler.run.runs import Run
from fitcast.scheduler.run.steps import StepRunner, Steps, as_ours
from fitcast.scheduler.run.worker_reports import Told, WorkerReports
from fitcast.scheduler.run.worker_set import (
    Connected,
    Hindered,
    LossExplained,
    NoWorkersLeft,
    WorkerSet,
    WorkersSeen,
)
from fitcast.trainer.attempt.spec import Measured

log = logging.getLogger(__name__)

END_WITHIN_S = 60.0
"""What runs when a dispatcher is closed is ended, recorded and removed within this time."""


class Dispatcher:
    """Runs workflows on workers, until it is closed.

    Parameters
    ----------
    steps : Steps
        What is done for workflows beside their fits.
    pools : tuple of Pool
        Kinds of workers.
    key_dir, log_dir : Path
        Where workers read dataset keys, and where the last events are written if fitcast fails.
    workers : Workers, optional
        Those that all workflows share, started at once; without them the one workflow that is
        handed in gets its own, and the dispatcher ends with it.
    host_load : HostLoad, optional
        What others leave of this machine's cores, where the workers are on it.
    checked : bool
        Whether the plan is checked after every event, for tests.
    """

    def __init__(
        self,
        steps: Steps,
        pools: tuple[Pool, ...],
        key_dir: Path,
        log_dir: Path,
        *,
        workers: Workers | None = None,
        host_load: HostLoad | None = None,
        checked: bool = False,
    ) -> None:
        self.decisions = Decisions(checked=checked)
        self._steps = steps
        self._reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._runs: dict[str, Run] = {}
        self._executor = Executor("fitcast-steps")
        self._calls = Executor("fitcast-calls")  # to workers, any of which may hang
        self._looks = Executor("fitcast-looks", threads=2)
        post = self._reports.put
        self._workers = WorkerSet(self._looks, post, key_dir, pools)
        self._attempts = DaskAttempts(post)
        self._step = StepRunner(steps, self._executor, self._workers, self._attempts, post)
        self._from_workers = WorkerReports(self._runs, self._attempts, self._workers, self._note)
        self._committing: set[tuple[events.FitKey, int]] = set()  # their results are being kept
        self._log = EventLog(log_dir)
        self._serves_one = workers is None
        self._stop_by_s: float | None = None
        self._plan_lock = threading.Lock()
        self._host_load = host_load
        self._live_eta = LiveEta(self._snapshot, self._load, post)
        self._thread = threading.Thread(target=self._loop, name="fitcast-dispatcher", daemon=True)
        self._thread.start()
        if workers is not None:
            self._executor.submit(lambda: self._open(workers))

    # -- asked from other threads --------------------------------------------------------------

    def ready_in_s(self) -> float:
        """Return in about how many seconds the first worker is ready."""
        return 0.0 if self.decisions.workers else self._workers.ready_in_s()

    def submit(self, run: Run, submitted: events.Submitted) -> None:
        """Take a workflow in."""
        self._reports.put(Handed(run, submitted))

    def cancel(self, workflow_id: str) -> None:
        """Give a workflow up."""
        self._reports.put(events.CancelRequested(workflow_id))

    def share_by(self, weights: Mapping[str, float]) -> None:
        """Let users share the workers by these weights."""
        self._reports.put(events.SharesChanged(dict(weights)))

    def allot(self, allotment: Allotment) -> None:
        """Let workers of a workflow's own be no more than that."""
        self._workers.allot(allotment)

    def stop(self) -> None:
        """Cancel what runs, end the workers, end the threads; `join` waits for it."""
        self._reports.put(Stop())

    def join(self, timeout_s: float = 2 * END_WITHIN_S) -> None:
        """Wait until all of it has ended."""
        self._thread.join(timeout_s)

    # -- the thread ------------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._is_done():
            report = self._next()
            try:
                self._take(report)
                self._resize()
            except Exception as error:  # a fault of ours must not hang every workflow
                self._recover(report, error)
        self._live_eta.close()
        for run in list(self._runs.values()):  # what couldn't be ended in time
            self._forget(run, InternalError(f"workflow {run.workflow_id} could not be ended"))
        try:
            self._workers.close()
        except Exception:
            log.exception("workers can't be ended")
        for executor in (self._executor, self._calls, self._looks):
            executor.close(0.0)

    def _is_done(self) -> bool:
        if self._stop_by_s is None:
            return False
        return not self.decisions.workflows or time.monotonic() >= self._stop_by_s

    def _next(self) -> Report:
        wait_s = LOOK_EVERY_S if self._workers.is_elastic else None
        if self._stop_by_s is not None:
            wait_s = max(0.0, self._stop_by_s - time.monotonic())
        try:
            return self._reports.get(timeout=wait_s)
        except queue.Empty:
            return Tick()

    def _take(self, report: Report) -> None:
        match report:
            case Handed():
                self._hand_in(report)
            case Forecast():
                for workflow_id, eta in report.etas.items():
                    if workflow_id in self._runs:
                        self._runs[workflow_id].note_eta(eta)
            case ProcessEnded():
                self._keep(self._from_workers.ended(report))
            case Committed():
                self._committed(report)
            case ProcessFailed():
                self._act_all(self._from_workers.failed(report))
            case WorkersSeen():
                self._act_all(self._from_workers.seen(report, self.decisions.workers))
            case LossExplained():
                self._act(self._from_workers.explained(report))
            case Connected():
                self._connect(report)
            case NoWorkersLeft():
                self._act(events.AllWorkersLost(report.error))
            case Hindered():
                for run in self._runs.values():
                    run.note_waits("backend", report.notes)
            case Stop():
                self._stop_by_s = time.monotonic() + END_WITHIN_S
                self._workers.interrupt()
                for run in list(self._runs.values()):
                    run.is_interrupted = True
                    self._act(events.CancelRequested(run.workflow_id))
            case Tick():
                pass
            case events.NextChosen():
                self._next_chosen(report)
            case _:
                self._act(report)

    def _recover(self, report: Report, error: Exception) -> None:
        """Give up the workflow that an internal error belongs to; all, if it may be any."""
        log.exception("fitcast failed at %.2000s", report)
        workflow_id = workflow_of(report)
        known = [workflow_id] if workflow_id is not None else list(self._runs)
        with self._plan_lock:
            restore(self.decisions.state)
        said = self._internal_error(error)
        for each in known:
            try:
                self._act(events.Abandoned(each, said))
            except Exception:
                log.exception("workflow %s could not be given up in order", each)
                with self._plan_lock:
                    self.decisions.state.workflows.pop(each, None)
                    restore(self.decisions.state)
            if each in self._runs and each not in self.decisions.workflows:
                self._forget(self._runs[each], said)  # it never came into the plan, or is out of it

    def _internal_error(self, error: BaseException) -> InternalError:
        try:
            written = f"; its last events are in {self._log.write()}"
        except Exception:
            log.exception("the last events can't be written")
            written = ""
        made = InternalError(
            f"fitcast failed: {type(error).__name__}: {error}. The log has the traceback{written}. "
            "Please report it; other workflows go on."
        )
        made.__cause__ = error
        return made

    def _forget(self, run: Run, error: InternalError) -> None:
        """Let go of a workflow; the error is its end if it has come to none."""
        self._runs.pop(run.workflow_id, None)
        run.end("failed", error)
        run.closed.set()
        self._steps.closed(run)

    # -- workflows -------------------------------------------------------------------------------

    def _hand_in(self, handed: Handed) -> None:
        run = handed.run
        if self._stop_by_s is not None:
            run.interrupt()
            run.closed.set()
            return
        self._runs[run.workflow_id] = run
        run.common_work = dict(handed.submitted.common_work)
        run.starts = StartsSeen(handed.submitted.process_start_s)
        self._act(handed.submitted)

    def _next_chosen(self, event: events.NextChosen) -> None:
        run = self._runs.get(event.workflow_id)
        if run is not None and run.next_fits is not None:
            run.add(run.next_fits)
        self._act(event)

    def _act_all(self, several: Iterable[events.Event]) -> None:
        for event in several:
            self._act(event)

    def _act(self, event: events.Event) -> None:
        """Apply an event to the plan, and carry out what follows."""
        pending: list[events.Event] = [event]
        while pending:
            event, now_s = pending.pop(0), time.monotonic()
            with self._plan_lock:
                self._log.note(event, now_s, self.decisions)
                actions = self.decisions.handle(event, now_s)
            for action in actions:
                try:
                    pending += self._carry_out(action)
                except Exception as error:
                    log.exception("fitcast failed to carry out %.2000s", action)
                    workflow_id = workflow_of(action)
                    if workflow_id is None:
                        raise
                    pending.append(events.Abandoned(workflow_id, self._internal_error(error)))
        self._publish()
        self._live_eta.change()

    def _carry_out(self, action: events.Action) -> list[events.Event]:
        """Carry out an action; return events that it leads to at once."""
        match action:
            case events.Start():
                self._start(action)
            case events.Kill():
                return self._kill(action)
            case events.Settle():
                run = self._runs[action.key.workflow_id]
                run.settle(action.key.fit_id, action.outcome, action.reason)
            case events.Conclude():
                self._runs[action.workflow_id].conclude(action)
            case events.InterruptOpening():
                self._workers.interrupt()
            case events.InterruptChoice():
                given_up = self._runs[action.workflow_id]
                self._calls.submit(lambda: self._attempts.give_up_asking(given_up))
            case events.ExplainLoss():
                self._workers.explain(action.address, returns=action.returns)
            case events.Close():
                run = self._runs[action.workflow_id]
                self._forget(run, InternalError(f"workflow {run.workflow_id} has no result"))
                if self._serves_one:
                    self._reports.put(Stop())
            case _:
                self._step.start(self._runs[action.workflow_id], action)
        return []

    def _publish(self) -> None:
        """Let views tell where each workflow is."""
        for workflow_id, workflow in self.decisions.workflows.items():
            run = self._runs.get(workflow_id)
            if run is None:
                continue
            waits = waits_for(self.decisions.state, workflow)
            run.note_waits("queue", (waits,) if waits else ())
            if workflow.phase is Phase.QUEUED:
                run.note_state("queued")
            elif run.state == "queued":
                run.note_state("preparing")  # its first fit is about to start

    # -- attempts and workers --------------------------------------------------------------------

    def _start(self, start: events.Start) -> None:
        run = self._runs[start.key.workflow_id]
        sent = self._attempts.send(run, start)
        for member in sent.members:
            # One of them runs; which one isn't known from here once the leader is done.
            state = "running" if member.key == start.key else "waiting"
            run.note_start(member.key.fit_id, state, member.attempt, start)

    def _kill(self, kill: events.Kill) -> list[events.Event]:
        """Ask for the end of a process; one that was never sent has ended already."""
        if self._attempts.is_under_way(kill.key, kill.attempt):
            self._cancel(kill.key, kill.attempt, kill.worker)
            return []
        if (kill.key, kill.attempt) in self._committing:
            self._steps.give_up_keeping(self._runs[kill.key.workflow_id])
            return []
        fits = self.decisions.workflows[kill.key.workflow_id].fits.values()
        return [
            events.AttemptEnded(fit.key, fit.attempt, Outcome.CANCELLED, 0)
            for fit in fits
            if kill.key in (fit.key, fit.follows) and fit.running_on is not None
        ]

    def _cancel(self, key: events.FitKey, attempt: int, worker: str) -> None:
        """Ask a worker, without waiting for it, to end the process of an attempt."""
        self._calls.submit(lambda: self._attempts.cancel(key, attempt, worker))

    def _keep(self, told: Told | None) -> None:
        """Have results kept; only then they count."""
        if told is None:
            return
        self._act_all(told.learned)
        to_keep = [one for one in told.to_keep if not told.run.is_kept(one.fit_id)]
        if not to_keep:
            self._from_workers.note(told)
            self._act_all(told.events)
            return
        self._committing |= told.attempts

        def then(result: Sequence[KeptAttempt] | FitcastError) -> None:
            if isinstance(result, FitcastError):
                self._reports.put(Committed(told, (), result))
            else:
                self._reports.put(Committed(told, tuple(result)))

        self._steps.keep(told.run, to_keep, then)

    def _committed(self, report: Committed) -> None:
        """Let results count that are kept; a workflow whose results can't be is given up."""
        told = report.told
        self._committing -= told.attempts
        if report.error is None:
            kept = {one.fit_id: one for one in report.kept}
            for one in told.ended:
                self._from_workers.note_ended(told.run, one, kept.get(one.fit_id))
            self._act_all(told.events)
            return
        self._act(events.Abandoned(told.run.workflow_id, report.error))
        self._act_all(replace(event, outcome=Outcome.CANCELLED) for event in told.events)

    def _note(self, run: Run, record: Record, measured: Measured) -> None:
        """Hand an attempt on to all who learn from it."""
        self._live_eta.observe(run, f"c{record.candidate_index:04d}-f{record.fold}", record)
        self._steps.note_attempt(run, record, measured)

    def _open(self, workers: Workers) -> None:
        """Start the workers that all workflows share, on an executor's thread."""
        try:
            self._workers.open(workers)
        except BaseException as error:
            self._reports.put(NoWorkersLeft(as_ours(events.OpenWorkers(""), error)))

    def _connect(self, connected: Connected) -> None:
        """Send attempts by another connection from now on."""
        self._attempts.dask = connected.dask
        if not connected.replaced:
            self._act_all(map(events.WorkerExpected, self._workers.expected()))
            return
        unheard = self._attempts.under_way()
        self._act_all(self._from_workers.replaced(self.decisions.workers))
        for sent in unheard:  # its worker may still be there, and at it
            self._cancel(sent.start.key, sent.start.attempt, sent.start.worker)

    def _resize(self) -> None:
        if not self._workers.is_elastic:
            return
        with self._plan_lock:
            surplus = self._workers.resize(self.decisions, time.monotonic())
        self._act_all(map(self._from_workers.retired, surplus))
        self._workers.retire(surplus)

    def _load(self) -> OthersLoad:
        """Return what others want of the workers' machines, as far as fits tell."""
        if self._host_load is not None:
            return OthersLoad(self._host_load.now())
        with self._plan_lock:
            return self._from_workers.load(self.decisions.workers)

    def _snapshot(self) -> tuple[Decisions, dict[str, Run], float]:
        with self._plan_lock:
            return self.decisions.copy(), dict(self._runs), self._from_workers.overhead_s
