"""Progressive filling: everybody's share grows at the same pace until something is used up. Pure.

Weighted dominant-resource fairness (Ghodsi et al., NSDI 2011) on arrays: a user's dominant share is
the largest of the shares that they have of any resource; all grow in proportion to weights until a
resource is used up, then those that need nothing of it go on. Within a user, workflows are filled
one after the other in the order given. Several independent clusters (*draws*) are filled at once,
so that the forecast of the queue can play many futures by the very same code.

In: arrays of shares. Not in: users, workflows and their order
(:mod:`fitcast.scheduler.broker.fair_share`).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

_ROUNDING = 1e-12
_GROUP_ROUNDS = 64


@dataclass(frozen=True, slots=True)
class Users:
    """Those who share: one place for each user and draw.

    Attributes
    ----------
    draw : array of int
        The draw of each place.
    weight : array
        How fast the share of each grows beside the others'; positive.
    most : array or None
        What each may have of each resource, as shares of the capacity; None: everything.
    group : array of int or None
        The group of each place (no group spans draws); None: no groups.
    group_weight : array or None
        Of each group; its users share it by their own weights.
    """

    draw: Places
    weight: Array
    most: Array | None = None
    group: Places | None = None
    group_weight: Array | None = None


def fill(
    needs: Array, user: Places, users: Users, *, halvings: int = 36, held: Array | None = None
) -> Array:
    """Share the capacity of each draw.

    Parameters
    ----------
    needs : array
        What each workflow can use at once (rows) of each resource, as shares of the capacity, none
        above 1. Workflows of one user stand together, in the order in which they are filled.
    user : array of int
        The place of each workflow's user; ascending.
    users : Users
        Those who share.
    halvings : int
        How often the level is narrowed down by half.
    held : array, optional
        How much of its needs each workflow has already and keeps; all of it together is there.

    Returns
    -------
    array
        How much of its needs each workflow gets, 0 to 1.
    """
    if not len(needs):
        return np.zeros(0)
    filling = _Filling(needs, user, users, held)
    for _ in range(needs.shape[1] + 1):
        got, used_up = filling.level(halvings)
        # Nobody who needs what is used up can have more; all others go on.
        blocked = ~filling.fixed & (filling.needed & used_up[filling.draw]).any(axis=1)
        filling.limit[blocked] = got[blocked]
        filling.fixed |= blocked
        if not blocked.any() or filling.fixed.all():
            break
    return got


class _Filling:
    """One filling under way."""

    def __init__(self, needs: Array, user: Places, users: Users, held: Array | None) -> None:
        self.needs, self.user, self.users = needs, user, users
        self.needed = needs > 0.0
        self.draw = users.draw[user]
        self.draws = int(users.draw.max()) + 1
        self.limit = np.ones(len(needs))  # of what each workflow needs
        self.fixed = np.zeros(len(needs), dtype=bool)  # has exactly its limit
        self._held = np.zeros(len(needs)) if held is None else held
        self._divisor = np.where(self.needed, needs, 1.0)
        first = np.r_[True, user[1:] != user[:-1]]
        self._start = np.flatnonzero(first)[np.cumsum(first) - 1]
        if users.most is not None:
            self._note_quotas(users.most)

    def _note_quotas(self, most: Array) -> None:
        while True:
            reach = self._reach(most[self.user], self._before())
            if (reach >= self.limit - _ROUNDING).all():
                return
            # What a quota keeps from one workflow the next ones of its user may need none of.
            self.limit = np.minimum(self.limit, reach)

    def _before(self) -> Array:
        """Return what the workflows that go before each, of its user, have if they have all."""
        taken = self.limit[:, None] * self.needs
        total = np.cumsum(taken, axis=0) - taken
        before: Array = total - total[self._start]
        return before

    def _reach(self, share: Array, before: Array) -> Array:
        """Return how much of its needs each workflow has when its user has reached a share."""
        part = np.where(self.needed, (share - before) / self._divisor, np.inf).min(axis=1)
        reached: Array = np.minimum(np.maximum(part, self._held), self.limit)
        return reached

    def level(self, halvings: int) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Raise all as far as the capacity goes; return what each gets, and what is used up."""
        users = self.users
        before, resources = self._before(), self.needs.shape[1]
        wanted = np.zeros(len(users.weight))
        for number in range(resources):
            has = self.limit * self.needs[:, number]
            wanted = np.maximum(wanted, np.bincount(self.user, has, len(wanted)))

        def at(level: Array) -> tuple[Array, Array]:
            share = self._shares(level, wanted)[self.user, None]
            got = np.where(self.fixed, self.limit, self._reach(share, before))
            used = np.empty((self.draws, resources))
            for number in range(resources):
                used[:, number] = np.bincount(
                    self.draw, got * self.needs[:, number], minlength=self.draws
                )
            return got, used

        high = np.zeros(self.draws)
        np.maximum.at(high, users.draw, self._enough(wanted))
        low = np.zeros(self.draws)
        got, used = at(high)
        over: npt.NDArray[np.bool_] = np.asarray(used > 1.0 + _ROUNDING * 1e3)
        if not over.any():
            return got, over
        low = np.where(over.any(axis=1), low, high)
        for _ in range(halvings):
            middle = 0.5 * (low + high)
            _, used = at(middle)
            too_much: npt.NDArray[np.bool_] = np.asarray(used > 1.0)
            exceeds: npt.NDArray[np.bool_] = np.asarray(too_much.any(axis=1))
            over = np.where(exceeds[:, None], too_much, over)
            low, high = np.where(exceeds, low, middle), np.where(exceeds, middle, high)
        return at(low)[0], over

    def _enough(self, wanted: Array) -> Array:
        """Return a level at which each user has all that is wanted."""
        users = self.users
        if users.group is None or users.group_weight is None:
            return wanted / users.weight
        of_group = np.zeros(len(users.group_weight))
        np.add.at(of_group, users.group, wanted)
        enough: Array = (of_group / users.group_weight)[users.group]
        return enough * (1.0 + 1e-9)

    def _shares(self, level: Array, wanted: Array) -> Array:
        """Return the dominant share that each user has reached at a level."""
        users = self.users
        if users.group is None or users.group_weight is None:
            return users.weight * level[users.draw]
        groups = len(users.group_weight)
        budget = np.zeros(groups)
        budget[users.group] = users.group_weight[users.group] * level[users.draw]
        # What a user has no use for is their group's, as long as anybody there has.
        full = np.zeros(len(wanted), dtype=bool)
        for _ in range(_GROUP_ROUNDS):
            rest = budget - np.bincount(users.group, np.where(full, wanted, 0.0), groups)
            weight = np.bincount(users.group, np.where(full, 0.0, users.weight), groups)
            pace = np.maximum(rest, 0.0) / np.maximum(weight, 1e-300)
            share = users.weight * pace[users.group]
            more = ~full & (share >= wanted)
            if not more.any():
                break
            full |= more
        return np.where(full, wanted, share)
