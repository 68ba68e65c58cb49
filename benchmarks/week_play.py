"""Plays a week of submissions on one cluster, fit by fit: by fair share, or in order of submission.

In: virtual time, the broker's decisions carried out, what everybody got. Not in: what is submitted
(:mod:`benchmarks.week_trace`), which fit has room (:mod:`benchmarks.week_room`), tables and goals
(:mod:`benchmarks.workloads.week`).

The cluster is one pool of CPUs and memory: which worker has room is the plan's matter. A fit that
runs is never interrupted; a share grows and shrinks as fits end.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.week_room import Room
from benchmarks.week_trace import Array, Flow
from fitcast.scheduler.broker.fair_share import allotments, next_claimed, to_give_way
from fitcast.scheduler.broker.past_arrivals import PastArrivals
from fitcast.scheduler.broker.queue_errors import Judged, corrected, is_full
from fitcast.scheduler.broker.queue_forecast import forecast_queue
from fitcast.scheduler.broker.resources import Demand, Resources
from fitcast.scheduler.broker.sharers import Account, Limits, Running, Waiting, charged

SAMPLE_S = 30.0
TICK_S = 20.0  # shares are dealt out anew so often, if anything changed
LOOK_AT = 8  # workflows whose next fit is tried when memory is short
_LEARN_FROM = 5.0  # fits after which what is forecast of the others is half corrected


@dataclass(eq=False)
class Live:
    """A workflow in the broker."""

    flow: Flow
    after: dict[str, Array]  # of the fits from each on: forecasts in sum
    queued_at_s: float
    started_at_s: float | None = None
    next: int = 0  # fit
    in_flight: dict[int, float] = field(default_factory=dict)  # fit → since when
    cpus: int = 0
    memory_bytes: float = 0.0
    done: int = 0
    done_s: float = 0.0  # runtimes of those, and what was forecast of them
    done_said_s: float = 0.0
    allotted_cpus: float = 0.0

    @property
    def has_waiting(self) -> bool:
        """Whether a fit waits."""
        return self.next < self.flow.fits

    def left(self, now_s: float) -> Demand:
        """Return what is left to do, as it is forecast now."""
        flow, after, at = self.flow, self.after, self.next
        cpu_s, memory_byte_s = float(after["cpu_s"][at]), float(after["byte_s"][at])
        frees_cpu_s = 0.0
        for fit, since_s in self.in_flight.items():
            rest_s = max(0.1 * flow.said_s[fit], flow.said_s[fit] - (now_s - since_s))
            frees_cpu_s += rest_s * flow.cpus[fit]
            cpu_s += rest_s * flow.cpus[fit]
            memory_byte_s += rest_s * flow.memory_bytes[fit]
        factor = self._factor()
        most = Resources(after["cpus"][at] + self.cpus, after["bytes"][at] + self.memory_bytes)
        return Demand(
            cpu_s=cpu_s * factor,
            memory_byte_s=memory_byte_s * factor,
            most=most,
            frees_in_s=frees_cpu_s * factor / self.cpus if self.cpus else 0.0,
        )

    def _factor(self) -> float:
        """Return how much longer fits take than was forecast, from those that are done."""
        if not self.done:
            return 1.0
        return math.exp(
            self.done / (self.done + _LEARN_FROM) * math.log(self.done_s / self.done_said_s)
        )

    def path_s(self, now_s: float) -> float:
        """Return what is left of it at least, as it is forecast now."""
        flow = self.flow
        longest = float(flow.said_s[self.next :].max(initial=0.0))
        for fit, since_s in self.in_flight.items():
            longest = max(longest, flow.said_s[fit] - (now_s - since_s))
        return max(1.0, longest * self._factor())

    def running(self, now_s: float, *, exact: bool = False) -> Running:
        """Return it as the broker's decisions know it."""
        assert self.started_at_s is not None
        forecast_s = None
        demand = self.flow.demand
        if exact:
            demand = self.left(now_s)
            p10, _, p90 = self.flow.forecast_s
            # What is left is as unsure as all was at first, but for what has been seen since.
            sure = math.sqrt(_LEARN_FROM / (self.done + _LEARN_FROM))
            wide = (p90 / p10) ** (0.5 * sure)
            path_s = self.path_s(now_s)
            forecast_s = (path_s / wide, path_s, path_s * wide)
        else:
            at = self.next
            most = Resources(
                self.after["cpus"][at] + self.cpus, self.after["bytes"][at] + self.memory_bytes
            )
            demand = replace(demand, most=most)
        return Running(
            workflow_id=self.flow.name,
            user=self.flow.user,
            used=Resources(self.cpus, self.memory_bytes),
            demand=demand,
            started_at_s=self.started_at_s,
            queued_at_s=self.queued_at_s,
            forecast_s=forecast_s,
        )

    def waiting(self) -> Waiting:
        """Return it as the broker's decisions know it."""
        return waiting(self.flow, self.queued_at_s)


@dataclass(frozen=True)
class Asked:
    """What was said at submission."""

    flow: Flow
    played_s: tuple[float, float, float]  # of its end, before it was corrected
    end_s: tuple[float, float, float]
    was_full: bool


