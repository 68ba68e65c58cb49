"""Several ways of doing the same work, side by side in one run, interleaved.

In: repeats, the clock, rows of the table. Not in: the ways themselves (:mod:`benchmarks.peers`),
the work (:mod:`benchmarks.workloads`).

A way is opened for each of its turns and closed after it, so that no other's idle processes take
cores or memory from it; opening includes whatever starts and warms its workers. The clock runs
around the work alone. Ways take turns, each repeat in another order.
"""

import gc
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.judging import Row

OURS = "fitcast"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a way tells of the work that it did."""

    fits: int
    fits_s: float  # core seconds of the fits alone: fit_time + score_time, × threads
    attempts_s: float = math.nan  # core seconds that attempts held, all included
    scores: npt.NDArray[np.float64] | None = None  # mean per candidate, in grid order
    more: Mapping[str, float] = field(default_factory=dict)  # other columns


Work = Callable[[], Callable[[], Told]]
"""Does the work; what it returns tells of it afterwards, off the clock."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of doing the work."""

    name: str
    opened: Callable[[], AbstractContextManager[Work]]
    is_peer: bool = True


@dataclass(slots=True)
class Taken:
    """What a way took, repeat by repeat."""

    way: Way
    makespans_s: list[float] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    trouble: str = ""  # why it isn't tried any more

    @property
    def makespan_s(self) -> float:
        """The median; NaN if it never got through."""
        return statistics.median(self.makespans_s) if self.makespans_s else math.nan


def side_by_side(ways: Sequence[Way], repeats: int) -> list[Taken]:
    """Let the ways take turns. One that fails is noted and not tried again."""
    taken = [Taken(way) for way in ways]
    for number in range(repeats):
        for one in turns(taken, number):
            if one.trouble:
                continue
            try:
                with one.way.opened() as work:
                    gc.collect()
                    began_s = time.perf_counter()
                    tell = work()
                    makespan_s = time.perf_counter() - began_s
                    told = tell()
            except Exception as error:
                one.trouble = f"{type(error).__name__}: {error}".splitlines()[0][:160]
                print(f"  {one.way.name}: {one.trouble}", file=sys.stderr)
                continue
            one.makespans_s.append(makespan_s)
            one.told.append(told)
            print(f"  {one.way.name}: {makespan_s:.2f} s", file=sys.stderr)
    return taken


def turns(taken: Sequence[Taken], number: int) -> list[Taken]:
    """Return the order of a repeat: each begins another one, every second goes backwards."""
    first = number % len(taken)
    order = [*taken[first:], *taken[:first]]
    return order[::-1] if number % 2 else order


def best_peer(taken: Sequence[Taken]) -> Taken | None:
    """Return the peer of the least median."""
    done = [one for one in taken if one.way.is_peer and one.makespans_s]
    return min(done, key=lambda one: one.makespan_s, default=None)


def ratio(one: Taken, to: Taken | None) -> float:
    """Return the median over repeats of what one took over what the other took."""
    if to is None or not one.makespans_s or not to.makespans_s:
        return math.nan
    pairs = zip(one.makespans_s, to.makespans_s, strict=False)  # a failing way has fewer
    return statistics.median(mine / other for mine, other in pairs)


def rows_of(taken: Sequence[Taken], cores: int) -> list[Row]:
    """Return a row for each way."""
    best = best_peer(taken)
    return [_row(one, best, cores) for one in taken]


def _row(one: Taken, best: Taken | None, cores: int) -> Row:
    row: Row = {"": one.way.name, "runs": len(one.makespans_s)}
    if one.trouble:
        row["note"] = one.trouble
    if not one.makespans_s:
        return row
    held = zip(one.told, one.makespans_s, strict=True)
    row |= {
        "fits": one.told[0].fits,
        "makespan s": one.makespan_s,
        "least s": min(one.makespans_s),
        "most s": max(one.makespans_s),
        "× best peer": ratio(one, best),
        "fits' own s / cores": _median(told.fits_s / cores for told in one.told),
        "busy with fits": _median(told.attempts_s / (took_s * cores) for told, took_s in held),
        "overhead ms/fit": overhead_ms(one, cores),
    }
    for name in one.told[0].more:
        row[name] = _median(told.more[name] for told in one.told)
    return row


def overhead_ms(one: Taken, cores: int) -> float:
    """Return the milliseconds of a core per fit that went into anything but the fits."""
    pairs = zip(one.told, one.makespans_s, strict=True)
    return _median(1e3 * (took_s * cores - told.fits_s) / told.fits for told, took_s in pairs)


def _median(values: "Sequence[float] | object") -> float:
    known = [value for value in values if not math.isnan(value)]  # type: ignore[attr-defined]
    return statistics.median(known) if known else math.nan


def score_note(taken: Sequence[Taken]) -> str:
    """Say by how much the ways' scores differ."""
    scores = [told.scores for one in taken for told in one.told[:1] if told.scores is not None]
    if len(scores) < 2:
        return "scores: nothing to compare"
    if len({len(each) for each in scores}) > 1:
        return "scores: different numbers of candidates!"
    apart = float(np.max(np.ptp(np.stack(scores), axis=0)))
    return f"scores of all {len(scores)} ways: at most {apart:.1g} apart"


def ours(taken: Sequence[Taken]) -> Taken:
    """Return what fitcast took."""
    return next(one for one in taken if one.way.name == OURS)
