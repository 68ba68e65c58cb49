"""The durable outbox: what isn't stored yet, on this machine's disk, in order.

In here: files of JSON lines, one per workflow, in a folder per process that is locked while the
process lives. Not in here: when and where they are sent (:mod:`fitcast.history.writer`), the locks
(:mod:`fitcast.history.outbox_locks`).

A line is with the operating system before ``append`` returns, so a crash of the process loses
nothing. A line torn by a power cut is left out on reading.

A workflow belongs to the process that has its file. Whoever resumes one claims its files wherever
they lie: from a process that is gone, from one that took them over, from one that lives and has
ended it. The lines are in the claimant's file, and on the disk, before the others are removed; so a
kill in between leaves them twice, which counts once. Who had the file finds it gone and leaves the
workflow alone. While one process sends a workflow's history, no other does.
"""

import contextlib
import json
import logging
import os
import secrets
import shutil
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from fitcast.history.codec import record_to_json, row_to_record, to_utc
from fitcast.history.file_locks import locked
from fitcast.history.outbox_locks import NEW, is_ours, moving, sending
from fitcast.history.records import Record
from fitcast.history.store import AttemptLog, WorkflowEnd, WorkflowHistory, WorkflowRun

log = logging.getLogger(__name__)

_LOCK: Final = "owner.lock"
_LINES: Final = ".jsonl"
_UNFINISHED_S: Final = 3600.0  # they get their names within microseconds


def run_line(run: WorkflowRun) -> bytes:
    """Return the line that begins a workflow's file."""
    return _line(
        "run",
        workflow_id=run.workflow_id,
        name=run.name,
        started_at=to_utc(run.started_at).isoformat(),
        tags=dict(run.tags),
        params=dict(run.params),
    )


def record_line(record: Record, attempt_log: AttemptLog | None) -> bytes:
    """Return the line of an attempt."""
    kept = None
    if attempt_log is not None:
        kept = {
            "stdout": attempt_log.stdout,
            "stderr": attempt_log.stderr,
            "warnings": list(attempt_log.warnings),
            "traceback": attempt_log.traceback,
        }
    return _line("record", record=record_to_json(record), log=kept)


def end_line(end: WorkflowEnd) -> bytes:
    """Return the line that says how a workflow ended."""
    return _line(
        "end",
        state=end.state,
        ended_at=to_utc(end.ended_at).isoformat(),
        summary_metrics=dict(end.summary_metrics),
    )


def read_workflow(path: Path) -> WorkflowHistory | None:
    """Return the workflow in a file of the outbox; None if not even its beginning is there."""
    run: WorkflowRun | None = None
    end: WorkflowEnd | None = None
    records: dict[str, Record] = {}
    logs: dict[str, AttemptLog] = {}
    for data in path.read_bytes().split(b"\n"):
        if not data:
            continue
        try:
            item: dict[str, Any] = json.loads(data)
            kind = item.pop("kind")
            if kind == "run":
                run = WorkflowRun(**item | {"started_at": _time(item["started_at"])})
                end = None  # it was resumed
            elif kind == "end":
                end = WorkflowEnd(**item | {"ended_at": _time(item["ended_at"])})
            elif kind == "record" and (record := row_to_record(item["record"])) is not None:
                records[record.record_id] = record
                if kept := item["log"]:
                    warnings = tuple(kept.pop("warnings"))
                    logs[record.record_id] = AttemptLog(
                        record_id=record.record_id, warnings=warnings, **kept
                    )
        except (ValueError, KeyError, TypeError) as error:
            log.warning("A damaged line in the outbox %s is left out: %s", path, error)
    if run is None:
        return None
    return WorkflowHistory(run=run, records=tuple(records.values()), logs=logs, end=end)


class OutboxFile:
    """The file of one workflow, appended to line by line.

    When the disk is full the lines wait in memory and go out with the next append or ``sync``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._waiting: list[bytes] = []
        self._size = path.stat().st_size if path.exists() else 0
        self._synced = self._size

    def append(self, line: bytes) -> None:
        """Add a line; raises OSError if it had to stay in memory."""
        with self._lock:
            self._waiting.append(line)
            self._write()

    def sync(self) -> None:
        """Bring everything onto the disk itself; raises OSError if that isn't possible."""
        with self._lock:
            self._write()
            if self._synced == self._size or not self.path.exists():
                return
            size = self._size
            descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # may take long: append must not wait for it
        finally:
            os.close(descriptor)
        self._synced = size

    def remove(self) -> None:
        """Delete the file: all of it is stored elsewhere."""
        with self._lock:
            self._waiting.clear()
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        if not self._waiting:
            return
        data = b"".join(self._waiting)
        # Opened each time: a few microseconds, and no open file per workflow
        # One that is gone isn't begun anew with its middle
        make = 0 if self._size else os.O_CREAT
        descriptor = os.open(self.path, os.O_WRONLY | make | os.O_APPEND, 0o600)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            # Half a line in the middle of the file would spoil the next one too
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, self._size)
            raise
        finally:
            os.close(descriptor)
        self._size += len(data)
        self._waiting.clear()


