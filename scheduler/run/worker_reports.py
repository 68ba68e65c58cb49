"""What is reported of workers and of the processes on them → records, and events for the plan.

Not in: sending attempts (:mod:`fitcast.scheduler.run.attempts`), what the plan makes of an event
(:mod:`fitcast.scheduler.plan.decisions`).
"""

import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from fitcast.errors import SealError, WorkerBrokenError
from fitcast.history.records import Outcome, Record
from fitcast.scheduler.backends.protocol import WorkerLoss
from fitcast.scheduler.forecast import process_start
from fitcast.scheduler.forecast.availability import OthersLoad, Shares
from fitcast.scheduler.forecast.sweep_forecast import OVERHEAD_S
from fitcast.scheduler.kept.results import Ended, KeptAttempt
from fitcast.scheduler.plan import events
from fitcast.scheduler.plan.events import AttemptEnded, FitKey, StartLearned
from fitcast.scheduler.plan.plan_state import WorkerState
from fitcast.scheduler.run.attempt_records import library_versions, record_of
from fitcast.scheduler.run.attempts import DaskAttempts, Member, ProcessEnded, ProcessFailed
from fitcast.scheduler.run.runs import Run
from fitcast.scheduler.run.worker_set import LossExplained, WorkerSet, WorkersSeen
from fitcast.trainer.attempt.spec import Measured

_KEPT = frozenset({Outcome.SUCCEEDED, Outcome.FAILED, Outcome.OUT_OF_MEMORY, Outcome.OUT_OF_TIME})
"""Ends of attempts that say something of their fit, whatever happens to the process that asked."""

_CONNECTION_LOST = WorkerLoss(Outcome.PREEMPTED, "the connection to it was lost")


@dataclass(frozen=True, slots=True)
class Told:
    """What a process of fits came to: attempts to be noted, and events that follow from them."""

    run: Run
    ended: tuple[Ended, ...]
    events: tuple[AttemptEnded, ...]
    learned: tuple[StartLearned, ...] = ()  # of the process itself, whatever is kept

    @property
    def to_keep(self) -> tuple[Ended, ...]:
        """What has to be on disk before any of it counts."""
        return tuple(one for one in self.ended if one.measured.outcome in _KEPT)

    @property
    def attempts(self) -> set[tuple[FitKey, int]]:
        """The attempts that it is about."""
        return {(event.key, event.attempt) for event in self.events}


