"""The forecasts of what is running, renewed in the background as attempts end.

In: when to renew them, and how much of a core that may take. Not in: how an ETA is made
(:mod:`fitcast.scheduler.forecast.eta`), how a sweep learns
(:mod:`fitcast.sizing.learning.correction`).
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from fitcast.scheduler.forecast.common_work import corrected
from fitcast.scheduler.forecast.draws import Groups
from fitcast.scheduler.forecast.eta import forecast
from fitcast.scheduler.forecast.sweep_forecast import groups_of
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.events import Event, FitKey, Reforecast
from fitcast.scheduler.run.runs import Run

SHARE_OF_CORE = 0.01
"""Share of one core that live ETAs may take."""

SHARE_FOR_ESTIMATES = 0.01
"""And correcting the estimates, by which the plan goes on."""

SETTLE_S = 0.15
"""Seconds after a change before it is forecast anew: starting the next attempt comes first."""

LEAST_PAUSE_S = 0.5

RENEW_S = 5.0
"""How often forecasts are renewed without any event: a fit that goes on longer tells too."""

SAMPLES = 24


class LiveEta:
    """Renews estimates and ETA of every running workflow.

    Parameters
    ----------
    runs : callable
        ``runs()`` gives the runs by workflow.
    snapshot : callable
        ``snapshot()`` gives a copy of the plan, the runs by workflow, and the seconds that a slot
        stays idle between two attempts.
    post : callable
        ``post(event)`` takes corrected estimates to the plan.
    """

    def __init__(
        self,
        runs: Callable[[], Mapping[str, Run]],
        snapshot: Callable[[], tuple[Decisions, Mapping[str, Run], float]],
        post: Callable[[Event], None],
    ) -> None:
        self._running = runs
        self._snapshot = snapshot
        self._next_eta_s = 0.0
        self._post = post
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="fitcast-eta", daemon=True)
        self._thread.start()

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
            self._changed.wait(RENEW_S)
            if self._closing.wait(SETTLE_S):
                return
            self._changed.clear()
            # Without a new forecast the plan goes on all the same; the next event is another try.
            used_s = time.thread_time()
            with suppress(Exception):
                self.correct()
            pause_s = (time.thread_time() - used_s) / SHARE_FOR_ESTIMATES
            if time.monotonic() >= self._next_eta_s:
                used_s = time.thread_time()
                with suppress(Exception):
                    self.renew()
                used_s = time.thread_time() - used_s
                self._next_eta_s = time.monotonic() + used_s / SHARE_OF_CORE
            if self._closing.wait(max(LEAST_PAUSE_S, pause_s)):
                return

    def correct(self) -> None:
        """Correct the estimates by what was seen."""
        for run in self._running().values():
            shared = {}
            if run.shared_work:
                shared = corrected(run.shared_work, run.measured(), run.process_start_s)
            self._post(Reforecast(run.workflow_id, run.correction.estimates(), shared))

    def renew(self) -> None:
        """Forecast when each workflow is done."""
        plan, runs, overhead_s = self._snapshot()
        if not runs or not plan.workers:
            return
        algorithm: dict[FitKey, str] = {}
        candidate: dict[FitKey, str] = {}
        finals = {}
        for run in runs.values():
            groups = groups_of(run.workflow_id, [row.fit for row in list(run.rows.values())])
            algorithm |= groups.algorithm
            candidate |= groups.candidate
            if run.final_estimate is not None:
                finals[run.workflow_id] = run.final_estimate
        etas = forecast(
            plan,
            Groups(algorithm, candidate),
            finals=finals,
            now_s=time.monotonic(),
            overhead_s=overhead_s,
            samples=SAMPLES,
        )
        for workflow_id, eta in etas.items():
            if workflow_id in runs:
                runs[workflow_id].eta = eta
