"""Lets workflows run: takes them from the queue by fair share, and tells the queue how they fare.

One thread, a round every half a second: leases are renewed with what was done since, what ended is
noted, what was cancelled is given up, what has to give way goes back to the queue, and what is next
is taken. Nothing slow happens on it: workflows are opened and interrupted on others.

While the database is away, what runs goes on: nobody else can have it, since its folder is held. A
replica that alone can't reach the database can't be told by it that its leases have lapsed. Whoever
claims a workflow then and finds its folder held says so in the folder, and who holds it without a
lease gives it up: only then the other one begins.

In: driving. Not in: whose turn it is (:mod:`fitcast.scheduler.broker.fair_share`), the queue
(:mod:`fitcast.scheduler.broker.store`), running (:mod:`fitcast.scheduler.session.engine`).
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from operator import is_
from typing import Final

from fitcast.errors import (
    BrokerStoreError,
    FitcastError,
    LostLeaseError,
    SubmissionError,
    UnknownWorkflowError,
    WorkflowHeldError,
)
from fitcast.history.records import Outcome, Record
from fitcast.scheduler.broker.fair_share import (
    Limits,
    next_claimed,
    to_give_way,
)
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.serving.progress import progress_of, used_by
from fitcast.scheduler.broker.serving.reopening import Pauses, ends, told
from fitcast.scheduler.broker.serving.sharing import Sharing
from fitcast.scheduler.broker.serving.turns import (
    capacity_of,
    limits_now,
    running_of,
    waiting_of,
)
from fitcast.scheduler.broker.store import StoredWorkflow
from fitcast.scheduler.kept.workflow_folder import End
from fitcast.scheduler.run.executor import Executor
from fitcast.scheduler.run.runs import Run
from fitcast.scheduler.run.views import FitRow

log = logging.getLogger(__name__)

ROUND_S: Final = 0.5
OPENED_AT_ONCE: Final = 2
SHOWN_FITS: Final = 200
"""So many running fits of a workflow are told to those who look at another replica."""
TOLD_EVERY_S: Final = 2.0
"""They are told no more often than that, and only if others run than were told last."""

_ENDS: Final = {
    "succeeded": State.SUCCEEDED,
    "failed": State.FAILED,
    "cancelled": State.CANCELLED,
}


@dataclass(slots=True)
class _Held:
    """A workflow that this replica has taken."""

    row: StoredWorkflow  # as it was claimed
    opening: Future[Run]
    charged_s: float  # until when its use was charged
    gives_way: bool = False
    ended: End | None = None  # it had, and who ran it had no time to tell the queue
    told_fits: Sequence[FitRow] = ()  # those that run, as the queue was told last
    told_s: float = -math.inf  # when they were looked at last

    @property
    def run(self) -> Run | None:
        done = self.opening.done() and self.opening.exception() is None
        return self.opening.result() if done else None


class Claims:
    """Takes workflows from the queue and lets them run, on a thread of its own.

    Parameters
    ----------
    service : Service
        Store, keys, engine.
    replica : str
        Who takes them; unique to this process.
    limits : Limits
        How the cluster is shared.
    lease_s : float
        How long the queue waits for a sign of life.
    on_end : callable
        Is told of each workflow that ended here, with the records of its attempts.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self,
        service: Service,
        replica: str,
        limits: Limits,
        *,
        lease_s: float,
        on_end: Callable[[StoredWorkflow, Sequence[Record]], None] = lambda row, records: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._store = service.store
        self._engine = service.engine
        self._replica = replica
        self._limits = limits
        self._lease_s = lease_s
        self._on_end = on_end
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._sharing = Sharing(self._store, self._engine, limits, clock)
        self._cancelled: set[str] = set()  # of these, those that are to be given up
        self._executor = Executor("fitcast-claims", threads=OPENED_AT_ONCE)
        self._ending = threading.Event()
        self._pauses = Pauses()
        self._renewed_s = clock()  # when leases were last renewed, all of them
        self._away = False  # the database, last time
        self._back_s = -math.inf  # when it was there again
        self._thread = threading.Thread(target=self._go_round, name="fitcast-claims", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def running(self) -> int:
        """How many workflows this replica has."""
        return len(self._held)

    def close(self) -> None:
        """Give everything back to the queue; others go on with it, or this one when it is back."""
        self._ending.set()
        self._thread.join()
        for workflow_id, held in list(self._held.items()):
            try:
                run = held.opening.result(60.0)
            except Exception:
                run = None
            if run is not None and not run.is_over:
                self._engine.interrupt(workflow_id)
            try:
                self._settle(workflow_id, held)
            except FitcastError as error:
                log.warning("workflow %s is left to its lease: %s", workflow_id, error)
        self._executor.close(10.0)

    def _go_round(self) -> None:
        while not self._ending.wait(ROUND_S):
            try:
                self.turn()
            except BrokerStoreError as error:
                if not self._away:
                    log.warning("the queue can't be reached, what runs goes on: %s", error)
                self._away = True
                self._give_up_wanted()
            except Exception:
                log.exception("a round of the queue failed")

    def turn(self) -> None:
        """Do one round."""
        self._renew()
        if self._away:
            self._away, self._back_s = False, self._clock()
            log.info("the queue is reached again")
        mine = self._store.running(self._replica) if self._held else []
        self._cancelled = {row.workflow_id for row in mine if row.cancel_asked}
        for workflow_id, held in list(self._held.items()):
            self._settle(workflow_id, held)
        if self._clock() - self._back_s > self._lease_s:
            self._store.take_lapsed()  # after it was away, all others are given the time to renew
        here = {one: held for one, held in self._held.items() if held.run is not None}
        self._sharing.tell(frozenset(held.row.user for held in here.values()), frozenset(here))
        self._give_way_and_claim()

    # -- what this replica has -------------------------------------------------------------------

    def _renew(self) -> None:
        if not self._held:
            if self._away:
                self._store.check()
            return
        changed = {one: self._changed_fits(held) for one, held in self._held.items()}
        told = {one: fits for one, fits in changed.items() if fits is not None}
        progress = {
            workflow_id: (held.row.fence, progress_of(held.row, held.run, told.get(workflow_id)))
            for workflow_id, held in self._held.items()
        }
        asked_s = self._clock()
        kept = self._store.renew(self._replica, self._lease_s, progress)
        self._renewed_s = asked_s
        for workflow_id, fits in told.items():
            self._held[workflow_id].told_fits = fits
        self._lose([one for one in self._held if one not in kept], "its lease had lapsed")
        self._charge()

    def _give_up_wanted(self) -> None:
        """End here what another replica has the right to run by now, without being told of it."""
        if self._clock() - self._renewed_s < self._lease_s:
            return
        folder = self._service.files.folder
        wanted = [one for one, held in self._held.items() if folder(one).wanted() > held.row.fence]
        self._lose(wanted, "its lease has lapsed, and another replica waits for it")

    def _changed_fits(self, held: _Held) -> Sequence[FitRow] | None:
        """Return the fits that run, for others to see; None if they were told, or just now."""
        run, now_s = held.run, self._clock()
        if run is None or now_s - held.told_s < TOLD_EVERY_S:
            return None
        held.told_s = now_s
        fits = run.view().running()[:SHOWN_FITS]
        same = len(fits) == len(held.told_fits) and all(map(is_, fits, held.told_fits))
        return None if same else fits

    def _charge(self) -> None:
        now_s = self._clock()
        for held in self._held.values():
            run, elapsed_s = held.run, now_s - held.charged_s
            held.charged_s = now_s
            if run is not None:
                used = used_by(run.view().running())
                self._store.charge(held.row.user_id, used * elapsed_s, self._limits.half_life_s)

    def _settle(self, workflow_id: str, held: _Held) -> None:
        """Tell the queue of a workflow that ended here, and give up what was cancelled."""
        if not held.opening.done():
            return
        error = held.opening.exception()
        if error is not None:
            self._settle_unopened(workflow_id, held, error)
            return
        run = held.opening.result()
        if not run.is_over:
            if workflow_id in self._cancelled:
                self._engine.cancel(workflow_id)
            return
        if not run.closed.is_set():
            return
        view = run.view()
        if view.state == "interrupted":
            why = "gave way" if held.gives_way else ""
            self._store.give_back(workflow_id, held.row.fence, why, waits_anew=held.gives_way)
            self._drop(workflow_id)
        else:
            kind = "" if view.error is None else type(view.error).__name__
            said = "" if view.error is None else str(view.error)
            if held.row.prepares is not None and said:
                kind, said = _error_of_preparing(run) or (kind, said)
            self._end(workflow_id, held, _ENDS[view.state], kind, said, view.counts()[0])

    def _settle_unopened(self, workflow_id: str, held: _Held, error: BaseException) -> None:
        ended = held.ended
        if ended is not None and ended.state in _ENDS:
            self._end(workflow_id, held, _ENDS[ended.state], ended.error_type, ended.error)
        elif ends(error):
            self._end(workflow_id, held, State.FAILED, type(error).__name__, str(error))
        else:
            if isinstance(error, WorkflowHeldError):
                with suppress(FitcastError):
                    self._service.files.folder(workflow_id).note_wanted(held.row.fence)
            self._store.give_back(workflow_id, held.row.fence, "can't be opened", note=told(error))
            self._drop(workflow_id)
            pause_s = self._pauses.add(workflow_id, self._clock())
            log.warning(
                "workflow %s can't be opened, it is tried again in %.0f s: %s",
                workflow_id,
                pause_s,
                error,
            )

    def _end(
        self,
        workflow_id: str,
        held: _Held,
        state: State,
        error_type: str,
        error: str,
        fits_done: int | None = None,
    ) -> None:
        try:
            row = self._store.end(workflow_id, held.row.fence, state, error_type, error, fits_done)
        except (LostLeaseError, UnknownWorkflowError) as lost:
            log.warning("%s", lost)
        else:
            run = held.run
            self._on_end(row, () if run is None else run.view().records)
        self._drop(workflow_id)  # not before: while the database is away, it is still to be told
        self._pauses.forget(workflow_id)

    def _lose(self, workflow_ids: list[str], why: str) -> None:
        """End here what another replica may have by now."""
        for workflow_id in workflow_ids:
            held = self._held.pop(workflow_id)
            log.warning("workflow %s is given up here: %s", workflow_id, why)
            self._executor.submit(partial(self._interrupted, workflow_id, held))

    def _interrupted(self, workflow_id: str, held: _Held) -> None:
        try:
            run = held.opening.result()
        except Exception:
            return
        if not run.is_over:
            self._engine.interrupt(workflow_id)

    def _drop(self, workflow_id: str) -> None:
        self._held.pop(workflow_id, None)
        self._executor.submit(partial(self._note_stored_bytes, workflow_id))

    def _note_stored_bytes(self, workflow_id: str) -> None:
        with suppress(FitcastError):  # it is removed already, or told by the upkeep
            self._service.note_stored_bytes(workflow_id)

    # -- what is next ----------------------------------------------------------------------------

    def _give_way_and_claim(self) -> None:
        alone = self._pauses.left_alone(self._clock())
        waiting = [waiting_of(row) for row in self._store.queue_heads(alone)]
        if not waiting:
            return
        now_s = self._store.now_s()
        capacity = capacity_of(self._engine)
        accounts = self._store.accounts(self._limits.half_life_s)
        limits = limits_now(self._limits, self._store)
        while True:
            running = [running_of(row) for row in self._store.running()]
            chosen = next_claimed(waiting, running, accounts, capacity, limits, now_s)
            if chosen is None:
                break
            row = self._store.claim(chosen.workflow_id, self._replica, self._lease_s)
            if row is not None:
                taken = self._held[row.workflow_id] = _Held(row, Future(), self._clock())
                self._executor.submit(partial(self._open, taken))
            waiting = [waiting_of(one) for one in self._store.queue_heads(alone)]
        leaving = to_give_way(waiting, running, accounts, capacity, limits, now_s)
        for workflow_id in leaving:
            held = self._held.get(workflow_id)
            if held is not None and held.run is not None and not held.gives_way:
                held.gives_way = True
                self._executor.submit(partial(self._interrupted, workflow_id, held))

    def _open(self, held: _Held) -> None:
        row = held.row
        try:
            run = self._engine.resume(
                row.workflow_id,
                key=self._service.key(row),
                share_of=row.user,
                priority=row.priority,
            )
        except BaseException as error:
            if not isinstance(error, FitcastError):
                log.error("workflow %s can't be opened", row.workflow_id, exc_info=error)
            if isinstance(error, SubmissionError):
                with suppress(FitcastError):
                    held.ended = self._service.files.folder(row.workflow_id).final_end()
            held.opening.set_exception(error)
        else:
            held.opening.set_result(run)
            self._pauses.forget(row.workflow_id)
            log.info("workflow %s of %s runs", row.workflow_id, row.user)


def _error_of_preparing(run: Run) -> tuple[str, str] | None:
    """Return what is wrong with a described sweep, without how it was found."""
    for row in run.view().rows.values():
        kind, colon, said = row.error.partition(": ")
        if colon and row.outcome is Outcome.FAILED:
            return kind, said
    return None
