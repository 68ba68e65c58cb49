"""What a workflow will take of the platform, from the forecasts of its fits.

Pure. Not in: whose turn it is (:mod:`fitcast.scheduler.broker.fair_share`).
"""

from collections.abc import Sequence

from fitcast.scheduler.broker.resources import Demand, Resources
from fitcast.scheduler.forecast.sweep_forecast import SweepForecast
from fitcast.scheduler.plan.pools import WorkerSize


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
    there_bytes = sum(worker.memory_bytes for worker in workers)
    return Demand(
        cpu_s=cpu_s,
        memory_byte_s=memory_byte_s,
        gpu_s=0.0,
        most=Resources(
            cpus=float(most_fits),
            memory_bytes=float(min(sum(largest) + cast.submission.dataset_bytes, there_bytes)),
        ),
    )
