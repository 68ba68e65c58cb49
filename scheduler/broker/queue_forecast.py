"""When a workflow that waits will begin and be done: everybody's forecasts, played. Pure.

All that runs and all that waits is played in virtual time by the rules of
:mod:`fitcast.scheduler.broker.fair_share`, several times with runtimes as they may turn out and
with whoever may come meanwhile; all plays go on side by side, on the same arrays. Workflows are
fluid here: one works off what is left of it at the pace of its share, which it has once fits of
those that have more than theirs have ended. One that is alone takes what was forecast of it alone,
however large its share: its longest fit, its last fits.

Time goes from one event to the next, but in steps of some percent of the time that has passed: what
ends in an hour is known to the minute, and ten thousand workflows take seconds.

Not in: forecasting a workflow alone (:mod:`fitcast.scheduler.forecast.eta`), who may come
(:mod:`fitcast.scheduler.broker.past_arrivals`).
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from fitcast.scheduler.broker.fair_share import floor_of, held_to, own_order
from fitcast.scheduler.broker.filling import Array
from fitcast.scheduler.broker.past_arrivals import HOUR_S, PastArrivals
from fitcast.scheduler.broker.queue_play import QueuePlay, Table
from fitcast.scheduler.broker.resources import Demand, Resources
from fitcast.scheduler.broker.sharers import (
    DAY_S,
    NO_LIMITS,
    Account,
    Limits,
    Running,
    Waiting,
    mean_share,
)

MOST_DRAWS = 24
FEWEST_DRAWS = 6
COLUMNS_PER_FORECAST = 60_000
"""Workflows × draws that a forecast may have: many draws of a short queue, few of a long one."""

MOST_ARRIVALS = 1_500
"""No more than so many are drawn that may come."""

_LONGEST_AHEAD_S = 7 * DAY_S
_Z80 = 2.0 * 1.2815515655446004  # between P10 and P90, in standard deviations
_UNKNOWN_LOG_SD = 0.3  # of a workflow without a forecast of its own


@dataclass(frozen=True, slots=True)
class QueueForecast:
    """When a workflow begins and is done: P10, P50 and P90 in seconds from when it was asked.

    Infinite where it isn't to be expected.
    """

    begin_s: tuple[float, float, float]
    end_s: tuple[float, float, float]


def forecast_queue(
    waiting: Sequence[Waiting],
    running: Sequence[Running],
    accounts: Sequence[Account],
    capacity: Resources,
    limits: Limits = NO_LIMITS,
    now_s: float = 0.0,
    *,
    arrivals: PastArrivals | None = None,
    asked: Collection[str] | None = None,
    draws: int | None = None,
    seed: int = 0,
) -> dict[str, QueueForecast]:
    """Forecast when each workflow begins and is done.

    Parameters
    ----------
    waiting, running : sequence
        All that wait, all that run.
    accounts : sequence of Account
        Of their users, and of those that may come.
    capacity : Resources
        What there is.
    limits : Limits
        How it is shared.
    now_s : float
        The time; in seconds since 1970 if there are `arrivals`.
    arrivals : PastArrivals, optional
        Who may come; without it nobody does.
    asked : collection of str, optional
        The workflows to be told of; by default all. Few of them are answered sooner.
    draws : int, optional
        How often it is played; by default as often as a fixed effort allows.
    seed : int
        The same queue and seed give the same forecast.

    Returns
    -------
    dict of str to QueueForecast
        By workflow.
    """
    known: list[Waiting | Running] = [*running, *waiting]
    known = [one for one in known if _is_possible(one.demand, capacity)]
    wanted = {one.workflow_id for one in running} | {one.workflow_id for one in waiting}
    wanted = wanted if asked is None else wanted & set(asked)
    never = QueueForecast((math.inf,) * 3, (math.inf,) * 3)
    told = dict.fromkeys(sorted(wanted), never)
    place = {one.workflow_id: number for number, one in enumerate(known)}
    if not any(name in place for name in told):
        return told
    if draws is None:
        draws = max(FEWEST_DRAWS, min(MOST_DRAWS, COLUMNS_PER_FORECAST // len(known)))
    rng = np.random.default_rng(seed)
    ahead_s = _horizon_s(known, capacity)
    columns = []
    for draw in range(draws):
        columns += [(draw, one) for one in known]
        if arrivals is not None:
            coming = arrivals.sample(rng, now_s, ahead_s, MOST_ARRIVALS)
            columns += [(draw, one) for one in coming if _is_possible(one.demand, capacity)]
    table = _table(columns, draws, accounts, capacity, limits, now_s, rng)
    asked_at = np.zeros(len(columns), dtype=bool)
    starts = np.flatnonzero(np.r_[True, np.diff([draw for draw, _ in columns]) != 0])
    rows = {name: starts + place[name] for name in told if name in place}
    for of_name in rows.values():
        asked_at[of_name] = True
    began_s, ended_s = QueuePlay(table, limits, asked_at).run()
    for name, of_name in rows.items():
        told[name] = QueueForecast(_quantiles(began_s[of_name]), _quantiles(ended_s[of_name]))
    return told


def what_if(
    newcomer: Waiting,
    waiting: Sequence[Waiting],
    running: Sequence[Running],
    accounts: Sequence[Account],
    capacity: Resources,
    limits: Limits = NO_LIMITS,
    now_s: float = 0.0,
    *,
    arrivals: PastArrivals | None = None,
    draws: int | None = None,
    seed: int = 0,
) -> QueueForecast:
    """Forecast when a workflow would begin and be done if it were submitted now.

    Parameters
    ----------
    newcomer : Waiting
        The workflow, as it would stand in the queue.
    waiting, running, accounts, capacity, limits, now_s, arrivals, draws, seed
        As for `forecast_queue`.
    """
    told = forecast_queue(
        [*waiting, newcomer],
        running,
        accounts,
        capacity,
        limits,
        now_s,
        arrivals=arrivals,
        asked=[newcomer.workflow_id],
        draws=draws,
        seed=seed,
    )
    return told[newcomer.workflow_id]


def _is_possible(demand: Demand, capacity: Resources) -> bool:
    return math.isfinite(demand.most.dominant_share(capacity))


def _horizon_s(known: Sequence[Waiting | Running], capacity: Resources) -> float:
    """Return for how long somebody who comes may matter, in seconds."""
    work_s, longest_s = 0.0, 0.0
    for one in known:
        least_s = one.demand.least_s(held_to(one.demand.most, capacity))
        work_s += least_s * min(1.0, one.demand.most.dominant_share(capacity))
        longest_s = max(longest_s, least_s, one.forecast_s[2] if one.forecast_s else 0.0)
    return min(_LONGEST_AHEAD_S, HOUR_S + 3.0 * (work_s + longest_s))


def _table(
    columns: Sequence[tuple[int, Waiting | Running]],
    draws: int,
    accounts: Sequence[Account],
    capacity: Resources,
    limits: Limits,
    now_s: float,
    rng: np.random.Generator,
) -> Table:
    """Return what is played, as arrays."""
    count = len(columns)
    names = sorted({one.user for _, one in columns})
    user_of = {name: number for number, name in enumerate(names)}
    by_name = {account.user: account for account in accounts}
    # What a workflow is doesn't depend on the draw.
    facts: dict[int, tuple[list[float], list[float], tuple[float, ...]]] = {}
    needs, floors, numbers = np.zeros((count, 3)), np.zeros((count, 3)), np.zeros((count, 9))
    for row, (draw, one) in enumerate(columns):
        fact = facts.get(id(one))
        if fact is None:
            fact = facts[id(one)] = _facts(one, capacity, limits, now_s)
        needs[row], floors[row] = fact[0], fact[1]
        numbers[row, :8], numbers[row, 8] = fact[2], draw * len(names) + user_of[one.user]
    work_s, path_s, log_sd, since_s, due_s, priority, held, frees_in_s, user = numbers.T
    factor = np.exp(log_sd * rng.standard_normal(count))
    weight = [by_name[name].weight if name in by_name else 1.0 for name in names]
    had = [
        mean_share(by_name[name], capacity, limits.half_life_s, now_s) if name in by_name else 0.0
        for name in names
    ]
    group = [by_name[name].group if name in by_name else "" for name in names]
    return Table(
        draws=draws,
        names=names,
        group=group,
        weight=np.tile(weight, draws),
        had=np.tile(had, draws),
        user=user.astype(np.int64),
        needs=needs,
        floor=floors,
        work_s=work_s * factor,
        path_s=path_s * factor,
        since_s=since_s,
        due_s=due_s,
        priority=priority,
        runs=np.array([isinstance(one, Running) for _, one in columns]),
        held=held,
        frees_in_s=frees_in_s * factor,
        capacity=capacity,
    )


def _facts(
    one: Waiting | Running, capacity: Resources, limits: Limits, now_s: float
) -> tuple[list[float], list[float], tuple[float, ...]]:
    most = held_to(one.demand.most, capacity)
    work_s = one.demand.least_s(most)
    path_s, log_sd = work_s, _UNKNOWN_LOG_SD
    if one.forecast_s is not None:
        p10_s, p50_s, p90_s = (max(1e-3, s) for s in one.forecast_s)
        path_s, log_sd = max(path_s, p50_s), math.log(max(p90_s, p10_s) / p10_s) / _Z80
    since_s = one.queued_at_s if isinstance(one, Waiting) else one.started_at_s
    own = own_order(one, capacity)
    held = 0.0
    if isinstance(one, Running):
        held = min(
            1.0, one.used.dominant_share(capacity) / max(1e-9, most.dominant_share(capacity))
        )
    there = capacity.amounts()
    needs, floor = (
        [has / all_ if has > 0.0 else 0.0 for has, all_ in zip(some.amounts(), there, strict=True)]
        for some in (most, floor_of(one.demand, capacity, limits))
    )
    return (
        needs,
        floor,
        (
            max(work_s, 1e-3),
            max(path_s, 1e-3),
            log_sd,
            (since_s or 0.0) - now_s,
            own[1] - now_s,
            one.priority,
            held,
            one.demand.frees_in_s,
        ),
    )


def _quantiles(
    seconds: Array,
) -> tuple[float, float, float]:
    # By order: an interpolation with an infinite one would be no number.
    ordered = np.sort(seconds)
    p10, p50, p90 = (float(ordered[round(q * (len(ordered) - 1))]) for q in (0.1, 0.5, 0.9))
    return p10, p50, p90
