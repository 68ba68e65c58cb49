"""Fewer or more workers: when a sweep would be done on them, and what that would cost.

In: which numbers of workers are looked at, what they cost, which of them meets a wish. Not in:
how an ETA is made (:mod:`fitcast.scheduler.forecast.eta`), what it is of
(:mod:`fitcast.scheduler.forecast.sweep_estimate`).

What a sweep costs is what its workers cost from the moment they are asked for until the workflow
is done, idle ones included: that is what the bill says where the workers are there for the sweep.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pandas as pd

from fitcast.errors import InvalidInputError, InvalidPoolError
from fitcast.scheduler.forecast.eta import Eta, span
from fitcast.scheduler.plan.pools import (
    MOST_WORKERS,
    Pool,
    WorkerSize,
    planned_workers,
    price_per_hour,
)

LEAST_HELP = 0.02
"""Workers are added until twice as many end the sweep less than this share sooner, or until
there are as many as fits: a fit runs on one."""

MANY_FITS = 750
"""From here on only every second number of workers is looked at, until half of what they could
do is idle."""


@dataclass(frozen=True, slots=True)
class SweepCost:
    """What a sweep costs, in the currency of its pools' prices.

    Attributes
    ----------
    p10, p50, p90 : float
        All workers from now to the end of the workflow; the quantiles are those of the ETA.
    used_p50 : float
        Of that, what the fits use: each the share of its worker that nobody else could have
        meanwhile, of CPUs or of memory, whichever is more.
    """

    p10: float
    p50: float
    p90: float
    used_p50: float = math.nan

    @classmethod
    def of(cls, pools: Iterable[Pool], eta: Eta) -> "SweepCost | None":
        """Return what pools cost until then; None unless every pool has a price."""
        price = price_per_hour(pools)
        if price is None:
            return None
        return cls(*(price * s / 3600.0 for s in (eta.p10_s, eta.p50_s, eta.p90_s)))


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice of workers, and the forecast of a sweep on them.

    Attributes
    ----------
    pools : tuple of Pool
        The workers; give them to a backend, or to `Client.estimate`.
    eta : Eta
        When the sweep would be done.
    cost : SweepCost or None
        What it would cost; None unless every pool has a price.
    busy_share : float
        Share of the cores' time that fits use.
    given : bool
        Whether they are the workers of the estimate itself.
    """

    pools: tuple[Pool, ...]
    eta: Eta
    cost: SweepCost | None
    busy_share: float
    given: bool = False

    @property
    def workers(self) -> int:
        """How many workers in all."""
        return sum(pool.workers for pool in self.pools)

    @property
    def cpus(self) -> int:
        """How many CPUs in all."""
        return sum(pool.workers * pool.cpus for pool in self.pools)

    @property
    def rank(self) -> tuple[float, float]:
        """Sort key: cost (by CPUs and memory where pools have no price), then ETA."""
        hours = self.eta.p50_s / 3600.0
        cost = sum(pool.workers * pool.cost_per_hour for pool in self.pools) * hours
        return (cost if self.cost is None else self.cost.p50, self.eta.p50_s)

    def __str__(self) -> str:
        return " + ".join(f"{pool.workers} × {pool.name}" for pool in self.pools)


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants of a sweep; it counts as met if it is nine times in ten."""

    done_within_s: float = math.inf
    cost_at_most: float = math.inf

    @classmethod
    def of(
        cls,
        pools: Iterable[Pool],
        done_within_s: float | None = None,
        done_by: datetime | None = None,
        cost_at_most: float | None = None,
    ) -> "Wish":
        """Check what was asked for.

        Raises
        ------
        InvalidInputError
            If it can't be wished for; `InvalidPoolError` for a cost where a pool has no price.
        """
        within_s = _positive("done_within_s", done_within_s, "seconds")
        most = _positive("cost_at_most", cost_at_most, "your currency")
        if done_by is not None:
            if not isinstance(done_by, datetime):
                raise InvalidInputError(f"done_by is {done_by!r}; give a datetime")
            left_s = (done_by.astimezone(UTC) - datetime.now(UTC)).total_seconds()
            if left_s <= 0.0:
                raise InvalidInputError(
                    f"done_by is {done_by:%Y-%m-%d %H:%M}, which is past; give a time to come"
                )
            within_s = min(within_s, left_s)
        for pool in pools:
            if cost_at_most is not None and pool.price_per_hour is None:
                raise InvalidPoolError(
                    f"pool {pool.name!r} has no price; give it a price_per_hour to ask for a cost"
                )
        return cls(within_s, most)

    def meets(self, choice: Choice) -> bool:
        """Return whether a choice meets it."""
        cost = 0.0 if choice.cost is None else choice.cost.p90
        return choice.eta.p90_s <= self.done_within_s and cost <= self.cost_at_most

    def best(self, choices: Sequence[Choice]) -> Choice | None:
        """Return the cheapest that meets it, the soonest done among equals."""
        return min(filter(self.meets, choices), key=lambda one: one.rank, default=None)

    def cheapest(self, choices: Sequence[Choice]) -> Choice:
        """Return the same.

        Raises
        ------
        InvalidInputError
            If there is none.
        """
        found = self.best(choices)
        if found is None:
            raise InvalidInputError(self.answer(choices))
        return found

    def answer(self, choices: Sequence[Choice]) -> str:
        """Return in words which choice is best, or why none is good enough."""
        best = self.best(choices)
        if best is not None:
            return f"{best}: done in {best.eta}{_costing(best)}"
        soonest = min(choices, key=lambda one: (one.eta.p90_s, one.rank))
        least = min(choices, key=lambda one: one.rank)
        limits = []
        if self.done_within_s < math.inf:
            limits.append(f"done within {span(self.done_within_s)}")
        if self.cost_at_most < math.inf:
            limits.append(f"for at most {self.cost_at_most:,.2f}")
        nearest = [f"{soonest} is soonest done, in {soonest.eta}{_costing(soonest)}"]
        if least is not soonest:
            nearest.append(f"{least} is cheapest, done in {least.eta}{_costing(least)}")
        return (
            f"no number of workers of these pools gets it {' and '.join(limits)} nine times in "
            f"ten: {'; '.join(nearest)}. Give it more time or money, other pools or fewer fits."
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What the choices are for."""

    pools: tuple[Pool, ...]
    eta: Eta  # on them
    ready_in_s: float  # that the ETA has to wait for workers first
    fits: int
    work_s: float  # of all fits one after the other
    least_bytes: int  # that a worker must have to hold any of them


