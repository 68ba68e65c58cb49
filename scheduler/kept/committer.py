"""Commits what ended, on a thread of its own: whoever hands it over doesn't wait for the disk.

In: what waits of which workflow, putting together what waits (a group commit), trying again while
the disk is full. Not in: how a commit is made (:mod:`fitcast.scheduler.kept.results`).

While one commit is on its way to the disk the next ones wait, and then go out together; commits
begin some milliseconds apart. So the number of files doesn't follow from the number of fits.
"""

import logging
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from fitcast.errors import FitcastError, InternalError, StoreError
from fitcast.scheduler.kept.freed_memory import give_back
from fitcast.scheduler.kept.results import Ended, KeptAttempt, ResultStore

log = logging.getLogger(__name__)

Then: TypeAlias = Callable[[list[KeptAttempt] | FitcastError], None]
"""What is told of a commit: what is kept, or why it isn't."""

Wait: TypeAlias = Callable[[threading.Condition, float | None], object]
"""Waits on a condition, for some seconds at most; None: until it is notified."""

PATIENCE_S: Final = 600.0
"""For how long a commit that fails is tried again, unless told otherwise."""

APART_S: Final = 0.01
"""How far apart commits begin, unless told otherwise: a file costs more than what is in it."""

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_GROUP_ATTEMPTS: Final = 1000
_GROUP_BYTES: Final = 64 * 2**20
_GIVE_BACK_BYTES: Final = 16 * 2**20


@dataclass(slots=True)
class _Waiting:
    """One commit that was asked for."""

    store: ResultStore
    ended: Sequence[Ended]
    then: Then
    size_bytes: int


@dataclass(slots=True)
class _Line:
    """What waits of one workflow, and how it stands with its disk."""

    waiting: deque[_Waiting] = field(default_factory=deque)
    failed_at_s: float | None = None  # when its first try failed; None if the last one didn't
    tries: int = 0
    due_s: float = 0.0
    told: bool = False
    given_up: bool = False

    def group(self) -> list[_Waiting]:
        """Return what goes into the next file, which is one at least."""
        store = self.waiting[0].store
        taken: list[_Waiting] = []
        attempts = size_bytes = 0
        for one in self.waiting:
            attempts += len(one.ended)
            size_bytes += one.size_bytes
            if taken and (
                one.store is not store or attempts > _GROUP_ATTEMPTS or size_bytes > _GROUP_BYTES
            ):
                break
            taken.append(one)
        return taken


