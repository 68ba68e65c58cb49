"""The same search three ways: GridSearchCV, SizedSearchCV and a Sweep, and their numbers."""

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from fitcast import SizedSearchCV, Sweep

RELATIVE = 1e-12
"""Fits may be given more threads than GridSearchCV's: sums of theirs end in other last digits."""


def searched(
    client: Any, estimator: Any, grid: Any, X: Any, y: Any, params: Any = None, **settings: Any
) -> tuple[Any, Any]:
    """Fit both searches on the same input, see that they agree, and return them."""
    params = params or {}
    theirs = GridSearchCV(clone(estimator), grid, error_score="raise", **settings)
    theirs.fit(X, y, **params)
    ours = SizedSearchCV(clone(estimator), grid, error_score="raise", client=client, **settings)
    ours.fit(X, y, **params)
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    for key, known in theirs.cv_results_.items():
        if key.startswith(("mean_test", "std_test", "split", "mean_train", "std_train")):
            close(ours.cv_results_[key], known, key)
        elif not key.endswith("_time"):
            np.testing.assert_array_equal(ours.cv_results_[key], known, err_msg=key)
    assert ours.best_params_ == theirs.best_params_
    return ours, theirs


def swept(client: Any, theirs: Any, X: Any, y: Any, **more: Any) -> Any:
    """Run what a fitted GridSearchCV ran as a Sweep, see that its scores are equal."""
    sweep = Sweep(
        (clone(theirs.estimator), theirs.param_grid),
        X,
        y,
        cv=theirs.cv,
        scoring=theirs.scoring,
        **more,
    )
    workflow = client.submit(sweep)
    result = workflow.result()
    assert (workflow.fits["outcome"] == "succeeded").all(), workflow.logs()
    known = theirs.cv_results_["mean_test_score"]
    close(result.cv_results_["mean_test_score"], known, "Sweep")
    return result


def close(ours: Any, theirs: Any, what: str = "") -> None:
    """See that numbers are equal but for the last digits."""
    np.testing.assert_allclose(
        np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float), RELATIVE, err_msg=what
    )
