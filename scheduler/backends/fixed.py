"""Backends whose workers are the same for all workflows, and stay as they are."""

from collections.abc import Collection, Mapping
from typing import Self

from fitcast.scheduler.backends.protocol import Limit, WorkerLoss
from fitcast.scheduler.plan.pools import Pool, WorkerSize, planned_workers
from fitcast.trainer.sealing import SealedDataset


class FixedWorkers:
    """A backend that is its own workers.

    Parameters
    ----------
    pools : tuple of Pool
        The kinds of workers that it has.
    """

    is_elastic = False
    dataset_root = None

    def __init__(self, pools: tuple[Pool, ...]) -> None:
        self.pools = pools
        self.machine_speed = 0.0  # measured by the client

    def workers(self) -> list[WorkerSize]:
        """Return the workers that there will be, under the names they will have."""
        return planned_workers(self.pools)

    def note_machine_speed(self, speed: float) -> None:
        """Note the speed of this machine's cores: they are its workers'."""
        self.machine_speed = speed

    def shared(self) -> Self:
        """Return itself: all workflows share its workers."""
        return self

    def for_workflow(self, sealed: SealedDataset, key: bytes) -> Self:
        """Return itself: all workflows share its workers."""
        return self

    def limits(self) -> dict[str, Limit]:
        """Return what each pool has: it stays as it is."""
        return {pool.name: Limit(pool.workers, pool.workers) for pool in self.pools}

    def resize(self, wanted: Mapping[str, int]) -> None:
        """Do nothing: workers stay as they are."""

    def retire(self, addresses: Collection[str]) -> None:
        """Do nothing: workers stay as they are."""

    def why_lost(self, addresses: Collection[str]) -> dict[str, WorkerLoss]:
        """Return that nothing is known: a process that is gone says no more."""
        return dict.fromkeys(addresses, WorkerLoss())

    def interrupt(self) -> None:
        """Do nothing: starting takes no more than a moment."""