def curve(asked: Asked, eta_on: Callable[[Sequence[WorkerSize]], Eta]) -> list[Choice]:
    """Return what fewer and more workers would change.

    Parameters
    ----------
    asked : Asked
        The sweep and the given workers.
    eta_on : callable
        ``eta_on(workers)`` gives the ETA on other workers, were they ready.

    Returns
    -------
    list of Choice
        All pools grown together, then each alone if there are several and it holds every fit.
    """
    quick = eta_on(planned_workers(asked.pools)).later(asked.ready_in_s)
    # All rows off by what the quick one of the given workers is off: they tell the same story.
    off = [now / then for now, then in zip(_quantiles(asked.eta), _quantiles(quick), strict=True)]

    def aligned(workers: Sequence[WorkerSize]) -> Eta:
        eta = eta_on(workers).later(asked.ready_in_s)
        p10, p50, p90 = (q * by for q, by in zip(_quantiles(eta), off, strict=True))
        p10, p90 = min(p10, p50), max(p50, p90)
        return Eta(p10, p50, p90, eta.finish_at + timedelta(seconds=p50 - eta.p50_s))

    divisor = math.gcd(*(pool.workers for pool in asked.pools))
    together = [replace(pool, workers=pool.workers // divisor) for pool in asked.pools]
    choices = list(_grown(asked, together, divisor, aligned))
    if len(asked.pools) > 1:
        for pool in asked.pools:
            if pool.memory_bytes >= asked.least_bytes:
                choices += _grown(asked, [replace(pool, workers=1)], 0, aligned)
    return choices


def _grown(
    asked: Asked,
    base: Sequence[Pool],
    given: int,
    eta_on: Callable[[Sequence[WorkerSize]], Eta],
) -> Iterator[Choice]:
    """Yield a pool or several with one, two, three … times as many workers."""
    size = sum(pool.workers for pool in base)
    ends: dict[int, float] = {}
    for times in _steps(given, asked.fits >= MANY_FITS):
        if size * times > MOST_WORKERS:
            return
        pools = tuple(replace(pool, workers=pool.workers * times) for pool in base)
        eta = asked.eta if times == given else eta_on(planned_workers(pools))
        cpus = sum(pool.cpus * pool.workers for pool in pools)
        busy = min(1.0, asked.work_s / max(cpus * eta.p50_s, 1e-9))
        yield Choice(pools, eta, SweepCost.of(pools, eta), busy, times == given)
        ends[times] = eta.p50_s
        half = max((n for n in ends if n <= times / 2), default=0)
        helped = not half or eta.p50_s <= (1.0 - LEAST_HELP) * ends[half]
        idle = asked.fits >= MANY_FITS and busy < 0.5
        if times >= given and (not helped or idle or size * times >= asked.fits):
            return


def _quantiles(eta: Eta) -> tuple[float, float, float]:
    return max(eta.p10_s, 1e-9), max(eta.p50_s, 1e-9), max(eta.p90_s, 1e-9)


def _steps(given: int, coarse: bool) -> Iterator[int]:
    """Yield 1, 2, 3, 4, 6, 8, 12 … or 1, 2, 4, 8 …, and the given number among them."""
    power, last = 1, 0
    while True:
        for step in (power,) if coarse or power < 2 else (power, power * 3 // 2):
            if last < given < step:
                yield given
            yield step
            last = step
        power *= 2


def table(choices: Sequence[Choice], wish: Wish) -> pd.DataFrame:
    """Return choices as a table, with the best marked."""
    best = wish.best(choices)
    rows = []
    for one in choices:
        cost = one.cost or SweepCost(math.nan, math.nan, math.nan)
        rows.append(
            {
                "choice": str(one),
                "pools": one.pools,
                "workers": one.workers,
                "cpus": one.cpus,
                "eta_s_p10": one.eta.p10_s,
                "eta_s_p50": one.eta.p50_s,
                "eta_s_p90": one.eta.p90_s,
                "finish_at": one.eta.finish_at,
                "cost_p10": cost.p10,
                "cost_p50": cost.p50,
                "cost_p90": cost.p90,
                "busy_share": one.busy_share,
                "given": one.given,
                "meets": wish.meets(one),
                "best": one is best,
            }
        )
    made = pd.DataFrame(rows)
    made.attrs["answer"] = wish.answer(choices)
    return made


def _costing(choice: Choice) -> str:
    return "" if choice.cost is None else f", for {choice.cost.p50:,.2f}"


def _positive(name: str, value: float | None, unit: str) -> float:
    if value is None:
        return math.inf
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0.0:
        raise InvalidInputError(f"{name} is {value!r}; give a number of {unit} above 0")
    return float(value)
