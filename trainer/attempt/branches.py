"""The branches of a worker's fork server: which libraries are imported ahead, for which fits.

In: what is known of the libraries that the fits of a sweep need, one branch for all that need the
same, and its end. Not in: the branch's process (:mod:`fitcast.trainer.attempt.branching`).

What a job's pickle names is imported before its first fit. What fits import on top, by a line in
their ``fit``, is told by the first of them and imported for the next ones: those of the same sweep,
and those of later sweeps whose jobs name the same libraries.
"""

import logging
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fitcast.trainer.attempt.messages import Branch
from fitcast.trainer.attempt.server_process import ServerBranch, ServerProcess
from fitcast.trainer.attempt.spec import AttemptSpec
from fitcast.trainer.imports import COMMON, MANY, MOST

log = logging.getLogger(__name__)

WORTH_S = 0.2
"""Imports that take less CPU time aren't worth a process that has them."""

_MOST_IDLE = 1  # branches that nobody uses, kept for the next sweep
_MOST_TRIES = 4  # fits that import ever more than those before
_MOST_USUAL = 64  # kinds of jobs whose imports are known to later sweeps
_TICK_S = 0.05


@dataclass(slots=True, eq=False)
class _Known:
    """What is known of the fits of a sweep that name the same libraries."""

    modules: tuple[str, ...]
    tries: int = 0


@dataclass(slots=True, eq=False)
class _Grown:
    """A branch, or why there is none."""

    server: ServerProcess
    branch: ServerBranch | None = None
    ready: bool = False
    users: int = 0
    of: set[str] = field(default_factory=set)  # datasets


class Branches:
    """Hands out branches of a fork server, from any number of threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._known: dict[tuple[str, tuple[str, ...]], _Known] = {}
        self._grown: dict[tuple[str, ...], _Grown] = {}  # by modules, in order of use
        self._usual: dict[tuple[str, ...], tuple[str, ...]] = {}  # what jobs name: what they import

    @contextmanager
    def taken(
        self, server: ServerProcess, spec: AttemptSpec, cancelled: threading.Event
    ) -> Iterator[ServerBranch | None]:
        """Give the branch for an attempt, once it is there; None for the fork server itself."""
        grown = self._take(server, spec, cancelled)
        try:
            yield None if grown is None else grown.branch
        finally:
            if grown is not None:
                with self._changed:
                    grown.users -= 1
                    self._end_idle()

    def learn(self, spec: AttemptSpec, imported: Iterable[str]) -> None:
        """Take in what an attempt had to import itself."""
        with self._changed:
            known = self._known_of(spec)
            new = [name for name in imported if name not in known.modules]
            own = [name for name in new if name.partition(".")[0] not in COMMON]
            if (own or len(new) >= MANY) and known.tries < _MOST_TRIES:
                known.modules = (*known.modules, *new)[:MOST]
                self._usual.pop(spec.job.modules, None)
                self._usual[spec.job.modules] = known.modules
                if len(self._usual) > _MOST_USUAL:
                    del self._usual[next(iter(self._usual))]

    def close_dataset(self, dataset_id: str) -> None:
        """Forget what is known of the fits on a dataset."""
        with self._changed:
            self._known = {key: one for key, one in self._known.items() if key[0] != dataset_id}
            for grown in self._grown.values():
                grown.of.discard(dataset_id)
            self._end_idle()

    def _take(
        self, server: ServerProcess, spec: AttemptSpec, cancelled: threading.Event
    ) -> _Grown | None:
        with self._changed:
            known = self._known_of(spec)
            modules = known.modules
            if not modules:
                return None
            grown = self._grown.pop(modules, None)
            if grown is None or grown.server is not server or _is_gone(grown):
                if known.tries >= _MOST_TRIES:
                    return None
                known.tries += 1
                if grown is not None and grown.branch is not None:
                    grown.server.end_branch(grown.branch)
                grown = _Grown(server)
                threading.Thread(
                    target=self._grow, args=(grown, modules), name="fitcast-branch", daemon=True
                ).start()
            self._grown[modules] = grown  # the latest
            grown.of.add(spec.dataset_id)
            grown.users += 1
            while not (grown.ready or cancelled.is_set()):
                self._changed.wait(_TICK_S)
            if grown.branch is None:
                grown.users -= 1
                return None
            return grown

    def _known_of(self, spec: AttemptSpec) -> _Known:
        named = spec.job.modules
        usual = self._usual.get(named, named) if named else named  # no name tells nothing
        return self._known.setdefault((spec.dataset_id, named), _Known(usual))

    def _grow(self, grown: _Grown, modules: tuple[str, ...]) -> None:
        branch = None
        try:
            branch, told = grown.server.branch(Branch(modules, tuple(sys.path)))
            if told.why_not:
                log.info("%s aren't imported ahead: %s", modules[:5], told.why_not)
            if branch is not None and told.cpu_s < WORTH_S:
                grown.server.end_branch(branch)
                branch = None
        except Exception:
            log.info("%s can't be imported ahead", modules[:5], exc_info=True)
        finally:
            with self._changed:
                grown.branch, grown.ready = branch, True
                self._end_idle()
                self._changed.notify_all()

    def _end_idle(self) -> None:
        """End branches that nobody needs, but for the last one."""
        idle = [
            (modules, one)
            for modules, one in self._grown.items()
            if one.ready and not one.users and not one.of
        ]
        for modules, one in idle[: max(0, len(idle) - _MOST_IDLE)]:
            del self._grown[modules]
            if one.branch is not None:
                one.server.end_branch(one.branch)


def _is_gone(grown: _Grown) -> bool:
    return grown.branch is not None and grown.server.has_ended(grown.branch)
