"""A sweep forecast before it runs: estimates, ETA, and where the plan would put each fit.

In: what `Client.estimate` answers and what `Client.submit` starts from. Not in: forecasts of what
is running (:mod:`fitcast.scheduler.live_eta`), the sizing itself (:mod:`fitcast.sizing`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from fitcast.errors import FitTooLargeError
from fitcast.history.records import Estimate
from fitcast.scheduler.backends.simulated import SimulatedBackend
from fitcast.scheduler.draws import Groups
from fitcast.scheduler.eta import Eta, forecast, plan_for
from fitcast.scheduler.events import FitKey, Submitted
from fitcast.scheduler.pools import WorkerSize
from fitcast.scheduler.runs import forecast_cells
from fitcast.scheduler.shared_work import shared_work
from fitcast.sizing.correction import SweepCorrection
from fitcast.sizing.model import SizingModel
from fitcast.sizing.risk import risk_of
from fitcast.trainer.sweep import Fit, PreparedSweep, Sweep

REFITS_FORECAST = 100
"""Of how many candidates the refit is forecast; of more, evenly spaced ones in grid order."""

OVERHEAD_S = 0.03
"""Seconds that a slot stays idle between attempts before any were seen: fork and round trip."""


@dataclass(frozen=True, eq=False)
class SweepEstimate:
    """What a sweep is forecast to take; nothing was run for it.

    Attributes
    ----------
    fits : DataFrame
        A row per fit: candidate, fold, threads, pool, the quantiles, why, and the chance that it
        fails: in all, for needing more memory than the largest worker has, for needing longer
        than the sweep's deadline.
    eta : Eta
        When it would be done, submitted now to idle workers.
    sequential_s : float
        How long the fits would take one after the other, in seconds.
    """

    fits: pd.DataFrame
    eta: Eta
    sequential_s: float

    @property
    def candidates(self) -> pd.DataFrame:
        """A row per candidate: its fits' mean runtimes, their memory and risk at the worst."""
        return (
            self.fits[self.fits["fold"] >= 0]
            .groupby("candidate", sort=False)
            .agg(
                fits=("fold", "size"),
                threads=("threads", "max"),
                pool=("pool", "first"),
                runtime_s_p10=("runtime_s_p10", "mean"),
                runtime_s_p50=("runtime_s_p50", "mean"),
                runtime_s_p90=("runtime_s_p90", "mean"),
                peak_memory_bytes_p50=("peak_memory_bytes_p50", "max"),
                peak_memory_bytes_p95=("peak_memory_bytes_p95", "max"),
                failure_probability=("failure_probability", "max"),
                out_of_memory_probability=("out_of_memory_probability", "max"),
                out_of_time_probability=("out_of_time_probability", "max"),
                why=("why", "first"),
            )
            .reset_index()
        )


@dataclass(frozen=True, slots=True)
class SweepForecast:
    """A sweep's forecasts, as submission and estimate both need them."""

    prepared: PreparedSweep
    correction: SweepCorrection
    estimates: dict[str, Estimate]  # by fit
    final: Estimate | None  # what the refit is expected to cost

    def submission(self, workflow_id: str) -> Submitted:
        """Return what the plan is told of the sweep."""
        return submission(workflow_id, self.prepared, self.estimates)

    def plan(
        self, workers: Sequence[WorkerSize], ready_in_s: float = 0.0
    ) -> tuple[Eta, dict[str, tuple[int, str]]]:
        """Return the ETA on idle workers, and threads and pool of each fit in the median plan."""
        workflow_id = "this"
        submitted = self.submission(workflow_id)
        etas = forecast(
            plan_for(workers, submitted),
            groups_of(workflow_id, self.prepared.fits),
            finals={} if self.final is None else {workflow_id: self.final},
            overhead_s=OVERHEAD_S,
        )
        plan = plan_for(workers, replace(submitted, final=False))
        median = SimulatedBackend(plan, lambda key, threads: plan.state.fit(key).runtime_s(threads))
        median.carry_out(plan.place(0.0))
        median.run()
        placed = {start.key.fit_id: (start.threads, start.pool) for _, start in median.starts}
        return etas[workflow_id].later(ready_in_s), placed

    def estimate(self, workers: Sequence[WorkerSize], ready_in_s: float = 0.0) -> SweepEstimate:
        """Return what a user is told who only asks."""
        eta, placed = self.plan(workers, ready_in_s)
        most = max(worker.memory_bytes for worker in workers) - self.prepared.dataset_bytes
        rows = []
        for fit in self.prepared.fits:
            threads, pool = placed.get(fit.fit_id, (1, workers[0].pool))
            one = self.estimates[fit.fit_id]
            risk = risk_of(
                one, memory_bytes=max(0, most), deadline_s=self.prepared.sweep.deadline_s
            )
            rows.append(
                {
                    "fit_id": fit.fit_id,
                    "candidate": fit.candidate.label,
                    "fold": fit.fold,
                    "threads": threads,
                    "pool": pool,
                    **forecast_cells(one),
                    "failure_probability": risk.any,
                    "out_of_memory_probability": risk.out_of_memory,
                    "out_of_time_probability": risk.out_of_time,
                }
            )
        fits = pd.DataFrame(rows)
        final_s = 0.0 if self.final is None else self.final.runtime_s_p50
        return SweepEstimate(fits, eta, float(fits["runtime_s_p50"].sum()) + final_s)


