"""The one writer of a process: saves records to the store off the critical path.

In here: the background thread, when it saves, what happens when the store is away. Not in here:
the files that outlive the process (:mod:`fitcast.history.outbox`), the store itself.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from fitcast.errors import HistoryError
from fitcast.history.outbox import Outbox, end_line, run_line
from fitcast.history.pending import Pending
from fitcast.history.records import Record
from fitcast.history.store import (
    INTERRUPTED,
    AttemptLog,
    HistoryStore,
    WorkflowEnd,
    WorkflowRun,
)

log = logging.getLogger(__name__)

_FIRST_RETRY_S: Final = 5.0
_LAST_RETRY_S: Final = 120.0
_SYNC_EVERY_S: Final = 1.0
_OTHERS_S: Final = 0.05  # between looks whether another process has sent a workflow
_SHARE: Final = 50  # saving a running workflow takes at most a fiftieth of a core from its fits


class HistoryWriter:
    """Writes workflows to a history store in the background.

    ``start_workflow``, ``add`` and ``finish_workflow`` never wait for the store and never fail
    because of it. What they take is in the outbox before they return, and stays there until it is
    stored: by this process, or by the next one that opens the same outbox.

    Parameters
    ----------
    store
        Where the history is kept.
    outbox_dir
        Folder of the outbox; shared by all processes of a user. Unused for a store without a
        ``source``.
    on_trouble
        Called, from any thread, with a message for the user when something can't be stored: once
        per outage, not per record.
    save_every_s
        A running workflow is saved at most so often; its end at once.
    clock
        Gives seconds. By it saves and new tries come due and time-outs are over.
    """

    def __init__(
        self,
        store: HistoryStore,
        outbox_dir: Path,
        *,
        on_trouble: Callable[[str], None],
        save_every_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        # What a store that ends with the process hasn't got yet needs no place on disk
        self._outbox = None if store.source is None else Outbox(Path(outbox_dir))
        self._on_trouble = on_trouble
        self._save_every_s = save_every_s
        self._clock = clock
        self._changed = threading.Condition()
        self._entries: dict[str, Pending] = {}
        self._done: dict[str, tuple[WorkflowRun, WorkflowEnd]] = {}
        self._urls: dict[str, str | None] = {}
        self._store_trouble = False
        self._disk_trouble = False
        self._retry_at = 0.0
        self._retry_s = _FIRST_RETRY_S
        self._rounds = 0  # finished rounds of the thread
        self._hurry = 0  # flushes that wait
        self._closed = False
        self._started = False
        self._thread = threading.Thread(target=self._loop, name="fitcast-history", daemon=True)
        self._thread.start()

    # -- for the scheduler -----------------------------------------------------------------

    def start_workflow(self, run: WorkflowRun) -> None:
        """Begin a workflow, or go on with one that this or another process began.

        What others left of it in the outbox is taken over: only one process at a time may have
        started a workflow and not yet finished it.
        """
        with self._changed:
            self._done.pop(run.workflow_id, None)
            entry = self._entries.get(run.workflow_id)
            if entry is None:
                entry = self._begin(run)
            else:
                entry.resume(run)
            if self._outbox is not None:
                entry.claimed = False
                self._claim(entry)
            self._to_disk(entry, run_line(run))
            self._changed.notify_all()

    def add(self, record: Record, log: AttemptLog | None = None) -> None:
        """Take one record and what its attempt wrote.

        Those of a resumed workflow may be given again: an attempt that is known, by its
        ``record_id``, isn't taken twice. So the id has to be the same in every process.

        Raises
        ------
        HistoryError
            Its workflow wasn't started here.
        """
        with self._changed:
            entry = self._entry(record.workflow_id)
            before = entry.changes
            line = entry.take(record, log)
            if not line:
                return
            if before == entry.saved_changes:
                self._changed.notify_all()  # else the thread knows already that there is work
            self._to_disk(entry, line)

    def finish_workflow(
        self,
        workflow_id: str,
        *,
        state: str,
        summary_metrics: Mapping[str, float],
        ended_at: datetime,
    ) -> None:
        """End a workflow; it is saved at once (in the background) and can then be read.

        Raises
        ------
        HistoryError
            The workflow wasn't started here.
        """
        with self._changed:
            entry = self._entry(workflow_id)
            entry.end = WorkflowEnd(
                state=state, ended_at=ended_at, summary_metrics=dict(summary_metrics)
            )
            entry.changes += 1
            self._to_disk(entry, end_line(entry.end))
            self._changed.notify_all()

    def url(self, workflow_id: str) -> str | None:
        """Return where a workflow can be looked at; None as long as nothing of it is stored."""
        return self._urls.get(workflow_id)

    def flush(self, timeout_s: float) -> bool:
        """Try at once to store what there is now, and wait for it.

        Returns
        -------
        bool
            Whether all of it is stored. If not, it is still in the outbox.
        """
        until = self._clock() + timeout_s
        with self._changed:
            self._hurry += 1
            self._retry_at = 0.0
            self._changed.notify_all()
            try:
                # What an earlier process left counts too, once it is known
                if not self._wait_for(lambda: self._started, until):
                    return False
                wanted = [(e, e.changes) for e in self._entries.values()]
                # The round that is under way may have begun before the last change
                tried = self._rounds + 2

                def settled() -> bool:
                    done = all(e.saved_changes >= changes for e, changes in wanted)
                    return done or (self._store_trouble and self._rounds >= tried)

                self._wait_for(settled, until)
                return all(e.saved_changes >= changes for e, changes in wanted)
            finally:
                self._hurry -= 1

    def _wait_for(self, condition: Callable[[], bool], until: float) -> bool:
        while not condition():
            left = until - self._clock()
            if left <= 0 or not self._thread.is_alive():
                return False
            self._changed.wait(min(left, 1.0))
        return True

    def close(self, timeout_s: float) -> None:
        """Store what can be stored within the time and stop; the rest stays in the outbox."""
        until = self._clock() + timeout_s
        self.flush(timeout_s)
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._thread.join(max(0.5, until - self._clock()))
        # A thread that hangs in the network still owns its files: the lock goes with the process
        if self._outbox is not None and not self._thread.is_alive():
            self._outbox.close()

    # -- within the lock -------------------------------------------------------------------

    def _begin(self, run: WorkflowRun) -> Pending:
        entry = self._entries[run.workflow_id] = Pending(run, None)
        self._to_disk(entry, b"")
        return entry

    def _entry(self, workflow_id: str) -> Pending:
        entry = self._entries.get(workflow_id)
        if entry is None:
            if workflow_id not in self._done:
                raise HistoryError(
                    f"The workflow {workflow_id!r} was never started here; call start_workflow"
                )
            # A straggler after the end: save it again, ended as it was
            run, end = self._done.pop(workflow_id)
            entry = self._begin(run)
            entry.end = end
            self._to_disk(entry, end_line(end))
        return entry

    def _to_disk(self, entry: Pending, line: bytes) -> None:
        if self._outbox is None:
            return
        try:
            if entry.file is not None:
                with suppress(FileNotFoundError):  # somebody has removed it: begun anew
                    entry.file.append(line)
                    return
            entry.write_whole(self._outbox.open_file(entry.run.workflow_id))
        except OSError as error:
            self._disk_is_in_trouble(error)

    def _claim(self, entry: Pending) -> None:
        """Take over what other processes have of a workflow that goes on here."""
        if entry.file is None or self._outbox is None:
            return
        try:
            for workflow in self._outbox.claim(entry.file, entry.run.workflow_id):
                entry.join(workflow)  # its lines are there already
            entry.claimed = True
        except OSError as error:
            self._disk_is_in_trouble(error)

    def _disk_is_in_trouble(self, error: OSError) -> None:
        if self._outbox is not None and not self._disk_trouble:
            self._disk_trouble = True
            self._tell(
                f"The outbox {self._outbox.folder} can't be written ({error.strerror or error}). "
                "Records are kept in memory until it can; free some space there."
            )

    def _unsaved(self) -> bool:
        return any(e.changes != e.saved_changes for e in self._entries.values())

    def _tell(self, message: str) -> None:
        try:
            self._on_trouble(message)
        except Exception:
            log.exception("on_trouble raised; the message was: %s", message)

    # -- the thread ------------------------------------------------------------------------

    def _loop(self) -> None:
        try:
            self._take_over()
        except OSError as error:
            with self._changed:
                self._disk_is_in_trouble(error)
        self._attempt(self._store.prepare)
        while True:
            with self._changed:
                self._started = True
                self._rounds += 1
                self._changed.notify_all()
                if self._closed and not self._hurry:
                    return
                due = self._due()
                if not due:
                    self._changed.wait(self._pause_s())
                    due = self._due()
            for entry in due:
                if not self._save(entry):
                    break
            self._sync_files()
            if self._outbox is not None:
                self._outbox.tidy()

    def _take_over(self) -> None:
        """Take over what an earlier process could not store."""
        if self._outbox is None:
            return
        for file, workflow in self._outbox.left_behind():
            end = workflow.end
            if end is None:
                times = [r.ended_at for r in workflow.records]
                end = WorkflowEnd(
                    state=INTERRUPTED, ended_at=max(times, default=workflow.run.started_at)
                )
            with self._changed:
                key = workflow.run.workflow_id
                if key in self._entries:
                    # Resumed here already, or left by two: what was left joins it
                    mine = self._entries[key]
                    if lines := mine.join(workflow):
                        self._to_disk(mine, lines)
                    file.remove()
                    continue
                self._entries[key] = Pending(
                    workflow.run, file, list(workflow.records), dict(workflow.logs), end
                )

    def _due(self) -> list[Pending]:
        now = self._clock()
        if now < self._retry_at:
            return []
        return [
            e
            for e in list(self._entries.values())
            if e.changes != e.saved_changes
            and (e.end is not None or self._hurry or now >= e.due_at)
        ]

    def _pause_s(self) -> float | None:
        # While records come in, the thread wakes to bring the outbox onto the disk itself
        return _SYNC_EVERY_S if self._unsaved() or self._disk_trouble else None

    def _save(self, entry: Pending) -> bool:
        """Save one workflow; return whether it makes sense to go on with the next."""
        if self._outbox is None:
            return self._send(entry)
        with self._outbox.sending(entry.run.workflow_id) as alone:
            if not alone:  # the process that it was claimed from is still at it
                time.sleep(_OTHERS_S)
                return True
            with self._changed:
                if not entry.claimed:
                    self._claim(entry)
                if self._is_resumed_elsewhere(entry):
                    self._leave(entry)
                    return True
            return self._send(entry)

    def _is_resumed_elsewhere(self, entry: Pending) -> bool:
        if self._outbox is None or entry.file is None or entry.end is None:
            return False
        return self._outbox.is_elsewhere(entry.file)

    def _leave(self, entry: Pending) -> None:
        """Do nothing more for a workflow, which another process goes on with."""
        key = entry.run.workflow_id
        entry.saved_changes = entry.changes
        if entry.end is not None:
            self._done[key] = (entry.run, entry.end)
        self._entries.pop(key, None)
        self._changed.notify_all()

    def _send(self, entry: Pending) -> bool:
        with self._changed:
            changes, workflow = entry.changes, entry.history()
        begun = self._clock()
        url: list[str | None] = []
        if not self._attempt(lambda: url.append(self._store.save(workflow))):
            # One workflow that can't be saved must not hold up the others
            return self._reachable()
        now = self._clock()
        with self._changed:
            key = entry.run.workflow_id
            self._urls[key] = url[0]
            entry.saved_changes = changes
            entry.due_at = now + max(self._save_every_s, _SHARE * (now - begun))
            if entry.end is not None and entry.changes == changes:
                self._done[key] = (entry.run, entry.end)
                self._entries.pop(key, None)
                if entry.file is not None:
                    entry.file.remove()
            self._changed.notify_all()
        return True

    def _reachable(self) -> bool:
        try:
            self._store.prepare()
        except HistoryError:
            return False
        return True

    def _attempt(self, action: Callable[[], None]) -> bool:
        try:
            action()
        except HistoryError as error:
            message = str(error)
        except Exception as error:  # a bug in a store must not end the thread
            log.exception("The history store failed in an unexpected way")
            message = f"{type(error).__name__}: {error}"
        else:
            with self._changed:
                self._store_trouble, self._retry_s, self._retry_at = False, _FIRST_RETRY_S, 0.0
            return True
        with self._changed:
            told, self._store_trouble = self._store_trouble, True
            self._retry_at = self._clock() + self._retry_s
            self._retry_s = min(_LAST_RETRY_S, 2 * self._retry_s)
        if not told:
            place = "memory" if self._outbox is None else self._outbox.folder
            self._tell(
                f"{message.rstrip('.')}. The sweep goes on; its records are kept in {place} and "
                "sent later."
            )
        return False

    def _sync_files(self) -> None:
        if self._outbox is None:
            return
        with self._changed:
            entries = list(self._entries.values())
        try:
            for entry in entries:
                with self._changed:
                    if entry.file is None:
                        entry.write_whole(self._outbox.open_file(entry.run.workflow_id))
                    file = entry.file
                if file is not None:
                    with suppress(FileNotFoundError):  # gone, as when it is sent or claimed
                        file.sync()
        except OSError as error:
            with self._changed:
                self._disk_is_in_trouble(error)
        else:
            with self._changed:
                self._disk_trouble = False
