"""Carries out decisions on real Dask workers: one thread, one queue of events.

Thin: what to do is decided in :mod:`fitcast.scheduler.plan.decisions`; here attempts are sent,
their ends taken in and handed on as records. Nothing slow runs on this thread.
"""

import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fitcast.errors import (
    BackendError,
    FitcastError,
    SealError,
    WorkerBrokenError,
)
from fitcast.history.records import Outcome, Record
from fitcast.scheduler.backends.protocol import WorkerLoss, Workers
from fitcast.scheduler.forecast.sweep_forecast import OVERHEAD_S, submission
from fitcast.scheduler.plan import events
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.pools import Pool
from fitcast.scheduler.run.attempts import DaskAttempts, Member, Sent
from fitcast.scheduler.run.elastic import LOOK_EVERY_S, Elastic
from fitcast.scheduler.run.live_eta import LiveEta
from fitcast.scheduler.run.runs import Run, record_of
from fitcast.sizing.laws.prior import process_start_s
from fitcast.trainer.attempt.spec import Measured

_STOP = object()


@dataclass(frozen=True, slots=True)
class _Replaced:
    dask: Any


class Dispatcher:
    """Runs workflows on a backend.

    Parameters
    ----------
    backend : Workers
        Gives the workers; started here, in the background.
    pools : tuple of Pool
        Their kinds.
    key_dir : Path
        Where workers read dataset keys.
    on_attempt : callable
        ``on_attempt(run, record, measured)`` for every attempt that ended.
    on_close : callable
        ``on_close(run)`` when a workflow is over.
    on_trouble : callable, optional
        ``on_trouble(notes)``, from any thread, when what keeps workers away has changed.
    """

    def __init__(
        self,
        backend: Workers,
        pools: tuple[Pool, ...],
        key_dir: Path,
        *,
        on_attempt: Callable[[Run, Record, Measured], None],
        on_close: Callable[[Run], None],
        on_trouble: Callable[[tuple[str, ...]], None] = lambda notes: None,
    ) -> None:
        self.decisions = Decisions()
        self.overhead_s = OVERHEAD_S
        self._backend = backend
        self._elastic = Elastic(backend, pools) if backend.is_elastic else None
        if self._elastic is not None:
            for size in backend.workers():
                self.decisions.state.expect(size)
        self._key_dir = key_dir
        self._on_attempt = on_attempt
        self._on_close = on_close
        self.trouble = on_trouble
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._runs: dict[str, Run] = {}
        self._over: list[Run] = []  # whose end is still to be told
        self._attempts = DaskAttempts(self._events.put)
        self._broken: set[str] = set()  # workers that are there, but of no use
        self._retired: set[str] = set()  # those that are about to go
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
        return max(0.0, self._began_s + self._backend.start_s - time.monotonic())

    def submit(self, run: Run) -> None:
        """Let the fits of a run start; its dataset is sealed."""
        self._events.put(run)

    def cancel(self, workflow_id: str) -> None:
        """Give a workflow up."""
        self._events.put(events.CancelRequested(workflow_id))

    def close(self) -> None:
        """Cancel what runs, end the workers, end the threads."""
        self._live_eta.close()
        self._backend.interrupt()
        self._events.put(_STOP)
        self._thread.join(60)

    # -- the thread ------------------------------------------------------------------------------

    def _loop(self) -> None:
        try:
            self._attempts.dask = self._backend.start(self._key_dir, self)
            self.workers_changed()
        except FitcastError as error:
            self._failure = error
        except Exception as error:
            self._failure = FitcastError(f"workers can't be started: {error!r}")
        while (event := self._next_event()) is not _STOP:
            try:
                if event is not None:
                    self._take(event)
                self._resize()
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

    def _next_event(self) -> Any:
        """Return the next event; None if it is time to look at the number of workers."""
        if self._elastic is None or self._failure is not None:
            return self._events.get()
        try:
            return self._events.get(timeout=LOOK_EVERY_S)
        except queue.Empty:
            return None

    # -- told by the backend, from other threads ------------------------------------------------

    def workers_changed(self) -> None:
        """Note that a worker came or went."""
        self._events.put("workers")

    def workers_lost(self, error: BackendError) -> None:
        """Note that all workers are gone for good."""
        self._events.put(error)

    def cluster_replaced(self, dask: Any) -> None:
        """Note that nothing more is heard of what ran; workers come, maybe the same."""
        self._events.put(_Replaced(dask))

    # -- the thread again -----------------------------------------------------------------------

    def _resize(self) -> None:
        if self._elastic is None or self._attempts.dask is None:
            return
        with self._plan_lock:
            surplus = self._elastic.look(self.decisions, time.monotonic())
        for address in surplus:  # nothing runs there, and nothing must start there any more
            self._retired.add(address)
            self._act(events.WorkerLeft(address, returns=True))
        if surplus:
            self._backend.retire(surplus)

    def _replace(self, dask: Any) -> None:
        """Take in that the cluster, or the connection to it, is another one.

        Nothing that ran is to blame. Workers may be the same ones: what runs there is heard of no
        more, and ended.
        """
        self._attempts.dask = dask
        self._retired.clear()
        unheard = self._attempts.under_way()
        for address in list(self.decisions.workers):
            self._lose(address, loss=WorkerLoss(Outcome.PREEMPTED, "the connection to it was lost"))
        present = {size.address for size in self._backend.present(dask)}
        for sent in unheard:
            if sent.start.worker in present:
                self._attempts.end(sent.start.key, sent.start.attempt, sent.start.worker)
        self._compare_workers()

    def _take(self, event: Any) -> None:
        if isinstance(event, Run):
            self._admit(event)
        elif event == "workers":
            self._compare_workers()
        elif isinstance(event, Sent):
            self._ended(event)
        elif isinstance(event, BackendError):
            self._lose_all(event)
        elif isinstance(event, _Replaced):
            self._replace(event.dask)
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
        run.process_start_s = process_start_s(self._backend.machine_speed)
        submitted = submission(run.workflow_id, run.prepared, estimates, run.process_start_s)
        run.shared_work = dict(submitted.shared)
        self._act(submitted)

    def _compare_workers(self) -> None:
        if self._attempts.dask is None:
            return
        present = {size.address: size for size in self._backend.present(self._attempts.dask)}
        self._broken &= set(present)
        self._retired &= set(present)
        for address in self._broken | self._retired:
            del present[address]
        gone = set(self.decisions.workers) - set(present)
        losses = self._backend.why_lost(gone) if gone else {}
        for address in gone:
            self._lose(address, loss=losses[address])
        for address in set(present) - set(self.decisions.workers):
            self._act(events.WorkerJoined(present[address]))

    def _lose(
        self, address: str, error: FitcastError | None = None, loss: WorkerLoss | None = None
    ) -> None:
        """Take in that a worker is gone; what led there was lost, followers wait as before."""
        loss = loss or self._backend.why_lost([address])[address]
        noted = []
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
                    noted.append((run, self._record(run, sent.start, member, measured), measured))
        preempted = loss.outcome is Outcome.PREEMPTED
        out_of_memory = loss.outcome is Outcome.OUT_OF_MEMORY
        self._act(events.WorkerLeft(address, preempted, out_of_memory, returns=True))
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
                        run = self._runs[action.key.workflow_id]
                        run.settle(action.key.fit_id, action.outcome, action.reason)
                    case events.ChooseFinal():
                        pending.append(_final_fit(self._runs[action.workflow_id]))
                    case events.Close():
                        self._over.append(self._runs.pop(action.workflow_id))
        self._live_eta.change()

    def _start(self, start: events.Start) -> None:
        run = self._runs[start.key.workflow_id]
        sent = self._attempts.send(run, start)
        for member in sent.members:
            # One of them runs; which one isn't known from here once the leader is done.
            state = "running" if member.key == start.key else "waiting"
            run.note_start(member.key.fit_id, state, member.attempt, start)

    def _ended(self, sent: Sent) -> None:
        """Take in the end of a process: of its followers first, who go with their leader."""
        if sent.future.status == "cancelled":  # the connection is lost; the backend will tell
            return
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
                run.note_waiting(member.key.fit_id)
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
            machine_speed=self._backend.machine_speed,
        )
        run.note_end(member.key.fit_id, measured, record)
        return record

    def _close_runs(self) -> None:
        # After the last attempt was handed on: the history wants it before the end.
        while self._over:
            self._close_run(self._over.pop(0))

    def _close_run(self, run: Run) -> None:
        run.conclude()
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


def _final_fit(run: Run) -> events.FinalChosen:
    fit = run.choose_final()
    fit_id = None if fit is None else fit.fit_id
    return events.FinalChosen(run.workflow_id, fit_id, run.final_estimate)


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("fitcast", "scikit-learn", "xgboost", "lightgbm")}
