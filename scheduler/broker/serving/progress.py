"""What the queue is told of a workflow that runs: how far it is, what it has, what is left."""

from collections.abc import Sequence
from datetime import UTC, datetime

from fitcast.scheduler.broker.demands import frees_in_s
from fitcast.scheduler.broker.resources import Demand, Resources
from fitcast.scheduler.broker.store import Progress, StoredWorkflow
from fitcast.scheduler.run.runs import Run
from fitcast.scheduler.run.views import FitRow
from fitcast.scheduler.session.documents import fit_document


def progress_of(row: StoredWorkflow, run: Run | None, fits: Sequence[FitRow] | None) -> Progress:
    """Return how far a workflow is.

    Parameters
    ----------
    row
        As it was claimed.
    run
        Itself; None while it is being opened.
    fits
        Those that run, for others to see; None if they know.
    """
    if run is None:
        return Progress(
            fits_done=row.fits_done, demand_left=row.demand, eta_s=None, used=Resources()
        )
    view = run.view()
    done, _, total = view.counts()
    eta = view.eta
    running = view.running()
    frees = frees_in_s(running, datetime.now(UTC))
    return Progress(
        fits_done=done,
        demand_left=_left(row.demand, done / max(1, total), frees),
        eta_s=None if eta is None else (eta.p10_s, eta.p50_s, eta.p90_s),
        used=used_by(running),
        running_fits=None if fits is None else [fit_document(one) for one in fits],
    )


def used_by(running: Sequence[FitRow]) -> Resources:
    """Return what a workflow's fits that run use, as planned."""
    return Resources(
        cpus=float(sum(row.threads for row in running)),
        memory_bytes=float(sum(row.estimate.peak_memory_bytes_p50 for row in running)),
    )


def _left(demand: Demand, done: float, frees_in_s: float) -> Demand:
    left = max(0.0, 1.0 - done)
    return Demand(
        cpu_s=left * demand.cpu_s,
        memory_byte_s=left * demand.memory_byte_s,
        gpu_s=left * demand.gpu_s,
        most=demand.most,
        frees_in_s=frees_in_s,
    )
