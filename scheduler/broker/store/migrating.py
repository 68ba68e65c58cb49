"""Bringing a database's schema up to date, by Alembic.

In: which migrations there are, one replica at a time. Not in: the migrations
(:mod:`fitcast.scheduler.broker.store.migrations`).
"""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from fitcast.errors import BrokerStoreError

_MIGRATIONS: Final = Path(__file__).with_name("migrations")
_LOCK: Final = 0x666974_02  # of PostgreSQL's advisory locks


def configuration() -> Config:
    """Return what Alembic is to know."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def migrate(connection: Connection) -> None:
    """Bring the schema up to date within the connection's transaction.

    Raises
    ------
    BrokerStoreError
        A newer fitcast made it.
    """
    config = configuration()
    script = ScriptDirectory.from_config(config)
    if connection.dialect.name == "postgresql":  # SQLite's transaction is the only one that writes
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    found = MigrationContext.configure(connection).get_current_revision()
    if found == script.get_current_head():
        return
    if found is not None and found not in {one.revision for one in script.walk_revisions()}:
        raise BrokerStoreError(
            f"the broker's database was made by a newer fitcast (schema {found}): install that one"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
