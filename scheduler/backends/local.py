"""The backend of one machine: a Dask scheduler here, a worker process per worker.

Only the life of the cluster: sizes, processes, TLS, and who is there. What runs on it is decided in
:mod:`fitcast.scheduler.plan.decisions` and carried out by :mod:`fitcast.scheduler.run.dispatcher`;
when a worker is replaced is decided in :mod:`fitcast.scheduler.backends.upkeep`.
"""

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from fitcast.errors import BackendError, InvalidPoolError
from fitcast.scheduler.backends.dask_config import dask_config, scratch_folder
from fitcast.scheduler.backends.fixed import FixedWorkers
from fitcast.scheduler.backends.interruptible import InterruptibleStart
from fitcast.scheduler.backends.machine import (
    available_memory_bytes,
    usable_cpus,
    usable_memory_bytes,
)
from fitcast.scheduler.backends.protocol import Listener
from fitcast.scheduler.backends.quiet_dask import quiet_dask
from fitcast.scheduler.backends.upkeep import Upkeep
from fitcast.scheduler.plan.pools import WORKER_OVERHEAD_BYTES, Pool, WorkerSize, check_pools
from fitcast.settings import Settings

SILENT_AFTER_S = 30.0
"""A worker without a sign of life for so long counts as lost, unless the user says otherwise."""

CALL_S = 20.0
"""A scheduler that takes longer to answer counts as gone."""

JOIN_S = 60.0
"""How long processes that are being started are waited for, to end them then."""

LEAST_SILENCE_S = 1.0
"""Signs of life come twice a second, a little later on a busy machine."""

_THREAD = "fitcast-local"
_LEAST_BYTES = 256 * 2**20


