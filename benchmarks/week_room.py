"""The cluster of the simulated week: what is free, and what is kept for a fit that found no room.

In: one pool of CPUs and memory. Not in: whose turn it is (:mod:`benchmarks.week_play`).

The first fit that finds no room has it kept as it becomes free, as the plan does
(:mod:`fitcast.scheduler.plan.placement`): others begin before it only if they are forecast to be
done by then, or need none of it.
"""

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass
class _Kept:
    fit: Hashable
    cpus: int
    memory_bytes: float
    start_s: float  # when there is forecast to be room
    cpus_left: int  # of what is free by then
    bytes_left: float


class Room:
    """What is free.

    Parameters
    ----------
    cpus : int
        All that there are.
    memory_bytes : float
        All that there is.
    """

    def __init__(self, cpus: int, memory_bytes: float) -> None:
        self.free_cpus, self.free_bytes = cpus, memory_bytes
        self._runs: dict[Hashable, tuple[float, int, float]] = {}  # until when as forecast, what
        self._kept: _Kept | None = None

    def begin(
        self, fit: Hashable, cpus: int, memory_bytes: float, said_s: float, now_s: float
    ) -> bool:
        """Begin a fit if there is room for it now; tell whether it began."""
        if cpus > self.free_cpus or memory_bytes > self.free_bytes:
            if self._kept is None:
                self._kept = self._keep(fit, cpus, memory_bytes, now_s)
            return False
        kept = self._kept
        if kept is not None and kept.fit == fit:
            self._kept = None
        elif kept is not None and now_s + said_s > kept.start_s:
            if cpus > kept.cpus_left or memory_bytes > kept.bytes_left:
                return False
            kept.cpus_left -= cpus
            kept.bytes_left -= memory_bytes
        self.free_cpus -= cpus
        self.free_bytes -= memory_bytes
        self._runs[fit] = (now_s + said_s, cpus, memory_bytes)
        return True

    def end(self, fit: Hashable, now_s: float) -> None:
        """Note that a fit has ended."""
        _, cpus, memory_bytes = self._runs.pop(fit)
        self.free_cpus += cpus
        self.free_bytes += memory_bytes
        kept = self._kept
        # Once it has room it goes by turns again; later than forecast, it is forecast anew.
        if kept is not None and (
            now_s >= kept.start_s
            or (kept.cpus <= self.free_cpus and kept.memory_bytes <= self.free_bytes)
        ):
            self._kept = None

    def forget(self, workflow: str) -> None:
        """Keep nothing for a workflow that went back to the queue; fits are (workflow, number)."""
        kept = self._kept
        if kept is not None and isinstance(kept.fit, tuple) and kept.fit[0] == workflow:
            self._kept = None

    def _keep(self, fit: Hashable, cpus: int, memory_bytes: float, now_s: float) -> _Kept:
        free_cpus, free_bytes, start_s = self.free_cpus, self.free_bytes, now_s
        for until_s, some_cpus, some_bytes in sorted(self._runs.values()):
            if cpus <= free_cpus and memory_bytes <= free_bytes:
                break
            free_cpus, free_bytes = free_cpus + some_cpus, free_bytes + some_bytes
            # One that takes longer than was forecast is expected to end at any moment.
            start_s = max(start_s, until_s)
        left = free_cpus - cpus, free_bytes - memory_bytes
        return _Kept(fit, cpus, memory_bytes, start_s, *left)
