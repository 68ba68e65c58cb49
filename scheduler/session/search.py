"""Drop-ins for scikit-learn's searches that run on fitcast.

In: the classes as users see them. Not in: how a search is run
(:mod:`fitcast.scheduler.session.searching`).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.model_selection._search_successive_halving import (
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
)

from fitcast.scheduler.session.client import Client
from fitcast.scheduler.session.halving import count_rungs
from fitcast.scheduler.session.searching import CLIENT, SizedBaseSearchCV

_NAN = float("nan")


class SizedSearchCV(GridSearchCV, SizedBaseSearchCV):  # type: ignore[misc]
    """Exhaustive search over a grid, each fit sized, placed and measured by fitcast.

    It is a ``GridSearchCV`` with the same parameters and attributes, and one of each more. Inside
    a fit of fitcast, or in a process of joblib's, it runs as that does, in place.

    Parameters
    ----------
    estimator, param_grid, scoring, refit, cv, verbose, error_score, return_train_score
        As in ``GridSearchCV``.
    n_jobs, pre_dispatch
        Taken, and used only where it runs in place: on a client, the plan decides.
    client : Client, optional
        Where to run; by default one of this machine that all searches of the process share. It is
        a handle: clones have the same client, pickles have none.

    Attributes
    ----------
    workflow_ : Workflow
        The workflow that ran, the last one of several. None in pickles, and where the search ran in
        place. Subclasses that make up rounds of their own run each as a workflow.
    """

    _parameter_constraints: ClassVar = {**GridSearchCV._parameter_constraints, **CLIENT}
    fit = SizedBaseSearchCV.fit  # also where a library has patched scikit-learn's class

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: float | str = _NAN,
        return_train_score: bool = False,
        client: Client | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.client = client

    def _is_last_round(self, more_results: Mapping[str, Any] | None) -> bool:
        return type(self)._run_search is GridSearchCV._run_search


class SizedRandomizedSearchCV(RandomizedSearchCV, SizedBaseSearchCV):  # type: ignore[misc]
    """Search over settings drawn from distributions: ``RandomizedSearchCV`` on fitcast.

    With the same `random_state` it tries the same candidates.

    Parameters
    ----------
    estimator, param_distributions, n_iter, random_state, scoring, refit, cv, verbose
        As in ``RandomizedSearchCV``.
    error_score, return_train_score
        As in ``RandomizedSearchCV``.
    n_jobs, pre_dispatch
        As in :class:`SizedSearchCV`.
    client : Client, optional
        As in :class:`SizedSearchCV`.

    Attributes
    ----------
    workflow_ : Workflow
        As in :class:`SizedSearchCV`.
    """

    _parameter_constraints: ClassVar = {**RandomizedSearchCV._parameter_constraints, **CLIENT}
    fit = SizedBaseSearchCV.fit  # also where a library has patched scikit-learn's class

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        random_state: Any = None,
        error_score: float | str = _NAN,
        return_train_score: bool = False,
        client: Client | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.client = client

    def _is_last_round(self, more_results: Mapping[str, Any] | None) -> bool:
        return type(self)._run_search is RandomizedSearchCV._run_search


def _is_last_rung(search: Any, more_results: Mapping[str, Any] | None) -> bool:
    """Tell whether a rung of successive halving is its last, by scikit-learn's own count."""
    if not more_results or "iter" not in more_results:
        return False
    return bool(more_results["iter"][0] == count_rungs(search)[0] - 1)


class SizedHalvingSearchCV(HalvingGridSearchCV, SizedBaseSearchCV):  # type: ignore[misc]
    """Search over a grid with successive halving: ``HalvingGridSearchCV`` on fitcast.

    All rungs, and the fit of the best candidate on all rows, are one workflow: it is forecast as a
    whole before the first one runs, each rung's candidates being as likely as any others to go on.

    Parameters
    ----------
    estimator, param_grid, factor, resource, max_resources, min_resources, aggressive_elimination
        As in ``HalvingGridSearchCV``.
    cv, scoring, refit, error_score, return_train_score, random_state, verbose
        As in ``HalvingGridSearchCV``.
    n_jobs
        As in :class:`SizedSearchCV`.
    client : Client, optional
        As in :class:`SizedSearchCV`.

    Attributes
    ----------
    workflow_ : Workflow
        As in :class:`SizedSearchCV`.
    """

    _parameter_constraints: ClassVar = {**HalvingGridSearchCV._parameter_constraints, **CLIENT}

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        factor: float = 3,
        resource: str = "n_samples",
        max_resources: int | str = "auto",
        min_resources: int | str = "exhaust",
        aggressive_elimination: bool = False,
        cv: Any = 5,
        scoring: Any = None,
        refit: Any = True,
        error_score: float | str = _NAN,
        return_train_score: bool = True,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        client: Client | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            factor=factor,
            resource=resource,
            max_resources=max_resources,
            min_resources=min_resources,
            aggressive_elimination=aggressive_elimination,
            cv=cv,
            scoring=scoring,
            refit=refit,
            error_score=error_score,
            return_train_score=return_train_score,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.client = client

    def _is_last_round(self, more_results: Mapping[str, Any] | None) -> bool:
        return _is_last_rung(self, more_results)


class SizedHalvingRandomSearchCV(HalvingRandomSearchCV, SizedBaseSearchCV):  # type: ignore[misc]
    """Successive halving over drawn settings: ``HalvingRandomSearchCV`` on fitcast.

    Parameters
    ----------
    estimator, param_distributions, n_candidates, factor, resource, max_resources, min_resources
        As in ``HalvingRandomSearchCV``.
    aggressive_elimination, cv, scoring, refit, error_score, return_train_score, random_state
        As in ``HalvingRandomSearchCV``.
    verbose
        As in ``HalvingRandomSearchCV``.
    n_jobs
        As in :class:`SizedSearchCV`.
    client : Client, optional
        As in :class:`SizedSearchCV`.

    Attributes
    ----------
    workflow_ : Workflow
        As in :class:`SizedSearchCV`.
    """

    _parameter_constraints: ClassVar = {**HalvingRandomSearchCV._parameter_constraints, **CLIENT}

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_candidates: int | str = "exhaust",
        factor: float = 3,
        resource: str = "n_samples",
        max_resources: int | str = "auto",
        min_resources: int | str = "smallest",
        aggressive_elimination: bool = False,
        cv: Any = 5,
        scoring: Any = None,
        refit: Any = True,
        error_score: float | str = _NAN,
        return_train_score: bool = True,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        client: Client | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_candidates=n_candidates,
            factor=factor,
            resource=resource,
            max_resources=max_resources,
            min_resources=min_resources,
            aggressive_elimination=aggressive_elimination,
            cv=cv,
            scoring=scoring,
            refit=refit,
            error_score=error_score,
            return_train_score=return_train_score,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.client = client

    def _is_last_round(self, more_results: Mapping[str, Any] | None) -> bool:
        return _is_last_rung(self, more_results)
