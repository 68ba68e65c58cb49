"""Attempts as Dask tasks: sent to a worker, given up, and what came back of each.

One task is one process of fits: a leader and those that follow it. Not in: what to send
(:mod:`fitcast.scheduler.plan.decisions`), what an end means for a workflow
(:mod:`fitcast.scheduler.run.dispatcher`), the worker's side
(:mod:`fitcast.scheduler.worker.plugin`).
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fitcast.errors import FitcastError
from fitcast.history.records import REFIT_FOLD, Outcome
from fitcast.scheduler.backends.protocol import WorkerLoss
from fitcast.scheduler.plan import events
from fitcast.scheduler.plan.events import FitKey
from fitcast.scheduler.run.runs import Run
from fitcast.trainer.attempt.spec import AttemptSpec, Measured
from fitcast.trainer.naming import error_name
from fitcast.trainer.sweep.submission import Fit

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Member:
    """An attempt of a process."""

    key: FitKey
    attempt: int
    fit: Fit
    deadline_s: float
    begin_within_s: float = math.inf


@dataclass(slots=True)
class Sent:
    """A process of fits that a worker was given."""

    start: events.Start
    members: tuple[Member, ...]  # in order; the first one leads
    future: Any
    sent_s: float

    def lost(
        self,
        error: BaseException | None = None,
        loss: WorkerLoss | None = None,
        *,
        alone: bool = False,
    ) -> tuple[Measured | None, ...]:
        """Return what became of the members if their worker is gone: the first one was lost.

        `loss` says why, if that is known; `alone` whether nothing else ran on the worker, so that
        it alone can have used up the memory.
        """
        first = _lost(self.sent_s, error)
        if loss is not None and loss.reason:
            first = replace(first, error_message=f"{first.error_message}: {loss.reason}")
            if loss.outcome is Outcome.PREEMPTED:
                first = replace(first, outcome=loss.outcome, error_type="Preempted")
            elif loss.outcome is Outcome.OUT_OF_MEMORY and alone:
                peak = self.start.memory_limit_bytes
                first = replace(first, outcome=loss.outcome, peak_memory_bytes=peak)
        return (first, *[None] * (len(self.members) - 1))


@dataclass(frozen=True, slots=True)
class ProcessEnded:
    """A process of fits came to its end, and its result has arrived."""

    sent: Sent
    measured: tuple[Measured | None, ...]  # of its members, in order; None for one without a turn


@dataclass(frozen=True, slots=True)
class ProcessFailed:
    """The task of a process failed, or its result can't be had."""

    sent: Sent
    error: BaseException