class Outbox:
    """The outbox folder: this process's own part, and what processes that are gone left there.

    Parameters
    ----------
    folder
        Shared by all processes of a user.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._own: Path | None = None
        self._locks: dict[Path, int] = {}  # folder → descriptor that holds its lock
        self._guard = threading.Lock()

    def open_file(self, workflow_id: str) -> OutboxFile:
        """Return the file for a workflow of this process; raises OSError if there is no place."""
        return OutboxFile(self._own_folder() / _file_name(workflow_id))

    def left_behind(self) -> Iterator[tuple[OutboxFile, WorkflowHistory]]:
        """Take over, one by one, the workflows of processes that are no longer alive.

        Not those that a living process has resumed.
        """
        if not self.folder.is_dir():
            return
        self._remove_unfinished()
        with moving(self.folder):
            taken = [o for o in self._owners() if o not in self._locks and self._take(o)]
            living = [o for o in self._owners() if o not in self._locks]
            paths = [p for owner in taken for p in sorted(owner.glob("*" + _LINES))]
            paths = [p for p in paths if not any((o / p.name).exists() for o in living)]
        for path in paths:
            try:
                workflow = read_workflow(path)
            except FileNotFoundError:
                continue  # claimed meanwhile
            if workflow is None:
                # Not deleted: a newer version, or a person, may still read it
                log.warning("The outbox file %s can't be read; it is left there", path)
            else:
                yield OutboxFile(path), workflow
        handled = {path.parent for path in paths}
        for owner in taken:
            self._drop_if_empty(owner)
            if owner not in handled:
                self._release(owner)  # what is in it is for whoever has resumed it

    def claim(self, file: OutboxFile, workflow_id: str) -> list[WorkflowHistory]:
        """Move all that other processes have of a workflow to the end of a file of this one.

        Raises
        ------
        OSError
            Something of it is left where it is: it couldn't be read, or there is no room.
        """
        found = []
        with moving(self.folder):
            for owner in self._owners():
                path = owner / _file_name(workflow_id)
                if path == file.path or not path.exists():
                    continue
                workflow = read_workflow(path)
                if workflow is None or workflow.run.workflow_id != workflow_id:
                    continue
                file.append(path.read_bytes().rstrip(b"\n") + b"\n")
                file.sync()
                path.unlink()
                found.append(workflow)
        return found

    def is_elsewhere(self, file: OutboxFile) -> bool:
        """Return whether a workflow's file was claimed by another process."""
        if file.path.exists():
            return False
        return any((owner / file.path.name).exists() for owner in self._owners())

    def sending(self, workflow_id: str) -> AbstractContextManager[bool]:
        """Give whether this process alone may send a workflow's history now."""
        return sending(self.folder, _file_name(workflow_id))

    def _owners(self) -> list[Path]:
        """Return the folders of processes, living or not."""
        if not self.folder.is_dir():
            return []
        return [o for o in sorted(self.folder.iterdir()) if o.is_dir() and not is_ours(o.name)]

    def _remove_unfinished(self) -> None:
        """Remove the folders whose makers were killed before they had their names."""
        for owner in self.folder.glob(NEW + "*"):
            with contextlib.suppress(OSError):  # in use, another user's, or gone meanwhile
                found = owner.lstat()
                if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                    continue
                if time.time() - found.st_mtime < _UNFINISHED_S:
                    continue
                descriptor = locked(owner / _LOCK)
                if descriptor is not None:
                    try:
                        (owner / _LOCK).unlink()
                        owner.rmdir()  # nothing is ever in it but the lock
                    finally:
                        os.close(descriptor)

    def tidy(self) -> None:
        """Remove the folders, taken over or our own, in which nothing is left."""
        for owner in list(self._locks):
            if owner != self._own:
                self._drop_if_empty(owner)

    def close(self) -> None:
        """Give up all locks; what is left is for the next process."""
        with self._guard:
            self._own = None
        for owner in list(self._locks):
            self._drop_if_empty(owner)
        for owner in list(self._locks):
            self._release(owner)

    def _own_folder(self) -> Path:
        with self._guard:
            if self._own is None or not self._own.is_dir():
                if self._own is not None:
                    self._release(self._own)
                name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
                fresh = self.folder / (NEW + name)
                fresh.mkdir(parents=True, mode=0o700)
                descriptor = locked(fresh / _LOCK)
                if descriptor is None:
                    raise OSError(f"{fresh} was locked by another process at once")
                self._own = fresh.rename(self.folder / name)
                self._locks[self._own] = descriptor
            return self._own

    def _take(self, owner: Path) -> bool:
        try:
            descriptor = locked(owner / _LOCK)
        except OSError:
            return False  # gone meanwhile, or another user's
        if descriptor is None:
            return False
        self._locks[owner] = descriptor
        return True

    def _drop_if_empty(self, owner: Path) -> None:
        with contextlib.suppress(OSError):
            if all(entry.name == _LOCK for entry in owner.iterdir()):
                shutil.rmtree(owner, ignore_errors=True)
                self._release(owner)

    def _release(self, owner: Path) -> None:
        descriptor = self._locks.pop(owner, None)
        if descriptor is not None:
            os.close(descriptor)


def _line(kind: str, **content: Any) -> bytes:
    # Non-ASCII is escaped, so that a line break in a text is never one in the file
    return json.dumps({"kind": kind, **content}, default=str).encode("ascii") + b"\n"


def _file_name(workflow_id: str) -> str:
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in workflow_id)
    return safe.lstrip(".")[:120] + _LINES


def _time(text: str) -> datetime:
    return to_utc(datetime.fromisoformat(text))
