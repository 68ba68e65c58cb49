"""The process of a Dask worker of ours: started wherever the user's code runs, running none of it.

Python's multiprocessing runs the user's main module again in each process that it spawns, and so a
script without ``if __name__ == "__main__"`` would start itself over and over; it refuses to start
processes at all inside of another Dask worker's, which may have no children of its kind. A worker
of ours needs neither: it gets all it needs by messages. Other processes of the user are left as
they are, those of another Dask cluster too.

In: how such a process is started. Not in: what the servers in it do
(:mod:`fitcast.scheduler.backends.dask_servers`).
"""

import functools
import multiprocessing.process
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import popen_spawn_posix, spawn
from multiprocessing.context import SpawnProcess
from typing import Any

import distributed.nanny
from distributed.process import AsyncProcess

_here = threading.local()  # .without_main: whether this thread is starting a process of ours
_daemon_lock = threading.Lock()
_prepared = spawn.get_preparation_data


def _prepared_without_main(name: str) -> dict[str, Any]:
    data = dict(_prepared(name))
    if getattr(_here, "without_main", False):
        for key in ("init_main_from_name", "init_main_from_path"):
            data.pop(key, None)
    return data


class _Popen(popen_spawn_posix.Popen):
    def _launch(self, process: Any) -> None:
        _here.without_main = True
        try:
            super()._launch(process)  # type: ignore[misc]
        finally:
            _here.without_main = False


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process: Any) -> Any:  # noqa: N802 - multiprocessing's name
        return _Popen(process)

    def start(self) -> None:
        with _may_have_children():
            super().start()


@contextmanager
def _may_have_children() -> Iterator[None]:
    """Let this process start children although it is to end with its parent.

    Ours end with their parent however it ends, so that nothing is left behind.
    """
    config: dict[str, Any] = multiprocessing.process.current_process()._config  # type: ignore[attr-defined]
    with _daemon_lock:
        daemon = config.pop("daemon", None)
        try:
            yield
        finally:
            if daemon is not None:
                config["daemon"] = daemon


class _WorkerProcess(AsyncProcess):  # type: ignore[misc]
    def _start_threads(self) -> None:
        self._process.__class__ = _Process
        super()._start_threads()


def start_without_main(worker: type) -> None:
    """Have the processes of a kind of worker started so; to be called when they are defined.

    Parameters
    ----------
    worker
        The worker's class.
    """
    started = distributed.nanny.AsyncProcess

    def chosen(*args: Any, target: Any, **kwargs: Any) -> Any:
        factory = getattr(target, "keywords", {}).get("worker_factory")
        ours = isinstance(factory, functools.partial) and factory.func is worker
        return (_WorkerProcess if ours else started)(*args, target=target, **kwargs)

    spawn.get_preparation_data = _prepared_without_main
    distributed.nanny.AsyncProcess = chosen
