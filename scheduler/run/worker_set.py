"""The workers that a dispatcher drives: opened, observed, resized, explained when lost, closed.

In: what of it is slow, on an executor's threads, each call answered by a report to the dispatcher.
Not in: what a worker that came or went means (:mod:`fitcast.scheduler.run.dispatcher`), how workers
come to be (:mod:`fitcast.scheduler.backends`).
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from fitcast.errors import BackendError, FitcastError
from fitcast.scheduler.backends.protocol import WorkerLoss, Workers
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.pool_sizes import Allotment
from fitcast.scheduler.plan.pools import Pool, WorkerSize
from fitcast.scheduler.run.elastic import Elastic
from fitcast.scheduler.run.executor import Executor

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Connected:
    """The workers' cluster is there; or another one is, and nothing is heard of what ran."""

    dask: Any
    replaced: bool = False


@dataclass(frozen=True, slots=True)
class WorkersSeen:
    """These workers are ready for fits now, and no others."""

    dask: Any  # by which connection
    sizes: tuple[WorkerSize, ...]


@dataclass(frozen=True, slots=True)
class LossExplained:
    """Why a worker is gone, as far as it can be told."""

    address: str
    loss: WorkerLoss
    returns: bool


@dataclass(frozen=True, slots=True)
class NoWorkersLeft:
    """All workers are gone for good, or there never were any."""

    error: FitcastError


@dataclass(frozen=True, slots=True)
class Hindered:
    """What keeps workers away now; nothing does, if it is empty."""

    notes: tuple[str, ...]


WorkersReport: TypeAlias = Connected | WorkersSeen | LossExplained | NoWorkersLeft | Hindered


class WorkerSet:
    """Workers of a backend; also what the backend tells of them (`backends.protocol.Listener`).

    Parameters
    ----------
    executor : Executor
        Where slow calls run.
    post : callable
        ``post(report)``, from any thread.
    key_dir : Path
        Where workers read dataset keys.
    pools : tuple of Pool
        Their kinds.
    """

    def __init__(
        self,
        executor: Executor,
        post: Callable[[WorkersReport], None],
        key_dir: Path,
        pools: tuple[Pool, ...],
    ) -> None:
        self._executor = executor
        self._post = post
        self._key_dir = key_dir
        self._pools = pools
        self._lock = threading.Lock()
        self._workers: Workers | None = None
        self._elastic: Elastic | None = None
        self._allotment: Allotment | None = None
        self._interrupted = False
        self._began_s = time.monotonic()
        self._dask: Any = None
        self._looking = self._look_again = False
        self._to_explain: dict[str, bool] = {}  # address → whether another one will come
        self._explaining = False

    # -- opened and closed, on an executor's thread ------------------------------------------------

    def open(self, workers: Workers) -> None:
        """Start workers, and connect to them.

        Raises
        ------
        BackendError
            They can't be started, or this was interrupted.
        """
        with self._lock:
            if self._interrupted:
                raise BackendError("the workers were given up before they were started")
            self._workers = workers
        dask = workers.start(self._key_dir, self)
        with self._lock:
            wanted = self._workers is workers
            if wanted:
                self._dask = dask
                self._elastic = Elastic(workers, self._pools) if workers.is_elastic else None
        if not wanted:  # closed meanwhile
            self._end(workers, dask)
            raise BackendError("the workers were given up while they were started")
        self._post(Connected(dask))
        self.workers_changed()

    def close(self) -> None:
        """End the workers, and everything that belongs to them."""
        self.interrupt()
        with self._lock:
            workers, dask = self._workers, self._dask
            self._workers = self._dask = self._elastic = None
        if workers is not None:
            self._end(workers, dask)

    def _end(self, workers: Workers, dask: Any) -> None:
        if dask is not None:
            with suppress(Exception):  # it may be broken, which is no matter now
                dask.close(timeout=5)
        workers.close()

    def interrupt(self) -> None:
        """Give up starting; returns at once."""
        with self._lock:
            self._interrupted = True
            workers = self._workers
        if workers is not None:
            workers.interrupt()

    # -- asked by the dispatcher; returns at once --------------------------------------------------

    @property
    def is_elastic(self) -> bool:
        """Whether the number of workers follows the work."""
        return self._elastic is not None

    @property
    def machine_speed(self) -> float:
        """Speed of their cores; 0 while unknown."""
        workers = self._workers
        return 0.0 if workers is None else workers.machine_speed

    def ready_in_s(self) -> float:
        """Return in about how many seconds the first one is ready if none is there yet."""
        workers = self._workers
        if workers is None:
            return 0.0
        return max(0.0, self._began_s + workers.start_s - time.monotonic())

    def expected(self) -> list[WorkerSize]:
        """Return the workers that may come as the work needs them, under made-up names."""
        workers = self._workers
        return workers.workers() if workers is not None and workers.is_elastic else []

    def resize(self, decisions: Decisions, now_s: float) -> list[str]:
        """Let pools follow the plan; return the workers that are to go."""
        if self._elastic is None:
            return []
        return self._elastic.look(decisions, now_s, self._allotment)

    def allot(self, allotment: Allotment) -> None:
        """Let pools grow no further than that, from now on; from any thread."""
        self._allotment = allotment

    def retire(self, addresses: list[str]) -> None:
        """Let workers go on which nothing runs."""
        workers = self._workers
        if workers is not None and addresses:
            workers.retire(addresses)

    def explain(self, address: str, *, returns: bool) -> None:
        """Find out why a worker is gone; those that go together are asked after together."""
        with self._lock:
            self._to_explain[address] = returns
            if self._explaining:
                return
            self._explaining = True
        self._executor.submit(self._explain)

    # -- told by the backend, from any thread ------------------------------------------------------

    def workers_changed(self) -> None:
        """Note that a worker came or went."""
        with self._lock:
            self._look_again = True
            if self._looking:
                return
            self._looking = True
        self._executor.submit(self._look)

    def workers_lost(self, error: BackendError) -> None:
        """Note that all workers are gone for good."""
        self._post(NoWorkersLeft(error))

    def cluster_replaced(self, dask: Any) -> None:
        """Note that nothing more is heard of what ran; workers come, maybe the same."""
        with self._lock:
            self._dask = dask
        self._post(Connected(dask, replaced=True))
        self.workers_changed()

    def trouble(self, notes: tuple[str, ...]) -> None:
        """Note what keeps workers away now."""
        self._post(Hindered(notes))

    # -- on an executor's thread -------------------------------------------------------------------

    def _look(self) -> None:
        while True:
            with self._lock:
                if not self._look_again:
                    self._looking = False
                    return
                self._look_again = False
                workers, dask = self._workers, self._dask
            if workers is None or dask is None:
                continue
            try:
                self._post(WorkersSeen(dask, tuple(workers.present(dask))))
            except Exception:  # a connection that breaks; the next change is another try
                log.warning("the workers can't be listed", exc_info=True)

    def _explain(self) -> None:
        while True:
            with self._lock:
                asked, self._to_explain = self._to_explain, {}
                workers = self._workers
                if not asked:
                    self._explaining = False
                    return
            losses: dict[str, WorkerLoss] = {}
            try:
                if workers is not None:
                    losses = workers.why_lost(list(asked))
            except Exception:  # then nobody knows
                log.warning("it can't be told why workers are gone", exc_info=True)
            for address, returns in asked.items():
                self._post(LossExplained(address, losses.get(address, WorkerLoss()), returns))
