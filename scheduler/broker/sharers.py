"""Who shares the cluster: users with what they had of it, and their workflows. Pure.

In: accounts and their decay, what waits, what runs, how an operator has the cluster shared. Not in:
who gets what (:mod:`fitcast.scheduler.broker.fair_share`), where it is kept.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from fitcast.scheduler.broker.quotas import Quota
from fitcast.scheduler.broker.resources import Demand, Resources

Array = npt.NDArray[np.float64]

DAY_S = 86_400.0
_LITTLE = 0.25  # of the mean usage: below, having had less makes no difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a user had of the cluster, decayed as of a time."""

    user_id: int
    user: str
    group: str
    weight: float
    usage: Resources = field(default_factory=Resources)  # in resource-seconds
    as_of_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A workflow in the queue.

    Attributes
    ----------
    queued_at_s : float
        Since when it waits: one that was sent back waits anew.
    forecast_s : tuple of float, optional
        P10, P50 and P90 of what it takes alone, in seconds.
    """

    workflow_id: str
    user: str
    priority: int = 0
    queued_at_s: float
    demand: Demand
    forecast_s: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A workflow that runs.

    Attributes
    ----------
    used : Resources
        What it has now.
    demand : Demand
        What is left to do.
    queued_at_s : float, optional
        When it was queued; by default when it was started.
    forecast_s : tuple of float, optional
        P10, P50 and P90 of what is left of it if it were alone, in seconds.
    """

    workflow_id: str
    user: str
    priority: int = 0
    used: Resources = field(default_factory=Resources)
    demand: Demand
    started_at_s: float
    queued_at_s: float | None = None
    forecast_s: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How the cluster is shared, as an operator may set it.

    Attributes
    ----------
    half_life_s : float
        After so long what somebody had counts half.
    most_favour : float
        What somebody had before makes their weight larger or smaller by no more than this factor;
        1: it doesn't count.
    running_per_user : int
        Workflows of one user that run at once.
    running_workflows : int, optional
        Workflows that run at once; by default as many as there is room for.
    least_cpus : float
        As many workflows run as can each have so many CPUs, or all that they can use.
    patience_s : float
        Who has waited for longer goes by the time waited; and somebody may give way to them.
    least_run_s : float
        What began more recently doesn't give way.
    over_served : float
        Who gives way has more than this times the share of whom they give way to.
    quotas : mapping of str to Quota
        By user.
    group_weights : mapping of str to float
        By group; the users of a group without one share as if they were in none.
    """

    half_life_s: float = DAY_S
    most_favour: float = 1.25
    running_per_user: int = 4
    running_workflows: int | None = None
    least_cpus: float = 1.0
    patience_s: float = 900.0
    least_run_s: float = 1800.0
    over_served: float = 2.0
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    group_weights: Mapping[str, float] = field(default_factory=dict)


NO_LIMITS = Limits()
"""The defaults; nobody has a quota."""


def decayed(usage: Resources, seconds: float, half_life_s: float) -> Resources:
    """Return what is left of a usage after so many seconds."""
    return usage * math.pow(0.5, max(0.0, seconds) / half_life_s)


def charged(account: Account, used: Resources, now_s: float, half_life_s: float) -> Account:
    """Return an account that was charged.

    Parameters
    ----------
    account : Account
        As it was.
    used : Resources
        What its user had since, in resource-seconds.
    now_s : float
        The time on the clock of `Account.as_of_s`.
    half_life_s : float
        As in `Limits`.
    """
    before = decayed(account.usage, now_s - account.as_of_s, half_life_s)
    return replace(account, usage=before + used, as_of_s=max(now_s, account.as_of_s))


def mean_share(account: Account, capacity: Resources, half_life_s: float, now_s: float) -> float:
    """Return the dominant share that a user had of late, on the average; 1: all, all the time."""
    whole_s = half_life_s / math.log(2.0)
    left = decayed(account.usage, now_s - account.as_of_s, half_life_s)
    share = left.dominant_share(capacity * whole_s)
    return share if math.isfinite(share) else 1.0


def effective_weights(
    users: Iterable[str],
    accounts: Sequence[Account],
    capacity: Resources,
    limits: Limits = NO_LIMITS,
    now_s: float = 0.0,
) -> dict[str, float]:
    """Return weights of users, smaller for who had more than others lately.

    Parameters
    ----------
    users : iterable of str
        Those that have something to run; they are compared with one another.
    accounts : sequence of Account
        One without an account has the weight 1 and had nothing.
    capacity : Resources
        What there is.
    limits : Limits
        Half-life and bounds.
    now_s : float
        The time on the clock of `Account.as_of_s`.

    Returns
    -------
    dict of str to float
        By user. What :class:`fitcast.scheduler.plan.events.SharesChanged` takes, too.
    """
    by_user = {account.user: account for account in accounts}
    names = sorted(set(users))
    own = {name: by_user[name].weight if name in by_user else 1.0 for name in names}
    had = {
        name: mean_share(by_user[name], capacity, limits.half_life_s, now_s)
        if name in by_user
        else 0.0
        for name in names
    }
    mean = math.fsum(had.values()) / max(math.fsum(own.values()), 1e-300)
    weight = np.array([own[name] for name in names])
    changed = favours(weight, np.array([had[name] for name in names]), mean, limits.most_favour)
    return dict(zip(names, changed.tolist(), strict=True))


def favours(weight: Array, had: Array, mean: Array | float, most: float) -> Array:
    """Return weights, smaller where more was had for each unit of weight than the mean."""
    if most <= 1.0:
        return weight
    relative = np.where(mean > 0.0, had / weight / np.maximum(mean, 1e-300), 1.0)
    factor = np.sqrt((1.0 + _LITTLE) / (relative + _LITTLE))
    changed: Array = weight * np.clip(factor, 1.0 / most, most)
    return changed
