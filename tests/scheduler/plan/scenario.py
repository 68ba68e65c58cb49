"""What may happen to a plan, written down: pools, users, behaviour of fits, faults.

In: `Scenario` and `play`, which plays it in virtual time and tells what became of it. Not in: the
virtual time itself (:mod:`fitcast.scheduler.plan.simulator`).
"""

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from fitcast.errors import FitcastError
from fitcast.history.records import Estimate, Outcome
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.events import (
    Action,
    ActionFailed,
    AllWorkersLost,
    AttemptEnded,
    CancelRequested,
    Close,
    Event,
    ExplainLoss,
    FitKey,
    Kill,
    LateFit,
    NextChosen,
    Settle,
    SlowAction,
    Start,
    Submitted,
    WorkerJoined,
    WorkerLeft,
    WorkerLost,
)
from fitcast.scheduler.plan.pools import Pool, WorkerSize, planned_workers
from fitcast.scheduler.plan.simulator import SimulatedBackend


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What a fit really does, whatever was forecast; what is None is as forecast."""

    runtime_s: float | None = None  # with one thread; infinite if it hangs
    peak_memory_bytes: int | None = None
    raises: bool = False  # at its end
    kills_worker: bool = False  # at its end


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """A worker dies or is taken away; of workers that replaced it, the one that is there."""

    at_s: float
    worker: str  # as `planned_workers` calls it
    preempted: bool = False


@dataclass(frozen=True, slots=True)
class FitPreempted:
    """The process in which a fit runs loses its place, and others in it too."""

    at_s: float
    key: FitKey


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A user gives a workflow up."""

    at_s: float
    workflow_id: str


@dataclass(frozen=True, slots=True)
class AllGone:
    """All workers are gone for good."""

    at_s: float


Fault: TypeAlias = WorkerGone | FitPreempted | Cancelled | AllGone


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is there, who comes, what goes wrong."""

    pools: Sequence[Pool]
    arrivals: Sequence[tuple[float, Submitted]]  # in seconds, and what is submitted then
    behaviours: Mapping[FitKey, Behaviour] = field(default_factory=dict)
    # of the rounds that are chosen late, by workflow
    rounds: Mapping[str, Sequence[Sequence[Estimate]]] = field(default_factory=dict)
    runtime_factor: float = 1.0  # real over forecast, of fits whose behaviour says nothing
    memory_factor: float = 1.0
    faults: Sequence[Fault] = ()
    start_s: float = 0.0  # that a worker takes to be there
    replaced_in_s: float | None = 0.0  # after a worker is gone; None if it stays away
    overhead_s: float = 0.0  # of a process
    slow_s: Sequence[float] = (0.0,)  # that slow actions take, in turn
    failing: Collection[int] = ()  # the slow actions that fail, by their number


def late(number: int, *estimates: Estimate) -> dict[str, LateFit]:
    """Return the fits of a round that is chosen late."""
    return {f"r{number}-{n}": LateFit(one, fold=n) for n, one in enumerate(estimates)}


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt as it was."""

    start: Start  # of the process in which it ran
    key: FitKey
    attempt: int
    began_s: float
    ended_s: float  # of its process
    outcome: Outcome


@dataclass(eq=False)
class Played:
    """What became of a scenario."""

    plan: Decisions  # as it stands at the end
    attempts: list[Attempt] = field(default_factory=list)  # in the order of their ends
    settled: dict[FitKey, list[Settle]] = field(default_factory=dict)  # one each, if all is well
    finished_s: dict[str, float] = field(default_factory=dict)  # by workflow
    closed: set[str] = field(default_factory=set)  # workflows of which nothing is left

    def outcome(self, key: FitKey) -> Outcome:
        """Return how a fit ended in the end."""
        return self.settled[key][-1].outcome

    @property
    def makespan_s(self) -> float:
        """When the last workflow was done."""
        return max(self.finished_s.values(), default=0.0)


def random_faults(
    seed: int, pools: Sequence[Pool], *, until_s: float, deaths: int = 0, preemptions: int = 0
) -> tuple[WorkerGone, ...]:
    """Return workers that go at random times; the same for the same seed."""
    rng = random.Random(seed)
    names = [worker.address for worker in planned_workers(pools)]
    return tuple(
        WorkerGone(rng.uniform(0.0, until_s), rng.choice(names), preempted=number >= deaths)
        for number in range(deaths + preemptions)
    )