def forecast_sweep(
    model: SizingModel, sweep: Sweep, workers: Sequence[WorkerSize]
) -> SweepForecast:
    """Check a sweep and forecast its fits.

    Raises
    ------
    InvalidInputError
        The sweep can't be run as it is; `FitTooLargeError` if no worker could hold a fit.
    """
    prepared = sweep.prepare()
    correction = SweepCorrection(
        model,
        {fit.fit_id: fit.request for fit in prepared.fits},
        dataset=prepared.dataset,
        candidates={fit.fit_id: fit.candidate.index for fit in prepared.fits},
    )
    estimates = correction.estimates()
    most = max(worker.memory_bytes for worker in workers)
    for fit in prepared.fits:
        need = sweep.memory_bytes or estimates[fit.fit_id].peak_memory_bytes_p50
        if need + prepared.dataset_bytes > most:
            raise FitTooLargeError(
                f"{fit.candidate.label!r} needs about {need / 2**30:.2f} GiB beside a dataset "
                f"of {prepared.dataset_bytes / 2**30:.2f} GiB; the largest worker has "
                f"{most / 2**30:.2f} GiB. Give a larger pool, or a smaller dataset or model."
            )
    return SweepForecast(prepared, correction, estimates, _final_estimate(model, prepared))


def submission(
    workflow_id: str, prepared: PreparedSweep, estimates: Mapping[str, Estimate]
) -> Submitted:
    """Return what a plan is told of a sweep."""
    return Submitted(
        workflow_id=workflow_id,
        estimates=estimates,
        dataset_bytes=prepared.dataset_bytes,
        folds={fit.fit_id: fit.fold for fit in prepared.fits},
        candidates={fit.fit_id: fit.candidate.index for fit in prepared.fits},
        shared=shared_work(prepared, estimates),
        memory_bytes=prepared.sweep.memory_bytes,
        deadline_s=prepared.sweep.deadline_s,
        final=bool(prepared.refit),
    )


def groups_of(workflow_id: str, fits: Sequence[Fit]) -> Groups:
    """Return algorithm and candidate of fits, for drawing shared errors together."""
    keys = {FitKey(workflow_id, fit.fit_id): fit for fit in fits}
    return Groups(
        {key: fit.request.algorithm for key, fit in keys.items()},
        {key: fit.candidate.label for key, fit in keys.items()},
    )


def _final_estimate(model: SizingModel, prepared: PreparedSweep) -> Estimate | None:
    """Return what the refit will cost: the median over the candidates, who might all win."""
    if not prepared.refit:
        return None
    step = max(1, len(prepared.candidates) // REFITS_FORECAST)
    requests = [prepared.refit_fit(one).request for one in prepared.candidates[::step]]
    estimates = model.estimate(requests, dataset=prepared.dataset)
    return sorted(estimates, key=lambda estimate: estimate.runtime_s_p50)[len(estimates) // 2]
