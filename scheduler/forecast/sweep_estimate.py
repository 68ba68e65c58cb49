"""What a user is told of a sweep that isn't submitted: fits, ETA, what other workers change.

In: what `Client.estimate` answers. Not in: the forecast itself
(:mod:`fitcast.scheduler.forecast.sweep_forecast`), how numbers of workers are compared
(:mod:`fitcast.scheduler.forecast.what_if`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import pandas as pd

from fitcast.scheduler.forecast.eta import Eta, span
from fitcast.scheduler.forecast.late_rounds import typical_of
from fitcast.scheduler.forecast.pictures import block, intervals, mib
from fitcast.scheduler.forecast.pictures import table as html_table
from fitcast.scheduler.forecast.sweep_forecast import Placed, SweepForecast
from fitcast.scheduler.forecast.tables import forecast_cells
from fitcast.scheduler.forecast.what_if import (
    Asked,
    Choice,
    SweepCost,
    Wish,
    curve,
    table,
)
from fitcast.scheduler.plan.pools import Pool, planned_workers
from fitcast.sizing.risk import risk_of


@dataclass(frozen=True, eq=False)
class SweepEstimate:
    """The forecast of a sweep; nothing was run for it.

    Attributes
    ----------
    fits : DataFrame
        A row per fit that runs whatever is chosen later: candidate, fold, threads, pool, quantiles
        of runtime and peak memory, the explanation, and the probability of failing: in all, for
        needing more memory than the largest worker has, for needing longer than the sweep's
        deadline.
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
    _forecast: SweepForecast = field(repr=False)
    _ready_in_s: float = field(default=0.0, repr=False)

    def _repr_html_(self) -> str:
        candidates = self.candidates
        title = (
            f"{self._forecast.submission.fits_to_run:,} fits, done in {self.eta}; nothing was run"
        )
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
            cast.submission.fits_to_run,
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


def estimate_of(
    cast: SweepForecast, pools: Sequence[Pool], ready_in_s: float = 0.0
) -> SweepEstimate:
    """Return what a user is told who only asks."""
    workers = planned_workers(pools)
    eta, placed = cast.plan(workers, ready_in_s)
    most = max(worker.memory_bytes for worker in workers) - cast.submission.dataset_bytes
    rows = []
    for fit in cast.submission.first_fits:
        threads, pool, _ = placed.get(fit.fit_id, Placed(1, workers[0].pool, 0))
        one = cast.estimates[fit.fit_id]
        risk = risk_of(one, memory_bytes=max(0, most), deadline_s=cast.submission.deadline_s)
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
    later_s = sum(one.runtime_s_p50 for one in typical_of(cast.later))
    cost = SweepCost.of(pools, eta)
    if cost is not None:
        cost = replace(cost, used_p50=_used(cast, pools, placed))
    sequential_s = float(fits["runtime_s_p50"].sum()) + later_s
    return SweepEstimate(fits, eta, sequential_s, cost, tuple(pools), cast, ready_in_s)


def _used(cast: SweepForecast, pools: Sequence[Pool], placed: Mapping[str, Placed]) -> float:
    """Return what the workers' shares cost that fits use while they run; the refit not.

    Fits of rounds that are chosen late count as those that are there do, by their runtimes.
    """
    by_name = {pool.name: pool for pool in pools}
    total = 0.0
    for fit_id, (threads, name, share_bytes) in placed.items():
        pool, one = by_name[name], cast.estimates[fit_id]
        fraction = one.parallel_fraction
        took_s = one.runtime_s_p50 * (1.0 - fraction + fraction / threads)
        share = max(threads / pool.cpus, share_bytes / pool.memory_bytes)
        total += took_s / 3600.0 * min(1.0, share) * (pool.price_per_hour or 0.0)
    first_s = sum(cast.estimates[fit_id].runtime_s_p50 for fit_id in placed)
    rounds = cast.later[: len(cast.submission.rounds) - 1] if cast.submission.rounds else ()
    later_s = sum(one.runtime_s_p50 for one in typical_of(rounds))
    return total * (1.0 + later_s / max(first_s, 1e-9))
