"""CPUs, memory and GPUs as one thing. Pure arithmetic.

In: amounts, what a workflow still needs. Not in: who gets how much
(:mod:`fitcast.scheduler.broker.fair_share`).
"""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Resources:
    """An amount of each resource; of resource-seconds where that is said."""

    cpus: float = 0.0
    memory_bytes: float = 0.0
    gpus: float = 0.0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(
            self.cpus + other.cpus,
            self.memory_bytes + other.memory_bytes,
            self.gpus + other.gpus,
        )

    def __sub__(self, other: "Resources") -> "Resources":
        return self + other * -1.0

    def __mul__(self, factor: float) -> "Resources":
        return Resources(self.cpus * factor, self.memory_bytes * factor, self.gpus * factor)

    def amounts(self) -> tuple[float, float, float]:
        """Return CPUs, bytes and GPUs, in this order."""
        return self.cpus, self.memory_bytes, self.gpus

    def least(self, other: "Resources") -> "Resources":
        """Return the smaller amount of each."""
        return Resources(*map(min, self.amounts(), other.amounts()))

    def fits_in(self, room: "Resources", tolerance: float = 1e-9) -> bool:
        """Tell whether no amount exceeds the one of `room`, but for rounding."""
        return all(
            mine <= there + tolerance * max(abs(mine), abs(there))
            for mine, there in zip(self.amounts(), room.amounts(), strict=True)
        )

    def dominant_share(self, capacity: "Resources") -> float:
        """Return the largest of the shares that these amounts are of a capacity.

        Infinite where some is needed of what there is none of.
        """
        shares = [
            mine / there if there > 0.0 else math.inf
            for mine, there in zip(self.amounts(), capacity.amounts(), strict=True)
            if mine > 0.0
        ]
        return max(shares, default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """All that is left to do of a workflow, and what it can use at once.

    Attributes
    ----------
    frees_in_s : float
        After how long, on the average, what it has at a moment is free again: its fits aren't
        interrupted. Of one that waits when it will run.
    """

    cpu_s: float = 0.0
    memory_byte_s: float = 0.0
    gpu_s: float = 0.0
    most: Resources = field(default_factory=Resources)
    frees_in_s: float = 0.0

    def least_s(self, room: Resources | None = None) -> float:
        """Return how long it takes with all that it can use at once, in seconds.

        Parameters
        ----------
        room : Resources, optional
            What there is; without it `most` is taken to be there.
        """
        at_once = self.most if room is None else self.most.least(room)
        needed = (self.cpu_s, self.memory_byte_s, self.gpu_s)
        times = [
            work / has if has > 0.0 else math.inf
            for work, has in zip(needed, at_once.amounts(), strict=True)
            if work > 0.0
        ]
        return max(times, default=0.0)
