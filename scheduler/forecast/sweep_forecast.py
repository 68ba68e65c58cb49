"""A sweep forecast before it runs: estimates, ETA, and where the plan would put each fit.

In: what `Client.estimate` answers and what `Client.submit` starts from. Not in: forecasts of what
is running (:mod:`fitcast.scheduler.run.live_eta`), other numbers of workers and what they would
cost (:mod:`fitcast.scheduler.forecast.what_if`), the sizing itself (:mod:`fitcast.sizing`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import pandas as pd

from fitcast.errors import FitTooLargeError
from fitcast.history.records import Estimate, Record
from fitcast.scheduler.forecast.common_work import common_work
from fitcast.scheduler.forecast.draws import Groups
from fitcast.scheduler.forecast.eta import Eta, forecast, plan_for, span
from fitcast.scheduler.forecast.pictures import block, intervals, mib
from fitcast.scheduler.forecast.pictures import table as html_table
from fitcast.scheduler.forecast.tables import forecast_cells
from fitcast.scheduler.forecast.what_if import (
    MANY_FITS,
    Asked,
    Choice,
    SweepCost,
    Wish,
    curve,
    table,
)
from fitcast.scheduler.plan.events import FitKey, Submitted
from fitcast.scheduler.plan.pools import Pool, WorkerSize, planned_workers
from fitcast.scheduler.plan.simulator import SimulatedBackend
from fitcast.sizing.laws.prior import process_start_s
from fitcast.sizing.learning.correction import SweepCorrection
from fitcast.sizing.learning.model import SizingModel
from fitcast.sizing.risk import risk_of
from fitcast.trainer.sweep.submission import Fit, Submission

REFITS_FORECAST = 100
"""Of how many candidates the refit is forecast; of more, evenly spaced ones in grid order."""

QUICK_PLAYS = 2
"""How often the plan is played for each of many choices of workers."""

OVERHEAD_S = 0.03
"""Seconds that a slot stays idle between attempts before any were seen: fork and round trip."""

_THIS = "this"


@dataclass(frozen=True, eq=False)
class SweepEstimate:
    """The forecast of a sweep; nothing was run for it.

    Attributes
    ----------
    fits : DataFrame
        A row per fit: candidate, fold, threads, pool, quantiles of runtime and peak memory, the
        explanation, and the probability of failing: in all, for needing more memory than the
        largest worker has, for needing longer than the sweep's deadline.
    eta : Eta
        When the workflow would be done, were it submitted now to idle workers: in seconds from
        now, as `Workflow.eta` has it for one that runs.
    sequential_s : float
        How long the fits would take one after the other, in seconds.
    cost : SweepCost or None
        What the workers cost from now to the end of the workflow, and which share of that its
        fits use; None unless every pool has a price.
    pools : tuple of Pool
        The workers that all this is for.

    Examples
    --------
    >>> from fitcast import Client, MemoryHistory, Pool, Sweep
    >>> from sklearn.datasets import load_iris
    >>> grid = {"C": [0.1, 1.0, 10.0]}
    >>> models = {"lr": ("sklearn.linear_model.LogisticRegression", grid)}
    >>> sweep = Sweep(models, *load_iris(return_X_y=True), cv=5)
    >>> small = Pool("small", cpus=2, memory_bytes=4 * 2**30, price_per_hour=0.1)
    >>> with Client(history=MemoryHistory()) as client:
    ...     estimate = client.estimate(sweep, pools=[small])
    >>> len(estimate.fits)
    15
    >>> estimate.eta.p10_s < estimate.eta.p50_s < estimate.eta.p90_s
    True
    >>> choices = estimate.what_if(done_within_s=3600)
    >>> choices["choice"].iloc[0]
    '1 × small'
    >>> print(estimate.cheapest(done_within_s=3600))
    1 × small
    """

    fits: pd.DataFrame
    eta: Eta
    sequential_s: float
    cost: SweepCost | None
    pools: tuple[Pool, ...]
    _forecast: "SweepForecast" = field(repr=False)
    _ready_in_s: float = field(default=0.0, repr=False)

    def _repr_html_(self) -> str:
        candidates = self.candidates
        title = f"{len(self.fits):,} fits, done in {self.eta}; nothing was run"
        return block(
            title,
            intervals(candidates),
            html_table(
                candidates,
                {
                    "candidate": None,
                    "pool": None,
                    "threads": None,
                    "runtime_s_p50": span,
                    "runtime_s_p90": span,
                    "peak_memory_bytes_p95": mib,
                    "failure_probability": "{:.1%}".format,
                },
            ),
        )

    def what_if(
        self,
        *,
        done_within_s: float | None = None,
        done_by: datetime | None = None,
        cost_at_most: float | None = None,
    ) -> pd.DataFrame:
        """Forecast the sweep on fewer and on more workers of the same pools; nothing is run.

        Parameters
        ----------
        done_within_s : float, optional
            The seconds after which it should be done.
        done_by : datetime, optional
            The time of day by which it should be done; local time unless it says otherwise.
        cost_at_most : float, optional
            What it may cost, in the currency of the pools' prices.

        Returns
        -------
        DataFrame
            A row per choice of workers: all pools grown together, then each pool alone if there
            are several; in steps until twice as many end it less than 2 % sooner. Columns:
            ``choice`` (its name), ``pools`` (to be given to a backend or to `Client.estimate`),
            ``workers``, ``cpus``, ``eta_s_p10/p50/p90``, ``finish_at``, ``cost_p10/p50/p90`` (NaN
            without prices), ``busy_share`` of the cores, ``given`` (whether they are those of this
            estimate), ``meets`` (whether nine times in ten the wishes are met) and ``best`` (the
            cheapest of those, marked once). ``attrs["answer"]`` says the best in words, or why
            there is none.

        Raises
        ------
        InvalidInputError
            If a wish can't be one: not a number above 0, a time in the past, a cost without
            prices.
        """
        wish = Wish.of(self.pools, done_within_s, done_by, cost_at_most)
        return table(self._curve(), wish)

    def cheapest(
        self,
        *,
        done_within_s: float | None = None,
        done_by: datetime | None = None,
        cost_at_most: float | None = None,
    ) -> Choice:
        """Return the cheapest choice of workers that meets the wishes nine times in ten.

        Parameters are those of `what_if`. Without prices a worker counts a unit per CPU and per
        4 GiB.

        Raises
        ------
        InvalidInputError
            If a wish can't be one, or no choice meets them all; it says what comes nearest.
        """
        wish = Wish.of(self.pools, done_within_s, done_by, cost_at_most)
        return wish.cheapest(self._curve())

    def _curve(self) -> list[Choice]:
        cast = self._forecast
        asked = Asked(
            self.pools,
            self.eta,
            self._ready_in_s,
            len(self.fits),
            self.sequential_s,
            max(cast.least_bytes(fit) for fit in cast.submission.fits),
        )
        return curve(asked, cast.quick_eta)

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


class Placed(NamedTuple):
    """Where the median plan puts a fit."""

    threads: int
    pool: str
    share_bytes: int


@dataclass(frozen=True, slots=True)
class SweepForecast:
    """A sweep's forecasts, as submission and estimate both need them."""

    submission: Submission
    correction: SweepCorrection
    estimates: dict[str, Estimate]  # by fit
    final: Estimate | None  # what the refit is expected to cost
    process_start_s: float  # that a fit is spared in the process of another
    done: frozenset[str] = frozenset()  # fits whose results are kept already
    attempts: Mapping[str, int] = field(default_factory=dict)  # made already, by fit

    def least_bytes(self, fit: Fit) -> int:
        """Return what a worker must have at least for a fit, the dataset included."""
        bound = self.submission.memory_bytes
        return self.submission.dataset_bytes + (
            bound or self.estimates[fit.fit_id].peak_memory_bytes_p50
        )

    def submitted(self, workflow_id: str, *, own_workers: bool = False) -> Submitted:
        """Return what the plan is told of the sweep: of the fits that are still to be run."""
        submission = self.submission
        left = [fit for fit in submission.fits if fit.fit_id not in self.done]
        return Submitted(
            workflow_id=workflow_id,
            estimates={fit.fit_id: self.estimates[fit.fit_id] for fit in left},
            dataset_bytes=submission.dataset_bytes,
            folds={fit.fit_id: fit.fold for fit in left},
            candidates={fit.fit_id: fit.candidate.index for fit in left},
            common_work=common_work(submission, self.estimates),
            attempts=self.attempts,
            process_start_s=self.process_start_s,
            memory_bytes=submission.memory_bytes,
            deadline_s=submission.deadline_s,
            final=self.final is not None,
            own_workers=own_workers,
        )

    def plan(
        self, workers: Sequence[WorkerSize], ready_in_s: float = 0.0
    ) -> tuple[Eta, dict[str, Placed]]:
        """Return the ETA on idle workers, and where the median plan puts each fit."""
        submitted = self.submitted(_THIS)
        plan = plan_for(workers, replace(submitted, final=False))
        median = SimulatedBackend(plan, lambda key, threads: plan.state.fit(key).runtime_s(threads))
        median.carry_out(plan.place(0.0))
        median.run()
        placed = {}
        for _, start in median.starts:
            for key in (start.key, *(one.key for one in start.followers)):
                placed[key.fit_id] = Placed(start.threads, start.pool, start.share_bytes)
        return self._eta(workers, submitted).later(ready_in_s), placed

    def quick_eta(self, workers: Sequence[WorkerSize]) -> Eta:
        """Return the ETA on idle workers from playing the plan once or twice.

        Of very many fits every second, third … is played, on as much fewer workers, and what the
        others add is told by the bounds: all work on all cores, or the longest fit.
        """
        submitted = self.submitted(_THIS)
        every = submitted.estimates
        step = len(every) // MANY_FITS
        if step < 2:
            return self._eta(workers, submitted, QUICK_PLAYS)
        fewer = [group[0] for group in _in_groups(workers, step)]
        some = dict(list(every.items())[::step])
        eta = self._eta(fewer, replace(submitted, estimates=some), QUICK_PLAYS)
        ratio = self._bound_s(workers, every) / self._bound_s(fewer, some)
        longer_s = (ratio - 1.0) * eta.p50_s
        finish_at = eta.later(longer_s).finish_at
        return Eta(ratio * eta.p10_s, ratio * eta.p50_s, ratio * eta.p90_s, finish_at)

    def _bound_s(self, workers: Sequence[WorkerSize], estimates: Mapping[str, Estimate]) -> float:
        runtimes = [one.runtime_s_p50 + OVERHEAD_S for one in estimates.values()]
        final_s = 0.0 if self.final is None else self.final.runtime_s_p50
        longest_s = max(runtimes, default=0.0)
        return max(sum(runtimes) / sum(w.cpus for w in workers), longest_s) + final_s

    def _eta(
        self, workers: Sequence[WorkerSize], submitted: Submitted, plays: int | None = None
    ) -> Eta:
        etas = forecast(
            plan_for(workers, submitted),
            groups_of(_THIS, self.submission.fits),
            finals={} if self.final is None else {_THIS: self.final},
            overhead_s=OVERHEAD_S,
            plays=plays,
        )
        return etas[_THIS]

    def estimate(self, pools: Sequence[Pool], ready_in_s: float = 0.0) -> SweepEstimate:
        """Return what a user is told who only asks."""
        workers = planned_workers(pools)
        eta, placed = self.plan(workers, ready_in_s)
        most = max(worker.memory_bytes for worker in workers) - self.submission.dataset_bytes
        rows = []
        for fit in self.submission.fits:
            threads, pool, _ = placed.get(fit.fit_id, Placed(1, workers[0].pool, 0))
            one = self.estimates[fit.fit_id]
            risk = risk_of(one, memory_bytes=max(0, most), deadline_s=self.submission.deadline_s)
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
        cost = SweepCost.of(pools, eta)
        if cost is not None:
            cost = replace(cost, used_p50=self._used(pools, placed))
        sequential_s = float(fits["runtime_s_p50"].sum()) + final_s
        return SweepEstimate(fits, eta, sequential_s, cost, tuple(pools), self, ready_in_s)

    def _used(self, pools: Sequence[Pool], placed: Mapping[str, Placed]) -> float:
        """Return what the workers' shares cost that fits use while they run; the refit not."""
        by_name = {pool.name: pool for pool in pools}
        total = 0.0
        for fit_id, (threads, name, share_bytes) in placed.items():
            pool, one = by_name[name], self.estimates[fit_id]
            fraction = one.parallel_fraction
            took_s = one.runtime_s_p50 * (1.0 - fraction + fraction / threads)
            share = max(threads / pool.cpus, share_bytes / pool.memory_bytes)
            total += took_s / 3600.0 * min(1.0, share) * (pool.price_per_hour or 0.0)
        return total


