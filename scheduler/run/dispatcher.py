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
import socket
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, assert_never

from fitcast.errors import InternalError, SealError, WorkerBrokenError
from fitcast.history.records import Outcome, Record
from fitcast.scheduler.backends.protocol import WorkerLoss, Workers
from fitcast.scheduler.forecast.sweep_forecast import OVERHEAD_S
from fitcast.scheduler.plan import events
from fitcast.scheduler.plan.admission import waits_for
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.invariants import restore
from fitcast.scheduler.plan.pools import Pool
from fitcast.scheduler.plan.workflow_state import Phase
from fitcast.scheduler.run.attempts import DaskAttempts, Member, ProcessEnded, ProcessFailed
from fitcast.scheduler.run.elastic import LOOK_EVERY_S
from fitcast.scheduler.run.event_log import EventLog
from fitcast.scheduler.run.executor import Executor
from fitcast.scheduler.run.live_eta import Forecast, LiveEta
from fitcast.scheduler.run.runs import Run, library_versions, record_of
from fitcast.scheduler.run.steps import Steps, as_ours
from fitcast.scheduler.run.worker_set import (
    Connected,
    Hindered,
    LossExplained,
    NoWorkersLeft,
    WorkerSet,
    WorkersReport,
    WorkersSeen,
)
from fitcast.trainer.attempt.spec import Measured

log = logging.getLogger(__name__)

END_WITHIN_S = 60.0
"""What runs when a dispatcher is closed is ended, recorded and removed within this time."""


@dataclass(frozen=True, slots=True)
class Handed:
    """A workflow was handed in."""

    run: Run
    submitted: events.Submitted


@dataclass(frozen=True, slots=True)
class Stop:
    """Give up what runs, and end."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing was reported for a while."""


