"""What happened: events for whoever follows, and the audit log of who did what.

Events are written with the change that they tell of, in one transaction
(:mod:`fitcast.scheduler.broker.store.database`); here they are read.
"""

from sqlalchemy import Connection, delete, func, select

from fitcast.scheduler.broker.store.clocks import wall_s
from fitcast.scheduler.broker.store.database import Writing
from fitcast.scheduler.broker.store.parts import StorePart
from fitcast.scheduler.broker.store.records import AuditEntry, StoredEvent
from fitcast.scheduler.broker.store.rows import audit_entry_of, event_of, plain
from fitcast.scheduler.broker.store.tables import AUDIT, EVENTS


class EventPart(StorePart):
    """Events and the audit log."""

    def events_after(
        self,
        seq: int,
        user_id: int | None = None,
        workflow_id: str | None = None,
        limit: int = 1000,
    ) -> list[StoredEvent]:
        """Return events after one, in order: whoever has seen one has missed none before it.

        Of how far a workflow is, only the latest event is there.

        Parameters
        ----------
        seq : int
            The last one seen; 0 for all.
        user_id, workflow_id : optional
            Of that user, that workflow alone.
        limit : int
            How many at most.
        """

        def work(connection: Connection) -> list[StoredEvent]:
            query = select(EVENTS).where(EVENTS.c.seq > seq).order_by(EVENTS.c.seq).limit(limit)
            if user_id is not None:
                query = query.where(EVENTS.c.user_id == user_id)
            if workflow_id is not None:
                query = query.where(EVENTS.c.workflow_id == workflow_id)
            return [event_of(row) for row in connection.execute(query).mappings()]

        return self._database.read(work)

    def last_seq(self) -> int:
        """Return the number of the latest event; 0 if there is none."""

        def work(connection: Connection) -> int:
            return int(connection.execute(select(func.max(EVENTS.c.seq))).scalar() or 0)

        return self._database.read(work)

    def drop_events(self, older_than_s: float) -> None:
        """Remove events that nobody will ask for any more."""

        def work(writing: Writing) -> None:
            old = EVENTS.c.at_s < wall_s() - older_than_s
            writing.connection.execute(delete(EVENTS).where(old))

        self._database.write(work)

    def note_audit(
        self, actor: str, action: str, target: str, outcome: str, detail: str = ""
    ) -> None:
        """Write down who did what to what, and how that went. No secrets."""

        def work(writing: Writing) -> None:
            writing.connection.execute(
                AUDIT.insert().values(
                    at_s=wall_s(),
                    actor=plain(actor, 200),
                    action=plain(action, 100),
                    target=plain(target, 1000),
                    outcome=plain(outcome, 100),
                    detail=plain(detail),
                )
            )

        self._database.write(work)

    def audit_entries(self, limit: int = 100, after: int | None = None) -> list[AuditEntry]:
        """Return entries of the audit log, newest first.

        Parameters
        ----------
        limit : int
            How many at most.
        after : int, optional
            The number of the last one that was seen.
        """

        def work(connection: Connection) -> list[AuditEntry]:
            query = select(AUDIT).order_by(AUDIT.c.entry_id.desc()).limit(limit)
            if after is not None:
                query = query.where(AUDIT.c.entry_id < after)
            return [audit_entry_of(row) for row in connection.execute(query).mappings()]

        return self._database.read(work)
