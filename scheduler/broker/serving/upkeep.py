"""Keeps the broker's house: what nobody needs any more goes, what a workflow takes is counted.

What is due and what is to go are pure decisions; one thread does it. Each step may be broken off
and done again, and be done by several replicas at once.

In: uploads that nobody goes on with, workflows that ended long ago, old events, folders without a
row, rows without a folder, bytes on the disk. Not in: workflows that run
(:mod:`fitcast.scheduler.broker.serving.claims`).
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum
from typing import Final

from fitcast.errors import BrokerStoreError, FitcastError
from fitcast.scheduler.broker.files import SeenFolder
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.store import StoredWorkflow

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 5.0
HOUR_S: Final = 3600.0
DAY_S: Final = 24 * HOUR_S

UPLOAD_IDLE_S: Final = DAY_S
"""An upload of which nothing came in for so long isn't waited for."""

EVENTS_KEPT_S: Final = 7 * DAY_S
ORPHAN_S: Final = DAY_S
"""A folder without a row that is younger may be of a submission that is only coming in."""

RUN_KEPT_S: Final = HOUR_S
"""So long a workflow that ended is told from memory; then it is read from its folder."""

_AT_ONCE: Final = 100
_END_LEASE_S: Final = 60.0


class Task(Enum):
    """Something that is done again and again; its value is how often, in seconds."""

    SIZES = 60.0
    UPLOADS = 300.0
    ENDED = 600.0
    EVENTS = 3600.0
    FOLDERS = 900.0


def due(now_s: float, done_s: Mapping[Task, float]) -> list[Task]:
    """Return what is to be done now, what was put off longest first; all of it at the start."""
    waited_s = {task: now_s - done_s.get(task, -math.inf) for task in Task}
    late = [task for task in Task if waited_s[task] >= task.value]
    return sorted(late, key=lambda task: -waited_s[task])


def left_over(seen: Iterable[SeenFolder], known: Collection[str], now_s: float) -> list[str]:
    """Return the folders that are no workflow's any more."""
    return [
        folder.workflow_id
        for folder in seen
        if folder.workflow_id not in known and now_s - folder.changed_s > ORPHAN_S
    ]


def gone(seen: Iterable[SeenFolder], queued: Iterable[str]) -> list[str]:
    """Return the workflows in the queue of which there is nothing to run any more.

    Where there is no folder at all it is the volume that is gone, and none of them has ended.
    """
    whole = {folder.workflow_id for folder in seen if folder.is_whole}
    return [workflow_id for workflow_id in queued if workflow_id not in whole] if whole else []


class BrokerUpkeep:
    """Does what is due, on a thread of its own.

    Parameters
    ----------
    service : Service
        The queue, the folders of workflows, the engine.
    replica : str
        Who does it; unique to this process.
    keep_days : float
        For how long a workflow stays that has ended.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self,
        service: Service,
        replica: str,
        keep_days: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._store = service.store
        self._replica = replica
        self._keep_s = keep_days * DAY_S
        self._clock = clock
        self._done_s: dict[Task, float] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(
            target=self._go_round, name="fitcast-broker-upkeep", daemon=True
        )
        self._steps: dict[Task, Callable[[], None]] = {
            Task.SIZES: self.count_bytes,
            Task.UPLOADS: self.end_uploads,
            Task.ENDED: self.remove_ended,
            Task.EVENTS: self.drop_events,
            Task.FOLDERS: self.match_folders,
        }

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End, after the step that is being taken."""
        self._ending.set()
        self._thread.join()

    def _go_round(self) -> None:
        while not self._ending.wait(LOOK_EVERY_S):
            self.turn()

    def turn(self) -> None:
        """Do what is due; what fails is done the next time."""
        for task in due(self._clock(), self._done_s):
            if self._ending.is_set():
                return
            self._done_s[task] = self._clock()
            try:
                self._steps[task]()
            except BrokerStoreError as error:
                log.warning("upkeep (%s) is put off: %s", task.name.lower(), error)
            except Exception:
                log.exception("upkeep (%s) failed", task.name.lower())

    # -- steps -----------------------------------------------------------------------------------

    def count_bytes(self) -> None:
        """Note what the workflows that run here take of the disk."""
        for row in self._store.running(self._replica):
            self._each(row, self._service.note_stored_bytes)

    def end_uploads(self) -> None:
        """Give up uploads that nobody goes on with, and remove what came of them."""
        while len(self._store.expire_uploads(UPLOAD_IDLE_S, _AT_ONCE)) == _AT_ONCE:
            pass
        for row in self._store.ended_uploads(_AT_ONCE):
            self._each(row, self._empty)

    def _empty(self, workflow_id: str) -> None:
        self._service.files.remove(workflow_id)
        self._store.set_stored_bytes(workflow_id, 0)

    def remove_ended(self) -> None:
        """Remove workflows that ended long ago, and hold nothing of those that ended."""
        for row in self._store.ended(self._keep_s, _AT_ONCE):
            self._each(row, self._service.discard)
        engine = self._service.engine
        for run in engine.runs():
            ended_at = run.view().ended_at
            if ended_at is not None and (run.now() - ended_at).total_seconds() > RUN_KEPT_S:
                engine.let_go(run.workflow_id)

    def drop_events(self) -> None:
        """Remove events that nobody will ask for any more."""
        self._store.drop_events(EVENTS_KEPT_S)

    def match_folders(self) -> None:
        """Remove folders that are no workflow's; end workflows whose folder is gone."""
        queued = [row.workflow_id for row in self._store.queued()]
        seen = self._service.files.seen()  # after the rows: a folder is whole before its row waits
        known = self._store.known([folder.workflow_id for folder in seen])
        for workflow_id in left_over(seen, known, time.time()):
            folder = self._service.files.folder(workflow_id)
            if not folder.is_held():
                log.warning("the folder of %s, which is no workflow's, is removed", workflow_id)
                self._service.files.remove(workflow_id)
        for workflow_id in gone(seen, queued):
            self._end_gone(workflow_id)

    def _end_gone(self, workflow_id: str) -> None:
        """End a workflow that waits and of which there is nothing to run: claimed, then failed."""
        row = self._store.claim(workflow_id, self._replica, _END_LEASE_S)
        if row is not None:
            log.error("the folder of workflow %s is gone: it is ended", workflow_id)
            self._store.end(
                workflow_id,
                row.fence,
                State.FAILED,
                "SubmissionError",
                f"what the platform kept of workflow {workflow_id} is gone, its dataset too: "
                "submit the sweep again",
            )

    def _each(self, row: StoredWorkflow, step: Callable[[str], None]) -> None:
        """Do one; that it can't be done is not to hold up the others."""
        try:
            step(row.workflow_id)
        except BrokerStoreError:
            raise
        except FitcastError as error:
            log.warning("upkeep of workflow %s: %s", row.workflow_id, error)
