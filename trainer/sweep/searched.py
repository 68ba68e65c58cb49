"""What a scikit-learn search asks for in one go → a sweep.

In: candidates, splits and scorer as the search made them, laid out as fits. The search has checked
what it takes, and whatever else is wrong shows in the fits, as it does there: nothing is guessed.
Not in: the search (:mod:`fitcast.scheduler.session.search`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import clone

from fitcast.trainer.attempt.searched import CallbackTasks, Extras
from fitcast.trainer.attempt.spec import Job, JobBytes
from fitcast.trainer.sweep.containers import look
from fitcast.trainer.sweep.datasets import load
from fitcast.trainer.sweep.fit_params import method_params
from fitcast.trainer.sweep.jobs import JobPickler, thread_params
from fitcast.trainer.sweep.layout import lay_out
from fitcast.trainer.sweep.models import Candidate, ChosenSettings, candidates_from
from fitcast.trainer.sweep.prepared import Sweep
from fitcast.trainer.sweep.prepared_sweep import Chooser, PreparedSweep
from fitcast.trainer.sweep.requests import shape_of
from fitcast.trainer.sweep.scorers import SINGLE
from fitcast.trainer.sweep.splits import Splits
from fitcast.trainer.sweep.submission import Round
from fitcast.trainer.sweep.unusual_objects import check_objects
from fitcast.trainer.sweep.users_code import users_code_by_value

N_SAMPLES = "n_samples"
"""The resource that is rows, and no parameter."""


class SearchedSweep(Sweep):
    """A sweep of a search: made, submitted and forgotten; nobody else can change it.

    Parameters
    ----------
    estimator
        Unfitted.
    settings
        One per candidate; with `rounds`, of the first round, without the resource.
    X, y
        As the search was given them.
    splits
        Pairs of (training rows, test rows); with `rounds`, of all that there are.
    scorer
        What the search calls.
    refit
        Whether the best is to be fitted on all rows, or a rule: given ``cv_results_``, it returns
        the best candidate's index.
    fit_params, score_params
        Keywords for ``fit`` and the scorer.
    return_train_score
        Whether scores on the training rows are wanted too.
    error_score
        Score of a fit or scorer that failed; None if a failing scorer fails the fit.
    tasks
        What tells callbacks about fits.
    rounds
        Where later rounds have fewer candidates, and more of a resource.
    chooser
        Who says which candidates go on, and which is the best.
    """

    def __init__(
        self,
        estimator: Any,
        settings: Sequence[Mapping[str, Any]],
        X: Any,
        y: Any,
        *,
        splits: Sequence[tuple[Any, Any]],
        scorer: Any,
        refit: bool | Callable[..., Any] = False,
        fit_params: Mapping[str, Any] | None = None,
        score_params: Mapping[str, Any] | None = None,
        return_train_score: bool = False,
        error_score: float | None = None,
        tasks: CallbackTasks | None = None,
        rounds: tuple[Round, ...] = (),
        chooser: Chooser | None = None,
    ) -> None:
        super().__init__(
            {type(estimator).__name__: (estimator, ChosenSettings(map(dict, settings)))},
            X,
            y,
            cv=splits,
            scoring=scorer,
            refit=refit,
            fit_params=fit_params,
            score_params=score_params,
            predict_method=None,
            return_train_score=return_train_score,
            error_score=float("nan") if error_score is None else error_score,
        )
        self._failed_score = error_score
        self._tasks = tasks
        self._rounds = rounds
        self._chooser = chooser

    def _prepare(self) -> PreparedSweep:
        candidates = candidates_from(self.models)
        base = candidates[0].estimator
        if self._rounds:
            candidates = _in_rounds(candidates, self._rounds)
        configured = _configured(base, candidates)
        loaded = load(self.X, self.y, data=None, target=None)
        X, y = look(loaded.X), look(loaded.y)
        check_objects(X, y)
        params = method_params(loaded.X, self.fit_params, self.score_params)
        splits: Splits = [(_row_numbers(train), _row_numbers(test)) for train, test in self.cv]
        extras = Extras(
            fit_values=params.fit_values,
            score_values=params.score_values,
            error_score=self._failed_score,
            tasks=self._tasks,
        )
        parts = getattr(self.scoring, "_scorers", None)
        jobs: list[JobBytes] = []
        known: dict[int, JobBytes] = {}  # by identity of the settings, which rounds may share
        with users_code_by_value() as dumps:
            pickler = JobPickler(dumps)
            for candidate, estimator in zip(candidates, configured, strict=True):
                if id(candidate.params) in known:
                    jobs.append(known[id(candidate.params)])
                    continue
                job = Job(
                    estimator=base,
                    params=candidate.params,
                    scorer=self.scoring,
                    return_train_score=self.return_train_score,
                    predict_method=None,
                    fit_params=params.fit,
                    score_params=params.score,
                    thread_params=thread_params(estimator, candidate.params),
                    extras=extras,
                    first_task=candidate.index * len(splits),
                )
                jobs.append(pickler.dump(job, candidate.label))
                known[id(candidate.params)] = jobs[-1]
        return lay_out(
            self,
            candidates,
            configured,
            X,
            y,
            params.columns,
            splits,
            shape=shape_of(X, y),
            names=SINGLE if parts is None else tuple(parts),
            jobs=pickler.with_users_modules(jobs),
            reach=None,
            rounds=self._rounds,
            chooser=self._chooser,
        )

    def _is_unchanged(self, prepared: PreparedSweep) -> bool:
        return True


def _in_rounds(candidates: Sequence[Candidate], rounds: Sequence[Round]) -> tuple[Candidate, ...]:
    """Return all candidates that may run: each as often as there are rounds."""
    every = []
    for number, one in enumerate(rounds):
        for candidate in candidates:
            params = candidate.params  # the same object where the rounds differ in rows alone
            if one.resource != N_SAMPLES:
                params = {**params, one.resource: one.amount}
            label = f"{candidate.label}, rung {number}, {one.resource}={one.amount}"
            every.append(
                replace(candidate, index=one.first + candidate.index, params=params, label=label)
            )
    return tuple(every)


def _configured(base: Any, candidates: Sequence[Candidate]) -> list[Any]:
    """Return the estimator of each candidate; candidates of the same settings share it."""
    made: dict[int, Any] = {}
    for candidate in candidates:
        if id(candidate.params) not in made:
            params = clone(candidate.params, safe=False)
            made[id(candidate.params)] = clone(base).set_params(**params)
    return [made[id(candidate.params)] for candidate in candidates]


def _row_numbers(rows: Any) -> Any:
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool else rows
