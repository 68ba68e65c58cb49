"""A backend in virtual time: runs the very decisions of the real one over given runtimes.

Forecasts, tests and benchmarks use it. It knows no distribution: what is drawn, and how the draws
become an ETA, is in :mod:`fitcast.scheduler.forecast.eta`. Not in: pools, users and faults as a
test or benchmark describes them (:mod:`tests.scheduler.plan.scenario`).
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import assert_never

from fitcast.history.records import Outcome
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.events import (
    Action,
    AttemptEnded,
    ChooseNext,
    Close,
    CloseWorkers,
    Conclude,
    DatasetReleased,
    DatasetRemoved,
    Event,
    ExplainLoss,
    FitKey,
    InterruptChoice,
    InterruptOpening,
    Kill,
    NextChosen,
    OpenWorkers,
    Recorded,
    RecordEnd,
    ReleaseDataset,
    RemoveDataset,
    Seal,
    Sealed,
    Settle,
    SlowAction,
    Start,
    WorkerLeft,
    WorkersClosed,
    WorkersOpened,
)

ENDS_PROCESS = frozenset({Outcome.OUT_OF_MEMORY, Outcome.OUT_OF_TIME, Outcome.WORKER_LOST})
"""After these nothing more runs in a process: those that were to follow go back to the queue."""


class SimulatedBackend:
    """Carries out a plan's actions in virtual time.

    Parameters
    ----------
    decisions : Decisions
        The plan; it is moved forward. Give a copy of a live one.
    runtime_s : callable
        ``runtime_s(key, threads)`` gives the runtime in seconds of an attempt that starts.
    peak_memory_bytes : callable, optional
        ``peak_memory_bytes(key)``; an attempt above its limit ends out of memory, halfway.
    choose_next : callable, optional
        ``choose_next(workflow_id)`` answers which fits the next round has.
    overhead_s : float
        Seconds that a slot stays idle between two attempts.
    now_s : float
        Start of virtual time.
    took_s : callable, optional
        ``took_s(now_s, work_s, worker)`` says how long a process takes that begins now and takes
        `work_s` where nothing else runs; just that, by default.
    watch : callable, optional
        ``watch(now_s, actions)`` is told what was decided, after each event.
    """

    def __init__(
        self,
        decisions: Decisions,
        runtime_s: Callable[[FitKey, int], float],
        *,
        peak_memory_bytes: Callable[[FitKey], int] | None = None,
        choose_next: Callable[[str], NextChosen] | None = None,
        overhead_s: float = 0.0,
        now_s: float = 0.0,
        took_s: Callable[[float, float, str], float] | None = None,
        watch: Callable[[float, Sequence[Action]], None] | None = None,
    ) -> None:
        self.decisions = decisions
        self.now_s = now_s
        self.finished_s: dict[str, float] = {}
        self.starts: list[tuple[float, Start]] = []
        self._runtime_s = runtime_s
        self._peak_memory_bytes = peak_memory_bytes
        self._choose_next = choose_next or (lambda workflow_id: NextChosen(workflow_id, None))
        self._overhead_s = overhead_s
        self._took_s = took_s or (lambda now_s, work_s, worker: work_s)
        self._watch = watch
        self._agenda: list[tuple[float, int, Event | Callable[[], Iterable[Event]]]] = []
        self._count = 0

    def at(self, when_s: float, event: Event | Callable[[], Iterable[Event]]) -> None:
        """Let an event happen at `when_s` in virtual time, or those that a callable then gives."""
        heapq.heappush(self._agenda, (when_s, self._count, event))
        self._count += 1

    def carry_out(self, actions: Iterable[Action]) -> None:
        """Carry out actions: attempts take their time, the rest is immediate."""
        pending = list(actions)
        while pending:
            action = pending.pop(0)
            match action:
                case Start():
                    self._start(action)
                case Conclude():
                    self.finished_s[action.workflow_id] = self.now_s
                case Kill():
                    self._kill(action)
                case Settle() | Close() | InterruptOpening() | InterruptChoice():
                    pass
                case _:
                    pending += self._slow(action)

    def _slow(self, action: SlowAction) -> list[Action]:
        """Carry out a slow action: here it takes no time."""
        return self._handle(self._answer(action))

    def _answer(self, action: SlowAction) -> Event:
        """Return the event that answers a slow action if all goes well."""
        match action:
            case ChooseNext():
                return self._choose_next(action.workflow_id)
            case Seal():
                return Sealed(action.workflow_id)
            case OpenWorkers():
                return WorkersOpened(action.workflow_id)
            case ExplainLoss():
                return WorkerLeft(action.address, returns=action.returns)
            case RecordEnd():
                return Recorded(action.workflow_id)
            case ReleaseDataset():
                return DatasetReleased(action.workflow_id)
            case RemoveDataset():
                return DatasetRemoved(action.workflow_id)
            case CloseWorkers():
                return WorkersClosed(action.workflow_id)
            case _:
                assert_never(action)

    def answer_pending(self) -> None:
        """Answer what a live plan has asked for when it was copied."""
        state = self.decisions.state
        for workflow in state.workflows.values():
            for action in workflow.pending:
                self.at(self.now_s, self._answer(action))
        for address in state.lost:
            self.at(self.now_s, WorkerLeft(address))

    def _handle(self, event: Event) -> list[Action]:
        actions = self.decisions.handle(event, self.now_s)
        if self._watch is not None:
            self._watch(self.now_s, actions)
        return actions

    def _start(self, start: Start) -> None:
        self.starts.append((self.now_s, start))
        work_s, ended = self._process(start)
        took_s = self._took_s(self.now_s, work_s, start.worker)
        for event in reversed(ended):  # the leader holds what is reserved until the last one ended
            self.at(self.now_s + took_s + self._overhead_s, event)

    def _process(self, start: Start) -> tuple[float, list[AttemptEnded]]:
        """Return how long a process takes, and how the attempts in it end, the leader first.

        Deadlines are of time with a core, so what others take of it ends no attempt.
        """
        took_s, outcome, peak = self._attempt(start, start.key, start.threads, start.deadline_s)
        ended = [AttemptEnded(start.key, start.attempt, outcome, peak)]
        for one in start.followers:
            if outcome in ENDS_PROCESS:
                ended.append(AttemptEnded(one.key, one.attempt, Outcome.PREEMPTED, 0))
                continue
            more_s, outcome, peak = self._attempt(start, one.key, 1, one.deadline_s, one.saved_s)
            took_s += more_s
            ended.append(AttemptEnded(one.key, one.attempt, outcome, peak))
        return took_s, ended

    def _attempt(
        self, start: Start, key: FitKey, threads: int, deadline_s: float, saved_s: float = 0.0
    ) -> tuple[float, Outcome, int]:
        """Return how long an attempt takes in a process, how it ends and its peak memory."""
        took_s = max(0.0, self._runtime_s(key, threads) - saved_s)
        peak = 0 if self._peak_memory_bytes is None else self._peak_memory_bytes(key)
        if peak > start.memory_limit_bytes:
            return min(took_s / 2, deadline_s), Outcome.OUT_OF_MEMORY, start.memory_limit_bytes
        if took_s > deadline_s:
            return deadline_s, Outcome.OUT_OF_TIME, peak
        return took_s, Outcome.SUCCEEDED, peak

    def _kill(self, kill: Kill) -> None:
        """End an attempt's process at once; what it would have told later is told in vain."""
        for fit in self.decisions.state.workflows[kill.key.workflow_id].fits.values():
            if kill.key in (fit.key, fit.follows) and fit.running_on is not None:
                self.at(self.now_s, AttemptEnded(fit.key, fit.attempt, Outcome.CANCELLED, 0))

    def resume(self, key: FitKey, attempt: int, ends_s: float) -> None:
        """Let an attempt that is under way already end well at `ends_s`."""
        self.at(ends_s, AttemptEnded(key, attempt, Outcome.SUCCEEDED, 0))

    def run(self) -> dict[str, float]:
        """Let virtual time pass until nothing more happens.

        Returns
        -------
        dict of str to float
            When each workflow was done, in seconds of virtual time.
        """
        while self._agenda:
            self.now_s, _, what = heapq.heappop(self._agenda)
            for event in what() if callable(what) else (what,):
                self.carry_out(self._handle(event))
        return self.finished_s
