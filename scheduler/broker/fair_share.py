"""Whose workflow goes next, who gives way, how much each running one may have. Pure.

Users share the cluster by dominant-resource fairness (Ghodsi et al., NSDI 2011): of CPUs, memory
and GPUs the one that a user has most of counts, and it grows for all in proportion to their weights
(:mod:`fitcast.scheduler.broker.filling`). What somebody had before counts too: usage decays with a
half-life and makes weights smaller or larger, within bounds, so nobody is ever without a share.

* Groups: one with a weight shares it among its users that have something to run.
* Within a user, and only there: the higher priority first, then what is due first, that is the time
  that it takes alone counted from its submission. So a short one passes an own long one, and a long
  one that has waited for as long as it takes is passed no more.
* Leaving the queue: the first of each user's queue; of those, the user's with the smallest share. A
  further one of a user begins once those of theirs that go before it have all that they can use.
* As many run as can each have a few CPUs. What runs shrinks to make room for who comes, fit by fit;
  only where no more can run and somebody waits long, one of an over-served user is sent back.

Not in: what a user may submit (:mod:`fitcast.scheduler.broker.quotas`), which fit goes where
(:mod:`fitcast.scheduler.plan.placement`), when a workflow begins
(:mod:`fitcast.scheduler.broker.queue_forecast`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from fitcast.scheduler.broker.filling import Users, fill
from fitcast.scheduler.broker.quotas import Quota, at_most, why_not_run
from fitcast.scheduler.broker.resources import Demand, Resources
from fitcast.scheduler.broker.sharers import (
    NO_LIMITS,
    Account,
    Limits,
    Running,
    Waiting,
    effective_weights,
    mean_share,
)

__all__ = [
    "Account",
    "Limits",
    "Running",
    "Waiting",
    "allotments",
    "effective_weights",
    "next_claimed",
    "to_give_way",
]

_ALL = 1.0 - 1e-6


def allotments(
    running: Sequence[Running],
    accounts: Sequence[Account],
    capacity: Resources,
    limits: Limits = NO_LIMITS,
    now_s: float = 0.0,
) -> dict[str, Resources]:
    """Return how much each running workflow may have now.

    Parameters
    ----------
    running : sequence of Running
        In any order.
    accounts : sequence of Account
        Of their users.
    capacity : Resources
        What there is.
    limits : Limits
        Quotas and weights of groups among them.
    now_s : float
        The time on the clock of `Account.as_of_s`.

    Returns
    -------
    dict of str to Resources
        By workflow, in the proportion of what it can use at once and never more than that.
    """
    able = [one for one in running if _can_run(one.demand, capacity)]
    given = dict.fromkeys((one.workflow_id for one in running), Resources())
    if not able:
        return given
    weights = effective_weights((one.user for one in able), accounts, capacity, limits, now_s)
    place = {name: number for number, name in enumerate(weights)}
    able.sort(key=lambda one: (place[one.user], *own_order(one, capacity)))
    needs = np.array([_needs(one.demand, capacity) for one in able])
    kept = needs.any(axis=0)
    users = _users(weights, accounts, capacity, limits)
    if users.most is not None:
        users = replace(users, most=users.most[:, kept])
    at = np.array([place[one.user] for one in able], dtype=np.int64)
    parts = fill(needs[:, kept], at, users)
    for one, part in zip(able, parts.tolist(), strict=True):
        given[one.workflow_id] = held_to(one.demand.most, capacity) * part
    return given


def own_order(one: Waiting | Running, capacity: Resources) -> tuple[float, float, str]:
    """Return by what the workflows of one user are ordered where they share what the user has."""
    if isinstance(one, Waiting):
        since_s = one.queued_at_s
    else:
        since_s = one.started_at_s if one.queued_at_s is None else one.queued_at_s
    return -one.priority, since_s + one.demand.least_s(capacity), one.workflow_id


def held_to(most: Resources, capacity: Resources) -> Resources:
    """Return what a workflow can use of what there is, in its own proportion."""
    return most * (1.0 / max(1.0, most.dominant_share(capacity)))


def floor_of(demand: Demand, capacity: Resources, limits: Limits) -> Resources:
    """Return the least that a workflow is to have when it runs."""
    most = held_to(demand.most, capacity)
    return most if most.cpus <= limits.least_cpus else most * (limits.least_cpus / most.cpus)


def _can_run(demand: Demand, capacity: Resources) -> bool:
    return math.isfinite(demand.most.dominant_share(capacity))


def _needs(demand: Demand, capacity: Resources) -> list[float]:
    most = held_to(demand.most, capacity)
    pairs = zip(most.amounts(), capacity.amounts(), strict=True)
    return [min(1.0, has / there) if has > 0.0 else 0.0 for has, there in pairs]


def _users(
    weights: Mapping[str, float],
    accounts: Sequence[Account],
    capacity: Resources,
    limits: Limits,
) -> Users:
    """Return those who share, in the order of their weights."""
    most = None
    if any(name in limits.quotas for name in weights):
        caps = [at_most(limits.quotas.get(name, Quota()), capacity) for name in weights]
        most = np.array(
            [
                [has / there if there > 0.0 else 1.0 for has, there in _pairs(cap, capacity)]
                for cap in caps
            ]
        )
    group_of = {account.user: account.group for account in accounts}
    groups: dict[str, int] = {}
    in_group, group_weight = [], []
    for name, weight in weights.items():
        group = group_of.get(name, "")
        known = group in limits.group_weights
        key = f"group {group}" if known else f"user {name}"
        if key not in groups:
            groups[key] = len(groups)
            group_weight.append(limits.group_weights[group] if known else weight)
        in_group.append(groups[key])
    has_groups = len(groups) < len(weights) or any(key.startswith("group ") for key in groups)
    return Users(
        draw=np.zeros(len(weights), dtype=np.int64),
        weight=np.array(list(weights.values())),
        most=most,
        group=np.array(in_group, dtype=np.int64) if has_groups else None,
        group_weight=np.array(group_weight) if has_groups else None,
    )


def _pairs(one: Resources, other: Resources) -> Iterable[tuple[float, float]]:
    return zip(one.amounts(), other.amounts(), strict=True)


def next_claimed(
    waiting: Sequence[Waiting],
    running: Sequence[Running],
    accounts: Sequence[Account],
    capacity: Resources,
    limits: Limits = NO_LIMITS,
    now_s: float = 0.0,
) -> Waiting | None:
    """Return the workflow that leaves the queue now; None if none may.

    Parameters
    ----------
    waiting, running : sequence
        All that wait (or at least the first of each user's) and all that run, in any order.
    accounts : sequence of Account
        Of their users.
    capacity : Resources
        What there is.
    limits : Limits
        How many may run, quotas.
    now_s : float
        The time on the clock of the others.
    """
    if not _has_room(running, limits):
        return None
    held = _Held(running, capacity, limits)
    short = _short_of(running, accounts, capacity, limits, now_s)
    found = [
        one
        for one in _heads(waiting, capacity)
        if held.has_room_for(one) and _would_be_served(one, held, short, capacity)
    ]
    if not found:
        return None
    rank = _ranks(found, running, accounts, capacity, limits, now_s)
    return min(found, key=lambda one: rank[one.workflow_id])


def to_give_way(
    waiting: Sequence[Waiting],
    running: Sequence[Running],
    accounts: Sequence[Account],
    capacity: Resources,
    limits: Limits = NO_LIMITS,
    now_s: float = 0.0,
) -> list[str]:
    """Return which running workflows go back to the queue; usually none, and one at a time.

    Somebody with nothing running has waited longer than `Limits.patience_s`, no more workflows can
    run at once, and of those that do one has run for `Limits.least_run_s` whose user has more than
    `Limits.over_served` times the share that is left for who waits. It waits anew from then on, so
    the two don't change places forever.

    Parameters
    ----------
    waiting, running, accounts, capacity, limits, now_s
        As for `next_claimed`.

    Returns
    -------
    list of str
        Their ids.
    """
    late = [
        one
        for one in _heads(waiting, capacity)
        if now_s - one.queued_at_s > limits.patience_s
        and all(other.user != one.user for other in running)
    ]
    if not late:
        return []
    held = _Held(running, capacity, limits)
    if _has_room(running, limits) and any(held.has_room_for(one) for one in late):
        return []
    late = [one for one in late if held.is_within_quota(one)]
    if not late:
        return []
    names = {one.user for one in late} | {one.user for one in running}
    weights = effective_weights(names, accounts, capacity, limits, now_s)
    fair = 1.0 / math.fsum(weights.values())  # share for each unit of weight
    given = allotments(running, accounts, capacity, limits, now_s)
    share: dict[str, Resources] = {}
    for runs in running:
        share[runs.user] = share.get(runs.user, Resources()) + given[runs.workflow_id]
    candidates = []
    for runs in running:
        level = share[runs.user].dominant_share(capacity) / weights[runs.user]
        if level > limits.over_served * fair and now_s - runs.started_at_s >= limits.least_run_s:
            # The most over-served user's; of theirs what matters least and lost least.
            candidates.append((-level, runs.priority, -runs.started_at_s, runs.workflow_id))
    return [min(candidates)[-1]] if candidates else []


class _Held:
    """What is kept for those that run, so that each can have its least."""

    def __init__(self, running: Sequence[Running], capacity: Resources, limits: Limits) -> None:
        self._capacity, self._limits = capacity, limits
        self._any = bool(running)
        self._total = Resources()
        self._by_user: dict[str, Resources] = {}
        self.of_user: dict[str, list[Running]] = {}
        for one in running:
            floor = floor_of(one.demand, capacity, limits)
            self._total += floor
            self._by_user[one.user] = self._by_user.get(one.user, Resources()) + floor
            self.of_user.setdefault(one.user, []).append(one)

    def is_within_quota(self, one: Waiting) -> bool:
        """Tell whether its user's quota leaves room for one more."""
        quota = self._limits.quotas.get(one.user)
        if quota is None:
            return True
        # A quota below what a workflow should have at least still lets one run.
        most = at_most(quota, self._capacity)
        floor = floor_of(one.demand, self._capacity, self._limits)
        floor = floor * min(1.0, 1.0 / max(1e-9, floor.dominant_share(most)))
        has = self._by_user.get(one.user, Resources())
        return not why_not_run(quota, has, floor)

    def has_room_for(self, one: Waiting) -> bool:
        """Tell whether one more of its user's can run beside all others."""
        if len(self.of_user.get(one.user, ())) >= self._limits.running_per_user:
            return False
        if not self.is_within_quota(one):
            return False
        floor = floor_of(one.demand, self._capacity, self._limits)
        return not self._any or (self._total + floor).fits_in(self._capacity)


def _has_room(running: Sequence[Running], limits: Limits) -> bool:
    return limits.running_workflows is None or len(running) < limits.running_workflows


def _heads(waiting: Iterable[Waiting], capacity: Resources) -> list[Waiting]:
    """Return the first of each user's queue, of what the cluster can run at all."""
    heads: dict[str, Waiting] = {}
    for one in waiting:
        first = heads.get(one.user)
        if _can_run(one.demand, capacity) and (
            first is None or _queue_order(one) < _queue_order(first)
        ):
            heads[one.user] = one
    return list(heads.values())


def _queue_order(one: Waiting) -> tuple[float, float, str]:
    return -one.priority, one.queued_at_s, one.workflow_id


def _short_of(
    running: Sequence[Running],
    accounts: Sequence[Account],
    capacity: Resources,
    limits: Limits,
    now_s: float,
) -> dict[str, Running]:
    """Return, by user, the first running workflow that hasn't all that it can use."""
    given = allotments(running, accounts, capacity, limits, now_s)
    short: dict[str, Running] = {}
    for one in running:
        wanted = held_to(one.demand.most, capacity) * _ALL
        if wanted.fits_in(given[one.workflow_id]):
            continue
        other = short.get(one.user)
        if other is None or own_order(one, capacity) < own_order(other, capacity):
            short[one.user] = one
    return short


def _would_be_served(
    one: Waiting, held: _Held, short: Mapping[str, Running], capacity: Resources
) -> bool:
    """Tell whether a workflow would get anything beside those of its user that run."""
    before = short.get(one.user)
    return before is None or own_order(one, capacity) < own_order(before, capacity)


def _ranks(
    found: Sequence[Waiting],
    running: Sequence[Running],
    accounts: Sequence[Account],
    capacity: Resources,
    limits: Limits,
    now_s: float,
) -> dict[str, tuple[bool, float, float, float, str]]:
    """Return by what the first of all users are ordered: who had least goes first."""
    by_user = {account.user: account for account in accounts}
    users = {one.user for one in found} | {one.user for one in running}
    weights = effective_weights(users, accounts, capacity, limits, now_s)
    has: dict[str, Resources] = {}
    for runs in running:
        has[runs.user] = has.get(runs.user, Resources()) + runs.used
    ranks = {}
    for one in found:
        late = now_s - one.queued_at_s > limits.patience_s
        account = by_user.get(one.user)
        had = 0.0 if account is None else mean_share(account, capacity, limits.half_life_s, now_s)
        level = has.get(one.user, Resources()).dominant_share(capacity) / weights[one.user]
        ranks[one.workflow_id] = (
            not late,
            one.queued_at_s if late else level,
            had / weights[one.user],
            one.queued_at_s,
            one.workflow_id,
        )
    return ranks
