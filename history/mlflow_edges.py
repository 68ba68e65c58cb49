"""The edge of every MLflow call: its errors become ours, its log messages are silenced.

In here: what the store needs around MLflow but that needs no MLflow. Not in here: the calls
(:mod:`fitcast.history.mlflow_store`).
"""

import functools
import logging
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from fitcast.errors import HistoryError
from fitcast.history.presentation import shortened
from fitcast.history.tracking_uri import masked

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
            text = masked(shortened(str(error).strip() or type(error).__name__, 600))
            raise HistoryError(f"The history at {masked(uri)} failed: {text}") from error

    return call


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


@contextmanager
def quiet() -> Iterator[None]:
    """Keep log messages of schema migrations out of the user's terminal; warnings stay."""
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
