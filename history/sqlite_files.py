"""The files of a SQLite store on this machine: can they be used, and the first of them.

In here: folder and disk checks, waiting for a locked database, one builder at a time, a fresh
database put in place whole.
Not in here: what is in the database, which is MLflow's (:mod:`fitcast.history.mlflow_store`).
"""

import fcntl
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from fitcast.errors import HistoryError
from fitcast.history.locked_folders import memory_root
from fitcast.history.temporary_files import remove_left_folders, temporary_folder
from fitcast.history.tracking_uri import HINT, WAIT_HINT

_LOOK_EVERY_S: Final = 0.05  # at the lock of another process that builds the same database
_MIN_FREE_BYTES: Final = 8 * 2**20  # a fresh schema takes about 1 MB, a large workflow some more


def check_folder(database: Path) -> None:
    """Make the folder of a SQLite store and check that files can be written there.

    Raises
    ------
    HistoryError
        They can't: no permission, not a folder, disk full.
    """
    folder = database.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HistoryError(
            f"The folder {folder} for the history can't be made ({error.strerror}); set "
            "MLFLOW_TRACKING_URI or FITCAST_HOME to a place that you may write to"
        ) from error
    if database.is_dir():
        raise HistoryError(f"{database} is a folder; the tracking URI must name a file. {HINT}.")
    for path in (folder, database):
        if path.exists() and not os.access(path, os.W_OK):
            raise HistoryError(
                f"{path} may not be written by you; set MLFLOW_TRACKING_URI or FITCAST_HOME to "
                "a place that you may write to, or change its permissions"
            )
    free = shutil.disk_usage(folder).free
    if free < _MIN_FREE_BYTES:
        raise HistoryError(
            f"The disk of {folder} is full ({free:,} bytes free); free some space there"
        )


def wait_until_free(database: Path, wait_s: float, *, writing: bool) -> None:
    """Wait until no other process keeps a database from being read, or written.

    MLflow itself would try for minutes, and then give a page of SQLAlchemy's text.

    Raises
    ------
    HistoryError
        It is still locked after ``wait_s`` seconds.
    """
    if not database.exists():
        return
    # What else may be wrong with it, MLflow's own first use says
    with suppress(sqlite3.Error):
        uri = f"file:{quote(str(database))}?mode=rw"
        with closing(sqlite3.connect(uri, timeout=wait_s, uri=True)) as connection:
            connection.isolation_level = None
            try:
                connection.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
                connection.execute("SELECT count(*) FROM sqlite_master")
                connection.execute("ROLLBACK")
            except sqlite3.OperationalError as error:
                # The low byte; the others tell more
                if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                    raise HistoryError(
                        f"{database} has been locked by another process for {wait_s:g} s; end what "
                        f"holds it (`fuser {database}` names it). {WAIT_HINT}."
                    ) from error


def build_database(database: Path, build: Callable[[str], None]) -> None:
    """Build a fresh SQLite store elsewhere and put it in its place when it is whole.

    MLflow's migrations can't be resumed after a kill half way, and take seven times as long where
    each of their steps waits for a disk. To be called by one process at a time.

    Parameters
    ----------
    database
        The file to be made.
    build
        Makes the schema in the database whose URI it gets, and lets go of it.
    """
    root = memory_root()
    remove_left_folders(root)
    with temporary_folder(root) as folder:
        built = folder / "mlflow.db"
        build(f"sqlite:///{built}")
        fresh = _unfinished(database)
        try:
            # Not through a link that another user put there
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(fresh, flags, 0o666)
        except FileExistsError as error:
            raise HistoryError(
                f"{fresh} is in the way of a new history and isn't yours; remove it, or set "
                "MLFLOW_TRACKING_URI or FITCAST_HOME to a place of your own"
            ) from error
        with os.fdopen(descriptor, "wb") as target, built.open("rb") as source:
            shutil.copyfileobj(source, target)
        fresh.replace(database)


def remove_unfinished(database: Path) -> None:
    """Remove what a kill left while a database was put in place; for the holder of its lock."""
    fresh = _unfinished(database)
    with suppress(OSError):
        found = fresh.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid():
            fresh.unlink()


def _unfinished(database: Path) -> Path:
    return database.with_name(f".{database.name}.new")


@contextmanager
def one_at_a_time(database: Path, wait_s: float) -> Iterator[None]:
    """Hold off other processes that want to build the same database.

    Raises
    ------
    HistoryError
        Another one has held it for ``wait_s`` seconds.
    """
    lock = database.with_name(database.name + ".lock")
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(lock, flags, 0o666)
    except OSError as error:
        raise HistoryError(
            f"The lock {lock} of the history can't be opened ({error.strerror}); remove it if it "
            "is a link or not yours, or set MLFLOW_TRACKING_URI to a place of your own"
        ) from error
    try:
        end_s = time.monotonic() + wait_s
        while not _locked(descriptor):
            if time.monotonic() > end_s:
                raise HistoryError(
                    f"Another process has been making the history {database} for {wait_s:g} s; end "
                    f"it if it hangs (`fuser {lock}` names it). {WAIT_HINT}."
                )
            time.sleep(_LOOK_EVERY_S)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
