"""What runs inside a Dask worker: the plugin that owns the attempt runner, and the task.

The plan is elsewhere; here a worker only opens datasets, runs the attempts that it is given and
ends those that were given up.
"""

import os
import signal
import threading
from pathlib import Path
from typing import Any

from distributed import get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from fitcast.errors import BackendError, WorkerBrokenError
from fitcast.scheduler.worker.steady_clock import hold_steady
from fitcast.trainer.attempt.runner import AttemptRunner
from fitcast.trainer.attempt.spec import AttemptSpec, Measured

PLUGIN_NAME = "fitcast"

_TOLD_WITHIN_S = 1.0


class FitWorker(WorkerPlugin):  # type: ignore[misc]
    """Gives a Dask worker a fork server for its fits.

    Parameters
    ----------
    key_dir : str
        Memory-backed directory with ``<dataset_id>.key`` and ``<dataset_id>.uri``, readable by
        the workflow's owner alone. Keys never travel as task arguments.
    cpus : tuple of int
        CPUs that the worker and all its fits are held to; empty for no such bound.
    memory_bytes : int, optional
        What all its fits and their rows may hold together.
    """

    name = PLUGIN_NAME

    def __init__(
        self, key_dir: str, cpus: tuple[int, ...] = (), memory_bytes: int | None = None
    ) -> None:
        self.key_dir = key_dir
        self.cpus = cpus
        self.memory_bytes = memory_bytes
        self.runner: AttemptRunner | None = None

    def setup(self, worker: Any) -> None:
        """Start the fork server; it is ready some seconds later."""
        if threading.current_thread() is threading.main_thread():
            # Ctrl-C in a terminal reaches this process too, but it is the client's to handle.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self.cpus:
            os.sched_setaffinity(0, self.cpus)
        hold_steady(worker.loop)
        self.runner = AttemptRunner(self.memory_bytes)

    def teardown(self, worker: Any) -> None:
        """End every attempt and the fork server."""
        if self.runner is not None:
            self.runner.close()

    def dataset(self, dataset_id: str) -> tuple[str, Path]:
        """Return where a sealed dataset lies, and its key."""
        keys = Path(self.key_dir)
        uri_file = keys / f"{dataset_id}.uri"
        if not uri_file.exists():
            raise BackendError("the workflow's dataset was removed")
        return uri_file.read_text(encoding="utf-8"), keys / f"{dataset_id}.key"

    def run(self, specs: tuple[AttemptSpec, ...]) -> list[Measured | None]:
        """Open the dataset if it isn't yet, and run the attempts in one process.

        From its beginning on, they can be cancelled.
        """
        if self.runner is None:
            raise BackendError("this worker wasn't set up for fits")
        dataset_id = specs[0].dataset_id
        try:
            return self.runner.run(specs, lambda: self.dataset(dataset_id))
        except WorkerBrokenError:
            # Once the reason has been told, the nanny is to start another.
            threading.Timer(_TOLD_WITHIN_S, os.kill, (os.getpid(), signal.SIGKILL)).start()
            raise


def _plugin(worker: Any) -> FitWorker:
    plugin: FitWorker = worker.plugins[PLUGIN_NAME]
    return plugin


def _runner(worker: Any) -> AttemptRunner | None:
    """Return a worker's runner; none while it comes or goes."""
    plugin: FitWorker | None = worker.plugins.get(PLUGIN_NAME)
    return None if plugin is None else plugin.runner


def run_attempts(specs: tuple[AttemptSpec, ...]) -> list[Measured | None]:
    """Run attempts one after another; the task that Dask carries to the worker."""
    return _plugin(get_worker()).run(specs)


async def cancel_attempt(
    workflow_id: str, fit_id: str, attempt: int, dask_worker: Any = None
) -> bool:
    """End an attempt on the worker that this is sent to.

    A coroutine: Dask lets only those run without waiting for them.

    Returns
    -------
    bool
        True once it is certain to end: its own task tells how, now or whenever it comes. False
        from a worker that is only coming or already going.
    """
    runner = _runner(dask_worker)
    if runner is None:
        return False
    runner.cancel(fit_id, attempt, workflow_id)  # if it isn't known, it never begins
    return True


async def close_dataset(dataset_id: str, dask_worker: Any = None) -> None:
    """Let the worker forget a dataset, also one that it is opening."""
    runner = _runner(dask_worker)
    if runner is not None:
        runner.close_dataset(dataset_id)