class DaskAttempts:
    """What is under way on workers.

    Results are fetched on the event loop of Dask's client, as many at a time as Dask likes, however
    long one takes to arrive: a worker is lost when Dask says so, not when a result is late.

    Parameters
    ----------
    post : callable
        ``post(ended)``, from any thread, when a process has come to its end.
    """

    def __init__(self, post: Callable[[ProcessEnded | ProcessFailed], None]) -> None:
        self.dask: Any = None  # a connected distributed.Client
        self._post = post
        self._sent: dict[tuple[FitKey, int], Sent] = {}  # by every member
        self._asking_lock = threading.Lock()
        self._asked: dict[str, tuple[str, Any]] = {}  # by workflow: what runs beside the plan

    def send(self, run: Run, start: events.Start) -> Sent:
        """Send an attempt and its followers to a worker."""
        from fitcast.scheduler.worker.plugin import run_attempts

        members = tuple(_members(run, start))
        specs = tuple(_spec(run, start, member) for member in members)
        future = self.dask.submit(
            run_attempts,
            specs,
            workers=[start.worker],
            pure=False,
            key=f"fit-{run.workflow_id}-{start.key.fit_id}-{start.attempt}",
        )
        sent = Sent(start, members, future, time.monotonic())
        for member in members:
            self._sent[member.key, member.attempt] = sent
        self.dask.loop.add_callback(self._follow, self.dask, sent)
        return sent

    async def _follow(self, dask: Any, sent: Sent) -> None:
        """Wait for the end of a process and for its result; runs on the loop of Dask's client."""
        try:
            measured = tuple(await dask.gather(sent.future, asynchronous=True))
        except BaseException as error:
            # Cancelled: nothing more is heard of it, by our own doing or as the connection is
            # lost, which the backend will tell.
            if sent.future.status != "cancelled":
                self._post(ProcessFailed(sent, error))
        else:
            self._post(ProcessEnded(sent, measured))

    def take(self, sent: Sent) -> bool:
        """Take a process that ended from what is under way; False if it was given up before."""
        known = self._sent.get((sent.start.key, sent.start.attempt)) is sent
        self._drop(sent)
        sent.future.release()
        return known

    def is_under_way(self, key: FitKey, attempt: int) -> bool:
        """Tell whether the end of an attempt is still to come."""
        return (key, attempt) in self._sent

    def cancel(self, key: FitKey, attempt: int, worker: str) -> None:
        """Ask a worker to end the process of an attempt; waits for the answer."""
        from fitcast.scheduler.worker.plugin import cancel_attempt

        given = (key.workflow_id, key.fit_id, attempt)
        try:
            self.dask.run(cancel_attempt, *given, workers=[worker], on_error="ignore")
        except Exception:  # the worker, or the way to it, is gone: so the attempt is
            log.info("%s can't be told to end %s", worker, given, exc_info=True)

    def ask(self, run: Run, spec: AttemptSpec) -> Measured:
        """Run something of a workflow that is no fit of the plan, and wait for its end.

        Any worker runs it, another one if that is lost. One such per workflow and time; once
        :meth:`give_up_asking` was called for it, it is cancelled.
        """
        from fitcast.scheduler.worker.plugin import run_attempts

        asked_s = time.monotonic()
        with self._asking_lock:
            if run.given_up.is_set():
                return _ended(Outcome.CANCELLED, asked_s)
            dask = self.dask
            future = dask.submit(
                run_attempts, (spec,), pure=False, key=f"{spec.fit_id}-{spec.workflow_id}"
            )
            self._asked[run.workflow_id] = spec.fit_id, future
        try:
            while self.dask is dask:  # else nothing more is heard of it
                with suppress(TimeoutError):
                    (measured,) = future.result(timeout=_LOOK_EVERY_S)
                    return measured or _ended(Outcome.CANCELLED, asked_s)
            return _lost(asked_s, None)
        except BaseException as error:
            if run.given_up.is_set():
                return _ended(Outcome.CANCELLED, asked_s)
            return _lost(asked_s, error)
        finally:
            future.release()
            with self._asking_lock:
                del self._asked[run.workflow_id]

    def give_up_asking(self, run: Run) -> None:
        """End what a workflow was asked for; waits until workers were told."""
        from fitcast.scheduler.worker.plugin import cancel_attempt

        with self._asking_lock:
            run.given_up.set()
            asked = self._asked.get(run.workflow_id)
        if asked is None:
            return
        fit_id, future = asked
        future.cancel()
        try:  # whichever has it
            self.dask.run(cancel_attempt, run.workflow_id, fit_id, 1, on_error="ignore")
        except Exception:
            log.info(
                "workers can't be told to end %s of %s", fit_id, run.workflow_id, exc_info=True
            )

    def release_dataset(self, dataset_id: str) -> None:
        """Let all workers forget a dataset; waits until they have."""
        from fitcast.scheduler.worker.plugin import close_dataset

        if self.dask is not None:
            self.dask.run(close_dataset, dataset_id, on_error="ignore")

    def under_way(self) -> list[Sent]:
        """Return the processes that nobody has told the end of."""
        return list({id(sent): sent for sent in self._sent.values()}.values())

    def forget(self, worker: str) -> list[Sent]:
        """Forget what was on a worker that is gone; return it."""
        gone = {id(sent): sent for sent in self._sent.values() if sent.start.worker == worker}
        for sent in gone.values():
            self._drop(sent)
            sent.future.release()
        return list(gone.values())

    def _drop(self, sent: Sent) -> None:
        for member in sent.members:
            if self._sent.get((member.key, member.attempt)) is sent:
                del self._sent[member.key, member.attempt]


def _members(run: Run, start: events.Start) -> Iterator[Member]:
    yield Member(start.key, start.attempt, run.row(start.key.fit_id).fit, start.deadline_s)
    for one in start.followers:
        fit = run.row(one.key.fit_id).fit
        yield Member(one.key, one.attempt, fit, one.deadline_s, one.begin_within_s)


def _spec(run: Run, start: events.Start, member: Member) -> AttemptSpec:
    assert run.sealed is not None
    shared = run.common_work.get(member.key.fit_id)
    return AttemptSpec(
        workflow_id=run.workflow_id,
        fit_id=member.key.fit_id,
        attempt=member.attempt,
        dataset_id=run.sealed.dataset_id,
        job=run.jobs[member.fit.candidate.index],
        fold=member.fit.fold,
        threads=start.threads,
        memory_limit_bytes=start.memory_limit_bytes,
        deadline_s=member.deadline_s,
        share_bytes=start.share_bytes,
        begin_within_s=member.begin_within_s,
        common_work=shared.name if shared is not None else "",
        return_model=member.fit.fold == REFIT_FOLD,
        rows_test=None if member.fit.fold == REFIT_FOLD else member.fit.request.rows_test,
        result_bytes=run.result_bytes,
        surroundings=run.surroundings,
    )


def _lost(sent_s: float, error: BaseException | None) -> Measured:
    from distributed import KilledWorker

    if isinstance(error, FitcastError):
        kind, message = type(error).__name__, str(error)
    elif error is None or isinstance(error, KilledWorker):
        kind, message = "WorkerLost", "the worker was lost while it ran"
    else:
        kind, message = error_name(error), f"the worker was lost ({error!r:.200})"
    return _ended(Outcome.WORKER_LOST, sent_s, kind, message)


def _ended(outcome: Outcome, sent_s: float, kind: str = "", message: str = "") -> Measured:
    """Return the end of an attempt of which nothing was measured."""
    now = datetime.now(UTC)
    took_s = time.monotonic() - sent_s
    return Measured(
        outcome=outcome,
        runtime_s=took_s,
        cpu_s=0.0,
        peak_memory_bytes=0,
        base_memory_bytes=0,
        started_at=now - timedelta(seconds=took_s),
        ended_at=now,
        error_type=kind,
        error_message=message,
    )
