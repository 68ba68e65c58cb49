"""What pools have, and what of it the fits of this process's workflows use, as planned.

Not in: who gets how much (:mod:`fitcast.scheduler.broker.fair_share`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fitcast.scheduler.plan.pools import WorkerSize
from fitcast.scheduler.run.views import FitRow


@dataclass(slots=True)
class PoolUse:
    """A pool at one moment."""

    pool: str
    workers: int = 0
    cpus: int = 0
    memory_bytes: int = 0
    fits: int = 0
    used_cpus: int = 0
    used_memory_bytes: float = 0.0


def use_of_pools(workers: Iterable[WorkerSize], rows: Iterable[FitRow]) -> list[PoolUse]:
    """Return each pool with its workers and the fits that run there, in order of the workers.

    Parameters
    ----------
    workers
        All that workflows may have.
    rows
        Fits of workflows; only those that run count.

    Examples
    --------
    >>> [use.cpus for use in use_of_pools([WorkerSize("w0", "small", 2, 2**30)], [])]
    [2]
    """
    found: dict[str, PoolUse] = {}
    for worker in workers:
        use = found.setdefault(worker.pool, PoolUse(worker.pool))
        use.workers += 1
        use.cpus += worker.cpus
        use.memory_bytes += worker.memory_bytes
    for row in rows:
        if row.state == "running" and row.pool in found:
            use = found[row.pool]
            use.fits += 1
            use.used_cpus += row.threads
            use.used_memory_bytes += row.estimate.peak_memory_bytes_p50
    return list(found.values())
