"""The client of searches that were given none: one per process, started when first needed.

In: starting it once, ending it, and whether a search may use one at all. Not in: searches
(:mod:`fitcast.scheduler.session.searching`).
"""

import multiprocessing
import os
import tempfile
import threading
import warnings

from joblib.parallel import get_active_backend

from fitcast.errors import InvalidInputError
from fitcast.history.store import MemoryHistory
from fitcast.scheduler.session.client import Client, is_forked_from_clients
from fitcast.settings import Settings
from fitcast.trainer.attempt.searched import INSIDE_A_FIT

_SETTINGS = ("FITCAST_", "MLFLOW_TRACKING_URI", "KUBECONFIG")  # not what we set for MLflow

_lock = threading.Lock()
_folders: list[tempfile.TemporaryDirectory[str]] = []
_shared: tuple[tuple[object, ...], Client] | None = None


def shared_client() -> Client:
    """Return this process's own client. It ends with the process, or by :func:`close_shared`.

    Nested and repeated searches would otherwise each wait for workers that start and end. Other
    settings in the environment lead to another client.
    """
    global _shared
    with _lock:
        wanted = (os.getpid(), *sorted(_settings()))
        if _shared is not None:
            known, client = _shared
            if known == wanted and not client.is_closed:
                return client
            # That of a parent is the parent's to close, and one in use ends with the process.
            if known[0] == wanted[0] and all(flow.is_over for flow in client.workflows()):
                client.close()
            _shared = None
        client = _started()
        _shared = wanted, client
        return client


def _started() -> Client:
    """Return a client; one that keeps nothing where nobody chose a folder and there is none."""
    try:
        Settings().ensure_home()
    except InvalidInputError as error:
        if os.environ.get("FITCAST_HOME"):
            raise
        warnings.warn(f"{error} Until then, what is learned from fits isn't kept.", stacklevel=4)
        folder = tempfile.TemporaryDirectory(prefix="fitcast-home-")
        client = Client(home=folder.name, history=None if _has_store() else MemoryHistory())
        _folders.append(folder)  # removed with the last reference, after its client
        return client
    return Client()


def _has_store() -> bool:
    return bool(os.environ.get("MLFLOW_TRACKING_URI") or os.environ.get("FITCAST_TRACKING_URI"))


def close_shared() -> None:
    """End the client that searches without one of their own have used, if there is one."""
    global _shared
    with _lock:
        if _shared is not None and _shared[0][0] == os.getpid():
            _shared[1].close()
        _shared = None


def runs_in_place() -> bool:
    """Tell whether a search is to run in its own process, as scikit-learn's do.

    That is so inside a fit, whose CPUs and memory are planned already, in a process of joblib's,
    which is one of several, in one that may have no children, and in one that was forked from a
    process with a client: the threads of that, some of which held locks, weren't forked with it.
    """
    if os.environ.get(INSIDE_A_FIT) or is_forked_from_clients():
        return True
    if multiprocessing.current_process().daemon:
        return True
    if multiprocessing.parent_process() is None:
        return False
    backend, _ = get_active_backend()
    return bool(backend.nesting_level)


def _settings() -> list[tuple[str, str]]:
    return [item for item in os.environ.items() if item[0].startswith(_SETTINGS)]
