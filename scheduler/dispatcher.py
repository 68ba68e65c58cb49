"""Carries out decisions on real Dask workers: one thread, one queue of events.

Thin: what to do is decided in :mod:`fitcast.scheduler.decisions`; here attempts are sent, their
ends taken in and handed on as records. Nothing slow runs on this thread.
"""

import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fitcast.errors import (
    BackendError,
    FitcastError,
    SealError,
    WorkerBrokenError,
    WorkflowCancelledError,
    WorkflowFailedError,
)
from fitcast.history.records import Outcome, Record
from fitcast.scheduler import events
from fitcast.scheduler.backends.local import START_S, LocalBackend
from fitcast.scheduler.dask_attempts import DaskAttempts, Member, Sent
from fitcast.scheduler.decisions import Decisions
from fitcast.scheduler.live_eta import LiveEta
from fitcast.scheduler.runs import FitRow, Run, record_of
from fitcast.scheduler.sweep_forecast import OVERHEAD_S, submission
from fitcast.sizing.prior import process_start_s
from fitcast.trainer.attempts import Measured
from fitcast.trainer.results import best_candidate, tabulate

_STOP = object()


class Dispatcher:
    """Runs workflows on a backend.

    Parameters
    ----------
    backend : LocalBackend
        Gives the workers; started here, in the background.
    key_dir : Path
        Where workers read dataset keys.
    on_attempt : callable
        ``on_attempt(run, record, measured)`` for every attempt that ended.
    on_close : callable
        ``on_close(run)`` when a workflow is over.
    """

    def __init__(
        self,
        backend: LocalBackend,
        key_dir: Path,
        *,
        on_attempt: Callable[[Run, Record, Measured], None],
        on_close: Callable[[Run], None],
    ) -> None:
        self.decisions = Decisions()
        self.overhead_s = OVERHEAD_S
        self.machine_speed = 0.0  # of the workers' cores; 0 while unknown
        self._backend = backend
        self._key_dir = key_dir
        self._on_attempt = on_attempt
        self._on_close = on_close
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._runs: dict[str, Run] = {}
        self._over: list[Run] = []  # whose end is still to be told
        self._attempts = DaskAttempts(self._events.put)
        self._broken: set[str] = set()  # workers that are there, but of no use
        self._failure: FitcastError | None = None
        self._began_s = time.monotonic()
        self._host = socket.gethostname()
        self._versions = _versions()
        self._plan_lock = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name="fitcast-dispatcher", daemon=True)
        self._live_eta = LiveEta(lambda: dict(self._runs), self._snapshot, self._events.put)
        self._thread.start()

    # -- asked from other threads --------------------------------------------------------------

    def ready_in_s(self) -> float:
        """Return in about how many seconds the first worker is ready."""
        if self.decisions.workers:
            return 0.0
        return max(0.0, self._began_s + START_S - time.monotonic())

    def submit(self, run: Run) -> None:
        """Let the fits of a run start; its dataset is sealed."""
        self._events.put(run)

    def cancel(self, workflow_id: str) -> None:
        """Give a workflow up."""
        self._events.put(events.CancelRequested(workflow_id))

    def close(self) -> None:
        """Cancel what runs, end the workers, end the threads."""
        self._live_eta.close()
        self._events.put(_STOP)
        self._thread.join(60)

    # -- the thread ------------------------------------------------------------------------------

    def _loop(self) -> None:
        try:
            self._attempts.dask = self._backend.start(
                self._key_dir, self._on_change, self._events.put
            )
            self._on_change()
        except FitcastError as error:
            self._failure = error
        except Exception as error:
            self._failure = FitcastError(f"workers can't be started: {error!r}")
        while (event := self._events.get()) is not _STOP:
            try:
                self._take(event)
                self._close_runs()
            except Exception as error:  # a fault of ours must not hang every workflow
                self._fail_all(FitcastError(f"the dispatcher failed: {error!r}"))
        for workflow_id in list(self._runs):
            self._act(events.CancelRequested(workflow_id))
        self._close_runs()
        if self._attempts.dask is not None:
            with suppress(Exception):
                self._attempts.dask.close(timeout=5)
        with suppress(Exception):
            self._backend.close()

    def _on_change(self) -> None:
        self._events.put("workers")

    def _take(self, event: Any) -> None:
        if isinstance(event, Run):
            self._admit(event)
        elif event == "workers":
            self._compare_workers()
        elif isinstance(event, Sent):
            self._ended(event)
        elif isinstance(event, BackendError):
            self._lose_all(event)
        else:
            self._act(event)

    def _admit(self, run: Run) -> None:
        if self._failure is not None:
            run.end("failed", self._failure)
            self._on_close(run)
            return
        if run.is_over:
            self._on_close(run)
            return
        self._runs[run.workflow_id] = run
        estimates = {fit_id: row.estimate for fit_id, row in run.rows.items()}
        run.process_start_s = process_start_s(self.machine_speed)
        submitted = submission(run.workflow_id, run.prepared, estimates, run.process_start_s)
        run.shared_work = dict(submitted.shared)
        self._act(submitted)

    def _compare_workers(self) -> None:
        if self._attempts.dask is None:
            return
        present = {size.address: size for size in self._backend.present(self._attempts.dask)}
        self._broken &= set(present)
        for address in self._broken:
            del present[address]
        for address in set(self.decisions.workers) - set(present):
            self._lose(address)
        for address in set(present) - set(self.decisions.workers):
            self._act(events.WorkerJoined(present[address]))

    def _lose(self, address: str, error: FitcastError | None = None) -> None:
        """Take in that a worker is gone; what led there was lost, followers wait as before."""
        noted = []
        for sent in self._attempts.forget(address):
            run = self._runs.get(sent.start.key.workflow_id)
            if run is None:
                continue
            for member, measured in zip(sent.members, sent.lost(error), strict=True):
                if measured is None:
                    _wait_again(run, member)
                else:
                    noted.append((run, self._record(run, sent.start, member, measured), measured))
        self._act(events.WorkerLeft(address, returns=True))
        for run, record, measured in noted:
            self._on_attempt(run, record, measured)

    def _act(self, event: events.Event) -> None:
        pending: list[events.Event] = [event]
        while pending:
            with self._plan_lock:
                actions = self.decisions.handle(pending.pop(0), time.monotonic())
            for action in actions:
                match action:
                    case events.Start():
                        self._start(action)
                    case events.Kill():
                        self._attempts.kill(action)
                    case events.Settle():
                        self._settle(action)
                    case events.ChooseFinal():
                        pending.append(self._choose_final(self._runs[action.workflow_id]))
                    case events.Close():
                        self._over.append(self._runs.pop(action.workflow_id))
        self._live_eta.change()

    def _start(self, start: events.Start) -> None:
        run = self._runs[start.key.workflow_id]
        sent = self._attempts.send(run, start)
        with run.lock:
            if run.state == "preparing":
                run.state = "running"
            for member in sent.members:
                row = run.rows[member.key.fit_id]
                # One of them runs; which one isn't known from here once the leader is done.
                row.state = "running" if member.key == start.key else "waiting"
                row.attempts, row.pool, row.worker = member.attempt, start.pool, start.worker
                row.threads, row.started_at = start.threads, _now()

    def _ended(self, sent: Sent) -> None:
        """Take in the end of a process: of its followers first, who go with their leader."""
        if sent.future.status == "error":
            error = sent.error()
            if isinstance(error, WorkerBrokenError):
                # It fails whatever it is given, at once, and would soon have been given everything.
                self._broken.add(sent.start.worker)
                self._lose(sent.start.worker, error)
            else:
                self._compare_workers()  # a lost worker is taken in with all that it had
        if not self._attempts.take(sent):
            return
        run = self._runs.get(sent.start.key.workflow_id)
        try:
            measured = sent.measured()
        except SealError as error:
            self._abort(sent.start.key.workflow_id, error)
            return
        if run is None:
            return
        busy_s = sum(one.runtime_s for one in measured if one is not None)
        if measured[0] is not None and measured[0].outcome is Outcome.SUCCEEDED:
            idle_s = time.monotonic() - sent.sent_s - busy_s
            self.overhead_s += 0.05 * (min(max(idle_s, 0.0), 1.0) - self.overhead_s)
        for member, one in reversed(list(zip(sent.members, measured, strict=True))):
            if one is None:
                _wait_again(run, member)
                self._act(events.AttemptEnded(member.key, member.attempt, Outcome.PREEMPTED, 0))
            else:
                if member.key != sent.start.key:
                    # As forecast: first use of everything costs more than the fork timed.
                    one = replace(one, shared_s=one.shared_s + run.process_start_s)
                self._attempt_ended(run, sent.start, member, one)

    def _attempt_ended(
        self, run: Run, start: events.Start, member: Member, measured: Measured
    ) -> None:
        record = self._record(run, start, member, measured)
        self._act(
            events.AttemptEnded(
                member.key, member.attempt, measured.outcome, measured.peak_memory_bytes
            )
        )
        self._on_attempt(run, record, measured)

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
            versions=self._versions,
            machine_speed=self.machine_speed,
        )
        row = run.rows[member.key.fit_id]
        with run.lock:
            row.measured, row.ended_at, row.state = measured, measured.ended_at, "waiting"
            row.error = f"{measured.error_type}: {measured.error_message}".strip(": ")
            run.records.append(record)
            if measured.model is not None:
                run.model = measured.model
        return record

    def _settle(self, settle: events.Settle) -> None:
        run = self._runs[settle.key.workflow_id]
        row = run.rows[settle.key.fit_id]
        with run.lock:
            row.state, row.outcome = "done", settle.outcome
            if row.started_at and (row.ended_at is None or row.ended_at < row.started_at):
                row.ended_at = _now()  # given up: nothing more is heard of it
            if settle.reason:
                row.error = f"{row.error}; {settle.reason}" if row.error else settle.reason

    def _choose_final(self, run: Run) -> events.FinalChosen:
        nothing = events.FinalChosen(run.workflow_id, None, None)
        scored = run.measured()
        if not any(measured.outcome is Outcome.SUCCEEDED for measured in scored.values()):
            return nothing
        try:
            best = best_candidate(run.prepared, tabulate(run.prepared, scored))
            fit = run.prepared.refit_fit(run.prepared.candidates[best])
        except Exception as error:
            run.error = WorkflowFailedError(f"the best candidate can't be chosen: {error}")
            return nothing
        assert run.final_estimate is not None
        with run.lock:
            run.rows[fit.fit_id] = FitRow(fit, run.final_estimate)
        return events.FinalChosen(run.workflow_id, fit.fit_id, run.final_estimate)

    def _close_runs(self) -> None:
        # After the last attempt was handed on: the history wants it before the end.
        while self._over:
            self._close_run(self._over.pop(0))

    def _close_run(self, run: Run) -> None:
        outcomes = [row.outcome for row in run.rows.values()]
        if Outcome.SUCCEEDED in outcomes and Outcome.CANCELLED not in outcomes:
            run.end("failed" if run.error else "succeeded", run.error)
        elif Outcome.CANCELLED in outcomes:
            state = "failed" if run.error else "cancelled"
            run.end(state, WorkflowCancelledError(f"workflow {run.workflow_id} was cancelled"))
        else:
            errors = [row.error for row in run.rows.values() if row.error]
            said = f", for example: {errors[0]}" if errors else ""
            run.end("failed", WorkflowFailedError(f"no fit succeeded{said}"))
        if run.sealed is not None:
            self._attempts.close_dataset(run.sealed.dataset_id)
        self._on_close(run)

    def _abort(self, workflow_id: str, error: FitcastError) -> None:
        run = self._runs.get(workflow_id)
        if run is not None:
            run.error = error
            self._act(events.CancelRequested(workflow_id, f"cancelled: {error}"))

    def _lose_all(self, error: BackendError) -> None:
        """Give everything up: there will be no workers any more."""
        self._failure = error
        for workflow_id in list(self._runs):
            self._abort(workflow_id, error)

    def _fail_all(self, error: FitcastError) -> None:
        for workflow_id in list(self._runs):
            run = self._runs.pop(workflow_id)
            run.end("failed", error)
            with suppress(Exception):
                self._on_close(run)

    def _snapshot(self) -> tuple[Decisions, dict[str, Run], float]:
        with self._plan_lock:
            return self.decisions.copy(), dict(self._runs), self.overhead_s


def _wait_again(run: Run, member: Member) -> None:
    """Show a fit whose turn never came as it was before."""
    with run.lock:
        run.rows[member.key.fit_id].state = "waiting"


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("fitcast", "scikit-learn", "xgboost", "lightgbm")}


def _now() -> datetime:
    return datetime.now(UTC)
