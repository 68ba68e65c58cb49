"""What SQLite and PostgreSQL need to be told about connections.

In: URLs, options of connections, a SQLite file for its owner alone. Not in: transactions
(:mod:`fitcast.scheduler.broker.store.database`).
"""

import importlib.util
import os
import stat
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, delete, event, insert, select, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from fitcast.errors import BrokerStoreError
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.store.clocks import STEADY_FUNCTION, boot, steady_s
from fitcast.scheduler.broker.store.tables import NOTES, WORKFLOWS

WRITES: Final[dict[str, Any]] = {"fitcast_writes": True}
"""Options of a connection that will write: SQLite then takes its lock at the beginning."""

_BUSY_MS: Final = 30_000
_CONNECTIONS: Final = 16  # to PostgreSQL, that one replica holds at most
_BOOT: Final = "boot"
_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def engine_of(url: str) -> Engine:
    """Return SQLAlchemy's engine for a database of the broker's.

    Raises
    ------
    BrokerStoreError
        It is neither SQLite in a file nor PostgreSQL, or can't be opened safely.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:  # it may hold a password: not repeated
        raise BrokerStoreError(_UNKNOWN) from error
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return _sqlite(parsed)
    if backend == "postgresql":
        return _postgresql(parsed)
    raise BrokerStoreError(_UNKNOWN)


_UNKNOWN: Final = (
    "that is no address of a database for the broker: give sqlite:///path/to/file or "
    "postgresql+psycopg://user@host/name"
)


def is_postgresql(engine: Engine) -> bool:
    """Tell which of the two it is."""
    return engine.dialect.name == "postgresql"


def begins_anew(connection: Connection) -> None:
    """Take leases of before the machine's last start for lapsed, where its steady clock counts."""
    if is_postgresql(connection.engine):
        return
    now = boot()
    if connection.execute(select(NOTES.c.value).where(NOTES.c.name == _BOOT)).scalar() == now:
        return
    connection.execute(
        update(WORKFLOWS).where(WORKFLOWS.c.state == State.RUNNING).values(lease_until_s=0.0)
    )
    connection.execute(delete(NOTES).where(NOTES.c.name == _BOOT))
    connection.execute(insert(NOTES).values(name=_BOOT, value=now))


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise BrokerStoreError(
            "the broker's database must be a file: give sqlite:///path/to/file, with four slashes "
            "for a path from the root on"
        )
    path = Path(url.database).absolute()
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite", database=str(path)),
        poolclass=QueuePool,
        pool_size=_CONNECTIONS,
        max_overflow=-1,
        hide_parameters=True,
        connect_args={"check_same_thread": False, "timeout": _BUSY_MS / 1000},
    )

    @event.listens_for(engine, "do_connect")
    def closed_to_others(*_: object) -> None:
        _make_for_owner(path)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions begin where SQLAlchemy says, below
        connection.create_function(STEADY_FUNCTION, 0, steady_s)
        for pragma in (
            f"busy_timeout = {_BUSY_MS}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "secure_delete = ON",  # what is removed is overwritten
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("fitcast_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL) -> Engine:
    if importlib.util.find_spec("psycopg") is None:
        raise BrokerStoreError("PostgreSQL needs its driver: pip install 'fitcast[postgres]'")
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            isolation_level="READ COMMITTED",
            pool_size=_CONNECTIONS,
            max_overflow=0,
            pool_timeout=30,
            pool_use_lifo=True,
            hide_parameters=True,
            connect_args={
                "connect_timeout": 10,
                "application_name": "fitcast",
                # a replica that hangs in a transaction holds nobody up for ever
                "options": "-c statement_timeout=30s -c lock_timeout=20s "
                "-c idle_in_transaction_session_timeout=60s",
                "keepalives_idle": 30,
                "keepalives_interval": 10,
                "keepalives_count": 3,
            },
        )
    except SQLAlchemyError as error:
        raise BrokerStoreError(_UNKNOWN) from error


def _make_for_owner(path: Path) -> None:
    """Make a SQLite file that its owner alone may read; what it writes beside it follows that."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, _FILE, 0o600)
    except OSError as error:
        raise BrokerStoreError(
            f"{path} can't be opened ({error.strerror}): the broker's database must be a file of "
            "this user's, no link to one"
        ) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise BrokerStoreError(
                f"{path} is no file of this user's: give the broker a database of its own"
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
