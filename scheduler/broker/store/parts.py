"""What all parts of the store have."""

from fitcast.scheduler.broker.store.database import Database


class StorePart:
    """A part of the store: the database, and what to do with some of its tables."""

    def __init__(self, database: Database) -> None:
        self._database = database
