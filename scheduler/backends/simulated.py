"""A backend in virtual time: runs the very decisions of the real one over given runtimes.

Forecasts, tests and benchmarks use it. It knows no distribution: what is drawn, and how the
draws become an ETA, is in :mod:`fitcast.scheduler.eta`.
"""

import heapq
from collections.abc import Callable, Iterable

from fitcast.history.records import Outcome
from fitcast.scheduler.decisions import Decisions
from fitcast.scheduler.events import (
    Action,
    AttemptEnded,
    ChooseFinal,
    Close,
    Event,
    FinalChosen,
    FitKey,
    Start,
)


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
    choose_final : callable, optional
        ``choose_final(workflow_id)`` answers which fit is the last one.
    overhead_s : float
        Seconds that a slot stays idle between two attempts.
    now_s : float
        Start of virtual time.
    """

    def __init__(
        self,
        decisions: Decisions,
        runtime_s: Callable[[FitKey, int], float],
        *,
        peak_memory_bytes: Callable[[FitKey], int] | None = None,
        choose_final: Callable[[str], FinalChosen] | None = None,
        overhead_s: float = 0.0,
        now_s: float = 0.0,
    ) -> None:
        self.decisions = decisions
        self.now_s = now_s
        self.finished_s: dict[str, float] = {}
        self.starts: list[tuple[float, Start]] = []
        self._runtime_s = runtime_s
        self._peak_memory_bytes = peak_memory_bytes
        self._choose_final = choose_final or (lambda wid: FinalChosen(wid, None, None))
        self._overhead_s = overhead_s
        self._agenda: list[tuple[float, int, Event]] = []
        self._count = 0

    def at(self, when_s: float, event: Event) -> None:
        """Let an event happen at `when_s` in virtual time."""
        heapq.heappush(self._agenda, (when_s, self._count, event))
        self._count += 1

    def carry_out(self, actions: Iterable[Action]) -> None:
        """Carry out actions: attempts take their time, the rest is immediate."""
        pending = list(actions)
        while pending:
            action = pending.pop(0)
            if isinstance(action, Start):
                self._start(action)
            elif isinstance(action, ChooseFinal):
                answer = self._choose_final(action.workflow_id)
                pending += self.decisions.handle(answer, self.now_s)
            elif isinstance(action, Close):
                self.finished_s[action.workflow_id] = self.now_s

    def _start(self, start: Start) -> None:
        self.starts.append((self.now_s, start))
        took_s = self._runtime_s(start.key, start.threads)
        outcome, peak = Outcome.SUCCEEDED, 0
        if self._peak_memory_bytes is not None:
            peak = self._peak_memory_bytes(start.key)
        if peak > start.memory_limit_bytes:
            outcome, took_s, peak = Outcome.OUT_OF_MEMORY, took_s / 2, start.memory_limit_bytes
        elif took_s > start.deadline_s:
            outcome, took_s = Outcome.OUT_OF_TIME, start.deadline_s
        ended = [AttemptEnded(start.key, start.attempt, outcome, peak)]
        for one in start.followers:
            took_s += max(0.0, self._runtime_s(one.key, 1) - one.saved_s)
            ended.append(AttemptEnded(one.key, one.attempt, Outcome.SUCCEEDED, 0))
        for event in reversed(ended):
            self.at(self.now_s + took_s + self._overhead_s, event)

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
            self.now_s, _, event = heapq.heappop(self._agenda)
            self.carry_out(self.decisions.handle(event, self.now_s))
        return self.finished_s
