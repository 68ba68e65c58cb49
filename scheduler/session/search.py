"""A drop-in for scikit-learn's GridSearchCV that runs on fitcast."""

from typing import Any

from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fitcast.errors import FitcastError
from fitcast.scheduler.session.client import Client
from fitcast.trainer.sweep.prepared import Sweep


def _best_has(name: str) -> Any:
    def check(search: "SizedSearchCV") -> bool:
        best = getattr(search, "best_estimator_", search.estimator)
        return hasattr(best, name)

    return check


class SizedSearchCV(MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """Exhaustive search over a grid, each fit sized, placed and measured by fitcast.

    Parameters
    ----------
    estimator, param_grid, scoring, refit, cv, error_score, return_train_score
        As in ``GridSearchCV``.
    client : Client, optional
        Where to run; by default a client of this machine for the time of `fit`.

    Attributes
    ----------
    cv_results_, best_estimator_, best_params_, best_score_, best_index_, n_splits_
        As in ``GridSearchCV``.
    workflow_ : Workflow
        The workflow that ran.
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        scoring: Any = None,
        refit: bool | str = True,
        cv: Any = 5,
        error_score: float = float("nan"),
        return_train_score: bool = False,
        client: Client | None = None,
    ) -> None:
        self.estimator = estimator
        self.param_grid = param_grid
        self.scoring = scoring
        self.refit = refit
        self.cv = cv
        self.error_score = error_score
        self.return_train_score = return_train_score
        self.client = client

    def fit(
        self, X: Any, y: Any = None, *, groups: Any = None, sample_weight: Any = None
    ) -> "SizedSearchCV":
        """Run the search."""
        sweep = Sweep(
            {type(self.estimator).__name__: (self.estimator, self.param_grid)},
            X,
            y,
            cv=self.cv,
            scoring=self.scoring,
            refit=self.refit,
            groups=groups,
            sample_weight=sample_weight,
            predict_method=None,
            error_score=self.error_score,
            return_train_score=self.return_train_score,
        )
        if self.client is not None:
            self._run(self.client, sweep)
        else:
            with Client() as client:
                self._run(client, sweep)
        return self

    def _run(self, client: Client, sweep: Sweep) -> None:
        self.workflow_ = client.submit(sweep)
        result = self.workflow_.result()
        self.cv_results_ = result.cv_results_
        self.n_splits_ = sweep.prepare().n_splits
        self.multimetric_ = sweep.prepare().scorer_names != ("score",)
        if result.best_index_ is not None:
            self.best_index_ = result.best_index_
            self.best_params_ = result.best_params_
            self.best_score_ = result.best_score_
        if self.refit:
            self.best_estimator_ = result.best_estimator_

    def _best(self) -> Any:
        check_is_fitted(self, "cv_results_")
        if not self.refit:
            raise FitcastError("this search was made with refit=False: it has no best estimator")
        return self.best_estimator_

    @property
    def classes_(self) -> Any:
        """Class labels of the best estimator."""
        return self._best().classes_

    def predict(self, X: Any) -> Any:
        """Predict with the best estimator."""
        return self._best().predict(X)

    def score(self, X: Any, y: Any = None) -> float:
        """Score the best estimator with the deciding scorer."""
        from sklearn.metrics import check_scoring

        scoring = self.scoring
        if isinstance(self.refit, str):
            scoring = scoring[self.refit] if isinstance(scoring, dict) else self.refit
        return float(check_scoring(self._best(), scoring)(self._best(), X, y))

    @available_if(_best_has("predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Any:
        """Predict probabilities with the best estimator."""
        return self._best().predict_proba(X)

    @available_if(_best_has("decision_function"))  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> Any:
        """Return the best estimator's decision values."""
        return self._best().decision_function(X)

    @available_if(_best_has("transform"))  # type: ignore[untyped-decorator]
    def transform(self, X: Any) -> Any:
        """Transform with the best estimator."""
        return self._best().transform(X)
