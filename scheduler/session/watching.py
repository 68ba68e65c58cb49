"""Waiting for a search's workflow: telling of its fits meanwhile, and answering what it asks.

In: what ``verbose`` and ``error_score="raise"`` want of fits that end, and the way from a workflow
that asks who goes on, or is the best, to the thread that knows. Not in: the search
(:mod:`fitcast.scheduler.session.searching`).
"""

import queue
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fitcast.errors import FitcastError
from fitcast.history.records import REFIT_FOLD, Outcome
from fitcast.scheduler.run.views import FitRow
from fitcast.scheduler.session.evaluated import error_of, lines_of
from fitcast.scheduler.session.halving import Rungs
from fitcast.scheduler.session.workflow import Workflow

_LOOK_S = 0.2
_ASKED, _OVER = "asked", "over"


class Choices:
    """Who goes on, who is the best: asked on a thread of the workflow's, told by the search's own.

    So the user's rule runs where scikit-learn would call it, and its errors are raised there.
    Implements :class:`fitcast.trainer.sweep.prepared_sweep.Chooser`.
    """

    def __init__(self) -> None:
        self.signals: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._rounds: list[Future[Sequence[int] | None]] = []
        self._best: Future[int] = Future()
        self._given_up: FitcastError | None = None
        self._lock = threading.Lock()

    def next_round(self, number: int) -> Sequence[int] | None:
        """Ask who goes on to a round, and wait for the answer."""
        asked = self._round(number)
        if not asked.done():
            self.signals.put(_ASKED)
        return asked.result()

    def best(self) -> int:
        """Ask who is the best, and wait for the answer."""
        if not self._best.done():
            self.signals.put(_ASKED)
        return self._best.result()

    def of(self, cv_results: Mapping[str, Any]) -> int:
        """Ask who is the best: what `refit` of a sweep may be."""
        return self.best()

    def answer_round(self, number: int, candidates: Sequence[int] | None) -> None:
        """Tell who goes on to a round; None if nobody does."""
        asked = self._round(number)
        if not asked.done():  # else it was given up: nobody asks any more
            asked.set_result(candidates)

    def answer(self, index: int) -> None:
        """Tell the index of the best candidate in its sweep."""
        self._best.set_result(index)

    def give_up(self, error: BaseException) -> None:
        """Tell that there will be no answer any more."""
        with self._lock:
            self._given_up = FitcastError(f"{type(error).__name__}: {error}")
            if not self._best.done():
                self._best.set_exception(self._given_up)
            for one in self._rounds:
                if not one.done():
                    one.set_exception(self._given_up)

    def _round(self, number: int) -> Future[Sequence[int] | None]:
        with self._lock:
            while len(self._rounds) <= number:
                self._rounds.append(Future())
                if self._given_up is not None:
                    self._rounds[-1].set_exception(self._given_up)
            return self._rounds[number]


class Watch:
    """Waits for a workflow, and tells meanwhile what ``verbose`` asks for.

    Parameters
    ----------
    workflow
        Which.
    choice
        What the workflow may ask for.
    verbose
        As of the search.
    raising
        Whether the first fit that fails ends it.
    """

    def __init__(
        self, workflow: Workflow, choice: Choices | None, verbose: int, *, raising: bool
    ) -> None:
        self._workflow = workflow
        self._verbose = verbose
        self._raising = raising
        self._told: set[str] = set()
        self._over = False
        self._signals = queue.SimpleQueue[str]() if choice is None else choice.signals
        threading.Thread(target=self._wait, name="fitcast-search", daemon=True).start()

    def is_asked(self) -> bool:
        """Wait until somebody is asked for; False if nobody will be any more."""
        if self._over:
            return False
        self._over = self._next() == _OVER
        return not self._over

    @property
    def is_over(self) -> bool:
        """Whether the workflow was seen to be over."""
        return self._over

    def until_over(self) -> None:
        """Wait until the workflow is over."""
        while not self._over:
            self._over = self._next() == _OVER

    def _wait(self) -> None:
        self._workflow.wait()
        self._signals.put(_OVER)

    def _next(self) -> str:
        looks = self._raising or self._verbose > 1
        while True:
            with suppress(queue.Empty):
                signal = self._signals.get(timeout=_LOOK_S if looks else None)
                self._look()
                return signal
            self._look()

    def _look(self) -> None:
        if self._verbose > 1:
            self._tell()
        if self._raising:
            raise_first_failure(self._workflow)

    def _tell(self) -> None:
        submission = self._workflow._run.submission
        all_params = self._workflow._run.objects.params
        numbers: dict[int, dict[int, int]] = {}  # of the candidates in each round, as they came
        rows = [row for row in self._workflow.view.rows.values() if row.fit.fold != REFIT_FOLD]
        for row in rows:
            index = row.fit.candidate.index
            there = numbers.setdefault(submission.round_of(index), {})
            there.setdefault(index, len(there))
        for row in rows:
            if row.outcome is not None and row.fit.fit_id not in self._told:
                self._told.add(row.fit.fit_id)
                index = row.fit.candidate.index
                there = numbers[submission.round_of(index)]
                told = lines_of(
                    row,
                    all_params[index],
                    verbose=self._verbose,
                    fold=(row.fit.fold - submission.fit(index, 0).fold, submission.n_splits),
                    candidate=(there[index], len(there)),
                )
                for line in told:
                    print(line)  # noqa: T201 - asked for


def raise_first_failure(workflow: Workflow) -> None:
    """Raise what the first of the fits raised that failed, if one did."""
    for row in workflow.view.rows.values():
        if row.outcome not in (None, Outcome.SUCCEEDED, Outcome.CANCELLED):
            raise error_of(row)


@dataclass
class Asking:
    """A workflow that asks the search for what it chooses."""

    workflow: Workflow
    watch: Watch
    choices: Choices | None
    rungs: Rungs | None

    def give_up(self, error: BaseException) -> None:
        """Give it up, unless it is over."""
        if self.choices is not None:
            self.choices.give_up(error)
        self.workflow.cancel()

    def has(self, candidates: Sequence[int]) -> bool:
        """Tell whether all fits of these candidates are there."""
        submission, rows = self.workflow._run.submission, self.workflow.view.rows
        return all(fit.fit_id in rows for index in candidates for fit in submission.fits_of(index))

    def rows(self) -> list[FitRow]:
        """Return the fits of the round that runs, in the order of its candidates."""
        rows = self.workflow.view.rows
        if self.rungs is None:
            return [row for row in rows.values() if row.fit.fold != REFIT_FOLD]
        submission = self.workflow._run.submission
        fits = [fit for index in self.rungs.chosen for fit in submission.fits_of(index)]
        return [rows[fit.fit_id] for fit in fits]
