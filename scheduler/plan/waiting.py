"""The fits of a workflow that wait, so that the next to start is found at once.

In: the order in which they are looked at. Not in: whether one finds room
(:mod:`fitcast.scheduler.plan.placement`).

The longest forecast goes first (Graham's LPT rule), but some fits can run in few places: those
that need much memory. If all of those that at most *s* slots can run take longer on these slots
than everything takes on all slots, they are what the end waits for, and go before longer fits
that would find room anywhere.
"""

import heapq
import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple, Protocol

from fitcast.history.records import Estimate
from fitcast.scheduler.plan.events import CommonWork
from fitcast.scheduler.plan.memory_load import MemoryDemand

LOOK_AHEAD = 48
"""How many waiting fits of a kind are looked at to fill a gap."""


CLEARLY = 1.05
"""The end waits for fits that need this much longer, on the slots that hold them, than all do."""


class WaitingFit(Protocol):
    """What the order needs of a fit."""

    order: int
    common_work: CommonWork | None
    estimate: Estimate

    @property
    def fit_id(self) -> str:
        """Its name within the workflow."""

    def demand(self) -> MemoryDemand:
        """Return the memory that it needs."""


class Entry(NamedTuple):
    """A waiting fit; of two entries the larger goes first."""

    runtime_s: float
    order: int  # negative, so that among equals the first submitted is the larger
    fit_id: str


