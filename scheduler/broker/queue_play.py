"""Plays queues in virtual time, many draws side by side on the same arrays. Pure.

The rules are those of :mod:`fitcast.scheduler.broker.fair_share`, and the filling is the very same
code; claims are decided here for all draws at once. Fits aren't interrupted: what somebody has
beyond their share is given back bit by bit, and only then others have theirs. In: arrays. Not in:
workflows and what may become of them (:mod:`fitcast.scheduler.broker.queue_forecast`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fitcast.scheduler.broker.filling import Array, Places, Users, fill
from fitcast.scheduler.broker.quotas import Quota, at_most
from fitcast.scheduler.broker.resources import Resources
from fitcast.scheduler.broker.sharers import Limits, favours

STEP = 0.02
"""Time goes on by at least this share of what has passed."""

FREED = 0.25
"""Nor by more than this share of the time in which what somebody has beyond their share is free."""

EARLY = 0.25
"""A workflow has a use for all that it can use until what is left is less than what it does in this
share of what it takes alone; from then on for less and less: its longest fits, its last ones."""

_HALVINGS = 18
_MOST_STEPS = 20_000
_ALL = 0.995
_CLAIMS_AT_ONCE = 8

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What is played: a row for each workflow and draw, a place for each user and draw.

    Times are in seconds from now.
    """

    draws: int
    names: Sequence[str]  # of users
    group: Sequence[str]  # of the users' groups
    weight: Array  # by place
    had: Array  # by place: the mean share of late
    user: Places  # the place of each row's user
    needs: Array  # what it can use at once, as shares of the capacity
    floor: Array  # the least that it is to have, too
    work_s: Array  # what is left, with all that it can use
    path_s: Array  # what is left if it is alone
    since_s: Array  # since when it waits; of those that come, when
    due_s: Array
    priority: Array
    runs: Flags
    held: Array  # of its needs, by fits that run now
    frees_in_s: Array  # in this time what it has at a moment falls to 1/e, if it may begin nothing
    capacity: Resources


