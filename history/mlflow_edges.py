"""The edge of every MLflow call: its store is waited for, its errors become ours, it is silenced.

In here: what the store needs around MLflow but that needs no MLflow. Not in here: the calls
(:mod:`fitcast.history.mlflow_store`).
"""

import functools
import logging
import os
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from fitcast.errors import HistoryError
from fitcast.history.presentation import shortened
from fitcast.history.sqlite_files import check_folder, wait_until_free
from fitcast.history.tracking_uri import (
    WAIT_HINT,
    WAIT_S,
    check_reachable,
    login_hint,
    masked,
    slow,
    sqlite_path,
)

_P = ParamSpec("_P")
_T = TypeVar("_T")


def our_errors(method: Callable[_P, _T]) -> Callable[_P, _T]:
    """Turn whatever MLflow and what lies under it raise into HistoryError."""

    @functools.wraps(method)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return method(*args, **kwargs)
        except HistoryError:
            raise
        except Exception as error:  # SQLAlchemy, requests, boto, MLflow: there is no common base
            uri = getattr(args[0], "tracking_uri", "")
            raise HistoryError(_said(error, uri, getattr(args[0], "wait_s", WAIT_S))) from error

    return call


def _said(error: Exception, uri: str, wait_s: float) -> str:
    """Return what an error of MLflow means, where that is known, else its own words."""
    text = str(error).strip() or type(error).__name__
    if "database is locked" in text:
        return f"{masked(uri)} is locked by another process; end what holds it. {WAIT_HINT}."
    if uri.startswith("http"):
        if "error code 401" in text or "error code 403" in text:
            return login_hint(uri, "403" if "error code 403" in text else "401")
        if "timed out" in text.lower():
            return slow(uri, wait_s)
    return f"The history at {masked(uri)} failed: {masked(shortened(text, 600))}"


def await_store(uri: str, wait_s: float, *, writing: bool) -> None:
    """Check that a store can be used, waiting for it with a bound, before MLflow tries it.

    Raises
    ------
    HistoryError
        It can't, or still not after ``wait_s`` seconds.
    """
    # Usage statistics are off unless the user asked for them. MLflow reads this on import.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # in the background
    database = sqlite_path(uri)
    if database is not None:
        if writing:
            check_folder(database)
        wait_until_free(database, wait_s, writing=writing)
        return
    # MLflow's own defaults try for minutes, and print a link on each run's end
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(max(1, round(wait_s))))
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    if uri.startswith("http"):
        check_reachable(uri, wait_s)


def local_folder(run: Any) -> Path | None:
    """Return the artifact folder of a run if it is on this machine."""
    uri = run.info.artifact_uri
    if uri.startswith("file:"):
        return Path(urllib.parse.unquote(urllib.parse.urlsplit(uri).path))
    return Path(uri) if uri.startswith("/") else None


def quoted(text: str) -> str:
    """Return an id as it may stand between quotes in MLflow's filter language."""
    # MLflow's filter language has no escape for a quote; ids are ours and have none
    if "'" in text:
        raise HistoryError(f"A workflow's id may not hold a quote: {text!r}")
    return text


_opening = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Open stores one after the other, without log messages of migrations; warnings stay.

    What MLflow builds a schema with keeps its state in globals of the process: two stores at once
    would write into each other's.
    """
    with _opening, _quiet_migrations():
        yield


@contextmanager
def _quiet_migrations() -> Iterator[None]:
    names = ("alembic", "mlflow.store.db.utils", "mlflow.tracking")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
