"""Pools: what kinds of workers there are, and how large.

Only sizes. How workers come to life is in :mod:`fitcast.scheduler.backends`; which fit goes to
which worker is decided in :mod:`fitcast.scheduler.plan.decisions`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fitcast.errors import InvalidPoolError

MOST_WORKERS = 100_000
"""Of all pools together; more is taken for a mistake, and would only fill the memory."""

WORKER_OVERHEAD_BYTES = 512 * 2**20
"""What a worker and its fork server hold themselves, beside what fits may take."""

BYTES_PER_CPU = 4 * 2**30
"""Memory that counts as much as one CPU where a pool has no price; the usual size of a node."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A kind of worker.

    Parameters
    ----------
    name : str
        Unique among the pools of a backend.
    cpus : int
        Cores that one worker may keep busy.
    memory_bytes : int
        Memory of one worker: what its fits and its copy of the dataset may take together.
    workers : int
        How many such workers there are.
    price_per_hour : float, optional
        What one worker costs per hour, in any currency. Without it, pools are compared by the CPU
        and memory that they have.
    spot : bool
        Whether its workers may be taken away at any time: fits so long that the end waits for them
        go elsewhere if they find room there.

    Raises
    ------
    InvalidPoolError
        If a size isn't positive or the name is empty.

    Examples
    --------
    >>> pool = Pool("big", cpus=8, memory_bytes=32 * 2**30, workers=4, price_per_hour=0.4)
    >>> pool.cost_per_hour
    0.4
    >>> Pool("small", cpus=0, memory_bytes=2**30)
    Traceback (most recent call last):
    fitcast.errors.InvalidPoolError: pool 'small': cpus is 0; it must be a whole number above 0
    """

    name: str
    cpus: int
    memory_bytes: int
    workers: int = 1
    price_per_hour: float | None = None
    spot: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise InvalidPoolError("a pool needs a name, for example Pool('small', ...)")
        for what in ("cpus", "memory_bytes", "workers"):
            value = getattr(self, what)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidPoolError(
                    f"pool {self.name!r}: {what} is {value!r}; it must be a whole number above 0"
                )
        price = self.price_per_hour
        if price is not None and not (_is_number(price) and 0.0 <= price < math.inf):
            raise InvalidPoolError(
                f"pool {self.name!r}: price_per_hour is {price!r}; give a number of at least 0, or "
                "leave it out"
            )

    @property
    def cost_per_hour(self) -> float:
        """What one worker counts per hour: its price, else a unit per CPU and per 4 GiB."""
        if self.price_per_hour is not None:
            return float(self.price_per_hour)
        return cost_per_hour(self.cpus, self.memory_bytes)


@dataclass(frozen=True, slots=True)
class WorkerSize:
    """One worker as the plan sees it."""

    address: str
    pool: str
    cpus: int
    memory_bytes: int
    cost_per_hour: float | None = None  # of the whole worker; only compared
    spot: bool = False  # it may be taken away at any time


def cost_per_hour(cpus: int, memory_bytes: int) -> float:
    """Return what a worker without a price counts: a unit per CPU and per 4 GiB."""
    return cpus + memory_bytes / BYTES_PER_CPU


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_pools(pools: Iterable[Pool]) -> tuple[Pool, ...]:
    """Return the pools as a tuple.

    Raises
    ------
    InvalidPoolError
        If there is none, one is no `Pool`, two share a name, or they have too many workers.
    """
    if isinstance(pools, Pool) or not isinstance(pools, Iterable):
        raise InvalidPoolError(
            f"pools is {pools!r}; give a list of them, for example [Pool('small', 2, 4 * 2**30)]"
        )
    checked = tuple(pools)
    if not checked:
        raise InvalidPoolError("no pool given; leave `pools` out to use this whole machine")
    for pool in checked:
        if not isinstance(pool, Pool):
            raise InvalidPoolError(
                f"{pool!r} is no pool; make one with Pool(name, cpus=…, memory_bytes=…)"
            )
    names = [pool.name for pool in checked]
    for name in names:
        if names.count(name) > 1:
            raise InvalidPoolError(f"two pools are called {name!r}; give each its own name")
    if (workers := sum(pool.workers for pool in checked)) > MOST_WORKERS:
        raise InvalidPoolError(
            f"the pools have {workers:,} workers together; give at most {MOST_WORKERS:,}"
        )
    return checked


def price_per_hour(pools: Iterable[Pool]) -> float | None:
    """Return what all workers cost per hour together; None unless every pool has a price."""
    total = 0.0
    for pool in pools:
        if pool.price_per_hour is None:
            return None
        total += pool.workers * pool.price_per_hour
    return total


def planned_workers(pools: Sequence[Pool]) -> list[WorkerSize]:
    """Return the workers that the pools will have, under made-up addresses (for forecasts)."""
    return [
        WorkerSize(
            f"{pool.name}-{number}",
            pool.name,
            pool.cpus,
            pool.memory_bytes,
            pool.cost_per_hour,
            pool.spot,
        )
        for pool in pools
        for number in range(pool.workers)
    ]
