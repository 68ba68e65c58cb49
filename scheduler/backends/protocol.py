"""What a backend is to a dispatcher: something that gives Dask workers, and reports on them.

This machine (:mod:`fitcast.scheduler.backends.local`) has one Dask cluster for all workflows;
Kubernetes (:mod:`fitcast.scheduler.backends.kubernetes.backend`) one for each.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fitcast.errors import BackendError
from fitcast.history.records import Outcome
from fitcast.scheduler.plan.pools import Pool, WorkerSize
from fitcast.trainer.sealing import SealedDataset

STATUS_WITHIN_S = 2.0
"""How long it takes at most to see why a worker is gone, if it can be seen at all."""


class Listener(Protocol):
    """Who is notified about workers; called from any thread, returns at once."""

    def workers_changed(self) -> None:
        """Note that a worker came or went."""

    def workers_lost(self, error: BackendError) -> None:
        """Note that all workers are gone for good."""

    def cluster_replaced(self, dask: Any) -> None:
        """Note that the cluster is another one, connected by `dask`; what ran is gone."""

    def trouble(self, notes: tuple[str, ...]) -> None:
        """Note what keeps workers away now; nothing does, if it is empty."""


@dataclass(frozen=True, slots=True)
class WorkerLoss:
    """Why a worker is gone, as far as that is known."""

    outcome: Outcome = Outcome.WORKER_LOST  # or PREEMPTED, or OUT_OF_MEMORY if that is proven
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Limit:
    """How many workers a pool may and should have."""

    most: int
    least: int = 0


class Workers(Protocol):
    """A Dask cluster and its workers, as a dispatcher drives them.

    `start`, `present`, `why_lost` and `close` may block: a dispatcher calls them from threads of an
    executor, `present` and `why_lost` perhaps several times at once. All else returns at once and
    may be called on the dispatcher's own thread.
    """

    @property
    def machine_speed(self) -> float:
        """Speed of their cores, as `fitcast.trainer.machine_speed` has it; 0 while unknown."""

    @property
    def start_s(self) -> float:
        """About how long it takes until a worker is there."""

    @property
    def is_elastic(self) -> bool:
        """Whether the number of workers follows the work, beginning with none."""

    def workers(self) -> list[WorkerSize]:
        """Return the workers that there may be, under placeholder names."""

    def start(self, key_dir: Path, listener: Listener) -> Any:
        """Start them and return a connected ``distributed.Client``; may block for minutes.

        Raises
        ------
        BackendError
            They can't be started, or `interrupt` was called, before or meanwhile.
        """

    def present(self, dask: Any) -> list[WorkerSize]:
        """Return the workers that are ready for fits, under their Dask addresses; may block.

        Raises
        ------
        BackendError
            The scheduler doesn't answer.
        """

    def limits(self) -> Mapping[str, Limit]:
        """Return what each pool may have now; one that gives no more is held to what it has."""

    def resize(self, wanted: Mapping[str, int]) -> None:
        """Let pools grow to so many workers; nothing is ended by this."""

    def retire(self, addresses: Collection[str]) -> None:
        """End these workers, on which nothing runs."""

    def why_lost(self, addresses: Collection[str]) -> dict[str, WorkerLoss]:
        """Return why each of these workers is gone; may block for `STATUS_WITHIN_S` in all."""

    def interrupt(self) -> None:
        """Give up starting, from any thread: `close` is about to be called.

        A `start` that is under way raises at once, whatever it waits for.
        """

    def close(self) -> None:
        """End everything, also what a `start` that was interrupted has made; may block.

        May be called while `start` is under way in another thread, and again; not before it.
        """


class Backend(Protocol):
    """Where fits run."""

    @property
    def machine_speed(self) -> float:
        """Speed of its workers' cores; 0 while unknown."""

    @property
    def pools(self) -> Sequence[Pool]:
        """The kinds of workers that it has."""

    @property
    def start_s(self) -> float:
        """About how long it takes until a first worker is there."""

    @property
    def dataset_root(self) -> str | None:
        """Where sealed datasets are to lie for its workers to read; None if anywhere does."""

    def workers(self) -> list[WorkerSize]:
        """Return the workers that a workflow may have, under placeholder names."""

    def note_machine_speed(self, speed: float) -> None:
        """Note the speed of this machine's cores, which may be that of the workers; 0 if unknown.

        Any thread may call it, once it is measured; workers elsewhere measure their own.
        """

    def shared(self) -> Workers | None:
        """Return the workers that all workflows share; None if each has its own."""

    def for_workflow(self, sealed: SealedDataset, key: bytes) -> Workers:
        """Return workers for one workflow alone, with what they need to open its dataset."""

    def close(self) -> None:
        """End what is left."""
