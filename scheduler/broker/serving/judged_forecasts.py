"""Remembers what the queue's forecasts said at submission, and how those turned out that ended.

A small file in each workflow's folder, which any replica reads; it goes with the folder. In: files
and the database. Not in: what is made of it (:mod:`fitcast.scheduler.broker.queue_errors`).
"""

import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from fitcast.errors import FitcastError
from fitcast.scheduler.broker.queue_errors import MOST_JUDGED, Judged
from fitcast.scheduler.broker.service import Service

PLAYED: Final = "played.json"
"""What was played when a workflow was first forecast: when, P10 to P90, whether it was full."""

EVERY_S: Final = 300.0
_READ: Final = 2 * MOST_JUDGED  # each case has some


class JudgedForecasts:
    """Forecasts at submission of workflows that have succeeded.

    Parameters
    ----------
    service : Service
        The workflows and their folders.
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, service: Service, clock: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._clock = clock
        self._judged: dict[str, Judged | None] = {}  # of each that ended; None: nothing was noted
        self._read_s = -math.inf

    def note(
        self, workflow_id: str, said_s: tuple[float, float, float], now_s: float, *, full: bool
    ) -> None:
        """Write down what was played of a workflow, from `now_s` (since 1970) on."""
        with suppress(OSError):  # not worth failing for
            path = self._service.files.folder(workflow_id).path / PLAYED
            path.write_text(json.dumps([now_s, *said_s, full]), encoding="ascii")

    def latest(self) -> list[Judged]:
        """Return how the latest turned out, the last to end last."""
        if self._clock() - self._read_s > EVERY_S:
            self._read_s = self._clock()
            ended = self._service.store.latest_succeeded(_READ)
            self._judged = {
                name: self._judged[name] if name in self._judged else self._found(name, ended_s)
                for name, ended_s in ended
            }
        return [one for one in self._judged.values() if one is not None]

    def _found(self, workflow_id: str, ended_s: float) -> Judged | None:
        try:
            path = self._service.files.folder(workflow_id).path / PLAYED
            at_s, p10_s, p50_s, p90_s, full = json.loads(path.read_bytes())
            said_s = (float(p10_s), float(p50_s), float(p90_s))
            return Judged(said_s=said_s, took_s=ended_s - float(at_s), was_full=bool(full))
        except (FitcastError, OSError, ValueError, TypeError):
            return None
