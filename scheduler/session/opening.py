"""An engine as the settings say, for whichever process is to have one."""

from fitcast.history.mlflow_store import MlflowHistory
from fitcast.history.store import HistoryStore
from fitcast.history.tracking_uri import sqlite_path
from fitcast.scheduler.backends.protocol import Backend
from fitcast.scheduler.session.engine import Engine
from fitcast.settings import Settings


def engine_of(
    settings: Settings,
    backend: Backend,
    *,
    history: HistoryStore | None = None,
    start_workers: bool = True,
) -> Engine:
    """Return an engine on a home that is there.

    Parameters
    ----------
    settings : Settings
        What there is to know.
    backend : Backend
        Where fits run.
    history : HistoryStore, optional
        Another store than that of the settings.
    start_workers : bool
        As :class:`Engine` takes it.

    Raises
    ------
    HistoryError
        The tracking URI can't be one.
    """
    store = history or MlflowHistory(
        settings.tracking_uri, settings.experiment, wait_s=settings.store_wait_s
    )
    database = sqlite_path(settings.tracking_uri) if history is None else None
    return Engine(
        backend,
        settings.home,
        store,
        is_new=database is not None and not database.exists(),
        checked=settings.check_plan,
        keep_messages=settings.keep_messages,
        result_bytes=settings.result_bytes,
        keep_days=settings.keep_days,
        start_workers=start_workers,
    )