def _in_groups(workers: Sequence[WorkerSize], size: int) -> list[list[WorkerSize]]:
    """Return the workers of each pool in groups of up to so many, full ones if there is any."""
    by_pool: dict[str, list[WorkerSize]] = {}
    for worker in workers:
        by_pool.setdefault(worker.pool, []).append(worker)
    return [
        own[at : at + size]
        for own in by_pool.values()
        for at in range(0, max(1, round(len(own) / size)) * size, size)
    ]


def forecast_sweep(
    model: SizingModel,
    submission: Submission,
    workers: Sequence[WorkerSize],
    seen: Sequence[tuple[str, Record]] = (),
    done: frozenset[str] = frozenset(),
) -> SweepForecast:
    """Forecast the fits of a sweep that was found good.

    Parameters
    ----------
    model
        What forecasts.
    submission
        The sweep.
    workers
        Those that it may have.
    seen
        Fits of it and what attempts at them cost already; that corrects the forecasts of the rest.
    done
        Fits whose results are kept already, so that they aren't run again.

    Raises
    ------
    FitTooLargeError
        No worker could hold a fit.
    """
    correction = SweepCorrection(
        model,
        {fit.fit_id: fit.request for fit in submission.fits},
        dataset=submission.dataset,
        candidates={fit.fit_id: fit.candidate.index for fit in submission.fits},
    )
    for fit_id, record in seen:
        correction.observe(fit_id, record)
    estimates = correction.estimates()
    most = max(worker.memory_bytes for worker in workers)
    final = _final_estimate(model, submission)
    start_s = process_start_s(model.machine_speed)
    attempts: dict[str, int] = {}
    for fit_id, record in seen:
        attempts[fit_id] = max(record.attempt, attempts.get(fit_id, 0))
    cast = SweepForecast(submission, correction, estimates, final, start_s, done, attempts)
    for fit in submission.fits:
        if fit.fit_id not in done and (least := cast.least_bytes(fit)) > most:
            need = least - submission.dataset_bytes
            raise FitTooLargeError(
                f"{fit.candidate.label!r} needs about {need / 2**30:.2f} GiB beside a dataset "
                f"of {submission.dataset_bytes / 2**30:.2f} GiB; the largest worker has "
                f"{most / 2**30:.2f} GiB. Give a larger pool, or a smaller dataset or model."
            )
    return cast


def groups_of(workflow_id: str, fits: Sequence[Fit]) -> Groups:
    """Return algorithm and candidate of fits, for drawing shared errors together."""
    keys = {FitKey(workflow_id, fit.fit_id): fit for fit in fits}
    return Groups(
        {key: fit.request.algorithm for key, fit in keys.items()},
        {key: fit.candidate.label for key, fit in keys.items()},
    )


def _final_estimate(model: SizingModel, submission: Submission) -> Estimate | None:
    """Return what the refit will cost: the median over the candidates, who might all win."""
    if not (submission.refit or submission.has_rule):
        return None
    step = max(1, len(submission.candidates) // REFITS_FORECAST)
    requests = [submission.refit_fit(one.index).request for one in submission.candidates[::step]]
    estimates = model.estimate(requests, dataset=submission.dataset)
    return sorted(estimates, key=lambda estimate: estimate.runtime_s_p50)[len(estimates) // 2]