class WorkerReports:
    """Makes records and events of what is reported of workers; on the dispatcher's thread alone.

    Parameters
    ----------
    runs : mapping
        The workflows under way, by id; read only.
    attempts : DaskAttempts
        What is under way on workers.
    workers : WorkerSet
        The workers.
    note : callable
        ``note(run, record, measured)`` for every attempt that ended, before its event.
    """

    def __init__(
        self,
        runs: Mapping[str, Run],
        attempts: DaskAttempts,
        workers: WorkerSet,
        note: Callable[[Run, Record, Measured], None],
    ) -> None:
        self.overhead_s = OVERHEAD_S  # that a slot stays idle between two processes
        self._runs = runs
        self._attempts = attempts
        self._workers = workers
        self._note = note
        self._broken: set[str] = set()  # workers that are there, but of no use
        self._retired: set[str] = set()  # those that are about to go
        self._doubtful: list[ProcessFailed] = []  # until it is known whether its worker is there
        self._host = socket.gethostname()
        self._shares: dict[str, Shares] = {}  # of cores that fits got, by worker

    # -- processes -------------------------------------------------------------------------------

    def ended(self, ended: ProcessEnded) -> Told | None:
        """Return what a process of fits came to; None if nobody asks any more.

        Of followers first, who go with their leader.
        """
        sent = ended.sent
        run = self._runs.get(sent.start.key.workflow_id)
        if not self._attempts.take(sent) or run is None:
            return None
        busy_s = sum(one.runtime_s for one in ended.measured if one is not None)
        first = ended.measured[0]
        if first is not None and first.outcome is Outcome.SUCCEEDED:
            idle_s = time.monotonic() - sent.sent_s - busy_s
            self.overhead_s += 0.05 * (min(max(idle_s, 0.0), 1.0) - self.overhead_s)
        for one in ended.measured:
            if one is not None and one.cpu_wait_s is not None:
                shares = self._shares.setdefault(sent.start.worker, Shares())
                shares.note(time.monotonic(), one.cpu_s, one.cpu_wait_s, sent.start.threads)
        learned = self._learned(run, sent.members, ended.measured)
        noted: list[Ended] = []
        follow: list[events.AttemptEnded] = []
        for member, one in reversed(list(zip(sent.members, ended.measured, strict=True))):
            outcome, peak_bytes = Outcome.PREEMPTED, 0
            follows = member.key != sent.start.key
            if one is None:
                run.note_waiting(member.key.fit_id)
            elif follows and one.outcome is Outcome.FAILED:
                # It is tried alone: what it says now may be another's doing, and teaches nothing.
                run.note_waiting(member.key.fit_id)
                outcome, peak_bytes = one.outcome, one.peak_memory_bytes
            else:
                if follows:
                    # As forecast: first use of everything costs more than the fork timed.
                    one = replace(one, shared_s=one.shared_s + run.starts.process_start_s)
                noted.append(self._ended(run, sent.start, member, one))
                outcome, peak_bytes = one.outcome, one.peak_memory_bytes
            follow.append(events.AttemptEnded(member.key, member.attempt, outcome, peak_bytes))
        return Told(run, tuple(noted), tuple(follow), learned)

    def _learned(
        self, run: Run, members: tuple[Member, ...], measured: tuple[Measured | None, ...]
    ) -> tuple[StartLearned, ...]:
        """Return what the fits of a process have shown of its start, if that is news."""
        seen = [
            process_start.FitSeen(one, run.row(member.key.fit_id).estimate.runtime_s_p50)
            for member, one in zip(members, measured, strict=True)
            if one is not None
        ]
        if not run.starts.observe(seen):
            return ()
        return (StartLearned(run.workflow_id, run.starts.process_start_s),)

    def note(self, told: Told) -> None:
        """Note in its run, and hand on, what doesn't have to be kept first."""
        for one in told.ended:
            self.note_ended(told.run, one)

    def note_ended(self, run: Run, one: Ended, kept: KeptAttempt | None = None) -> None:
        """Note the end of an attempt in its run, and hand it on."""
        measured = one.measured if kept is None else kept.measured
        run.note_end(one.fit_id, measured, one.record, kept)
        self._note(run, one.record, measured)

    def failed(self, failed: ProcessFailed) -> Iterator[events.Event]:
        """Yield what the failure of a task means: of the dataset, or of its worker."""
        start, error = failed.sent.start, failed.error
        if not self._attempts.is_under_way(start.key, start.attempt):
            return
        if isinstance(error, WorkerBrokenError):
            # It fails whatever it is given, at once, and would soon have been given everything.
            self._broken.add(start.worker)
            yield self._taken_off(start.worker, WorkerLoss(), error=error)
        elif isinstance(error, SealError):
            self._attempts.take(failed.sent)
            yield events.Abandoned(start.key.workflow_id, error)
        else:  # a lost worker is taken off with all that it had
            self._doubtful.append(failed)
            self._workers.workers_changed()

    def load(self, workers: Mapping[str, WorkerState]) -> OthersLoad:
        """Return what others want of the workers' machines, by the ends of their last fits.

        Workers are taken to have been full meanwhile.
        """
        now_s, found = time.monotonic(), {}
        for address, worker in workers.items():
            shares = self._shares.get(address)
            others = None if shares is None else shares.others(now_s, worker.size.cpus)
            if others is not None and others.threads > 0.0:
                found[address] = others
        return OthersLoad(by_worker=found)

    # -- workers ---------------------------------------------------------------------------------

    def replaced(self, known: Collection[str]) -> Iterator[events.Event]:
        """Yield that nothing more is heard of any worker; what runs there is to end.

        Nothing of it is to blame. The workers may be the same ones.
        """
        self._retired.clear()
        for address in list(known):
            yield self._taken_off(address, _CONNECTION_LOST)

    def seen(self, seen: WorkersSeen, known: Collection[str]) -> Iterator[events.Event]:
        """Yield the workers that came and went, and what was in doubt until they were seen."""
        if seen.dask is not self._attempts.dask:
            return  # by a connection that was given up since
        before = set(known)
        present = {size.address: size for size in seen.sizes}
        self._broken &= set(present)
        self._shares = {one: shares for one, shares in self._shares.items() if one in present}
        self._retired &= set(present)
        doubtful, self._doubtful = self._doubtful, []
        for address in self._broken | self._retired:
            del present[address]
        for address in before - set(present):
            yield events.WorkerLost(address, returns=True)
        for address in set(present) - before:
            yield events.WorkerJoined(present[address])
        for failed in doubtful:
            start = failed.sent.start
            if start.worker in present and self._attempts.is_under_way(start.key, start.attempt):
                # Its worker is there, so it is this task alone that failed.
                told = self.ended(ProcessEnded(failed.sent, failed.sent.lost(failed.error)))
                if told is not None:
                    self.note(told)
                    yield from told.events

    def explained(self, explained: LossExplained) -> events.Event:
        """Return what the loss of a worker means, now that it is known why."""
        loss, returns = explained.loss, explained.returns
        return self._taken_off(explained.address, loss, returns=returns)

    def retired(self, address: str) -> events.Event:
        """Return that a worker goes on which nothing runs: nothing must start there any more."""
        self._retired.add(address)
        return events.WorkerLeft(address, returns=True)

    def _taken_off(
        self,
        address: str,
        loss: WorkerLoss,
        *,
        returns: bool = True,
        error: BaseException | None = None,
    ) -> events.WorkerLeft:
        """Record what was lost with a worker; followers wait as before."""
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
                    self.note_ended(run, self._ended(run, sent.start, member, measured))
        preempted = loss.outcome is Outcome.PREEMPTED
        out_of_memory = loss.outcome is Outcome.OUT_OF_MEMORY
        return events.WorkerLeft(address, preempted, out_of_memory, returns)

    def _ended(self, run: Run, start: events.Start, member: Member, measured: Measured) -> Ended:
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
        return Ended(member.key.fit_id, record, measured)