class WaitingFits:
    """Waiting fits in classes by how many of their kind can run at once."""

    def __init__(self) -> None:
        self._classes: dict[int, list[Entry]] = {}  # ascending: the next to start is last
        self._slot_s: dict[int, float] = {}  # slots × backlog: the mean is weighted by work
        self._least_bytes: dict[int, float] = {}  # that any fit of a class needs
        self._backlog_s: dict[int, float] = {}
        self._class_of: dict[str, tuple[int, int, Entry]] = {}  # slots too
        self._sharing: dict[str, dict[str, float]] = {}  # by work: fits, and what it costs them, s
        self._work_s: dict[str, float] = {}
        self._saved_s = 0.0

    def __len__(self) -> int:
        return len(self._class_of)

    def __contains__(self, fit_id: str) -> bool:
        return fit_id in self._class_of

    def __iter__(self) -> Iterator[str]:
        return iter(self._class_of)

    def fill(self, fits: Iterable[tuple[WaitingFit, int]]) -> None:
        """Take in fits, each with the number of slots that can run its kind; forget others."""
        self.clear()
        for fit, slots in fits:
            number, entry = self._note(fit, slots)
            self._classes.setdefault(number, []).append(entry)
        for entries in self._classes.values():
            entries.sort()

    def add(self, fit: WaitingFit, slots: int) -> None:
        """Take in one more."""
        number, entry = self._note(fit, slots)
        insort(self._classes.setdefault(number, []), entry)

    def remove(self, fit: WaitingFit) -> None:
        """Let one go."""
        number, slots, entry = self._class_of.pop(fit.fit_id)
        entries = self._classes[number]
        if entries[-1] is entry:
            entries.pop()
        else:
            del entries[bisect_left(entries, entry)]
        self._backlog_s[number] -= entry.runtime_s
        self._slot_s[number] -= slots * entry.runtime_s
        if not entries:
            del self._classes[number], self._backlog_s[number], self._slot_s[number]
        if fit.common_work is not None:
            name = fit.common_work.name
            self._saved_s -= self._saved_by(name)
            self._work_s[name] -= self._sharing[name].pop(fit.fit_id)
            if self._sharing[name]:
                self._saved_s += self._saved_by(name)
            else:
                del self._sharing[name], self._work_s[name]

    def clear(self) -> None:
        """Forget all."""
        for held in (self._classes, self._slot_s, self._least_bytes, self._backlog_s):
            held.clear()
        self._class_of.clear()
        self._sharing.clear()
        self._work_s.clear()
        self._saved_s = 0.0

    def _note(self, fit: WaitingFit, slots: int) -> tuple[int, Entry]:
        # Neighbouring numbers of slots make no difference once they are many.
        number = round(8.0 * math.log2(slots + 1))
        entry = Entry(fit.estimate.runtime_s_p50, -fit.order, fit.fit_id)
        need = fit.demand().mean_bytes
        self._least_bytes[number] = min(need, self._least_bytes.get(number, need))
        self._class_of[fit.fit_id] = (number, slots, entry)
        self._backlog_s[number] = self._backlog_s.get(number, 0.0) + entry.runtime_s
        self._slot_s[number] = self._slot_s.get(number, 0.0) + slots * entry.runtime_s
        if fit.common_work is not None:
            name, work_s = fit.common_work.name, fit.common_work.share * entry.runtime_s
            sharers = self._sharing.setdefault(name, {})
            self._saved_s -= self._saved_by(name)
            sharers[fit.fit_id] = work_s
            self._work_s[name] = self._work_s.get(name, 0.0) + work_s
            self._saved_s += self._saved_by(name)
        return number, entry

    def _saved_by(self, name: str) -> float:
        """Return what doing work in common once saves, in seconds."""
        count = len(self._sharing[name])
        return self._work_s[name] * (count - 1) / count if count else 0.0

    def backlog_s(self) -> float:
        """Return the forecast runtime of all that wait, in seconds; shared work counts once."""
        return max(0.0, sum(self._backlog_s.values()) - self._saved_s)

    def longest_s(self) -> float:
        """Return the longest forecast, in seconds."""
        return max((entries[-1].runtime_s for entries in self._classes.values()), default=0.0)

    def longer_than(self, runtime_s: float, most: int) -> list[str]:
        """Return up to `most` fits that are forecast to take longer."""
        longest = islice(heapq.merge(*map(reversed, self._classes.values()), reverse=True), most)
        return [entry.fit_id for entry in longest if entry.runtime_s > runtime_s]

    def sharing(self, name: str) -> list[str]:
        """Return the fits that have this work in common."""
        return list(self._sharing.get(name, ()))

    def shorter(self, fit: WaitingFit, most: int) -> list[str]:
        """Return up to `most` fits that come after this one in its class."""
        number, _, entry = self._class_of[fit.fit_id]
        entries = self._classes[number]
        place = bisect_left(entries, entry)
        return [one.fit_id for one in reversed(entries[max(0, place - most) : place])]

    def in_order(
        self, room_bytes: float = math.inf, long_s: float = math.inf
    ) -> Iterator[tuple[str, bool]]:
        """Yield fits in the order in which they should start, some of each class.

        Of classes whose fits all need more than `room_bytes` only the longest fit is among them.
        Of fits that take at least `long_s` those that can run in the fewest places go first. With
        each it is told whether the end waits for it more than for others.
        """
        if len(self._classes) == 1:
            (only,) = self._classes.values()
            for place in range(len(only) - 1, max(-1, len(only) - 1 - LOOK_AHEAD), -1):
                yield only[place].fit_id, False
            return
        critical, others = self._split()
        for group in filter(None, (critical, others)):
            is_critical = bool(others) and group is critical
            firsts = [self._first_of(number, room_bytes) for number in group]
            for first in firsts:
                while first and first[0].runtime_s >= long_s:
                    yield first.popleft().fit_id, is_critical
            merged = heapq.merge(*firsts, reverse=True) if len(firsts) > 1 else iter(firsts[0])
            for entry in merged:
                yield entry.fit_id, is_critical

    def _first_of(self, number: int, room_bytes: float) -> deque[Entry]:
        # The longest of each class may be what a reservation is for, whatever room there is now.
        most = LOOK_AHEAD if self._least_bytes[number] <= room_bytes else 1
        return deque(self._classes[number][: -most - 1 : -1])

    def _split(self) -> tuple[list[int], list[int]]:
        """Return the classes that go first, and the others."""
        numbers = sorted(self._classes)
        total_s, takes_s = 0.0, []  # these classes and all before, on the slots that they have
        for number in numbers:
            total_s += self._backlog_s[number]
            slots = self._slot_s[number] / max(self._backlog_s[number], 1e-9)
            takes_s.append(total_s / max(1.0, slots))
        worst_s, whole_s = max(takes_s, default=0.0), sum(takes_s[-1:])
        first = takes_s.index(worst_s) + 1 if worst_s > CLEARLY * whole_s else 0
        return numbers[:first], numbers[first:]

    def copy(self) -> "WaitingFits":
        """Return an independent copy."""
        other = WaitingFits()
        other._classes = {number: list(entries) for number, entries in self._classes.items()}
        other._slot_s = dict(self._slot_s)
        other._least_bytes = dict(self._least_bytes)
        other._backlog_s = dict(self._backlog_s)
        other._class_of = dict(self._class_of)
        other._sharing = {name: dict(sharers) for name, sharers in self._sharing.items()}
        other._work_s = dict(self._work_s)
        other._saved_s = self._saved_s
        return other
