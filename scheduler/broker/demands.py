"""What a workflow will take of the platform, from the forecasts of its fits.

Pure. Not in: whose turn it is (:mod:`fitcast.scheduler.broker.fair_share`).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from fitcast.scheduler.broker.resources import Demand, Resources
from fitcast.scheduler.forecast.sweep_forecast import SweepForecast
from fitcast.scheduler.plan.pools import WorkerSize
from fitcast.scheduler.run.views import FitRow

_LEAST_LEFT: Final = 0.1
"""Of its forecast, for a fit that takes longer than was forecast."""


def demand_of(cast: SweepForecast, workers: Sequence[WorkerSize]) -> Demand:
    """Return what is left to do of a sweep, and what it can use at once.

    Parameters
    ----------
    cast
        Its forecast; fits that are done don't count.
    workers
        Those that it may have: more than all of them it can't use.
    """
    left = cast.to_run()
    cpu_s = sum(one.runtime_s_p50 for one in left)
    memory_byte_s = sum(one.runtime_s_p50 * one.peak_memory_bytes_p50 for one in left)
    most_fits = min(len(left), sum(worker.cpus for worker in workers))
    largest = sorted((one.peak_memory_bytes_p50 for one in left), reverse=True)[:most_fits]
    square_s2 = sum(one.runtime_s_p50**2 for one in left)
    there_bytes = sum(worker.memory_bytes for worker in workers)
    return Demand(
        cpu_s=cpu_s,
        memory_byte_s=memory_byte_s,
        gpu_s=0.0,
        most=Resources(
            cpus=float(most_fits),
            memory_bytes=float(min(sum(largest) + cast.submission.dataset_bytes, there_bytes)),
        ),
        # a moment falls into a long fit more often than into a short one, and into its middle
        frees_in_s=square_s2 / (2.0 * cpu_s) if cpu_s > 0.0 else 0.0,
    )


def frees_in_s(running: Sequence[FitRow], now: datetime) -> float:
    """Return after how long a CPU of some fits that run is free, on the average, in seconds."""
    left_s, cpus = 0.0, 0
    for row in running:
        said_s = row.estimate.runtime_s_p50
        ran_s = 0.0 if row.started_at is None else (now - row.started_at).total_seconds()
        left_s += row.threads * max(_LEAST_LEFT * said_s, said_s - ran_s)
        cpus += row.threads
    return left_s / cpus if cpus else 0.0
