"""What keeps local workers there: one that no longer answers is ended, one that is gone comes back.

Two parts: the rules, pure, a :class:`Watched` per worker; and what observes a running Dask cluster
for them. Not in: starting and ending the cluster (:mod:`fitcast.scheduler.backends.local`),
what the loss of a worker means for its fits (:mod:`fitcast.scheduler.plan.decisions`).

A worker answers as long as its heartbeats come. Fits run in processes of their own, so a healthy
worker always has a moment for one; a stopped one (SIGSTOP, a debugger, a frozen container) hasn't.
It is killed rather than cut off: what is dead reports nothing late, its nanny starts another, and
the way from there is that of every lost worker.

Silence counts only while this process observes. If this process itself was stopped, or the whole
machine slept, then nobody was heard for a while and all of them are well.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

from fitcast.errors import BackendError

log = logging.getLogger(__name__)

OBSERVE_EVERY_S = 0.5
"""How often the workers are observed."""

START_WITHIN_S = 120.0
"""A worker's process that hasn't joined after this time is started anew."""

MOST_FAILED_STARTS = 5
"""After so many starts in a row in vain, of every worker, there will be none."""

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Observation:
    """What is seen of a worker at one moment."""

    nanny: bool  # whether there is a nanny that cares for its process
    pid: int | None  # its process
    heard_s: float | None  # when it was last heard of, on any clock; None unless it has joined


class RepairAction(Enum):
    """What is to be done about a worker."""

    KILL = "kill its process"
    REPLACE_NANNY = "give it a new nanny"


class Watched:
    """A worker that should be there, and what was seen of it so far.

    Parameters
    ----------
    silent_after_s : float
        Without a sign of life for so long it counts as lost.
    """

    def __init__(self, silent_after_s: float) -> None:
        self.failed_starts = 0  # in a row, the latest of them
        self.joined = False
        self._silent_after_s = silent_after_s
        self._last: Observation | None = None
        self._observed_s = 0.0
        self._quiet_s = 0.0  # since it was heard, or since its process began
        self._pause_s = 0.0  # until its nanny is replaced

    @property
    def is_lost(self) -> bool:
        """Whether nothing suggests that it will come back."""
        return not self.joined and self.failed_starts >= MOST_FAILED_STARTS

    def observe(self, seen: Observation, now_s: float) -> RepairAction | None:
        """Note what is seen now and return what is to be done."""
        last, self._last = self._last, seen
        step_s = min(now_s - self._observed_s, 2 * OBSERVE_EVERY_S) if last is not None else 0.0
        self._observed_s = now_s
        self.joined = seen.heard_s is not None
        if self.joined:
            self.failed_starts = 0
        elif last is not None and last.heard_s is None and _began_anew(last, seen):
            self.failed_starts += 1
        if not seen.nanny:
            return self._without_nanny(step_s)
        self._pause_s = self._next_pause_s()
        unchanged = last is not None and (last.pid, last.heard_s) == (seen.pid, seen.heard_s)
        self._quiet_s = self._quiet_s + step_s if unchanged else 0.0
        if seen.pid is None or self._quiet_s < self._patience_s():
            return None
        self._quiet_s = 0.0
        return RepairAction.KILL

    def _without_nanny(self, step_s: float) -> RepairAction | None:
        self._pause_s -= step_s
        if self._pause_s > 0:
            return None
        self._pause_s = self._next_pause_s()
        return RepairAction.REPLACE_NANNY

    def _patience_s(self) -> float:
        return self._silent_after_s if self.joined else max(START_WITHIN_S, self._silent_after_s)

    def _next_pause_s(self) -> float:
        if not self.failed_starts:
            return 0.0
        return min(_FIRST_PAUSE_S * 2.0**self.failed_starts, _LONGEST_PAUSE_S)


def _began_anew(last: Observation, seen: Observation) -> bool:
    """Tell whether a process that never joined was given up."""
    if last.nanny and not seen.nanny:
        return True
    return last.pid is not None and seen.pid is not None and last.pid != seen.pid


class Upkeep:
    """Looks after the workers of a cluster, on its event loop, until it is stopped.

    Parameters
    ----------
    cluster : distributed.SpecCluster
        Whose scheduler and nannies run in this process.
    names : iterable of str
        The workers that should be there.
    silent_after_s : float
        Without a sign of life for so long a worker counts as lost.
    on_lost : callable
        ``on_lost(error)``, once, when no worker is there and none can be started any more.
    """

    def __init__(
        self,
        cluster: Any,
        names: Iterable[str],
        silent_after_s: float,
        on_lost: Callable[[BackendError], None],
    ) -> None:
        self._cluster = cluster
        self._watched = {name: Watched(silent_after_s) for name in names}
        self._on_lost = on_lost
        self._task: asyncio.Task[None] | None = None
        self._replacing: asyncio.Task[None] | None = None
        cluster.sync(self._begin)

    def stop(self) -> None:
        """Observe no more; end processes that haven't joined: their nannies would wait for them."""
        with suppress(Exception):  # the loop may be over
            self._cluster.sync(self._end, callback_timeout=5)

    async def _begin(self) -> None:
        self._task = asyncio.create_task(self._keep_observing())

    async def _end(self) -> None:
        from distributed.core import Status

        if self._task is not None:
            self._task.cancel()
        # A nanny that is being made isn't known to the cluster yet: closing waits for it.
        for nanny in list(self._cluster.workers.values()):
            if nanny.pid is not None and nanny.process.status == Status.starting:
                nanny.close_gracefully()  # it starts no other
                await nanny.process.process.kill()

    async def _keep_observing(self) -> None:
        while not all(watched.is_lost for watched in self._watched.values()):
            try:
                await self._observe_once()
            except Exception:  # the next time may do better
                log.exception("the workers could not be observed")
            await asyncio.sleep(OBSERVE_EVERY_S)
        self._cluster.scale(0)  # else nannies go on starting what ends at once
        self._on_lost(
            BackendError(
                f"all workers were lost, and {MOST_FAILED_STARTS} times in a row none could be "
                "started again: something ends them, or this machine lacks memory or processes. "
                "Make a new Client once that is repaired."
            )
        )

    async def _observe_once(self) -> None:
        now_s = asyncio.get_running_loop().time()
        joined = {str(w.name): w for w in self._cluster.scheduler.workers.values()}
        for name, watched in self._watched.items():
            nanny = self._cluster.workers.get(name)
            action = watched.observe(_observation(nanny, joined.get(name)), now_s)
            if action is RepairAction.KILL:
                with suppress(ValueError, AttributeError):  # it ended meanwhile
                    await nanny.process.process.kill()
            elif action is RepairAction.REPLACE_NANNY:
                self._replace(name)

    def _replace(self, name: str) -> None:
        self._cluster.workers.pop(name, None)
        if self._replacing is None or self._replacing.done():
            self._replacing = asyncio.create_task(self._fill_up())

    async def _fill_up(self) -> None:
        with suppress(Exception):  # the next observation finds no nanny there
            await self._cluster  # makes what the specification names and isn't there


def _observation(nanny: Any, joined: Any) -> Observation:
    from distributed.core import Status

    ended = (Status.closing, Status.closed, Status.failed)
    cares = nanny is not None and nanny.status not in ended
    return Observation(
        nanny=cares,
        pid=nanny.pid if cares else None,
        heard_s=None if joined is None else joined.last_seen,
    )
