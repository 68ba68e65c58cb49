"""The connection to the database: reading, and writing in shared transactions.

In: opening, migrating, transactions, what is tried again, errors of drivers as ours. Not in: what
is read and written.

Writers of one process are served together: whoever gets the turn does what all the others who wait
have asked for and commits once; where one fails, the others don't. So fifty users cost about one
write to the disk, and on SQLite nobody waits by polling a lock. Events are inserted right before
the commit, under a lock that all replicas share, so that a reader who has seen one event has not
missed an earlier one.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

from sqlalchemy import Connection, Engine, insert, select, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from fitcast.errors import BrokerStoreError
from fitcast.scheduler.broker.store.clocks import wall_s
from fitcast.scheduler.broker.store.engines import (
    WRITES,
    begins_anew,
    engine_of,
    is_postgresql,
)
from fitcast.scheduler.broker.store.migrating import migrate
from fitcast.scheduler.broker.store.tables import EVENTS

T = TypeVar("T")

_AT_ONCE: Final = 64  # requests that share a transaction
_TRIES: Final = 4
_EVENTS_LOCK: Final = 0x666974_01  # of PostgreSQL's advisory locks

_EVENT: Final = insert(EVENTS).values(at_s=wall_s())


@dataclass(slots=True)
class Writing:
    """A transaction that writes, as one request sees it."""

    connection: Connection
    events: list[dict[str, Any]] = field(default_factory=list)

    def note(
        self, kind: str, *, workflow_id: str | None, user_id: int | None, data: Mapping[str, Any]
    ) -> None:
        """Append an event, seen by others once all of this is."""
        told = json.dumps(data, separators=(",", ":"), allow_nan=False)
        self.events.append(
            {"kind": kind, "workflow_id": workflow_id, "user_id": user_id, "data": told}
        )


@dataclass(frozen=True, slots=True)
class Together:
    """What may be done in one go with others that came at the same time."""

    work: Callable[[Writing, list[Any]], list[Any]]
    """Does some of one kind; returns what came of each, None for what is to be done by itself."""
    what: Any


class _Request:
    """What one caller wants written, and what became of it."""

    __slots__ = ("_ready", "error", "is_done", "result", "together", "tries", "work")

    def __init__(self, work: Callable[[Writing], Any], together: Together | None = None) -> None:
        self.work = work
        self.together = together
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_done = False
        self.tries = 0
        self._ready = threading.Lock()
        self._ready.acquire()

    def wait(self) -> None:
        """Wait until it is done, or has the turn."""
        self._ready.acquire()

    def wake(self) -> None:
        """Let whoever waits go on; called once or, if it had the turn, twice."""
        with suppress(RuntimeError):  # nobody waited since the first call
            self._ready.release()

    def fails(self, error: BaseException) -> None:
        self.error = error
        self.is_done = True


class _UndoneError(Exception):
    """A request failed that shares a transaction with others."""


class Database:
    """A database of the broker's, by its URL.

    Parameters
    ----------
    url : str
        ``sqlite:///path`` or ``postgresql+psycopg://user@host/name``.

    Raises
    ------
    BrokerStoreError
        It is of another kind, or its driver isn't installed.
    """

    def __init__(self, url: str) -> None:
        self._engine: Engine = engine_of(url)
        self._waiting: list[_Request] = []
        self._lock = threading.Lock()
        self._is_writing = False
        self._next: _Request | None = None  # who has the turn and hasn't begun

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's own, for whoever looks at the tables themselves."""
        return self._engine

    def open(self) -> None:
        """Bring the schema up to date, making the database if need be.

        Raises
        ------
        BrokerStoreError
            It can't be reached or made, or is of a newer fitcast.
        """
        try:
            with self._engine.connect() as connection:
                connection = connection.execution_options(**WRITES)
                with connection.begin():
                    migrate(connection)
                    begins_anew(connection)
        except (SQLAlchemyError, OSError) as error:
            raise self._told(error) from error

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def read(self, work: Callable[[Connection], T]) -> T:
        """Return what is read in one transaction; asked again if the connection was lost.

        Raises
        ------
        BrokerStoreError
            The database can't be read.
        """
        for tried in range(1, _TRIES + 1):
            try:
                with self._engine.connect() as connection, connection.begin():
                    return work(connection)
            except SQLAlchemyError as error:
                if tried == _TRIES or not _passes(error):
                    raise self._told(error) from error
        raise AssertionError("the last try returns or raises")

    def write(self, work: Callable[[Writing], T], together: Together | None = None) -> T:
        """Return what is done in a transaction, once it is on the disk.

        `work` may be called several times, if what it did was undone; it does nothing but ask the
        database. With others that came at the same time it may be done `together` instead.

        Raises
        ------
        BrokerStoreError
            The database can't be written. Nothing was, unless it says so.
        """
        request = _Request(work, together)
        with self._lock:
            self._waiting.append(request)
            is_turn = not self._is_writing
            self._is_writing = True
        try:
            if not is_turn:
                request.wait()
            if not request.is_done:
                self._take_turn()
        except BaseException:  # a signal: whoever has the turn passes it on
            self._give_up(request)
            raise
        if request.error is not None:
            raise request.error
        return cast(T, request.result)

    def forget(self) -> None:
        """Let SQLite's log hold nothing of what was removed; others that read may put it off."""
        if not is_postgresql(self._engine):
            with suppress(SQLAlchemyError, sqlite3.Error), self._engine.connect() as connection:
                raw = connection.connection.driver_connection
                if raw is not None:
                    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _take_turn(self) -> None:
        """Do what all who wait have asked for; the first of those that came meanwhile is next."""
        with self._lock:
            self._next = None
            batch = self._waiting[:_AT_ONCE]
            del self._waiting[:_AT_ONCE]
        try:
            self._serve(batch)
        finally:
            self._pass_on()
            for request in batch:
                request.wake()

    def _pass_on(self) -> None:
        """Give the turn to whoever has waited longest."""
        with self._lock:
            self._next = self._waiting[0] if self._waiting else None
            self._is_writing = self._next is not None
            if self._next is not None:
                self._next.wake()

    def _give_up(self, request: _Request) -> None:
        """Forget a request that nobody waits for any more, and pass on the turn if it has it."""
        with self._lock:
            if request in self._waiting:
                self._waiting.remove(request)
            had_turn = self._next is request
        if had_turn:
            self._pass_on()

    def _serve(self, batch: Sequence[_Request]) -> None:
        """Do what was asked for, in as few transactions as that takes."""
        try:
            try:
                again = self._transaction(batch, guarded=False)
            except _UndoneError:
                again = self._transaction(batch, guarded=True)
            left = [[one] for one in again]  # what got in another replica's way is done by itself
            while left:
                left.extend([one] for one in self._transaction(left.pop(0), guarded=True))
        except BaseException as error:
            ours = isinstance(error, BrokerStoreError)  # else a signal in whoever had the turn
            for request in batch:
                if not request.is_done:
                    request.fails(
                        error if ours else BrokerStoreError("the broker is stopping; ask again")
                    )
            if not ours:
                raise

    def _transaction(self, batch: Sequence[_Request], guarded: bool) -> list[_Request]:
        """Do all of it and commit; return what is to be tried again.

        Where a request fails, what it did has to be undone, and nothing of the others. Savepoints
        can do that, and cost as much as the requests: they are made when one did fail.

        Raises
        ------
        _UndoneError
            One failed, and all was undone.
        """
        again: list[_Request] = []
        done: list[_Request] = []
        commits = False
        try:
            with self._engine.connect() as connection:
                connection = connection.execution_options(**WRITES)
                transaction = connection.begin()
                events: list[dict[str, Any]] = []
                alone = len(batch) == 1
                if not guarded:
                    done, events = _done_together(connection, batch)
                for request in [one for one in batch if one not in done]:
                    writing = Writing(connection)
                    if not guarded and not alone:
                        try:
                            request.result = request.work(writing)
                        except Exception as error:
                            raise _UndoneError from error
                        done.append(request)
                        events += writing.events
                    elif self._is_done(request, writing, alone, again):
                        done.append(request)
                        events += writing.events
                if not done:
                    return again  # what isn't committed is undone
                if events:
                    self._append(connection, events)
                commits = True
                transaction.commit()
        except SQLAlchemyError as error:
            return self._after_failure(batch, error, commits)
        for request in done:
            request.is_done = True
        return again

    def _is_done(
        self, request: _Request, writing: Writing, alone: bool, again: list[_Request]
    ) -> bool:
        """Do one request; False if it is undone, and either failed or to be tried again."""
        connection = writing.connection
        request.tries += 1
        savepoint = None if alone else connection.begin_nested()
        try:
            request.result = request.work(writing)
            if savepoint is not None:
                savepoint.commit()
        except SQLAlchemyError as error:
            if savepoint is None or _is_lost(error):
                raise  # the whole transaction is
            savepoint.rollback()
            if _passes(error) and request.tries < _TRIES:
                again.append(request)
            else:
                request.fails(self._caused(error))
            return False
        except Exception as error:  # ours: it is the caller's
            if savepoint is not None:
                savepoint.rollback()
            request.fails(error)
            return False
        return True

    def _after_failure(
        self, batch: Sequence[_Request], error: SQLAlchemyError, commits: bool
    ) -> list[_Request]:
        """Say what becomes of requests whose transaction failed."""
        # A commit that got no answer may have been done: to do it again might do it twice. One that
        # was answered with a refusal wasn't.
        unknown = commits and _is_lost(error)
        again = []
        for request in batch:
            if request.is_done:
                continue
            if unknown:
                request.fails(
                    BrokerStoreError(
                        "the database was lost while it wrote: whether that was done isn't known; "
                        "look, or ask again with the same idempotency key"
                    )
                )
            elif _passes(error) and request.tries < _TRIES:
                again.append(request)
            else:
                request.fails(self._caused(error))
        return again

    def _append(self, connection: Connection, events: list[dict[str, Any]]) -> None:
        if is_postgresql(connection.engine):
            # Numbers are given in the order in which they become visible
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_EVENTS_LOCK})"))
        connection.execute(_EVENT, events)

    def _caused(self, error: SQLAlchemyError) -> BrokerStoreError:
        told = self._told(error)
        told.__cause__ = error
        return told

    def _told(self, error: BaseException) -> BrokerStoreError:
        url = self._engine.url.render_as_string(hide_password=True)
        # of a driver's error the first line alone: what follows may hold values
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        said = (str(cause).splitlines() or [""])[0]
        what = f"{type(cause).__name__}: {said}" if said else type(cause).__name__
        todo = (
            "check that it runs, that this machine reaches it and what its user may do"
            if is_postgresql(self._engine)
            else "check the folder's space and rights; another process may be holding it"
        )
        return BrokerStoreError(f"the broker's database {url} can't be used ({what}): {todo}")


def _done_together(
    connection: Connection, batch: Sequence[_Request]
) -> tuple[list[_Request], list[dict[str, Any]]]:
    """Do in one go what may be; return what was done, and its events.

    Raises
    ------
    _UndoneError
        It failed.
    """
    done: list[_Request] = []
    writing = Writing(connection)
    kinds = {one.together.work for one in batch if one.together is not None}
    for work in kinds:
        those = [one for one in batch if one.together is not None and one.together.work is work]
        if len(those) < 2:
            continue
        try:
            results = work(writing, [one.together.what for one in those if one.together])
        except Exception as error:
            raise _UndoneError from error
        for request, result in zip(those, results, strict=True):
            if result is not None:
                request.result = result
                done.append(request)
    return done, writing.events


def now_s(connection: Connection) -> float:
    """Return the time of day by the database's clock."""
    return float(connection.execute(select(wall_s())).scalar_one())


def _is_lost(error: SQLAlchemyError) -> bool:
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _passes(error: SQLAlchemyError) -> bool:
    """Tell whether the same may go well another time: a lost connection, a deadlock."""
    if _is_lost(error):
        return True
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return state in ("40001", "40P01")  # serialisation failure, deadlock
