"""How much of a core a fit gets beside what others run, and what it makes of an ETA.

Pure: numbers in, numbers out. In: others' load from shares of cores that were measured, the share
that so many fits of ours then get, how long that lasts. Not in: where shares are measured
(:mod:`fitcast.scheduler.backends.host_load`, and each attempt), what a fit takes alone
(:mod:`fitcast.history.undisturbed`).

Threads that want a core share the cores evenly, so ``own`` threads of ours beside others get
``cores / (own + others)`` of one each. Turned around, a measured share tells the others, in threads
that always want a core: others that the kernel favours, or disfavours, count for more or less. What
our own threads take from each other isn't the others' doing, and is in the plan already.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

LOAD_LASTS_S = 3600.0
"""In half of all cases a load lasts longer than this, from whenever it is seen."""

UNSURE_SD = 0.25
"""Standard deviation of the logarithm of others' load, from one look to the next minutes."""

HALF_LIFE_S = 15.0
"""After so long what was measured counts for half."""

FRESH_S = 3.0
"""After so long it is measured anew before a sweep, which takes a moment."""

FORGOTTEN_S = 60.0
"""After so long it is no more than a memory: it has to be measured anew."""

LEAST_SEEN_S = 0.1
"""Seconds that threads must have wanted a core for their share to tell anything."""

QUIET_SHARE = 0.93
"""Threads that get more of a core than this are beside nobody: ours are in each other's way too."""


@dataclass(frozen=True, slots=True)
class Others:
    """What others want of the cores that fits share.

    Attributes
    ----------
    threads : float
        Threads of others that always want a core, or what comes to the same.
    cores : float
        Cores for all.
    """

    threads: float
    cores: float

    @classmethod
    def seen(cls, share: float, own: float, cores: float) -> "Others":
        """Return what others want, if `own` threads of ours got such a share of a core each."""
        if share >= QUIET_SHARE:
            return cls(0.0, cores)
        return cls(max(0.0, cores / max(share, 1e-3) - max(own, 1.0)), cores)

    def slowdown(self, own: float) -> float:
        """Return by how much `own` threads of ours take longer than they would without others."""
        return max(1.0, (min(max(own, 1.0), self.cores) + self.threads) / self.cores)

    @property
    def busy_cores(self) -> float:
        """How many cores they keep busy while ours are idle."""
        return min(self.cores, self.threads)

    def drawn(self, z: float) -> "Others":
        """Return them as they may turn out, `z` being a standard normal deviate."""
        return Others(self.threads * math.exp(UNSURE_SD * z), self.cores)


class Shares:
    """The shares of cores that threads got, the latest counting most. Times are of one clock."""

    def __init__(self) -> None:
        self._at_s = -math.inf
        self._cpu_s = self._wanted_s = self._own = 0.0

    def note(self, at_s: float, cpu_s: float, wait_s: float, own: float) -> None:
        """Note seconds with a core and of waiting for one, `own` threads wanting one at a time."""
        wanted_s = cpu_s + wait_s
        if not (wanted_s > 0.0 and cpu_s >= 0.0 and wait_s >= 0.0):
            return
        kept = 0.5 ** (max(0.0, at_s - self._at_s) / HALF_LIFE_S)
        self._at_s = max(at_s, self._at_s)
        self._cpu_s = kept * self._cpu_s + cpu_s
        self._wanted_s = kept * self._wanted_s + wanted_s
        self._own = kept * self._own + own * wanted_s

    def is_fresh(self, now_s: float) -> bool:
        """Whether it was measured lately, on enough."""
        return now_s - self._at_s <= FRESH_S and self._wanted_s >= LEAST_SEEN_S

    def others(self, now_s: float, cores: float) -> Others | None:
        """Return what others want; None if that isn't known, or no more."""
        if self._wanted_s < LEAST_SEEN_S or now_s - self._at_s > FORGOTTEN_S:
            return None
        return Others.seen(self._cpu_s / self._wanted_s, self._own / self._wanted_s, cores)


@dataclass(frozen=True, slots=True)
class Slowed:
    """How others' load may turn out: so much of it, until a moment."""

    others: Mapping[str, Others]
    here: Others | None
    until_s: float

    def took_s(self, now_s: float, work_s: float, worker: str, own: float) -> float:
        """Return how long it takes what takes `work_s` alone, from a moment on."""
        others = self.others.get(worker, self.here)
        if others is None or others.threads <= 0.0 or now_s >= self.until_s:
            return work_s
        slower = others.slowdown(own)
        left_s = self.until_s - now_s
        if work_s * slower <= left_s:
            return work_s * slower
        return left_s + (work_s - left_s / slower)


@dataclass(frozen=True, slots=True)
class OthersLoad:
    """What others want of the machines that fits run on.

    Attributes
    ----------
    here : Others or None
        Of the machine that all workers are on; None if that is quiet, not known, or not one.
    by_worker : mapping
        Of the machines of single workers.
    """

    here: Others | None = None
    by_worker: Mapping[str, Others] = field(default_factory=dict)

    @property
    def is_felt(self) -> bool:
        """Whether there is any."""
        every = [*self.by_worker.values(), *([] if self.here is None else [self.here])]
        return any(one.threads > 0.0 for one in every)

    def slowdown(self, worker: str, own: float) -> float:
        """Return by how much fits take longer on a worker, `own` threads of them at a time."""
        others = self.by_worker.get(worker, self.here)
        return 1.0 if others is None else others.slowdown(own)

    def draw(self, rng: np.random.Generator, now_s: float) -> Slowed:
        """Draw how much there will be, and how long it lasts: half of it longer than an hour."""
        z = float(rng.standard_normal())
        lasts_s = LOAD_LASTS_S * (1.0 / (1.0 - rng.random()) - 1.0)
        return Slowed(
            {worker: one.drawn(z) for worker, one in self.by_worker.items()},
            None if self.here is None else self.here.drawn(z),
            now_s + lasts_s,
        )

    def said(self, own: float) -> str:
        """Return it as a user is told, for `own` threads at a time; nothing if it isn't felt."""
        if self.here is not None and self.here.threads > 0.0:
            slower = self.here.slowdown(own)
            if slower < _TOLD_FROM:
                return ""
            of = f"{self.here.busy_cores:.1f} of this machine's {_number(self.here.cores)} cores"
            return f"other processes keep {of} busy: fits take about {slower:.1f} × as long"
        slower = max((one.slowdown(one.cores) for one in self.by_worker.values()), default=1.0)
        if slower < _TOLD_FROM:
            return ""
        return f"other processes share the workers' cores: fits take up to {slower:.1f} × as long"


NO_LOAD = OthersLoad()

_TOLD_FROM = 1.1


def _number(cores: float) -> str:
    return f"{cores:.1f}".removesuffix(".0")