def play(scenario: Scenario, watch: Callable[[float, Decisions], None] | None = None) -> Played:
    """Play a scenario in virtual time.

    Parameters
    ----------
    scenario : Scenario
        What happens.
    watch : callable, optional
        ``watch(now_s, plan)`` sees the plan after every event.

    Returns
    -------
    Played
        Once nothing more happens.
    """
    return _Play(scenario, watch).played()


class _Play(SimulatedBackend):
    def __init__(
        self, scenario: Scenario, watch: Callable[[float, Decisions], None] | None
    ) -> None:
        super().__init__(
            Decisions(checked=True),
            self._took_s,
            peak_memory_bytes=self._peak_bytes,
            choose_next=self._chosen,
            overhead_s=scenario.overhead_s,
            watch=self._note,
        )
        self._scenario = scenario
        self._seen = watch
        self._result = Played(self.decisions)
        self._there: dict[str, WorkerSize] = {}  # by planned name, under the present address
        self._left: dict[str, int] = {}  # how often, by planned name
        self._processes: dict[tuple[FitKey, int], _Process] = {}
        self._preempted_workers: set[str] = set()
        self._asked = 0  # slow actions
        self._rounds = Counter[str]()  # that were asked for, by workflow
        self._is_over = False  # no worker comes any more

    def played(self) -> Played:
        for size in planned_workers(self._scenario.pools):
            self.at(self._scenario.start_s, self._joining(size.address, size))
        for when_s, submitted in self._scenario.arrivals:
            self.at(when_s, submitted)
        for fault in self._scenario.faults:
            self.at(fault.at_s, self._striking(fault))
        self._result.finished_s = self.run()
        return self._result

    # -- what fits do --------------------------------------------------------------------------

    def _behaviour(self, key: FitKey) -> Behaviour:
        return self._scenario.behaviours.get(key) or Behaviour()

    def _took_s(self, key: FitKey, threads: int) -> float:
        fit = self.decisions.state.fit(key)
        alone_s = self._behaviour(key).runtime_s
        if alone_s is None:
            alone_s = self._scenario.runtime_factor * fit.estimate.runtime_s_p50
        return alone_s * (fit.runtime_s(threads) / max(fit.runtime_s(1), 1e-9))

    def _peak_bytes(self, key: FitKey) -> int:
        peak = self._behaviour(key).peak_memory_bytes
        if peak is None:
            forecast = self.decisions.state.fit(key).estimate.peak_memory_bytes_p50
            return round(self._scenario.memory_factor * forecast)
        return peak

    def _attempt(
        self, start: Start, key: FitKey, threads: int, deadline_s: float, saved_s: float = 0.0
    ) -> tuple[float, Outcome, int]:
        took_s, outcome, peak = super()._attempt(start, key, threads, deadline_s, saved_s)
        if outcome is Outcome.SUCCEEDED:
            behaviour = self._behaviour(key)
            if behaviour.kills_worker:
                outcome = Outcome.WORKER_LOST
            elif behaviour.raises:
                outcome = Outcome.FAILED
        return took_s, outcome, peak

    def _chosen(self, workflow_id: str) -> NextChosen:
        number = self._rounds[workflow_id]
        self._rounds[workflow_id] += 1
        rounds = self._scenario.rounds.get(workflow_id, ())
        if number >= len(rounds):
            return NextChosen(workflow_id, None)
        return NextChosen(workflow_id, late(number, *rounds[number]))

    # -- processes -----------------------------------------------------------------------------

    def _start(self, start: Start) -> None:
        self.starts.append((self.now_s, start))
        took_s, ended = self._process(start)
        process = _Process(start, self.now_s, ended)
        for one in ended:
            self._processes[one.key, one.attempt] = process
        ends_s = self.now_s + took_s + self._overhead_s
        if ends_s < float("inf"):
            self.at(ends_s, lambda: self._ending(process))

    def _ending(self, process: "_Process") -> Iterator[Event]:
        if process.over:
            return
        if any(one.outcome is Outcome.WORKER_LOST for one in process.ended):
            name = next(n for n, s in self._there.items() if s.address == process.start.worker)
            yield from self._gone(name, preempted=False)
            return
        process.over = True
        for one in reversed(process.ended):
            self._close(process, one.key, one.attempt, one.outcome)
            yield one

    def _close(self, process: "_Process", key: FitKey, attempt: int, outcome: Outcome) -> None:
        if self._processes.pop((key, attempt), None) is not None:
            self._result.attempts.append(
                Attempt(process.start, key, attempt, process.began_s, self.now_s, outcome)
            )

    def _kill(self, kill: Kill) -> None:
        process = self._processes.get((kill.key, kill.attempt))
        if process is None or process.over:
            return
        process.ended = [replace(one, outcome=Outcome.CANCELLED) for one in process.ended]
        self.at(self.now_s, lambda: self._ending(process))

    def _slow(self, action: SlowAction) -> list[Action]:
        number, self._asked = self._asked, self._asked + 1
        event = self._answer(action)
        if number in self._scenario.failing:
            event = ActionFailed(action, FitcastError(f"{type(action).__name__} failed"))
        slow_s = self._scenario.slow_s
        self.at(self.now_s + slow_s[number % len(slow_s)], event)
        return []

    def _answer(self, action: SlowAction) -> Event:
        if isinstance(action, ExplainLoss):
            preempted = action.address in self._preempted_workers
            return WorkerLeft(action.address, preempted, returns=action.returns)
        return super()._answer(action)

    # -- workers and faults --------------------------------------------------------------------

    def _joining(self, name: str, size: WorkerSize) -> Callable[[], Iterable[Event]]:
        def join() -> list[Event]:
            if self._is_over:
                return []
            self._there[name] = size
            return [WorkerJoined(size)]

        return join

    def _gone(self, name: str, *, preempted: bool) -> Iterator[Event]:
        size = self._there.pop(name, None)
        if size is None:
            return
        outcome = Outcome.PREEMPTED if preempted else Outcome.WORKER_LOST
        for process in list(dict.fromkeys(self._processes.values())):
            if process.start.worker == size.address:
                process.over = True
                for one in process.ended:
                    self._close(process, one.key, one.attempt, outcome)
        self._left[name] = self._left.get(name, 0) + 1
        again_s = self._scenario.replaced_in_s
        if again_s is not None:
            replaced = replace(size, address=f"{name}.{self._left[name]}")
            self.at(self.now_s + again_s, self._joining(name, replaced))
        if preempted:
            self._preempted_workers.add(size.address)
        yield WorkerLost(size.address, returns=again_s is not None)

    def _striking(self, fault: Fault) -> Callable[[], Iterable[Event]]:
        match fault:
            case WorkerGone():
                return lambda: self._gone(fault.worker, preempted=fault.preempted)
            case FitPreempted():
                return lambda: self._preempted(fault.key)
            case Cancelled():
                return lambda: [CancelRequested(fault.workflow_id)]
            case AllGone():
                return self._all_gone

    def _all_gone(self) -> Iterator[Event]:
        for process in self._processes.values():
            process.over = True
        for key, attempt in list(self._processes):
            self._close(self._processes[key, attempt], key, attempt, Outcome.PREEMPTED)
        self._there.clear()
        self._is_over = True
        yield AllWorkersLost(FitcastError("all workers were lost"))

    def _preempted(self, key: FitKey) -> Iterator[Event]:
        for (running, _), process in self._processes.items():
            if running == key and not process.over:
                process.ended = [replace(one, outcome=Outcome.PREEMPTED) for one in process.ended]
                yield from self._ending(process)
                return

    # -- what came of it -------------------------------------------------------------------------

    def _note(self, now_s: float, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Settle):
                self._result.settled.setdefault(action.key, []).append(action)
            elif isinstance(action, Close):
                self._result.closed.add(action.workflow_id)
        if self._seen is not None:
            self._seen(now_s, self.decisions)


@dataclass(eq=False)
class _Process:
    start: Start
    began_s: float
    ended: list[AttemptEnded]  # how its attempts will end, the leader first
    over: bool = False
