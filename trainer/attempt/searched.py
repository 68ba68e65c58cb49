"""What a scikit-learn search hands to its fits beyond estimator and scorer, as workers use it.

In: values of ``fit`` that aren't one per row, what a failing scorer gives, scikit-learn's callbacks
around a fit. Not in: how a search becomes a sweep
(:mod:`fitcast.trainer.sweep.searched`), the fit itself (:mod:`fitcast.trainer.attempt.fitting`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fitcast.history.records import REFIT_FOLD

INSIDE_A_FIT = "FITCAST_INSIDE_A_FIT"
"""Variable of the environment that is set in processes of fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What all candidates of a search have in common, sent once with their estimator."""

    fit_values: Mapping[str, Any] = field(default_factory=dict)  # keyword of fit → value, as it is
    score_values: Mapping[str, Any] = field(default_factory=dict)  # the same for the scorer
    error_score: float | None = None  # of a scorer that fails; None if its fit fails then
    tasks: "CallbackTasks | None" = None  # only where somebody has set callbacks


class CallbackTasks:
    """The tasks of a search's callbacks: each fit belongs to the search, not to itself.

    Parameters
    ----------
    search
        The search as its callbacks see it.
    root
        Its callback context.
    context
        The one that its fits' belong to.
    """

    def __init__(self, search: Any, root: Any, context: Any) -> None:
        # Pickled together, so that callbacks know the search again by identity.
        self._search, self._root, self._context = search, root, context

    @contextmanager
    def around(
        self, estimator: Any, task: int, fold: int, data: Mapping[str, Any]
    ) -> Iterator[None]:
        """Tell callbacks that a fit begins and ends, and the estimator where it belongs.

        Parameters
        ----------
        estimator
            What is fitted.
        task
            Number of the fit in the search.
        fold
            Of the fit; ``REFIT_FOLD`` for the one on all rows.
        data
            X, y and metadata, as callbacks get them.
        """
        if fold == REFIT_FOLD:
            context = self._root.subcontext(task_name="refit-with-best-params")
        else:
            name = "candidate-split-evaluation"
            context = self._context.subcontext(task_name=name, task_id=task)
        with context.propagate_callback_context(estimator):
            context.call_on_fit_task_begin(estimator=self._search, **data)
            try:
                yield
            finally:
                context.call_on_fit_task_end(estimator=self._search, **data)


NO_EXTRAS = Extras()