class LocalBackend(FixedWorkers):
    """Workers on this machine, on loopback only, under TLS.

    Parameters
    ----------
    pools : sequence of Pool, optional
        Kinds of workers; by default one worker with all CPUs and memory that this process may
        use (cgroup limits and CPU affinity respected), or with as much of them as
        ``FITCAST_CPUS`` and ``FITCAST_MEMORY_BYTES`` allow.
    silent_after_s : float
        A worker without a sign of life for so long counts as lost: it is ended and replaced, and
        its fits run elsewhere.

    Raises
    ------
    InvalidPoolError
        If a worker is larger than this machine, the pools together need more memory than it has,
        or a worker would count as lost sooner than it can be heard of.
    """

    start_s = 4.0
    """About how long workers take to be there: their processes import the libraries first."""

    def __init__(
        self, pools: Sequence[Pool] | None = None, *, silent_after_s: float = SILENT_AFTER_S
    ) -> None:
        if not silent_after_s >= LEAST_SILENCE_S:
            raise InvalidPoolError(
                f"silent_after_s is {silent_after_s!r}; give at least {LEAST_SILENCE_S:g} seconds, "
                "or leave it out"
            )
        cpus, memory_bytes = usable_cpus(), usable_memory_bytes()
        if pools is None:
            pools = [_whole_machine(cpus)]
        super().__init__(check_pools(pools))
        for pool in self.pools:
            if pool.cpus > cpus:
                raise InvalidPoolError(
                    f"pool {pool.name!r} has workers of {pool.cpus} CPUs; this process may use "
                    f"{cpus}. Give at most that many."
                )
        wanted = sum(pool.memory_bytes * pool.workers for pool in self.pools)
        if wanted > memory_bytes:
            raise InvalidPoolError(
                f"the pools need {wanted / 2**30:.1f} GiB together; this process may use "
                f"{memory_bytes / 2**30:.1f} GiB. Make them smaller or fewer."
            )
        self._silent_after_s = silent_after_s
        self._starting: InterruptibleStart | None = InterruptibleStart(_THREAD)
        self._cluster: Any = None
        self._upkeep: Upkeep | None = None
        self._quiet = ExitStack()

    def start(self, key_dir: Path, listener: Listener) -> Any:
        """Start scheduler and workers and return a connected ``distributed.Client``.

        Parameters
        ----------
        key_dir : Path
            Directory from which workers read dataset keys.
        listener : Listener
            Is notified about them.
        """
        if self._starting is None:  # it was closed, and is used again
            self._starting = InterruptibleStart(_THREAD)
        starting = self._starting
        return starting.run(lambda: self._start(key_dir, listener, starting))

    def _start(self, key_dir: Path, listener: Listener, starting: InterruptibleStart) -> Any:
        import dask
        from distributed import Client, Security

        from fitcast.scheduler.backends.dask_servers import (
            PrivateNanny,
            PrivateScheduler,
            PrivateWorker,
        )
        from fitcast.scheduler.worker.plugin import FitWorker
        from fitcast.scheduler.worker.steady_clock import hold_steady

        scratch = scratch_folder(key_dir)
        self._quiet.enter_context(quiet_dask())
        with dask.config.set(dask_config(scratch)):
            try:
                security = Security.temporary()
                common = {"protocol": "tls", "host": "127.0.0.1", "security": security}
                offset = count()
                workers = {
                    size.address: {
                        "cls": PrivateNanny,
                        "options": {
                            **common,
                            "nthreads": size.cpus + 1,
                            "memory_limit": 0,
                            "silence_logs": logging.CRITICAL,
                            "dashboard": False,
                            "env": {"PYTHONWARNINGS": "ignore"},
                            "config": dask_config(scratch),
                            "worker_class": PrivateWorker,
                            "plugins": (
                                FitWorker(
                                    str(key_dir), self._held_to(size, offset), size.memory_bytes
                                ),
                            ),
                        },
                    }
                    for size in self.workers()
                }
                scheduler = {
                    "cls": PrivateScheduler,
                    "options": {
                        **common,
                        "port": 0,
                        "dashboard": False,
                        "dashboard_address": "127.0.0.1:0",
                    },
                }
                self._cluster = _cluster_type()(
                    workers,
                    scheduler,
                    security=security,
                    silence_logs=logging.CRITICAL,
                    name="fitcast",
                )
                hold_steady(self._cluster.loop)
                starting.check()
                client = Client(self._cluster, security=security, set_as_default=False)
                client.register_plugin(_watcher(listener.workers_changed), name="fitcast-watch")
                names = [size.address for size in self.workers()]
                self._upkeep = Upkeep(
                    self._cluster, names, self._silent_after_s, listener.workers_lost
                )
            except (OSError, TimeoutError, RuntimeError) as error:
                self._end()
                raise BackendError(f"workers can't be started on this machine: {error}") from error
        return client

    def _held_to(self, size: WorkerSize, offset: "count[int]") -> tuple[int, ...]:
        """Return the CPUs that a worker smaller than the machine is held to."""
        cpus = sorted(os.sched_getaffinity(0))
        if size.cpus >= len(cpus):
            return ()
        return tuple(cpus[next(offset) % len(cpus)] for _ in range(size.cpus))

    def present(self, dask: Any) -> list[WorkerSize]:
        """Return the workers that are there now, under their Dask addresses."""
        planned = {size.address: size for size in self.workers()}
        try:
            known = dask.sync(dask.scheduler.identity, n_workers=-1, callback_timeout=CALL_S)
        except (OSError, TimeoutError) as error:
            raise BackendError(f"the scheduler of this machine doesn't answer: {error}") from error
        found = []
        for address, worker in known["workers"].items():
            size = planned.get(str(worker.get("name")))
            if size is not None:
                found.append(replace(size, address=address))
        return found

    def interrupt(self) -> None:
        """Give up starting: the processes are ended by `close`, once they are there."""
        if self._starting is not None:
            self._starting.interrupt()

    def close(self) -> None:
        """End scheduler and workers; they may be started again then."""
        starting = self._starting
        if starting is not None:
            starting.interrupt()
            starting.join(JOIN_S)
        self._end()
        self._starting = None

    def _end(self) -> None:
        cluster, self._cluster = self._cluster, None
        upkeep, self._upkeep = self._upkeep, None
        if upkeep is not None:
            upkeep.stop()
        try:
            if cluster is not None:
                cluster.close(timeout=20)
        finally:
            self._quiet.close()


def _cluster_type() -> Any:
    from distributed import SpecCluster
    from distributed.deploy.cluster import Cluster

    class LocalWorkers(SpecCluster):  # type: ignore[misc]
        """Keeps a nanny whose worker is away: Dask closes it for good if that lasts 15 s."""

        def _update_worker_status(self, op: str, msg: Any) -> None:
            Cluster._update_worker_status(self, op, msg)

    return LocalWorkers


def _watcher(on_change: Callable[[], None]) -> Any:
    from distributed.diagnostics.plugin import SchedulerPlugin

    class Watch(SchedulerPlugin):  # type: ignore[misc]
        """Notifies the dispatcher that a worker came or went."""

        name = "fitcast-watch"

        def add_worker(self, *args: object, **kwargs: object) -> None:
            on_change()

        def remove_worker(self, *args: object, **kwargs: object) -> None:
            on_change()

        def __reduce__(self) -> tuple[Any, ...]:
            # The scheduler lives in this process: the plugin reaches it as it is.
            return (_kept, (id(self),))

    watch = Watch()
    _KEPT[id(watch)] = watch
    return watch


_KEPT: dict[int, Any] = {}


def _kept(number: int) -> Any:
    return _KEPT.pop(number)


def _whole_machine(cpus: int) -> Pool:
    """Return a pool of one worker with all that there is, or that the settings allow."""
    settings = Settings()
    free = max(available_memory_bytes() - WORKER_OVERHEAD_BYTES, _LEAST_BYTES)
    return Pool(
        "this-machine",
        min(cpus, settings.cpus or cpus),
        min(free, settings.memory_bytes or free),
    )