class Committer:
    """Commits for all workflows of an engine, one after the other.

    A commit that fails for want of space, or of the disk, is tried again after pauses of 1 s to
    30 s; meanwhile other workflows' commits go on.

    Parameters
    ----------
    on_trouble
        Is told, once, that a workflow's results can't be kept at present, and with an empty text
        that this is over: they are kept, or nothing waits any more. On the committer's thread.
    patience_s
        For how long one commit is tried.
    apart_s
        Commits begin at least so far apart, so that tiny fits share files; the first one of a while
        begins at once.
    clock, wait
        Monotonic seconds, and how they pass: for tests in virtual time.
    """

    def __init__(
        self,
        on_trouble: Callable[[str, str], None],
        *,
        patience_s: float = PATIENCE_S,
        apart_s: float = APART_S,
        clock: Callable[[], float] = time.monotonic,
        wait: Wait = threading.Condition.wait,
    ) -> None:
        self._on_trouble = on_trouble
        self._patience_s = patience_s
        self._apart_s = apart_s
        self._free_at_s = -math.inf  # when the next commit may begin
        self._clock = clock
        self._wait = wait
        self._changed = threading.Condition()
        self._lines: OrderedDict[str, _Line] = OrderedDict()  # by whose turn it is
        self._thread: threading.Thread | None = None
        self._closing = False
        self._passed_bytes = 0  # since memory was last given back

    def commit(self, store: ResultStore, ended: Sequence[Ended], then: Then) -> None:
        """Have attempts committed; returns at once.

        Parameters
        ----------
        store
            Where to.
        ended
            The attempts; don't change them until `then` is called.
        then
            Is called once, on the committer's thread: with what is kept once it is on the disk,
            or with the error because of which it isn't and won't be.
        """
        waiting = _Waiting(store, ended, then, _size_bytes(ended))
        with self._changed:
            if not self._closing:
                line = self._lines.setdefault(store.workflow_id, _Line())
                line.waiting.append(waiting)
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._run, name="fitcast-committer", daemon=True
                    )
                    self._thread.start()
                self._changed.notify_all()
                return
        _tell(then, StoreError("results can't be kept: fitcast is being closed"))

    def give_up(self, workflow_id: str) -> None:
        """Drop what waits of a workflow: its `then` is called at once, with an error.

        What is on its way to the disk is committed still, and told so.
        """
        with self._changed:
            if (line := self._lines.get(workflow_id)) is not None:
                line.given_up = True
                self._changed.notify_all()

    def close(self, timeout_s: float) -> None:
        """Commit what waits, try once more what failed, and end; what is left gets an error.

        Parameters
        ----------
        timeout_s
            How long the disk may take. If it takes longer, what waits is told so from here.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is None:
            return
        thread.join(timeout_s)
        if thread.is_alive():
            with self._changed:
                left = [one for line in self._lines.values() for one in line.waiting]
                for line in self._lines.values():
                    line.waiting.clear()
            error = StoreError("results can't be kept: the disk didn't answer while closing")
            for one in left:
                _tell(one.then, error)

    def _run(self) -> None:
        while (taken := self._next()) is not None:
            workflow_id, line, group = taken
            if group:
                self._committed(workflow_id, line, group)
            else:
                self._dropped(
                    workflow_id, line, StoreError("results aren't kept: the workflow was given up")
                )
            with self._changed:
                if not line.waiting and self._lines.get(workflow_id) is line:
                    del self._lines[workflow_id]

    def _next(self) -> tuple[str, _Line, list[_Waiting]] | None:
        """Wait for the next group; an empty one for a workflow that was given up, None to end."""
        with self._changed:
            while True:
                now_s = self._clock()
                for workflow_id, line in list(self._lines.items()):
                    if line.given_up:
                        return workflow_id, line, []
                    due_s = max(line.due_s, self._free_at_s)
                    if line.waiting and (due_s <= now_s or self._closing):
                        self._free_at_s = now_s + self._apart_s
                        self._lines.move_to_end(workflow_id)  # the others come before its next
                        group = line.group()
                        for _ in group:
                            line.waiting.popleft()
                        return workflow_id, line, group
                if self._closing:
                    return None
                dues_s = [line.due_s for line in self._lines.values() if line.waiting]
                due_s = max(min(dues_s), self._free_at_s) if dues_s else math.inf
                self._wait(self._changed, due_s - now_s if dues_s else None)

    def _committed(self, workflow_id: str, line: _Line, group: list[_Waiting]) -> None:
        try:
            kept = group[0].store.commit([one for waiting in group for one in waiting.ended])
        except StoreError as error:
            self._failed(workflow_id, line, group, error)
            return
        except Exception as error:
            if len(group) > 1:  # one of them is at fault: the others shan't pay for it
                for one in group:
                    self._committed(workflow_id, line, [one])
                return
            if not isinstance(error, FitcastError):
                log.exception("a result can't be kept")
                error = InternalError(f"a result can't be kept ({error!r}): please report it")
            _tell(group[0].then, error)
            return
        line.failed_at_s, line.tries, line.due_s = None, 0, 0.0
        self._told_over(workflow_id, line)
        for waiting in group:
            _tell(waiting.then, kept[: len(waiting.ended)])
            kept = kept[len(waiting.ended) :]
        self._passed_bytes += sum(waiting.size_bytes for waiting in group)
        if self._passed_bytes >= _GIVE_BACK_BYTES:
            self._passed_bytes = 0
            give_back()

    def _failed(
        self, workflow_id: str, line: _Line, group: list[_Waiting], error: StoreError
    ) -> None:
        now_s = self._clock()
        with self._changed:
            line.waiting.extendleft(reversed(group))
            if line.failed_at_s is None:
                line.failed_at_s = now_s
            lasts_s = now_s - line.failed_at_s
            line.due_s = now_s + min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**line.tries)
            line.tries += 1
            over = self._closing or line.given_up or lasts_s >= self._patience_s
        if over:
            self._dropped(workflow_id, line, error)
        elif not line.told:
            line.told = True
            log.warning("%s", error)
            self._said(workflow_id, str(error))

    def _dropped(self, workflow_id: str, line: _Line, error: StoreError) -> None:
        """Tell all that waits of a workflow that it isn't kept."""
        with self._changed:
            waiting = list(line.waiting)
            line.waiting.clear()
            line.failed_at_s, line.tries, line.due_s = None, 0, 0.0
            line.given_up = False
        self._told_over(workflow_id, line)
        for one in waiting:
            _tell(one.then, error)

    def _told_over(self, workflow_id: str, line: _Line) -> None:
        if line.told:
            line.told = False
            self._said(workflow_id, "")

    def _said(self, workflow_id: str, text: str) -> None:
        try:
            self._on_trouble(workflow_id, text)
        except Exception:
            log.exception("what is told of a trouble was refused")


def _size_bytes(ended: Sequence[Ended]) -> int:
    measured = [one.measured for one in ended]
    arrays = sum(each.predictions.nbytes for each in measured if each.predictions is not None)
    return arrays + sum(len(each.model) for each in measured if each.model is not None)


def _tell(then: Then, what: list[KeptAttempt] | FitcastError) -> None:
    try:
        then(what)
    except Exception:  # whoever asked has a fault: others' commits go on
        log.exception("what is told of a commit was refused")
