"""Waiting for a search's workflow: telling of its fits meanwhile, and answering what it asks.

In: what ``verbose`` and ``error_score="raise"`` want of fits that end, and the way from a workflow
that asks for the best candidate to the thread that knows. Not in: the search
(:mod:`fitcast.scheduler.session.searching`).
"""

import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from fitcast.errors import FitcastError
from fitcast.history.records import REFIT_FOLD, Outcome
from fitcast.scheduler.session.evaluated import error_of, lines_of
from fitcast.scheduler.session.workflow import Workflow

_LOOK_S = 0.2
_ASKED, _OVER = "asked", "over"


class BestChoice:
    """The best candidate: asked for on a thread of the workflow's, told by the search's own.

    So the user's rule runs where scikit-learn would call it, and its errors are raised there.
    """

    def __init__(self) -> None:
        self.signals: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._answer: Future[int] = Future()

    def of(self, cv_results: Mapping[str, Any]) -> int:
        """Ask, and wait for the answer: what `refit` of a sweep may be."""
        if not self._answer.done():
            self.signals.put(_ASKED)
        return self._answer.result()

    def answer(self, index: int) -> None:
        """Tell the index of the best candidate in its sweep."""
        self._answer.set_result(index)

    def give_up(self, error: BaseException) -> None:
        """Tell that there will be no answer."""
        if not self._answer.done():
            self._answer.set_exception(FitcastError(f"{type(error).__name__}: {error}"))


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
        self, workflow: Workflow, choice: BestChoice | None, verbose: int, *, raising: bool
    ) -> None:
        self._workflow = workflow
        self._verbose = verbose
        self._raising = raising
        self._told: set[str] = set()
        self._over = False
        self._signals = queue.SimpleQueue[str]() if choice is None else choice.signals
        threading.Thread(target=self._wait, name="fitcast-search", daemon=True).start()

    def is_asked(self) -> bool:
        """Wait until the best candidate is asked for; False if it never will be."""
        self._over = self._next() == _OVER
        return not self._over

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
        rows = [row for row in self._workflow.view.rows.values() if row.fit.fold != REFIT_FOLD]
        folds = 1 + max(row.fit.fold for row in rows)
        all_params = self._workflow._run.objects.params
        for row in rows:
            if row.outcome is not None and row.fit.fit_id not in self._told:
                self._told.add(row.fit.fit_id)
                count = len(rows) // folds
                params = all_params[row.fit.candidate.index]
                told = lines_of(row, params, verbose=self._verbose, folds=folds, candidates=count)
                for line in told:
                    print(line)  # noqa: T201 - asked for


def raise_first_failure(workflow: Workflow) -> None:
    """Raise what the first of the fits raised that failed, if one did."""
    for row in workflow.view.rows.values():
        if row.outcome not in (None, Outcome.SUCCEEDED, Outcome.CANCELLED):
            raise error_of(row)
