"""Tells everybody who waits when it will be done: the forecast of the queue, made anew as it goes.

One thread, which takes a share of a core at most, however long the queue is. The first forecast
after a workflow was queued is kept as the ETA given at submission. All are corrected by how earlier
ones turned out. In: driving. Not in: the forecast (:mod:`fitcast.scheduler.broker.queue_forecast`),
the correction (:mod:`fitcast.scheduler.broker.queue_errors`).
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from fitcast.errors import BrokerStoreError, FitcastError
from fitcast.scheduler.broker.past_arrivals import PastArrivals
from fitcast.scheduler.broker.queue_errors import corrected, is_full
from fitcast.scheduler.broker.queue_forecast import forecast_queue
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.serving.judged_forecasts import JudgedForecasts
from fitcast.scheduler.broker.serving.turns import capacity_of, limits_now, running_of, waiting_of
from fitcast.scheduler.broker.sharers import Limits
from fitcast.scheduler.broker.store import StoredWorkflow

log = logging.getLogger(__name__)

EVERY_S: Final = 5.0
SHARE: Final = 0.1
"""Of one core, for forecasts."""

PAST_S: Final = 28 * 86_400.0
"""Who came so long ago tells who may come."""

PAST_EVERY_S: Final = 3600.0
MOST_PAST: Final = 50_000


class QueueEtas:
    """Forecasts the queue, again and again.

    Parameters
    ----------
    service : Service
        The queue, and the folders of workflows.
    limits : Limits
        How the cluster is shared.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self, service: Service, limits: Limits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._service = service
        self._limits = limits
        self._clock = clock
        self._ending = threading.Event()
        self._judged = JudgedForecasts(service, clock)
        self._past: PastArrivals | None = None
        self._past_s = -math.inf
        self._thread = threading.Thread(
            target=self._go_round, name="fitcast-queue-etas", daemon=True
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End, after the forecast that is being made."""
        self._ending.set()
        self._thread.join()

    def _go_round(self) -> None:
        pause_s = EVERY_S
        while not self._ending.wait(pause_s):
            began_s = self._clock()
            try:
                self.turn()
            except BrokerStoreError as error:
                log.warning("the queue can't be forecast: %s", error)
            except Exception:
                log.exception("the queue can't be forecast")
            pause_s = max(EVERY_S, (self._clock() - began_s) * (1.0 / SHARE - 1.0))

    def turn(self) -> None:
        """Forecast once, and tell."""
        store = self._service.store
        queued = store.queued()
        if not queued:
            return
        now_s = store.now_s()
        running, capacity = store.running(), capacity_of(self._service.engine)
        told = forecast_queue(
            [waiting_of(row) for row in queued],
            [running_of(row) for row in running],
            store.accounts(self._limits.half_life_s),
            capacity,
            limits_now(self._limits, store),
            now_s,
            arrivals=self._arrivals(now_s),
        )
        full, judged = is_full([row.used for row in running], capacity), self._judged.latest()
        etas = {
            row.workflow_id: corrected(told[row.workflow_id].end_s, full, judged)
            for row in queued
            if math.isfinite(told[row.workflow_id].end_s[1])
        }
        store.note_etas(etas)
        for row in queued:
            name = row.workflow_id
            if name in etas and self._is_first(row, etas[name], now_s):
                self._judged.note(name, told[name].end_s, now_s, full=full)

    def _is_first(
        self, row: StoredWorkflow, end_s: tuple[float, float, float], now_s: float
    ) -> bool:
        """Tell whether this is the first forecast of a workflow, and keep it then."""
        try:
            folder = self._service.files.folder(row.workflow_id)
            if folder.forecast_s() is None:
                waited_s = now_s - row.created_at.timestamp()
                p10_s, p50_s, p90_s = (waited_s + one for one in end_s)
                folder.note_forecast((p10_s, p50_s, p90_s))
                return True
        except FitcastError as error:
            log.warning("%s", error)
        return False

    def _arrivals(self, now_s: float) -> PastArrivals | None:
        if self._clock() - self._past_s > PAST_EVERY_S:
            self._past_s = self._clock()
            since = datetime.fromtimestamp(now_s - PAST_S, UTC)
            came = self._service.store.arrivals_since(since, MOST_PAST)
            self._past = PastArrivals(came, came[0].queued_at_s, now_s) if came else None
        return self._past