@dataclass
class Played:
    """What came of a week."""

    ended_s: dict[str, float] = field(default_factory=dict)
    began_s: dict[str, float] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    shares: list[dict[int, tuple[float, float, float]]] = field(default_factory=list)
    gave_way: int = 0
    busy_cpu_s: float = 0.0


def waiting(flow: Flow, queued_at_s: float, *, exact: bool = False) -> Waiting:
    """Return a workflow in the queue, as forecast or as it turned out."""
    return Waiting(
        workflow_id=flow.name,
        user=flow.user,
        queued_at_s=queued_at_s,
        demand=flow.needs if exact else flow.demand,
        forecast_s=(flow.alone_s,) * 3 if exact else flow.forecast_s,
    )


class Week:
    """A week under way.

    Parameters
    ----------
    flows : sequence of Flow
        In order of submission.
    capacity : Resources
        What there is.
    limits : Limits or None
        How it is shared; None: in order of submission.
    ask : callable, optional
        Tells of which workflows the forecast is asked at submission.
    past : PastArrivals, optional
        What the forecast knows of who may come.
    """

    def __init__(
        self,
        flows: Sequence[Flow],
        capacity: Resources,
        limits: Limits | None,
        *,
        ask: Callable[[int], bool] = lambda _: False,
        past: PastArrivals | None = None,
    ) -> None:
        self.flows, self.capacity, self.limits = flows, capacity, limits
        self.played = Played()
        self._ask, self._past = ask, past
        self._queue: dict[str, Live] = {}
        self._runs: dict[str, Live] = {}
        self._accounts: dict[str, Account] = {}
        self._room = Room(int(capacity.cpus), capacity.memory_bytes)
        self._now_s = flows[0].at_s
        self._count = 0
        self._agenda: list[tuple[float, int, str, Live | None, int]] = []
        self._hungry: list[tuple[float, int, Live]] = []
        self._stale, self._ticking, self._sampling = False, False, False
        self._zero_s = flows[0].at_s

    def play(self) -> Played:
        """Play all of it."""
        for number, flow in enumerate(self.flows):
            self._push(flow.at_s, "arrive", _live(flow), number)
        while self._agenda:
            self._now_s, _, what, live, number = heapq.heappop(self._agenda)
            if what == "end":
                assert live is not None
                self._end(live, number)
            elif what == "arrive":
                assert live is not None
                self._arrive(live, number)
            elif what == "tick":
                self._ticking = False
                if self._stale:
                    self._deal()
            else:
                self._sample()
        return self.played

    def _push(self, at_s: float, what: str, live: Live | None = None, number: int = 0) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (at_s, self._count, what, live, number))

    # -- workflows ---------------------------------------------------------------------------

    def _arrive(self, live: Live, number: int) -> None:
        if not self._sampling:
            self._sampling = True
            self._push(self._now_s + SAMPLE_S, "sample")
        if self.limits is None:
            live.started_at_s = self._now_s
            self._runs[live.flow.name] = live
            self._want(live)
            self._start()
            return
        self._queue[live.flow.name] = live
        if self._ask(number):
            self.played.asked.append(self._asked(live))
        self._deal()

    def _asked(self, live: Live) -> Asked:
        assert self.limits is not None
        name = live.flow.name
        running = [one.running(self._now_s, exact=True) for one in self._runs.values()]
        told = forecast_queue(
            [one.waiting() for one in self._queue.values()],
            running,
            list(self._accounts.values()),
            self.capacity,
            self.limits,
            self._now_s,
            arrivals=self._past,
            asked=[name],
        )[name]
        full = is_full([one.used for one in running], self.capacity)
        end_s = corrected(told.end_s, full, self._judged())
        return Asked(live.flow, told.end_s, end_s, full)

    def _judged(self) -> list[Judged]:
        """Return how the forecasts of those turned out that have ended by now."""
        ended_s = self.played.ended_s
        ended = [one for one in self.played.asked if one.flow.name in ended_s]
        ended.sort(key=lambda one: ended_s[one.flow.name])
        return [
            Judged(
                said_s=one.played_s,
                took_s=ended_s[one.flow.name] - one.flow.at_s,
                was_full=one.was_full,
            )
            for one in ended
        ]

    def _deal(self) -> None:
        """Let workflows leave the queue, and share the cluster out."""
        assert self.limits is not None
        self._stale = False
        accounts = list(self._accounts.values())
        rule = (accounts, self.capacity, self.limits, self._now_s)
        runs = [one.running(self._now_s) for one in self._runs.values()]
        while self._queue:
            queue = [one.waiting() for one in self._queue.values()]
            claimed = next_claimed(queue, runs, *rule)
            if claimed is None:
                gone = to_give_way(queue, runs, *rule)
                if not gone:
                    break
                self.played.gave_way += 1
                live = self._runs.pop(gone[0])
                self._room.forget(gone[0])
                live.queued_at_s, live.started_at_s = self._now_s, None
                self._queue[gone[0]] = live
                runs = [one for one in runs if one.workflow_id != gone[0]]
                continue
            live = self._queue.pop(claimed.workflow_id)
            live.started_at_s = self._now_s
            self._runs[claimed.workflow_id] = live
            self.played.began_s.setdefault(claimed.workflow_id, self._now_s)
            runs.append(live.running(self._now_s))
        for name, given in allotments(runs, *rule).items():
            self._runs[name].allotted_cpus = given.cpus
        self._hungry = []
        for live in self._runs.values():
            self._want(live)
        self._start()

    def _changed(self) -> None:
        self._stale = True
        if not self._ticking:
            self._ticking = True
            self._push(self._now_s + TICK_S, "tick")

    # -- fits --------------------------------------------------------------------------------

    def _want(self, live: Live) -> None:
        """Note that a workflow has fits that wait."""
        if live.has_waiting:
            self._count += 1
            heapq.heappush(self._hungry, (self._turn(live), self._count, live))

    def _turn(self, live: Live) -> float:
        if self.limits is None:
            return live.flow.at_s
        return live.cpus / max(1e-9, live.allotted_cpus)

    def _start(self) -> None:
        """Start fits as long as there is room, first of who is furthest below their share."""
        passed = []
        while self._hungry and self._room.free_cpus > 0 and len(passed) < LOOK_AT:
            turn, _, live = heapq.heappop(self._hungry)
            if live.started_at_s is None or not live.has_waiting:
                continue
            if turn != self._turn(live):
                self._want(live)
                continue
            fit = live.next
            cpus, memory = live.flow.cpus[fit], live.flow.memory_bytes[fit]
            said_s, name = float(live.flow.said_s[fit]), (live.flow.name, fit)
            if not self._room.begin(name, cpus, memory, said_s, self._now_s):
                passed.append(live)
                continue
            live.next += 1
            live.cpus += cpus
            live.memory_bytes += memory
            live.in_flight[fit] = self._now_s
            self.played.began_s.setdefault(live.flow.name, self._now_s)
            self._push(self._now_s + live.flow.runtime_s[fit], "end", live, fit)
            self._want(live)
        for live in passed:
            self._want(live)

    def _end(self, live: Live, fit: int) -> None:
        flow = live.flow
        took_s = flow.runtime_s[fit]
        del live.in_flight[fit]
        live.cpus -= flow.cpus[fit]
        live.memory_bytes -= flow.memory_bytes[fit]
        self._room.end((flow.name, fit), self._now_s)
        live.done += 1
        live.done_s += took_s
        live.done_said_s += float(flow.said_s[fit])
        self.played.busy_cpu_s += took_s * flow.cpus[fit]
        if live.done == flow.fits:
            self.played.ended_s[flow.name] = self._now_s
            self._runs.pop(flow.name, None)
            self._queue.pop(flow.name, None)
        if self.limits is not None and (live.done == flow.fits or not live.has_waiting):
            self._changed()
        self._want(live)
        self._start()

    # -- what everybody had ------------------------------------------------------------------

    def _sample(self) -> None:
        has: dict[str, list[float]] = {}
        for live in (*self._runs.values(), *self._queue.values()):
            one = has.setdefault(live.flow.user, [0.0, 0.0, 0.0])
            one[0] += live.cpus
            one[1] += live.memory_bytes
            one[2] += live.has_waiting
        hour = int((self._now_s - self._zero_s) // 3600.0)
        shares = self.played.shares
        while len(shares) <= hour:
            shares.append({})
        dominant = {
            user: max(one[0] / self.capacity.cpus, one[1] / self.capacity.memory_bytes)
            for user, one in has.items()
        }
        behind = [user for user, one in has.items() if one[2]]
        fair = math.fsum(dominant[user] for user in behind) / max(1, len(behind))
        if len(behind) > 1:
            for user in behind:
                got, due, took_s = shares[hour].get(int(user[1:]), (0.0, 0.0, 0.0))
                shares[hour][int(user[1:])] = (
                    got + dominant[user] * SAMPLE_S,
                    due + fair * SAMPLE_S,
                    took_s + SAMPLE_S,
                )
        if self.limits is not None:
            self._charge(has)
        if has or self._agenda:
            self._push(self._now_s + SAMPLE_S, "sample")

    def _charge(self, has: dict[str, list[float]]) -> None:
        assert self.limits is not None
        for user, one in has.items():
            account = self._accounts.get(user)
            if account is None:
                account = Account(
                    user_id=int(user[1:]), user=user, group="", weight=1.0, as_of_s=self._now_s
                )
            used = Resources(one[0], one[1]) * SAMPLE_S
            self._accounts[user] = charged(account, used, self._now_s, self.limits.half_life_s)


def _live(flow: Flow) -> Live:
    said, cpus, memory = flow.said_s, np.array(flow.cpus), np.array(flow.memory_bytes)
    sums = {"cpu_s": said * cpus, "byte_s": said * memory, "cpus": cpus, "bytes": memory}
    after = {
        name: np.r_[np.cumsum(values[::-1])[::-1], 0.0].astype(float)
        for name, values in sums.items()
    }
    return Live(flow, after, flow.at_s)