Report: TypeAlias = (
    events.Event | Handed | Forecast | ProcessEnded | ProcessFailed | WorkersReport | Stop | Tick
)


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
        checked: bool = False,
    ) -> None:
        self.decisions = Decisions(checked=checked)
        self.overhead_s = OVERHEAD_S
        self._steps = steps
        self._reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._runs: dict[str, Run] = {}
        self._executor = Executor("fitcast-steps")
        self._calls = Executor("fitcast-calls")
        self._workers = WorkerSet(self._calls, self._reports.put, key_dir, pools)
        self._attempts = DaskAttempts(self._reports.put)
        self._broken: set[str] = set()  # workers that are there, but of no use
        self._retired: set[str] = set()  # those that are about to go
        self._doubtful: list[ProcessFailed] = []  # until it is known whether its worker is there
        self._log = EventLog(log_dir)
        self._serves_one = workers is None
        self._stop_by_s: float | None = None
        self._host = socket.gethostname()
        self._plan_lock = threading.Lock()
        self._live_eta = LiveEta(self._snapshot, self._reports.put)
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
        self._executor.close(0.0)
        self._calls.close(0.0)

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
                self._ended(report)
            case ProcessFailed():
                self._failed(report)
            case Connected():
                self._connect(report)
            case WorkersSeen():
                self._compare_workers(report)
            case LossExplained():
                self._take_off(report.address, report.loss, returns=report.returns)
            case NoWorkersLeft():
                self._act(events.AllWorkersLost(report.error))
            case Hindered():
                for run in self._runs.values():
                    run.note_waits("backend", report.notes)
            case Stop():
                self._stop_by_s = time.monotonic() + END_WITHIN_S
                self._workers.interrupt()
                for workflow_id in list(self._runs):
                    self._act(events.CancelRequested(workflow_id))
            case Tick():
                pass
            case events.FinalChosen():
                self._final_chosen(report)
            case _:
                self._act(report)

    def _recover(self, report: Report, error: Exception) -> None:
        """Give up the workflow that an internal error belongs to; all, if it may be any."""
        log.exception("fitcast failed at %.2000s", report)
        workflow_id = _workflow_of(report)
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
                if each in self._runs:
                    self._forget(self._runs[each], said)

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
        """End a workflow without the decisions, when they can't."""
        self._runs.pop(run.workflow_id, None)
        run.end("failed", error)
        run.closed.set()
        self._steps.closed(run)

    # -- workflows -------------------------------------------------------------------------------

    def _hand_in(self, handed: Handed) -> None:
        run = handed.run
        if self._stop_by_s is not None:
            run.end("cancelled", InternalError("the client was closed"))
            run.closed.set()
            return
        self._runs[run.workflow_id] = run
        run.common_work = dict(handed.submitted.common_work)
        run.process_start_s = handed.submitted.process_start_s
        self._act(handed.submitted)

    def _final_chosen(self, event: events.FinalChosen) -> None:
        run = self._runs.get(event.workflow_id)
        if run is not None and run.final_fit is not None:
            run.add_final(run.final_fit)
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
                    workflow_id = _workflow_of(action)
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
            case events.ExplainLoss():
                self._workers.explain(action.address, returns=action.returns)
            case events.Close():
                run = self._runs.pop(action.workflow_id)
                run.closed.set()
                self._steps.closed(run)
                if self._serves_one:
                    self._reports.put(Stop())
            case _:
                self._ask(self._runs[action.workflow_id], action)
        return []

    def _ask(self, run: Run, action: events.OfWorkflow) -> None:
        """Let a step of a workflow's life be done; whatever becomes of it is reported."""

        def do() -> None:
            try:
                event = self._step(run, action)
            except BaseException as error:
                self._reports.put(events.ActionFailed(action, as_ours(action, error)))
            else:
                self._reports.put(event)

        self._executor.submit(do)

    def _step(self, run: Run, action: events.OfWorkflow) -> events.Event:
        """Do a step of a workflow's life, on an executor's thread; return what it leads to."""
        name = run.workflow_id
        match action:
            case events.Seal():
                try:
                    self._steps.seal(run)
                finally:
                    run.captured.set()
                return events.Sealed(name)
            case events.OpenWorkers():
                self._workers.open(self._steps.workers_for(run))
                return events.WorkersOpened(name)
            case events.ChooseFinal():
                run.final_fit = fit = run.choose_final()
                fit_id = None if fit is None else fit.fit_id
                return events.FinalChosen(name, fit_id, run.final_estimate)
            case events.Record():
                self._steps.record(run)
                return events.Recorded(name)
            case events.ReleaseDataset():
                self._release(run)
                return events.DatasetReleased(name)
            case events.RemoveDataset():
                try:
                    self._release(run)
                finally:
                    self._steps.remove_dataset(run)
                return events.DatasetRemoved(name)
            case events.CloseWorkers():
                self._workers.close()
                return events.WorkersClosed(name)
            case _:
                assert_never(action)

    def _release(self, run: Run) -> None:
        if run.sealed is not None:
            self._attempts.release_dataset(run.sealed.dataset_id)

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

    # -- attempts --------------------------------------------------------------------------------

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
            self._calls.submit(lambda: self._attempts.cancel(kill.key, kill.attempt, kill.worker))
            return []
        fits = self.decisions.workflows[kill.key.workflow_id].fits.values()
        return [
            events.AttemptEnded(fit.key, fit.attempt, Outcome.CANCELLED, 0)
            for fit in fits
            if kill.key in (fit.key, fit.follows) and fit.running_on is not None
        ]

    def _ended(self, ended: ProcessEnded) -> None:
        """Take the end of a process: of its followers first, who go with their leader."""
        sent = ended.sent
        run = self._runs.get(sent.start.key.workflow_id)
        if not self._attempts.take(sent) or run is None:
            return
        busy_s = sum(one.runtime_s for one in ended.measured if one is not None)
        first = ended.measured[0]
        if first is not None and first.outcome is Outcome.SUCCEEDED:
            idle_s = time.monotonic() - sent.sent_s - busy_s
            self.overhead_s += 0.05 * (min(max(idle_s, 0.0), 1.0) - self.overhead_s)
        for member, one in reversed(list(zip(sent.members, ended.measured, strict=True))):
            if one is None:
                run.note_waiting(member.key.fit_id)
                self._act(events.AttemptEnded(member.key, member.attempt, Outcome.PREEMPTED, 0))
            else:
                if member.key != sent.start.key:
                    # As forecast: first use of everything costs more than the fork timed.
                    one = replace(one, shared_s=one.shared_s + run.process_start_s)
                self._attempt_ended(run, sent.start, member, one)

    def _failed(self, failed: ProcessFailed) -> None:
        """Take the failure of a task: of the dataset, of its worker, or with its worker."""
        start, error = failed.sent.start, failed.error
        if not self._attempts.is_under_way(start.key, start.attempt):
            return
        if isinstance(error, WorkerBrokenError):
            # It fails whatever it is given, at once, and would soon have been given everything.
            self._broken.add(start.worker)
            self._take_off(start.worker, WorkerLoss(), returns=True, error=error)
        elif isinstance(error, SealError):
            workflow_id = start.key.workflow_id
            self._attempts.take(failed.sent)
            self._act(events.Abandoned(workflow_id, error))
        else:  # a lost worker is taken off with all that it had
            self._doubtful.append(failed)
            self._workers.workers_changed()

    def _attempt_ended(
        self, run: Run, start: events.Start, member: Member, measured: Measured
    ) -> None:
        record = self._record(run, start, member, measured)
        self._steps.note_attempt(run, record, measured)
        self._act(
            events.AttemptEnded(
                member.key, member.attempt, measured.outcome, measured.peak_memory_bytes
            )
        )

    def _record(self, run: Run, start: events.Start, member: Member, measured: Measured) -> Record:
        """Note the end of an attempt in its run."""
        record = record_of(
            run,
            member.fit,
            member.attempt,
            measured,
            pool=start.pool,
            worker=start.worker,
            host=self._host,
            threads=start.threads,
            memory_limit_bytes=start.share_bytes,
            deadline_s=member.deadline_s,
            versions=library_versions(),
            machine_speed=self._workers.machine_speed,
        )
        run.note_end(member.key.fit_id, measured, record)
        self._live_eta.observe(run, member.key.fit_id, record)
        return record

    # -- workers ---------------------------------------------------------------------------------

    def _open(self, workers: Workers) -> None:
        """Start the workers that all workflows share, on an executor's thread."""
        try:
            self._workers.open(workers)
        except BaseException as error:
            self._reports.put(NoWorkersLeft(as_ours(events.OpenWorkers(""), error)))

    def _connect(self, connected: Connected) -> None:
        """Send attempts by another connection from now on.

        Nothing that ran is to blame. Workers may be the same ones: what runs there is heard of no
        more, and ended.
        """
        self._attempts.dask = connected.dask
        if not connected.replaced:
            for size in self._workers.expected():
                self._act(events.WorkerExpected(size))
            return
        self._retired.clear()
        unheard = self._attempts.under_way()
        for address in list(self.decisions.workers):
            loss = WorkerLoss(Outcome.PREEMPTED, "the connection to it was lost")
            self._take_off(address, loss, returns=True)
        for sent in unheard:
            start = sent.start
            self._calls.submit(
                lambda start=start: self._attempts.cancel(  # type: ignore[misc]
                    start.key, start.attempt, start.worker
                )
            )

    def _compare_workers(self, seen: WorkersSeen) -> None:
        if seen.dask is not self._attempts.dask:
            return  # by a connection that was given up since
        present = {size.address: size for size in seen.sizes}
        self._broken &= set(present)
        self._retired &= set(present)
        doubtful, self._doubtful = self._doubtful, []
        for address in self._broken | self._retired:
            del present[address]
        for address in set(self.decisions.workers) - set(present):
            self._act(events.WorkerLost(address, returns=True))
        for address in set(present) - set(self.decisions.workers):
            self._act(events.WorkerJoined(present[address]))
        for failed in doubtful:
            # Its worker is there: so it is this task alone that failed.
            start = failed.sent.start
            if start.worker in present and self._attempts.is_under_way(start.key, start.attempt):
                self._ended(ProcessEnded(failed.sent, tuple(failed.sent.lost(failed.error))))

    def _take_off(
        self,
        address: str,
        loss: WorkerLoss,
        *,
        returns: bool,
        error: BaseException | None = None,
    ) -> None:
        """Take a worker off the plan: what led there was lost, followers wait as before."""
        gone = self._attempts.forget(address)
        for sent in gone:
            run = self._runs.get(sent.start.key.workflow_id)
            if run is None:
                continue
            whole = sent.lost(error, loss, alone=len(gone) == 1)
            for member, measured in zip(sent.members, whole, strict=True):
                if measured is None:
                    run.note_waiting(member.key.fit_id)
                else:
                    record = self._record(run, sent.start, member, measured)
                    self._steps.note_attempt(run, record, measured)
        preempted = loss.outcome is Outcome.PREEMPTED
        out_of_memory = loss.outcome is Outcome.OUT_OF_MEMORY
        self._act(events.WorkerLeft(address, preempted, out_of_memory, returns=returns))

    def _resize(self) -> None:
        if not self._workers.is_elastic:
            return
        with self._plan_lock:
            surplus = self._workers.resize(self.decisions, time.monotonic())
        for address in surplus:  # nothing runs there, and nothing must start there any more
            self._retired.add(address)
            self._act(events.WorkerLeft(address, returns=True))
        self._workers.retire(surplus)

    def _snapshot(self) -> tuple[Decisions, dict[str, Run], float]:
        with self._plan_lock:
            return self.decisions.copy(), dict(self._runs), self.overhead_s


def _workflow_of(what: object) -> str | None:
    """Return the workflow that a report or an action is about; None if it is about none, or all."""
    for inner in ("run", "sent", "action", "submitted"):
        if (found := getattr(what, inner, None)) is not None:
            what = found
            break
    if (start := getattr(what, "start", None)) is not None:
        what = start
    key = getattr(what, "key", None)
    found = getattr(key if isinstance(key, events.FitKey) else what, "workflow_id", None)
    return found if isinstance(found, str) else None
