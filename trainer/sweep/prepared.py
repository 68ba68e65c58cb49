"""A sweep: models × hyper-parameter grids × cross-validation splits over one dataset.

In: what a user submits, and what it becomes once prepared: candidates, fits, requests, jobs. Not
in: reading data (:mod:`fitcast.trainer.sweep.datasets`), refusing bad input
(:mod:`fitcast.trainer.sweep.validation`), the table of results
(:mod:`fitcast.trainer.sweep.results`).
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fitcast.errors import InvalidSweepError
from fitcast.trainer.attempt.searched import NO_EXTRAS, Extras
from fitcast.trainer.attempt.spec import JobBytes
from fitcast.trainer.sweep import fitness, validation
from fitcast.trainer.sweep.containers import look
from fitcast.trainer.sweep.datasets import load
from fitcast.trainer.sweep.fit_params import MethodParams, method_params
from fitcast.trainer.sweep.jobs import WEIGHTS, JobPickler, make_job
from fitcast.trainer.sweep.kinds import is_classifier
from fitcast.trainer.sweep.layout import lay_out
from fitcast.trainer.sweep.models import Candidate, Models, candidates_from, sampler
from fitcast.trainer.sweep.prepared_sweep import PreparedSweep
from fitcast.trainer.sweep.reach import is_unchanged, reach_of
from fitcast.trainer.sweep.requests import (
    shape_of,
)
from fitcast.trainer.sweep.scorers import check_refit, scorer_for, scorer_names
from fitcast.trainer.sweep.splits import make_splits
from fitcast.trainer.sweep.submission import Fit, Submission
from fitcast.trainer.sweep.unusual_objects import check_objects
from fitcast.trainer.sweep.users_code import users_code_by_value

__all__ = ["Candidate", "Fit", "PreparedSweep", "Submission", "Sweep"]


class Sweep:
    """What to try on which data. Nothing is read, checked or run until it is prepared.

    Parameters
    ----------
    models
        An estimator, ``(estimator, grid)``, a list of those, or a dict of name → any of those.
        An estimator is an instance, a class or an import path; a grid, a dict of parameter → list
        of values, or a list of such dicts; with `n_iter`, of distributions too.
    X, y
        Arrays, lists, pandas or SciPy sparse. ``y`` may be left out for unsupervised estimators.
    data
        Instead of X and y: path or address (anything fsspec reaches) of a CSV or Parquet file.
    target
        Name of the target's column in ``data``, or in X if that is a frame.
    cv
        Number of folds, a splitter, or a list of (training rows, test rows), as in GridSearchCV.
    scoring
        As in GridSearchCV: a scorer's name, a callable, or a list or dict of several.
    refit
        Whether to fit the best candidate on all rows; with several scorers, the name of the one
        that decides.
    name
        What the workflow is called; by default, the names of its models.
    sample_weight, groups
        A value per row, or the name of a column of the frame. Weights go to ``fit`` (of a
        pipeline's last step), groups to the splitter.
    fit_params, score_params
        More keywords for ``fit`` and for the scorer. What has a value per row is cut along the
        rows, as in GridSearchCV.
    n_iter, random_state
        How many settings to draw from each model's grid or distributions, as RandomizedSearchCV
        does; by default all of the grid.
    predict_method
        Method for out-of-fold predictions; None for none.
    return_train_score
        Whether scores on the training rows are wanted too.
    error_score
        Score of a fit that failed.
    deadline_s
        Seconds that an attempt may take at most.
    memory_bytes
        Bytes that a fit may take at most.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> grid = {"C": [0.1, 1.0]}
    >>> sweep = Sweep({"lr": ("sklearn.linear_model.LogisticRegression", grid)}, X, y, cv=3)
    >>> [candidate.label for candidate in sweep.prepare().candidates]
    ['lr C=0.1', 'lr C=1']
    """

    def __init__(
        self,
        models: Models,
        X: Any = None,
        y: Any = None,
        *,
        data: str | Path | None = None,
        target: str | None = None,
        cv: Any = 5,
        scoring: Any = None,
        refit: bool | str | Callable[..., Any] = True,
        name: str | None = None,
        sample_weight: Any = None,
        groups: Any = None,
        fit_params: Mapping[str, Any] | None = None,
        score_params: Mapping[str, Any] | None = None,
        n_iter: int | None = None,
        random_state: Any = None,
        predict_method: str | None = "predict",
        return_train_score: bool = False,
        error_score: float = float("nan"),
        deadline_s: float | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        self.models = models
        self.X = X
        self.y = y
        self.data = data
        self.target = target
        self.cv = cv
        self.scoring = scoring
        self.refit = refit
        self.name = name
        self.sample_weight = sample_weight
        self.groups = groups
        self.fit_params = fit_params
        self.score_params = score_params
        self.n_iter = n_iter
        self.random_state = random_state
        self.predict_method = predict_method
        self.return_train_score = return_train_score
        self.error_score = error_score
        self.deadline_s = deadline_s
        self.memory_bytes = memory_bytes
        self._prepared: PreparedSweep | None = None

    def prepare(self, *, recheck: bool = False) -> PreparedSweep:
        """Load the data, check everything, and lay out the fits; later calls return the same.

        Parameters
        ----------
        recheck
            Whether to see first that nothing was changed since: data, weights, groups, models and
            settings. If anything was, the sweep is prepared anew. What was read from a file is
            not read again. It takes as long as reading all data once and pickling the models:
            0.4 s of one core for 240 MB in an array, 0.1 s for 30,000 candidates of a grid.

        Raises
        ------
        InvalidSweepError
            If models, grids, splits or scoring can't be used.
        InvalidDataError
            If the data can't be read, an estimator can't take it, or it can't be sent.
        """
        prepared = self._prepared
        if prepared is None or (recheck and not self._is_unchanged(prepared)):
            self._prepared = None  # in case it can't be prepared any more
            self._prepared = prepared = self._prepare()
        return prepared

    def _prepare(self) -> PreparedSweep:
        return _prepare(self)

    def _is_unchanged(self, prepared: PreparedSweep) -> bool:
        return prepared._reach is not None and is_unchanged(prepared._reach, self)

    def __repr__(self) -> str:
        name = self.name or "unnamed"
        data = "" if self.data is None else f", data={Path(str(self.data)).name!r}"
        return f"Sweep({name!r}{data})"

    def __getstate__(self) -> dict[str, Any]:
        # What was prepared holds the data a second time and is quickly made again.
        return {**self.__dict__, "_prepared": None}


def _prepare(sweep: Sweep) -> PreparedSweep:
    validation.check_settings(sweep)
    candidates = candidates_from(sweep.models, sampler(sweep.n_iter, sweep.random_state))
    names = scorer_names(sweep.scoring)
    check_refit(sweep.refit, names, sweep.scoring)
    configured = [validation.configure(candidate) for candidate in candidates]
    validation.check_kinds(candidates, sweep.cv)
    validation.check_methods(candidates, configured, sweep.predict_method)
    loaded = load(
        sweep.X,
        sweep.y,
        data=sweep.data,
        target=sweep.target,
        sample_weight=sweep.sample_weight,
        groups=sweep.groups,
    )
    X, y = look(loaded.X), look(loaded.y)
    rows = validation.check_data(X, y, from_file=sweep.data is not None)
    check_objects(X, y)
    weights = validation.check_weights(loaded.sample_weight, rows)
    groups = validation.check_groups(loaded.groups, rows)
    shape = shape_of(X, y)
    scorers = _scorers(candidates, sweep.scoring)
    check_fitness = partial(
        fitness.check_fitness, candidates, configured, scorers, X, y, shape,
        weighted=weights is not None, sweep=sweep,
    )  # fmt: skip
    try:
        splits = make_splits(
            sweep.cv, X.given, y.given, groups,
            classifier=is_classifier(candidates[0].estimator), rows=rows,
        )  # fmt: skip
    except InvalidSweepError:
        check_fitness(None)  # says more of what is wrong with the data
        raise
    check_fitness(splits)
    params = method_params(X.given, sweep.fit_params, sweep.score_params)
    for keyword, column in params.fit:
        if keyword == WEIGHTS:
            validation.check_weights(params.columns[column], rows)
    if weights is not None:
        params.columns[WEIGHTS] = weights
    extras = NO_EXTRAS
    if params.fit_values or params.score_values:
        extras = Extras(fit_values=params.fit_values, score_values=params.score_values)
    return lay_out(
        sweep,
        candidates,
        configured,
        X,
        y,
        params.columns,
        splits,
        shape=shape,
        names=names,
        jobs=_jobs(candidates, configured, scorers, sweep, params, extras),
        # last: a splitter's random state moves on
        reach=lambda dataset: reach_of(sweep, loaded, dataset),
    )


def _scorers(candidates: tuple[Candidate, ...], scoring: Any) -> list[Any]:
    """Return a scorer per candidate: one for all that have their estimator in common."""
    made: dict[int, Any] = {}
    for candidate in candidates:
        if id(candidate.estimator) not in made:
            made[id(candidate.estimator)] = scorer_for(candidate, scoring)
    return [made[id(candidate.estimator)] for candidate in candidates]


def _jobs(
    candidates: tuple[Candidate, ...],
    configured: list[Any],
    scorers: list[Any],
    sweep: Sweep,
    params: MethodParams,
    extras: Extras,
) -> tuple[JobBytes, ...]:
    with users_code_by_value() as dumps:
        pickler = JobPickler(dumps)
        jobs = [
            pickler.dump(
                make_job(
                    candidate,
                    estimator,
                    scorer,
                    params,
                    extras,
                    predict_method=sweep.predict_method,
                    return_train_score=sweep.return_train_score,
                ),
                candidate.label,
            )
            for candidate, estimator, scorer in zip(candidates, configured, scorers, strict=True)
        ]
    return pickler.with_users_modules(jobs)
