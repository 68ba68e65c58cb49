"""Lets the workers of a cluster follow the work: asks how many there should be, and sees to it.

Thin: how many is decided in :mod:`fitcast.scheduler.plan.pool_sizes`.
"""

from fitcast.scheduler.backends.protocol import Workers
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.pool_sizes import Allotment, held_to, surplus, wanted_workers
from fitcast.scheduler.plan.pools import Pool

LOOK_EVERY_S = 1.0


class Elastic:
    """Asks a backend for workers as a plan needs them.

    Parameters
    ----------
    workers : Workers
        What grows and shrinks.
    pools : sequence of Pool
        Their kinds.
    """

    def __init__(self, workers: Workers, pools: tuple[Pool, ...]) -> None:
        self._workers = workers
        self._pools = pools
        self._looked_s = float("-inf")
        self._idle_since_s: dict[str, float] = {}

    def look(
        self, decisions: Decisions, now_s: float, allotment: Allotment | None = None
    ) -> list[str]:
        """Let pools grow, and return the workers that are to go; at most once a second.

        With an allotment they grow no further than that, beside what pools always have.
        """
        if now_s - self._looked_s < LOOK_EVERY_S:
            return []
        self._looked_s = now_s
        limits = self._workers.limits()
        most = {name: limit.most for name, limit in limits.items()}
        wanted = wanted_workers(decisions.state, self._pools, most, self._workers.start_s, now_s)
        if allotment is not None:
            wanted = held_to(wanted, self._pools, allotment)
        for name, limit in limits.items():
            wanted[name] = max(wanted.get(name, 0), limit.least)
        self._workers.resize(wanted)
        there = decisions.workers.values()
        idle = [worker.size.address for worker in there if not worker.running]
        self._idle_since_s = {one: self._idle_since_s.get(one, now_s) for one in idle}
        return surplus(there, wanted, self._idle_since_s, now_s)