class QueuePlay:
    """One play of all draws.

    Parameters
    ----------
    table : Table
        What is played.
    limits : Limits
        By which rules.
    asked : array of bool
        Rows whose end is asked for; a draw is over when all of its own have ended.
    """

    def __init__(self, table: Table, limits: Limits, asked: Flags) -> None:
        # Within a user in the order in which their workflows share what the user has.
        order = np.lexsort((table.due_s, -table.priority, table.user))
        by_row = (
            "user", "needs", "floor", "work_s", "path_s", "since_s", "due_s", "priority", "runs",
            "held", "frees_in_s",
        )  # fmt: skip
        sorted_ = {name: getattr(table, name)[order] for name in by_row}
        self._table = table = replace(table, **sorted_)
        self._limits, self._order = limits, order
        used: Flags = np.asarray(table.needs.any(axis=0))
        self._needs, self._floor = table.needs[:, used], table.floor[:, used]
        self._users = len(table.names)
        self._draw = table.user // self._users
        self._place_draw = np.arange(len(table.weight)) // self._users
        self._queue = np.lexsort((table.since_s, -table.priority, table.user))
        self._asked = asked[order]
        self._work_s, self._path_s = table.work_s.copy(), table.path_s.copy()
        self._runs, self._ended = table.runs.copy(), np.zeros(len(order), dtype=bool)
        self._began_s = np.where(table.runs, 0.0, np.inf)
        self._ended_s = np.full(len(order), np.inf)
        self._got = np.ones(len(order))  # of what each wants, when it was last shared out
        keeps = table.runs & (table.frees_in_s > 0.0)
        self._held = np.where(keeps, table.held, 0.0)  # by fits that aren't interrupted
        self._now_s = np.zeros(table.draws)
        self._had = table.had.copy()
        self._most = self._quotas(used)
        self._over = np.zeros(table.draws, dtype=bool)

    def run(self) -> tuple[Array, Array]:
        """Play to the end; return when each row began and ended, in seconds from now."""
        self._share()
        for _ in range(_MOST_STEPS):
            self._claim()
            rows = self._share()
            self._over |= self._step(rows)
            left = np.bincount(self._draw[self._asked & ~self._ended], minlength=len(self._over))
            self._over |= left == 0
            if self._over.all():
                break
        began, ended = np.empty_like(self._began_s), np.empty_like(self._ended_s)
        began[self._order], ended[self._order] = self._began_s, self._ended_s
        return began, ended

    # -- sharing -----------------------------------------------------------------------------

    def _weights(self, present: Flags) -> Array:
        """Return the weights of users, of whom some have something to run."""
        weight, draw = self._table.weight, self._place_draw
        had = np.bincount(draw, np.where(present, self._had, 0.0), self._table.draws)
        whole = np.bincount(draw, np.where(present, weight, 0.0), self._table.draws)
        mean = (had / np.maximum(whole, 1e-300))[draw]
        return favours(weight, self._had, mean, self._limits.most_favour)

    def _share(self) -> Places:
        """Share the cluster out; return the rows that run."""
        rows = np.flatnonzero(self._runs & ~self._over[self._draw])
        if not rows.size:
            return rows
        want = self._wanted(rows)
        user = self._table.user[rows]
        first = np.r_[True, user[1:] != user[:-1]]
        places = user[first]
        present = np.zeros(len(self._table.weight), dtype=bool)
        present[places] = True
        weight = self._weights(present)[places]
        group, group_weight = self._groups(places, weight)
        users = Users(
            draw=self._place_draw[places],
            weight=weight,
            most=None if self._most is None else self._most[places],
            group=group,
            group_weight=group_weight,
        )
        needs = self._needs[rows] * want[:, None]
        held = np.minimum(1.0, self._held[rows] / want)
        self._got[rows] = fill(needs, np.cumsum(first) - 1, users, halvings=_HALVINGS, held=held)
        return rows

    def _wanted(self, rows: Places) -> Array:
        """Return how much of what it could use each row has a use for: less towards its end."""
        work_s, path_s = self._work_s[rows], self._path_s[rows]
        wanted: Array = np.minimum(1.0, work_s / np.maximum(EARLY * path_s, 1e-9))
        return np.maximum(wanted, 1e-6)

    def _groups(self, places: Places, weight: Array) -> tuple[Places | None, Array | None]:
        weights, table = self._limits.group_weights, self._table
        if not any(name in weights for name in table.group):
            return None, None
        of_user = np.array([weights.get(name, np.nan) for name in table.group])
        number = {name: count for count, name in enumerate(sorted(weights))}
        group_of = np.array([number.get(name, -1) for name in table.group])
        user, draw = places % self._users, self._place_draw[places]
        alone = np.isnan(of_user[user])
        key = np.where(
            alone, len(number) * table.draws + places, draw * len(number) + group_of[user]
        )
        _, group = np.unique(key, return_inverse=True)
        group_weight = np.zeros(int(group.max()) + 1)
        group_weight[group] = np.where(alone, weight, of_user[user])
        return group.astype(np.int64), group_weight

    def _quotas(self, used: Flags) -> Array | None:
        quotas, capacity = self._limits.quotas, self._table.capacity
        if not any(name in quotas for name in self._table.names):
            return None
        caps = [at_most(quotas.get(name, Quota()), capacity) for name in self._table.names]
        there = np.array(capacity.amounts())[used]
        shares = np.array([cap.amounts() for cap in caps])[:, used] / there
        return np.tile(shares, (self._table.draws, 1))

    # -- the queue ---------------------------------------------------------------------------

    def _claim(self) -> None:
        """Let workflows leave the queue."""
        table, limits = self._table, self._limits
        waits = ~self._runs & ~self._ended & (table.since_s <= self._now_s[self._draw])
        waits &= ~self._over[self._draw]
        if not waits.any():
            return
        places = len(table.weight)
        shorted = np.full(places, len(waits))
        short = np.flatnonzero(self._runs & (self._got < _ALL))
        np.minimum.at(shorted, table.user[short], short)
        for _ in range(_CLAIMS_AT_ONCE):
            inside = np.flatnonzero(waits[self._queue])
            heads = self._queue[inside]
            if not heads.size:
                return
            heads = heads[np.r_[True, np.diff(table.user[heads]) != 0]]
            running = np.flatnonzero(self._runs)
            count = np.bincount(table.user[running], minlength=places)
            heads = heads[count[table.user[heads]] < limits.running_per_user]
            heads = heads[heads < shorted[table.user[heads]]]
            heads = self._admitted(heads, running)
            if not heads.size:
                return
            self._runs[heads], waits[heads], self._got[heads] = True, False, 1.0
            self._began_s[heads] = self._now_s[self._draw[heads]]

    def _admitted(self, heads: Places, running: Places) -> Places:
        """Return which of the users' first may run beside all others."""
        limits, draw = self._limits, self._draw
        places, draws = len(self._table.weight), self._table.draws
        resources = range(self._needs.shape[1])
        if self._most is not None and heads.size:
            user = self._table.user
            has = np.stack(
                [
                    np.bincount(user[running], self._floor[running, number], places)
                    for number in resources
                ],
                axis=1,
            )
            floor = np.minimum(self._floor[heads], self._most[user[heads]])
            fits = has[user[heads]] + floor <= self._most[user[heads]] * (1.0 + 1e-9)
            heads = heads[fits.all(axis=1)]
        if not heads.size:
            return heads
        heads = heads[np.lexsort((*self._ranks(heads, running), draw[heads]))]
        in_draw = draw[heads]
        first = np.r_[True, in_draw[1:] != in_draw[:-1]]
        start = np.flatnonzero(first)[np.cumsum(first) - 1]
        number_before = np.arange(len(heads)) - start
        busy = np.bincount(draw[running], minlength=draws)[in_draw]
        allowed = np.ones(len(heads), dtype=bool)
        for number in resources:
            held = np.bincount(draw[running], self._floor[running, number], draws)[in_draw]
            floor = self._floor[heads, number]
            total = np.cumsum(floor)
            allowed &= held + total - (total - floor)[start] <= 1.0 + 1e-9
        allowed |= (busy == 0) & (number_before == 0)
        if limits.running_workflows is not None:
            allowed &= busy + number_before < limits.running_workflows
        return heads[allowed]

    def _ranks(self, heads: Places, running: Places) -> tuple[Array | Flags, ...]:
        """Return by what the first of all users are ordered, the last key first."""
        table, places = self._table, len(self._table.weight)
        has = np.zeros(places)
        got = self._got[running] * self._wanted(running)
        for number in range(self._needs.shape[1]):
            used = np.bincount(table.user[running], got * self._needs[running, number], places)
            has = np.maximum(has, used)
        user = table.user[heads]
        present = np.zeros(places, dtype=bool)
        present[user] = present[table.user[running]] = True
        weight = self._weights(present)
        since_s = table.since_s[heads]
        late = self._now_s[self._draw[heads]] - since_s > self._limits.patience_s
        level = np.where(late, since_s, has[user] / weight[user])
        return since_s, self._had[user] / weight[user], level, ~late

    # -- time --------------------------------------------------------------------------------

    def _step(self, rows: Places) -> Flags:
        """Let time go on in each draw; return the draws in which nothing can happen any more."""
        table, draws = self._table, self._table.draws
        draw = self._draw[rows]
        got = self._got[rows]
        pace = got * self._wanted(rows)
        served = got > 1e-9
        left_s = np.full(len(rows), np.inf)
        np.divide(self._work_s[rows], pace, out=left_s, where=served)
        left_s = np.maximum(left_s, np.where(served, self._path_s[rows], np.inf))
        next_s = np.full(draws, np.inf)
        np.minimum.at(next_s, draw, left_s)
        comes = np.flatnonzero(~self._runs & ~self._ended & np.isinf(self._began_s))
        in_s = table.since_s[comes] - self._now_s[self._draw[comes]]
        later = in_s > 0.0
        np.minimum.at(next_s, self._draw[comes[later]], in_s[later])
        binds = (self._held[rows] >= pace * (1.0 - 1e-6)) & served & (table.frees_in_s[rows] > 0.0)
        np.minimum.at(next_s, draw[binds], FREED * table.frees_in_s[rows[binds]])
        stuck: Flags = np.asarray(np.isinf(next_s))
        step_s = np.where(stuck, 0.0, np.maximum(next_s, STEP * self._now_s))
        mine_s = step_s[draw]
        ends = left_s <= mine_s * (1.0 + 1e-9)
        self._ended_s[rows[ends]] = self._now_s[draw[ends]] + left_s[ends]
        self._ended[rows[ends]], self._runs[rows[ends]] = True, False
        self._work_s[rows] = np.maximum(self._work_s[rows] - pace * mine_s, 1e-6)
        self._path_s[rows] = np.maximum(self._path_s[rows] - np.where(served, mine_s, 0.0), 0.0)
        frees_in_s = table.frees_in_s[rows]
        stays = np.exp(-mine_s / np.maximum(frees_in_s, 1e-9))
        self._held[rows] = np.where(ends, 0.0, pace * stays)
        self._note_usage(rows, pace, step_s)
        self._now_s = self._now_s + step_s
        return stuck

    def _note_usage(self, rows: Places, pace: Array, step_s: Array) -> None:
        """Decay what users had, and add what they have."""
        kept = np.exp2(-step_s / self._limits.half_life_s)[self._place_draw]
        has = np.zeros(len(self._had))
        for number in range(self._needs.shape[1]):
            used = pace * self._needs[rows, number]
            has = np.maximum(has, np.bincount(self._table.user[rows], used, len(has)))
        self._had = kept * self._had + (1.0 - kept) * has
