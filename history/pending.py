"""A workflow on its way to the store, as the writer holds it in memory.

In here: its records and logs, what of a log is worth keeping, how far it is saved. Not in here:
when it is saved (:mod:`fitcast.history.writer`).
"""

from dataclasses import dataclass, field
from typing import Final

from fitcast.history.outbox import OutboxFile, end_line, record_line, run_line
from fitcast.history.records import Outcome, Record
from fitcast.history.store import AttemptLog, WorkflowEnd, WorkflowHistory, WorkflowRun

_LOG_CHARACTERS: Final = 32 * 2**20  # of one workflow; beyond it only ends of tracebacks are kept
_TRACEBACK_CHARACTERS: Final = 4096


@dataclass(slots=True)
class Pending:
    """One workflow that isn't wholly stored yet. The writer's lock guards it."""

    run: WorkflowRun
    file: OutboxFile | None
    records: list[Record] = field(default_factory=list)
    logs: dict[str, AttemptLog] = field(default_factory=dict)
    end: WorkflowEnd | None = None
    log_characters: int = 0
    changes: int = 1
    saved_changes: int = 0
    due_at: float = 0.0  # monotonic; a running workflow isn't saved earlier
    claimed: bool = True  # nothing of it is left with other processes
    _ids: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self._ids = {record.record_id for record in self.records}

    def take(self, record: Record, log: AttemptLog | None) -> bytes:
        """Add a record and what of its log is worth keeping; return the line for the outbox.

        One that is here already, as a resumed workflow's come again, adds nothing but a log that
        was missing; if it has none the line is empty.
        """
        record_id = record.record_id
        if record_id in self._ids and (log is None or record_id in self.logs):
            return b""
        kept = _worth_keeping(record, log, self.log_characters)
        if record_id not in self._ids:
            self._ids.add(record_id)
            self.records.append(record)
        elif kept is None:
            return b""
        if kept is not None:
            self.logs[record_id] = kept
            self.log_characters += len(kept.stdout) + len(kept.stderr) + len(kept.traceback)
        self.changes += 1
        return record_line(record, kept)

    def join(self, workflow: WorkflowHistory) -> bytes:
        """Add what another process had of the workflow; return the lines for the outbox."""
        lines = [self.take(r, workflow.logs.get(r.record_id)) for r in workflow.records]
        return b"".join(lines)

    def resume(self, run: WorkflowRun) -> None:
        """Let it go on, as of now."""
        self.run = run
        self.end = None
        self.changes += 1

    def write_whole(self, file: OutboxFile) -> None:
        """Begin the outbox file of the workflow with all that there is of it."""
        self.file = file
        lines = [run_line(self.run)]
        lines += [record_line(r, self.logs.get(r.record_id)) for r in self.records]
        if self.end is not None:
            lines.append(end_line(self.end))
        file.append(b"".join(lines))

    def history(self) -> WorkflowHistory:
        """Return what is to be saved now."""
        return WorkflowHistory(
            run=self.run, records=tuple(self.records), logs=dict(self.logs), end=self.end
        )


def _worth_keeping(record: Record, log: AttemptLog | None, kept: int) -> AttemptLog | None:
    """Return the part of a log that is stored: of failures all, of the rest the warnings."""
    if log is None:
        return None
    if record.outcome is Outcome.SUCCEEDED or record.outcome is Outcome.CANCELLED:
        if not log.warnings:
            return None
        return AttemptLog(record_id=log.record_id, warnings=log.warnings)
    if kept > _LOG_CHARACTERS:
        return AttemptLog(record_id=log.record_id, traceback=log.traceback[-_TRACEBACK_CHARACTERS:])
    return log
