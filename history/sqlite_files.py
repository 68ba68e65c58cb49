"""The files of a SQLite store on this machine: can they be written, and the first of them.

In here: folder and disk checks, one builder at a time, a fresh database put in place whole.
Not in here: what is in the database, which is MLflow's (:mod:`fitcast.history.mlflow_store`).
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from fitcast.errors import HistoryError
from fitcast.history.tracking_uri import HINT

_PREFIX: Final = "fitcast-schema-"  # of folders in which a schema is built
_LEFT_AFTER_S: Final = 3600.0  # building takes seconds: older ones were left by a kill
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


def build_database(database: Path, build: Callable[[str], None]) -> None:
    """Build a fresh SQLite store elsewhere and put it in its place when it is whole.

    MLflow's migrations can't be resumed after a kill half way, and take seven times as long where
    each of their steps waits for a disk.

    Parameters
    ----------
    database
        The file to be made.
    build
        Makes the schema in the database whose URI it gets, and lets go of it.
    """
    fast = Path("/dev/shm")  # noqa: S108
    folder = fast if os.access(fast, os.W_OK) else None
    _remove_left(Path(folder or tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=folder) as temporary:
        built = Path(temporary) / "mlflow.db"
        build(f"sqlite:///{built}")
        fresh = database.with_name(f".{database.name}.new")
        shutil.copyfile(built, fresh)
        fresh.replace(database)


def _remove_left(folder: Path) -> None:
    for left in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            about = left.stat()
            if about.st_uid == os.getuid() and time.time() - about.st_mtime > _LEFT_AFTER_S:
                shutil.rmtree(left)


@contextmanager
def one_at_a_time(database: Path) -> Iterator[None]:
    """Hold off other processes that want to build the same database."""
    with database.with_name(database.name + ".lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
