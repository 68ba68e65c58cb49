"""The forecasts of what is running, renewed in the background as attempts end.

A sweep's correction is read and changed on this thread alone.

In: when to renew them, and how much of a core that may take. Not in: how an ETA is made
(:mod:`fitcast.scheduler.forecast.eta`), how a sweep learns
(:mod:`fitcast.sizing.learning.correction`).
"""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fitcast.history.records import Record
from fitcast.scheduler.forecast.availability import OthersLoad
from fitcast.scheduler.forecast.common_work import corrected
from fitcast.scheduler.forecast.draws import Groups
from fitcast.scheduler.forecast.eta import Eta, forecast
from fitcast.scheduler.forecast.sweep_forecast import groups_of
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.events import FitKey, Reforecast
from fitcast.scheduler.run.runs import Run

log = logging.getLogger(__name__)

SHARE_OF_CORE = 0.01
"""Share of one core that live ETAs may take."""

SHARE_IF_OVERDUE = 0.1
"""And while a workflow runs that was to be done by now: what its ETA says is known to be wrong."""

SHARE_FOR_ESTIMATES = 0.01
"""And correcting the estimates, by which the plan goes on."""

SETTLE_S = 0.15
"""Seconds after a change before it is forecast anew: starting the next attempt comes first."""

LEAST_PAUSE_S = 0.5

RENEW_S = 5.0
"""How often forecasts are renewed without any event: a fit that goes on longer tells too."""

SAMPLES = 24


@dataclass(frozen=True, slots=True)
class Forecast:
    """When each workflow will be done, by its id."""

    etas: Mapping[str, Eta]


class Pace:
    """When forecasts are renewed: after a pause that is longer the more the last ones cost.

    A workflow that runs although its forecast said that it would be over shortens the pause: it
    would show "0.0 s left" all the while. Times are of one clock, in seconds.
    """

    def __init__(self) -> None:
        self._next_s = -math.inf
        self._overdue_s = math.inf

    def renewed(self, now_s: float, used_s: float, first_done_s: float) -> None:
        """Note what the forecasts just made cost, and in how many seconds the first is over."""
        self._next_s = now_s + used_s / SHARE_OF_CORE
        self._overdue_s = now_s + max(first_done_s, used_s / SHARE_IF_OVERDUE)

    def is_due(self, now_s: float) -> bool:
        """Whether they may be renewed now."""
        return now_s >= min(self._next_s, self._overdue_s)

    def wait_s(self, now_s: float) -> float:
        """Return how long to wait for something to happen before they are renewed anyhow."""
        return min(RENEW_S, max(0.0, self._overdue_s - now_s))


class LiveEta:
    """Renews estimates and ETA of every running workflow.

    Parameters
    ----------
    snapshot : callable
        ``snapshot()`` gives a copy of the plan, the runs by workflow, and the seconds that a slot
        stays idle between two attempts.
    load : callable
        ``load()`` gives what others want of the workers' machines now.
    post : callable
        ``post(report)`` takes corrected estimates and new forecasts to the dispatcher.
    """

    def __init__(
        self,
        snapshot: Callable[[], tuple[Decisions, Mapping[str, Run], float]],
        load: Callable[[], OthersLoad],
        post: Callable[[Reforecast | Forecast], None],
    ) -> None:
        self._snapshot = snapshot
        self._load = load
        self._pace = Pace()
        self._first_done_s = math.inf
        self._observed: queue.SimpleQueue[tuple[Run, str, Record]] = queue.SimpleQueue()
        self._post = post
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="fitcast-eta", daemon=True)
        self._thread.start()

    def observe(self, run: Run, fit_id: str, record: Record) -> None:
        """Let a sweep learn from an attempt, soon."""
        self._observed.put((run, fit_id, record))

    def change(self) -> None:
        """Say that something happened."""
        self._changed.set()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._changed.set()
        self._thread.join(10)

    def _loop(self) -> None:
        while True:
            self._changed.wait(self._pace.wait_s(time.monotonic()))
            if self._closing.wait(SETTLE_S):
                return
            self._changed.clear()
            used_s = time.thread_time()
            self._try(self.correct)
            pause_s = (time.thread_time() - used_s) / SHARE_FOR_ESTIMATES
            if self._pace.is_due(time.monotonic()):
                used_s = time.thread_time()
                self._first_done_s = math.inf
                self._try(self.renew)
                used_s = time.thread_time() - used_s
                self._pace.renewed(time.monotonic(), used_s, self._first_done_s)
            if self._closing.wait(max(LEAST_PAUSE_S, pause_s)):
                return

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:  # the plan goes on all the same; the next event is another try
            log.warning("a forecast could not be renewed", exc_info=True)

    def correct(self) -> None:
        """Correct the estimates by what was seen."""
        changed: dict[str, Run] = {}
        while not self._observed.empty():
            run, fit_id, record = self._observed.get()
            run.correction.observe(fit_id, record)
            changed[run.workflow_id] = run
        for run in changed.values():
            if run.is_over:
                continue
            shared = {}
            if run.common_work:
                seen = run.view().measured()
                shared = corrected(run.common_work, seen, run.starts.process_start_s)
            estimates = run.correction.estimates()
            run.expected_now = estimates
            if run.submission.rounds:  # what isn't chosen yet isn't in the plan
                estimates = {one: estimates[one] for one in run.view().rows if one in estimates}
            self._post(Reforecast(run.workflow_id, estimates, shared))

    def renew(self) -> None:
        """Forecast when each workflow is done."""
        plan, runs, overhead_s = self._snapshot()
        if not runs or not plan.workers:
            return
        algorithm: dict[FitKey, str] = {}
        candidate: dict[FitKey, str] = {}
        later = {}
        for name, run in runs.items():
            groups = groups_of(name, run.submission)
            algorithm |= groups.algorithm
            candidate |= groups.candidate
            if name in plan.workflows and plan.workflows[name].rounds:
                later[name] = run.later()
        etas = forecast(
            plan,
            Groups(algorithm, candidate),
            later=later,
            load=self._load(),
            now_s=time.monotonic(),
            overhead_s=overhead_s,
            samples=SAMPLES,
        )
        etas = {name: eta for name, eta in etas.items() if name in runs}
        self._first_done_s = min((eta.p50_s for eta in etas.values()), default=math.inf)
        self._post(Forecast(etas))
