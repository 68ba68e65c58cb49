"""The branches of a worker's fork server: which libraries are imported ahead, for which fits.

In: what is known of the libraries that the fits of a sweep need, one branch for all that need the
same, and its end. Not in: the branch's process (:mod:`fitcast.trainer.attempt.branching`).

What a job's pickle names is imported before its first fit. What fits import on top, by a line in
their ``fit``, is told by the first of them and imported for the next ones: those of the same sweep,
and those of later sweeps whose jobs name the same libraries. If that takes hardly any time where
the others are imported already, or can't be forked, the branch stays as it is.
"""

import logging
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

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
    before: tuple[str, ...] = ()  # what was known when the last ones came
    left: set[str] = field(default_factory=set)  # to the fits, as it isn't worth a branch
    tries: int = 0


@dataclass(slots=True, eq=False)
class _Grown:
    """A branch, or why there is none."""

    server: ServerProcess
    modules: tuple[str, ...]
    branch: ServerBranch | None = None
    ready: bool = False
    imports_s: float = 0.0  # CPU time of imports that aren't done ahead
    is_refused: bool = False  # a process that has them can't be forked
    instead: tuple[str, ...] | None = None  # the modules of the one that has all that is worth it
    users: int = 0
    of: set[str] = field(default_factory=set)  # datasets


class Taken(NamedTuple):
    """What the process of an attempt is forked from, and what it has to import all the same."""

    branch: ServerBranch | None = None  # None for the fork server itself
    imports_s: float = 0.0  # CPU time


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
    ) -> Iterator[Taken]:
        """Give the branch for an attempt, once it is there."""
        grown = self._take(server, spec, cancelled)
        try:
            yield Taken() if grown is None else Taken(grown.branch, grown.imports_s)
        finally:
            if grown is not None:
                with self._changed:
                    grown.users -= 1
                    self._end_idle()

    def learn(self, spec: AttemptSpec, imported: Iterable[str]) -> None:
        """Take in what an attempt had to import itself."""
        with self._changed:
            known = self._known_of(spec)
            tried = self._grown.get(known.modules)
            if tried is not None and tried.is_refused:
                return  # nor can it be forked with more
            new = [one for one in imported if one not in known.modules and one not in known.left]
            own = [name for name in new if name.partition(".")[0] not in COMMON]
            if (own or len(new) >= MANY) and known.tries < _MOST_TRIES:
                known.before, known.modules = known.modules, (*known.modules, *new)[:MOST]
                self._note_usual(spec, known)

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
            while known.modules:
                grown = self._grown.pop(known.modules, None)
                if grown is None or grown.server is not server or _is_gone(grown):
                    if known.tries >= _MOST_TRIES:
                        return None
                    known.tries += 1
                    if grown is not None and grown.branch is not None:
                        grown.server.end_branch(grown.branch)
                    grown = self._begin(server, known)
                self._grown[known.modules] = grown  # the latest
                grown.of.add(spec.dataset_id)
                grown.users += 1
                while not (grown.ready or cancelled.is_set()):
                    self._changed.wait(_TICK_S)
                if grown.instead is None:
                    return grown
                grown.users -= 1
                grown.of.discard(spec.dataset_id)
                known.left.update(grown.modules)
                if known.modules == grown.modules:
                    known.modules = grown.instead
                    self._note_usual(spec, known)
            return None

    def _begin(self, server: ServerProcess, known: _Known) -> _Grown:
        """Begin to grow a branch."""
        grown, before = _Grown(server, known.modules), self._grown.get(known.before)
        if before is not None and (before.branch is None or before.server is not server):
            before = None
        if before is not None:
            before.users += 1
        threading.Thread(
            target=self._grow, args=(grown, before), name="fitcast-branch", daemon=True
        ).start()
        return grown

    def _note_usual(self, spec: AttemptSpec, known: _Known) -> None:
        self._usual.pop(spec.job.modules, None)
        self._usual[spec.job.modules] = known.modules
        if len(self._usual) > _MOST_USUAL:
            del self._usual[next(iter(self._usual))]

    def _known_of(self, spec: AttemptSpec) -> _Known:
        named = spec.job.modules
        usual = self._usual.get(named, named) if named else named  # no name tells nothing
        return self._known.setdefault((spec.dataset_id, named), _Known(usual))

    def _grow(self, grown: _Grown, before: _Grown | None) -> None:
        branch, modules = None, grown.modules
        try:
            if before is not None and self._adds_little(before, modules[len(before.modules) :]):
                grown.instead = before.modules
                return
            branch, told = grown.server.branch(Branch(modules, tuple(sys.path)))
            if told.why_not:
                log.info("%s aren't imported ahead: %s", modules[:5], told.why_not)
                grown.is_refused, grown.imports_s = True, told.cpu_s
            if branch is not None and told.cpu_s < WORTH_S:
                grown.server.end_branch(branch)
                branch = None
        except Exception:
            log.info("%s can't be imported ahead", modules[:5], exc_info=True)
        finally:
            with self._changed:
                grown.branch, grown.ready = branch, True
                if before is not None:
                    before.users -= 1
                if grown.instead is not None:
                    self._grown.pop(modules, None)
                self._end_idle()
                self._changed.notify_all()

    def _adds_little(self, before: _Grown, new: tuple[str, ...]) -> bool:
        """Tell whether further imports are better left to the fits that a branch forks.

        They are tried in a process that it forks for them.
        """
        made, told = before.server.branch(Branch(new, tuple(sys.path)), before.branch)
        if made is None:
            log.info("%s aren't imported ahead: %s", new[:5], told.why_not)
            before.imports_s = told.cpu_s
            return True
        before.server.end_branch(made)
        return told.cpu_s < WORTH_S

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
